// What an exploration of indexes on an object store met.
#pragma once

#include <cstdint>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What an exploration met, so that a test can see that it met everything.
struct ObjectIndexEvents {
  std::uint64_t schedules = 0;
  std::uint64_t opened = 0;        ///< indexes opened for writing
  std::uint64_t refused = 0;       ///< openings without take_over of an index that was not closed
  std::uint64_t acknowledged = 0;  ///< mutations
  std::uint64_t fenced = 0;        ///< writers that were told so
  std::uint64_t rejected = 0;      ///< mutations that the index did not take
  std::uint64_t in_doubt = 0;      ///< mutations of which their writer never learned whether they were stored
  std::uint64_t checkpoints = 0;   ///< snapshots that were published
  std::uint64_t read = 0;          ///< loads to read
  std::uint64_t older = 0;         ///< loads of an older state
  std::uint64_t kept = 0;          ///< older states that were there at the end
  std::uint64_t followed = 0;      ///< times that a follower caught up
  std::uint64_t died = 0;          ///< clients
  std::uint64_t closed = 0;        ///< indexes closed in order
  std::uint64_t uploaded = 0;      ///< snapshots that were stored in parts
  std::uint64_t given_up = 0;      ///< uploads that were aborted, by their writer or by a sweep

  friend bool operator==(const ObjectIndexEvents&, const ObjectIndexEvents&) = default;
};

}  // namespace testing
}  // namespace iqdb
