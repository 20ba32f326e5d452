# Finds hnswlib, which has headers only, and defines the target iqdb_deps::hnswlib.
include("${CMAKE_CURRENT_LIST_DIR}/iqdb_persist_find_library.cmake")

iqdb_persist_find_library(
  IqdbPersistHnswlib
  TARGET iqdb_deps::hnswlib
  PKG_CONFIG hnswlib
  HEADER hnswlib/hnswlib.h
  INSTALL "iqdb::hnswlib needs hnswlib. On Debian: apt-get install libhnswlib-dev.")
