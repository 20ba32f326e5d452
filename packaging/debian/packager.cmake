# Read by cpack before it begins: who builds the package, as Debian's own tools are told it.
if(NOT CPACK_DEBIAN_PACKAGE_MAINTAINER AND "${CPACK_GENERATOR}" STREQUAL "DEB")
  if("$ENV{DEBFULLNAME}" STREQUAL "" OR "$ENV{DEBEMAIL}" STREQUAL "")
    message(FATAL_ERROR "a package for Debian names who maintains it: set DEBFULLNAME and DEBEMAIL in the environment")
  endif()
  set(CPACK_DEBIAN_PACKAGE_MAINTAINER "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
endif()
