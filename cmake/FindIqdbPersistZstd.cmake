# Finds zstd and defines the target iqdb_deps::zstd.
include("${CMAKE_CURRENT_LIST_DIR}/iqdb_persist_find_library.cmake")

iqdb_persist_find_library(
  IqdbPersistZstd
  TARGET iqdb_deps::zstd
  PKG_CONFIG libzstd
  HEADER zstd.h
  LIBRARIES zstd libzstd zstd_static libzstd_static
  VERSION_HEADER zstd.h
  VERSION_MACROS ZSTD_VERSION_MAJOR ZSTD_VERSION_MINOR ZSTD_VERSION_RELEASE
  INSTALL
    "iqdb-persist needs zstd. On Debian: apt-get install libzstd-dev. To do without it, build iqdb-persist with -DIQDB_PERSIST_ZSTD=OFF.")
