# Finds usearch, which has headers only, and defines the target iqdb_deps::usearch. Besides the usual places it searches
# <prefix>/node_modules/usearch of each prefix in CMAKE_PREFIX_PATH, and any prefix that is itself such a package or a
# node_modules. To set it by hand: IqdbPersistUsearch_INCLUDE_DIR, the directory that contains usearch/index_dense.hpp.
find_path(
  IqdbPersistUsearch_INCLUDE_DIR
  NAMES usearch/index_dense.hpp
  PATH_SUFFIXES include node_modules/usearch/include usearch/include)

# Half-precision numbers: usearch up to 2.21 takes them from a separate library of headers, or from the compiler.
find_path(
  IqdbPersistUsearch_FP16_INCLUDE_DIR
  NAMES fp16/fp16.h
  HINTS "${IqdbPersistUsearch_INCLUDE_DIR}/../fp16/include")
mark_as_advanced(IqdbPersistUsearch_INCLUDE_DIR IqdbPersistUsearch_FP16_INCLUDE_DIR)

set(IqdbPersistUsearch_VERSION "")
if(EXISTS "${IqdbPersistUsearch_INCLUDE_DIR}/usearch/index.hpp")
  foreach(part MAJOR MINOR PATCH)
    file(STRINGS "${IqdbPersistUsearch_INCLUDE_DIR}/usearch/index.hpp" line
         REGEX "^#define[ \t]+USEARCH_VERSION_${part}[ \t]+[0-9]+")
    if(line MATCHES "USEARCH_VERSION_${part}[ \t]+([0-9]+)")
      list(APPEND IqdbPersistUsearch_VERSION "${CMAKE_MATCH_1}")
    endif()
  endforeach()
  list(JOIN IqdbPersistUsearch_VERSION "." IqdbPersistUsearch_VERSION)
endif()

set(IqdbPersistUsearch_HOW_TO_GET
    "iqdb/index/usearch.hpp needs the headers of usearch 2.21 or a later 2, which Debian has no package of. To get them: npm install usearch. Say where they are: -DIqdbPersistUsearch_INCLUDE_DIR=<directory with usearch/index_dense.hpp>, or add their prefix to CMAKE_PREFIX_PATH."
)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  IqdbPersistUsearch
  REQUIRED_VARS IqdbPersistUsearch_INCLUDE_DIR
  VERSION_VAR IqdbPersistUsearch_VERSION
  REASON_FAILURE_MESSAGE "${IqdbPersistUsearch_HOW_TO_GET}")

if(IqdbPersistUsearch_FOUND AND NOT TARGET iqdb_deps::usearch)
  find_package(Threads REQUIRED)
  add_library(iqdb_deps::usearch INTERFACE IMPORTED)
  target_include_directories(iqdb_deps::usearch SYSTEM INTERFACE "${IqdbPersistUsearch_INCLUDE_DIR}")
  target_link_libraries(iqdb_deps::usearch INTERFACE Threads::Threads)
  if(IqdbPersistUsearch_FP16_INCLUDE_DIR)
    target_include_directories(iqdb_deps::usearch SYSTEM INTERFACE "${IqdbPersistUsearch_FP16_INCLUDE_DIR}")
  else()
    target_compile_definitions(iqdb_deps::usearch INTERFACE USEARCH_USE_FP16LIB=0)
  endif()
endif()
