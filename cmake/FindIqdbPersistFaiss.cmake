# Finds faiss and defines the target iqdb_deps::faiss.
include("${CMAKE_CURRENT_LIST_DIR}/iqdb_persist_find_library.cmake")

iqdb_persist_find_library(
  IqdbPersistFaiss
  TARGET iqdb_deps::faiss
  PKG_CONFIG faiss
  HEADER faiss/Index.h
  LIBRARIES faiss
  VERSION_HEADER faiss/Index.h
  VERSION_MACROS FAISS_VERSION_MAJOR FAISS_VERSION_MINOR FAISS_VERSION_PATCH
  INSTALL "iqdb::faiss needs faiss. On Debian: apt-get install libfaiss-dev.")

# Debian's faiss is a static library built by GCC, so its dependencies must be named with it, including GCC's OpenMP.
if(IqdbPersistFaiss_FOUND AND IqdbPersistFaiss_LIBRARY MATCHES "\\.a$")
  set_target_properties(iqdb_deps::faiss PROPERTIES INTERFACE_LINK_LIBRARIES "lapack;blas;gomp")
endif()
