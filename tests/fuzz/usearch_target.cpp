// The target `usearch`.
#include "iqdb/index/usearch.hpp"

#include "fuzz/adapter_target.hpp"

iqdb_fuzz::FuzzTarget iqdb_fuzz::usearch_target() { return adapter_target<iqdb::UsearchIndex>; }
