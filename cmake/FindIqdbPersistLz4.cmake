# Finds LZ4 and defines the target iqdb_deps::lz4.
include("${CMAKE_CURRENT_LIST_DIR}/iqdb_persist_find_library.cmake")

iqdb_persist_find_library(
  IqdbPersistLz4
  TARGET iqdb_deps::lz4
  PKG_CONFIG liblz4
  HEADER lz4frame.h
  LIBRARIES lz4 liblz4 lz4_static liblz4_static
  VERSION_HEADER lz4.h
  VERSION_MACROS LZ4_VERSION_MAJOR LZ4_VERSION_MINOR LZ4_VERSION_RELEASE
  INSTALL
    "iqdb-persist needs LZ4. On Debian: apt-get install liblz4-dev. To do without it, build iqdb-persist with -DIQDB_PERSIST_LZ4=OFF.")
