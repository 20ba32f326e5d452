# For scripts that install what they need: source it. For Debian 12, as root.

# install_packages PACKAGE… installs those that are missing.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if ((${#missing[@]})); then
    apt-get -q install -y --no-install-recommends "${missing[@]}"
  fi
}
