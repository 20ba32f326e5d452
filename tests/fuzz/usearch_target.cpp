// The target `usearch`.
#include "iqdb/index/usearch.hpp"

#include "fuzz/adapter_target.hpp"
#include "fuzz/fuzz_target.hpp"

namespace {

const iqdb_fuzz::AddedTarget added(iqdb_fuzz::adapter_target<iqdb::UsearchIndex>("usearch"));

}  // namespace
