# The common part of the find modules beside this file. Packages of the libraries that iqdb-persist uses export targets
# of several names, or none, so the modules search for the header and the library themselves. pkg-config gives a hint if
# it is installed. To set a library by hand: CMAKE_PREFIX_PATH, or <package>_INCLUDE_DIR and <package>_LIBRARY.

# Finds a library and defines a target for it, for a find module named `package`. Sets <package>_FOUND,
# <package>_VERSION, and <package>_HOW_TO_GET to the advice.
#
#   TARGET          iqdb_deps::<name>
#   PKG_CONFIG      its name in pkg-config
#   HEADER          the header that is included
#   LIBRARIES       its file name on different systems; none for a library with headers only
#   VERSION_HEADER  the header with its version, in lines like "#define ZSTD_VERSION_MAJOR    1"
#   VERSION_MACROS  the macros of the version's parts
#   INSTALL         the advice in the error if it is missing
function(iqdb_persist_find_library package)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TARGET;PKG_CONFIG;HEADER;VERSION_HEADER;INSTALL" "LIBRARIES;VERSION_MACROS")

  find_package(PkgConfig QUIET)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(PC_${package} QUIET ${arg_PKG_CONFIG})
  endif()
  find_path(
    ${package}_INCLUDE_DIR
    NAMES ${arg_HEADER}
    HINTS ${PC_${package}_INCLUDE_DIRS})
  mark_as_advanced(${package}_INCLUDE_DIR)
  set(required ${package}_INCLUDE_DIR)
  if(arg_LIBRARIES)
    find_library(
      ${package}_LIBRARY
      NAMES ${arg_LIBRARIES}
      HINTS ${PC_${package}_LIBRARY_DIRS})
    mark_as_advanced(${package}_LIBRARY)
    list(PREPEND required ${package}_LIBRARY)
  endif()

  set(${package}_VERSION "")
  if(EXISTS "${${package}_INCLUDE_DIR}/${arg_VERSION_HEADER}")
    foreach(macro IN LISTS arg_VERSION_MACROS)
      file(STRINGS "${${package}_INCLUDE_DIR}/${arg_VERSION_HEADER}" line REGEX "^#define[ \t]+${macro}[ \t]+[0-9]+")
      if(line MATCHES "${macro}[ \t]+([0-9]+)")
        list(APPEND ${package}_VERSION "${CMAKE_MATCH_1}")
      endif()
    endforeach()
    list(JOIN ${package}_VERSION "." ${package}_VERSION)
  endif()

  include(FindPackageHandleStandardArgs)
  find_package_handle_standard_args(
    ${package}
    REQUIRED_VARS ${required}
    VERSION_VAR ${package}_VERSION
    REASON_FAILURE_MESSAGE "${arg_INSTALL}")
  set(${package}_FOUND "${${package}_FOUND}" PARENT_SCOPE)
  set(${package}_VERSION "${${package}_VERSION}" PARENT_SCOPE)
  set(${package}_HOW_TO_GET "${arg_INSTALL}" PARENT_SCOPE)

  if(${package}_FOUND AND NOT TARGET ${arg_TARGET})
    if(arg_LIBRARIES)
      add_library(${arg_TARGET} UNKNOWN IMPORTED)
      set_target_properties(${arg_TARGET} PROPERTIES IMPORTED_LOCATION "${${package}_LIBRARY}")
    else()
      add_library(${arg_TARGET} INTERFACE IMPORTED)
    endif()
    set_target_properties(${arg_TARGET} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${${package}_INCLUDE_DIR}")
  endif()
endfunction()
