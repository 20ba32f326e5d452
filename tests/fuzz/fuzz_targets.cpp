// Which targets there are.
#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

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

std::vector<FuzzTarget> all_targets() {
  std::vector<FuzzTarget> targets{
      snapshot_target,
      log_target,
      pair_target,
      core_target,
      codec_target<Scheme::zstd>,
      codec_target<Scheme::lz4_block>,
      codec_target<Scheme::lz4_frames>,
  };
#ifdef TEST_HAS_HNSWLIB
  targets.push_back(hnswlib_target());
#endif
#ifdef TEST_HAS_FAISS
  targets.push_back(faiss_target());
#endif
#ifdef TEST_HAS_USEARCH
  targets.push_back(usearch_target());
#endif
  return targets;
}

}  // namespace

std::span<const FuzzTarget> fuzz_targets() {
  static const std::vector<FuzzTarget> targets = all_targets();
  return targets;
}

const FuzzTarget& fuzz_target(std::string_view name) {
  const std::span<const FuzzTarget> targets = fuzz_targets();
  const auto found = std::ranges::find(targets, name, &FuzzTarget::name);
  if (found == targets.end()) {
    throw std::invalid_argument("there is no fuzz target " + std::string(name));
  }
  return *found;
}

}  // namespace iqdb_fuzz
