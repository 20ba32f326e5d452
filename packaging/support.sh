# What the tests of the ways share. Each is a script packaging/<way>/test that takes a scratch directory, which it empties, and ends with
#
#   0     the way works
#   77    a tool is missing: the last line says which
#   else  the way does not work
#
# CXX names the compiler; CXX_LIST may name several, for the ways that are tried with each.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${CXX:=g++}"
: "${CXX_LIST:=$CXX}"
export CXX

if (($# != 1)); then
  echo "usage: $0 SCRATCH_DIRECTORY" >&2
  exit 2
fi
rm -rf "$1"
mkdir -p "$1"
work=$(cd "$1" && pwd)
cd "$work"

# need TOOL… ends the test where one of the tools is not installed.
need() {
  local tool
  for tool in "$@"; do
    if ! command -v "$tool" >/dev/null; then
      echo "left out: $tool is not installed"
      exit 77
    fi
  done
}

# say WORD… prints a line that names what follows.
say() {
  printf -- '--- %s\n' "$*"
}

# check_quickstart PROGRAM [WORD…] runs the example quickstart twice: the second run finds what the first one inserted. The words go before
# the program, as env VARIABLE=value.
check_quickstart() {
  local program=$1 directory first second
  shift
  directory=$(mktemp -d "$work/run.XXXXXX")
  first=$(cd "$directory" && "$@" "$program")
  second=$(cd "$directory" && "$@" "$program")
  if [[ $first != "loaded: 0 vectors"* || $second != "loaded: 3 vectors"* || $second != *orange* ]]; then
    printf 'the quickstart printed\n%s\nand then\n%s\n' "$first" "$second" >&2
    return 1
  fi
  say "the quickstart works"
}

# version_of_library prints the version as the header has it.
version_of_library() {
  awk '/^#define IQDB_PERSIST_VERSION_(MAJOR|MINOR|PATCH) / { printf "%s%s", dot, $3; dot = "." }' \
    "$repository/include/iqdb/persist/version.hpp"
}

# commit_copy DIRECTORY makes a git repository of the files of the work tree that git does not ignore, with one commit. It prints
# the name of the commit.
commit_copy() {
  local files=$work/files_to_copy
  # A file that is deleted and not committed is named by git, too.
  (cd "$repository" && git ls-files -z --cached --others --exclude-standard | xargs -0 -r ls -d -- 2>/dev/null || true) >"$files"
  mkdir -p "$1"
  tar -C "$repository" -T "$files" -cf - | tar -C "$1" -xf -
  git -C "$1" init -q
  git -C "$1" add -A
  git -C "$1" -c user.name=test -c user.email=test@localhost commit -q -m "as it is"
  git -C "$1" rev-parse HEAD
}
