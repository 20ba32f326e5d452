// The target `faiss`.
#include "iqdb/index/faiss.hpp"

#include "fuzz/adapter_target.hpp"

iqdb_fuzz::FuzzTarget iqdb_fuzz::faiss_target() { return adapter_target<iqdb::FaissIndex>; }
