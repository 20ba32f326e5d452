// The targets that need no library of an adapter.
#include <array>

#include "fuzz/codec_target.hpp"
#include "fuzz/core_target.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/log_target.hpp"
#include "fuzz/pair_target.hpp"
#include "fuzz/snapshot_target.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"

namespace iqdb_fuzz {

namespace {

using Scheme = iqdb::CompressionScheme;

const std::array added_of_core{
    AddedTarget(snapshot_target),
    AddedTarget(log_target),
    AddedTarget(pair_target),
    AddedTarget(core_target),
    AddedTarget(codec_target<Scheme::zstd>),
    AddedTarget(codec_target<Scheme::lz4_block>),
    AddedTarget(codec_target<Scheme::lz4_frames>),
};

}  // namespace

}  // namespace iqdb_fuzz
