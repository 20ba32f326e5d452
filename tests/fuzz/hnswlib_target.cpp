// The target `hnsw`.
#include "iqdb/index/hnswlib.hpp"

#include "fuzz/adapter_target.hpp"

iqdb_fuzz::FuzzTarget iqdb_fuzz::hnswlib_target() { return adapter_target<iqdb::HnswIndex>; }
