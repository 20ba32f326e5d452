# Finds ISA-L and defines the target iqdb_deps::isal.
include("${CMAKE_CURRENT_LIST_DIR}/iqdb_persist_find_library.cmake")

iqdb_persist_find_library(
  IqdbPersistIsal
  TARGET iqdb_deps::isal
  PKG_CONFIG libisal
  HEADER isa-l/crc.h
  LIBRARIES isal libisal isa-l isal_static
  VERSION_HEADER isa-l.h
  VERSION_MACROS ISAL_MAJOR_VERSION ISAL_MINOR_VERSION ISAL_PATCH_VERSION
  INSTALL
    "iqdb-persist needs ISA-L for its checksums. On Debian: apt-get install libisal-dev. To do without it, build iqdb-persist with -DIQDB_PERSIST_ISAL=OFF.")
