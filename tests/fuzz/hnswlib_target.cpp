// The target `hnswlib`.
#include "iqdb/index/hnswlib.hpp"

#include "fuzz/adapter_target.hpp"
#include "fuzz/fuzz_target.hpp"

namespace {

const iqdb_fuzz::AddedTarget added(iqdb_fuzz::adapter_target<iqdb::HnswIndex>("hnswlib"));

}  // namespace
