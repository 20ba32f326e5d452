// What a program can ask an index: what it has done, and how it stands.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How often something was done, and how long it took.
class DurationCounts {
 public:
  /// A bucket for each power of two of nanoseconds, up to about 18 minutes.
  static constexpr std::size_t bucket_count = 40;

  /// Counts one more that took `elapsed`.
  constexpr void add(std::chrono::nanoseconds elapsed) noexcept {
    const auto nanoseconds = elapsed.count() > 0 ? static_cast<std::uint64_t>(elapsed.count()) : 0;
    const auto bucket = static_cast<std::size_t>(std::bit_width(nanoseconds));
    ++buckets_[bucket < bucket_count ? bucket : bucket_count - 1];
    ++count_;
    total_ += elapsed;
    longest_ = elapsed > longest_ ? elapsed : longest_;
  }

  /// How often it was done.
  [[nodiscard]] constexpr std::uint64_t count() const noexcept { return count_; }
  /// How long all of them took together.
  [[nodiscard]] constexpr std::chrono::nanoseconds total() const noexcept { return total_; }
  /// How long the longest took.
  [[nodiscard]] constexpr std::chrono::nanoseconds longest() const noexcept { return longest_; }

  /// How often it took at least `least(bucket)`, and less than `least(bucket + 1)`. The last bucket has no upper end.
  [[nodiscard]] constexpr const std::array<std::uint64_t, bucket_count>& buckets() const noexcept { return buckets_; }

  /// The shortest time that is counted in a bucket: 0, 1, 2, 4, 8, … nanoseconds. `bucket` is less than bucket_count.
  [[nodiscard]] static constexpr std::chrono::nanoseconds least(std::size_t bucket) noexcept {
    return std::chrono::nanoseconds(bucket == 0 ? 0 : std::int64_t{1} << (bucket - 1));
  }

 private:
  std::array<std::uint64_t, bucket_count> buckets_ = {};
  std::uint64_t count_ = 0;
  std::chrono::nanoseconds total_{0};
  std::chrono::nanoseconds longest_{0};
};

/// What an index has done since it was opened, and how it stands.
struct Stats {
  std::uint64_t lsn = 0;           ///< as lsn() of the index
  std::uint64_t mutations = 0;     ///< that were logged
  std::uint64_t groups = 0;        ///< records in which they were logged. With FsyncPolicy::always each is synced once
  std::uint64_t logged_bytes = 0;  ///< that were appended to the log, and to those before it
  std::uint64_t log_bytes = 0;     ///< the size of the log now, without space prepared ahead
  DurationCounts syncs = {};       ///< of the log

  /// About how long a replay of the log would take now: the time that the index took for its mutations.
  std::chrono::nanoseconds replay_estimate{0};

  std::uint64_t checkpoints = 0;         ///< that were done, asked for or automatic
  std::uint64_t failed_checkpoints = 0;  ///< that failed

  /// A checkpoint that was done.
  struct Checkpoint {
    std::chrono::system_clock::time_point when = {};  ///< when it was done
    std::chrono::nanoseconds elapsed{0};              ///< how long it took
    std::chrono::nanoseconds pause{0};                ///< the longest time for which it kept mutations from going on
    std::uint64_t bytes = 0;                          ///< the size of the snapshot
  };
  Checkpoint last_checkpoint = {};  ///< meaningful if `checkpoints` is not 0

  std::chrono::nanoseconds longest_read_wait{0};   ///< of a reader of a SharedIndex, for mutations that were applied
  std::chrono::nanoseconds longest_write_wait{0};  ///< of mutations of a SharedIndex, for readers

  bool poisoned = false;          ///< as poisoned() of the index
  std::string why_poisoned = {};  ///< what failed; empty unless a failure poisoned it
};

/// How many threads wait at one moment for a SharedIndex.
struct WaitingThreads {
  std::size_t calls = 0;    ///< mutations, and other calls that go one after the other, for the group in flight
  std::size_t readers = 0;  ///< until mutations are applied
  std::size_t writers = 0;  ///< leaders of groups, until readers are done: at most 1, and 1 for tune()
};

}  // namespace iqdb
