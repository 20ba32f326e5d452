# cpack -G DEB: two packages for Debian. packaging/README.md says how to build them.
#
#   libiqdb-persist-dev   the headers, the CMake package and the pkg-config file
#   iqdb                  the program, its manual page and completions, if it is built
#
# Without ISA-L the first one has text alone and is of architecture `all`. With it, it depends on libisal-dev, which only some
# architectures have, and programs that are built with it do not link with those of another one: it is of one architecture.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME iqdb-persist)
set(CPACK_PACKAGE_VENDOR "iqdb-persist")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE-MIT")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                                WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL headers)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# Who maintains a package is who builds it: packager.cmake asks the environment, as Debian's own tools do.
set(CPACK_PROJECT_CONFIG_FILE "${CMAKE_CURRENT_LIST_DIR}/packager.cmake")
# Debian's places for licences, changes and completions.
set(CPACK_PRE_BUILD_SCRIPTS "${CMAKE_CURRENT_LIST_DIR}/arrange.cmake")

set(CPACK_DEBIAN_HEADERS_PACKAGE_NAME libiqdb-persist-dev)
set(CPACK_DEBIAN_HEADERS_PACKAGE_SECTION libdevel)
set(iqdb_persist_debian_depends zlib1g-dev)
foreach(library IN ITEMS zstd lz4 isal)
  if(iqdb_persist_uses_${library})
    list(APPEND iqdb_persist_debian_depends lib${library}-dev)
  endif()
endforeach()
list(JOIN iqdb_persist_debian_depends ", " CPACK_DEBIAN_HEADERS_PACKAGE_DEPENDS)
set(CPACK_DEBIAN_HEADERS_PACKAGE_SUGGESTS
    "cmake, pkg-config, libhnswlib-dev, libfaiss-dev, libcurl4-openssl-dev, libssl-dev")
if(NOT iqdb_persist_uses_isal AND NOT IQDB_PERSIST_COMPILED)
  set(CPACK_DEBIAN_HEADERS_PACKAGE_ARCHITECTURE all)
endif()
set(CPACK_DEBIAN_HEADERS_DESCRIPTION
    "durable storage for in-memory vector indexes (C++20 headers)
A vector index that lives in memory becomes durable: when an insertion
returns, it is on disk, in a write-ahead log. A checkpoint writes the whole
index to a snapshot, which is atomic, checksummed and optionally compressed.
.
This package has the headers, a CMake package and a pkg-config file.")

if(iqdb_persist_tool)
  list(APPEND CPACK_COMPONENTS_ALL tool)
  set(CPACK_DEBIAN_TOOL_PACKAGE_NAME iqdb)
  set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
  set(CPACK_DEBIAN_TOOL_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_TOOL_DESCRIPTION
      "look into files of durable vector indexes, repair and convert them
Says what is in the snapshots and logs that the library iqdb-persist keeps
and whether they are whole, makes a new index of what is whole of damaged
files, and converts indexes and files of vectors to each other.")
endif()

include(CPack)
