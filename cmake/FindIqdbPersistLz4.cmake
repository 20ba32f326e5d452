# Finds LZ4 and makes the target iqdb_deps::lz4 of it.
#
# Debian has only a pkg-config file for it, others export targets of several names; so this looks for the header and the
# library themselves. pkg-config is asked for a hint where it exists. To point at one by hand: CMAKE_PREFIX_PATH, or
# IqdbPersistLz4_INCLUDE_DIR and IqdbPersistLz4_LIBRARY.
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(PC_IQDB_PERSIST_LZ4 QUIET liblz4)
endif()

find_path(
  IqdbPersistLz4_INCLUDE_DIR
  NAMES lz4frame.h
  HINTS ${PC_IQDB_PERSIST_LZ4_INCLUDE_DIRS})
find_library(
  IqdbPersistLz4_LIBRARY
  NAMES lz4 liblz4 lz4_static liblz4_static
  HINTS ${PC_IQDB_PERSIST_LZ4_LIBRARY_DIRS})
mark_as_advanced(IqdbPersistLz4_INCLUDE_DIR IqdbPersistLz4_LIBRARY)

# The version is in the header: "#define LZ4_VERSION_MAJOR    1    /* for breaking interface changes  */" and so on.
set(IqdbPersistLz4_VERSION "")
if(IqdbPersistLz4_INCLUDE_DIR)
  foreach(_iqdb_part IN ITEMS MAJOR MINOR RELEASE)
    file(STRINGS "${IqdbPersistLz4_INCLUDE_DIR}/lz4.h" _iqdb_line
         REGEX "^#define[ \t]+LZ4_VERSION_${_iqdb_part}[ \t]+[0-9]+")
    if(_iqdb_line MATCHES "LZ4_VERSION_${_iqdb_part}[ \t]+([0-9]+)")
      list(APPEND IqdbPersistLz4_VERSION "${CMAKE_MATCH_1}")
    endif()
  endforeach()
  list(JOIN IqdbPersistLz4_VERSION "." IqdbPersistLz4_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  IqdbPersistLz4
  REQUIRED_VARS IqdbPersistLz4_LIBRARY IqdbPersistLz4_INCLUDE_DIR
  VERSION_VAR IqdbPersistLz4_VERSION
  REASON_FAILURE_MESSAGE
    "iqdb-persist needs LZ4. On Debian: apt-get install liblz4-dev. To do without it, build iqdb-persist with -DIQDB_PERSIST_LZ4=OFF.")

if(IqdbPersistLz4_FOUND AND NOT TARGET iqdb_deps::lz4)
  add_library(iqdb_deps::lz4 UNKNOWN IMPORTED)
  set_target_properties(
    iqdb_deps::lz4 PROPERTIES IMPORTED_LOCATION "${IqdbPersistLz4_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES
                                                                            "${IqdbPersistLz4_INCLUDE_DIR}")
endif()
