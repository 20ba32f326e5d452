// Where checkpoints are that others go on beside, and what happened there: so that a report shows that each place was met.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// How many places a checkpoint passes: its three steps that have no other call beside them, and what is before, between and
/// behind them.
inline constexpr std::size_t checkpoint_places = 7;

/// The places in words, in their order: in each second one nobody goes on beside the checkpoint.
inline constexpr std::array<const char*, checkpoint_places> names_of_checkpoint_places = {
    "begin", "freeze", "write the snapshot", "put it in place", "copy the log", "replace the log", "end"};

/// A count for each place.
using CheckpointCounts = std::array<std::uint64_t, checkpoint_places>;

/// What checkpoints have met.
struct CheckpointsBeside {
  std::uint64_t begun = 0;      ///< checkpoints
  std::uint64_t completed = 0;  ///< those that succeeded
  CheckpointCounts calls{};     ///< calls that reached the file system, those of others among them
  CheckpointCounts groups{};    ///< groups of others that were committed, or failed
  CheckpointCounts tried{};     ///< crash states, or faults, that were tried there

  /// Where the one is that is under way.
  std::optional<std::size_t> place = {};

  /// Adds the counts of others.
  CheckpointsBeside& operator+=(const CheckpointsBeside& other) noexcept {
    begun += other.begun;
    completed += other.completed;
    for (std::size_t at = 0; at < checkpoint_places; ++at) {
      calls[at] += other.calls[at];
      groups[at] += other.groups[at];
      tried[at] += other.tried[at];
    }
    return *this;
  }
};

}  // namespace testing
}  // namespace iqdb
