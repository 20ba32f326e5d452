# Finds zstd and makes the target iqdb_deps::zstd of it.
#
# Debian exports zstd as zstd::libzstd_shared, vcpkg as zstd::libzstd, others not at all; so this looks for the header and
# the library themselves. pkg-config is asked for a hint where it exists. To point at one by hand: CMAKE_PREFIX_PATH, or
# IqdbPersistZstd_INCLUDE_DIR and IqdbPersistZstd_LIBRARY.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(PC_IQDB_PERSIST_ZSTD QUIET libzstd)
endif()

find_path(
  IqdbPersistZstd_INCLUDE_DIR
  NAMES zstd.h
  HINTS ${PC_IQDB_PERSIST_ZSTD_INCLUDE_DIRS})
find_library(
  IqdbPersistZstd_LIBRARY
  NAMES zstd libzstd zstd_static libzstd_static
  HINTS ${PC_IQDB_PERSIST_ZSTD_LIBRARY_DIRS})
mark_as_advanced(IqdbPersistZstd_INCLUDE_DIR IqdbPersistZstd_LIBRARY)

# The version is in the header: "#define ZSTD_VERSION_MAJOR    1" and so on.
set(IqdbPersistZstd_VERSION "")
if(IqdbPersistZstd_INCLUDE_DIR)
  foreach(_iqdb_part IN ITEMS MAJOR MINOR RELEASE)
    file(STRINGS "${IqdbPersistZstd_INCLUDE_DIR}/zstd.h" _iqdb_line
         REGEX "^#define[ \t]+ZSTD_VERSION_${_iqdb_part}[ \t]+[0-9]+")
    if(_iqdb_line MATCHES "ZSTD_VERSION_${_iqdb_part}[ \t]+([0-9]+)")
      list(APPEND IqdbPersistZstd_VERSION "${CMAKE_MATCH_1}")
    endif()
  endforeach()
  list(JOIN IqdbPersistZstd_VERSION "." IqdbPersistZstd_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  IqdbPersistZstd
  REQUIRED_VARS IqdbPersistZstd_LIBRARY IqdbPersistZstd_INCLUDE_DIR
  VERSION_VAR IqdbPersistZstd_VERSION
  REASON_FAILURE_MESSAGE
    "iqdb-persist needs zstd. On Debian: apt-get install libzstd-dev. To do without it, build iqdb-persist with -DIQDB_PERSIST_ZSTD=OFF.")

if(IqdbPersistZstd_FOUND AND NOT TARGET iqdb_deps::zstd)
  add_library(iqdb_deps::zstd UNKNOWN IMPORTED)
  set_target_properties(
    iqdb_deps::zstd PROPERTIES IMPORTED_LOCATION "${IqdbPersistZstd_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES
                                                                              "${IqdbPersistZstd_INCLUDE_DIR}")
endif()
