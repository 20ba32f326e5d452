// When an automatic checkpoint is due, and what became of those before it.
//
// A state machine without threads or a clock of its own, so that a test can tell it any story.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Knows how long a replay of the log would take, and when that or the log's size asks for a checkpoint. One thread at a
/// time uses it.
class CheckpointSchedule {
 public:
  using Clock = std::chrono::steady_clock;

  /// How many mutations count as much as the one of them that is measured, where each is applied alone: the clock would cost
  /// as much as a small mutation. A prime number, so that a period of what a program does, or an index, seldom fits it.
  static constexpr unsigned sampled_one_in = 17;

  explicit CheckpointSchedule(CheckpointPolicy policy) noexcept : policy_(policy) {}

  /// The index took `elapsed` to apply mutations that stand in the log.
  void applied(std::chrono::nanoseconds elapsed) noexcept { replay_estimate_ += elapsed; }

  /// Calls `apply()`, which applies mutations that were logged together, and measures it by `now()`, which returns the time.
  /// If it throws, what it throws passes, and nothing is counted.
  template <class Apply, class Now>
  void apply_batch(Apply&& apply, Now&& now) {
    const Clock::time_point began = now();
    std::forward<Apply>(apply)();
    applied(now() - began);
  }

  /// Calls `apply()`, which applies the only mutation of a record, and measures some of these calls. Otherwise as apply_batch.
  template <class Apply, class Now>
  void apply_one(Apply&& apply, Now&& now) {
    if (++mutations_ % sampled_one_in != 0) {
      std::forward<Apply>(apply)();
      return;
    }
    const Clock::time_point began = now();
    std::forward<Apply>(apply)();
    applied((now() - began) * sampled_one_in);
  }

  /// The snapshot that is in place has this size.
  void snapshot_has(std::uint64_t bytes) noexcept { snapshot_bytes_ = bytes; }

  /// Whether a checkpoint is due that nobody was asked for. `now()` returns the time; it is called only if that matters.
  template <class Now>
  [[nodiscard]] bool is_due(std::uint64_t log_bytes, Now&& now) const {
    if (!policy_.is_automatic() || asked_for_ || under_way_ || log_bytes < retry_bytes_) {
      return false;
    }
    const CheckpointPolicy::Bounds& bounds = policy_.bounds();
    const bool is_large = log_bytes > std::max(bounds.least_log_bytes, snapshot_bytes_);
    // Of a small log the time does not count: else a slow disk would be worn out by a large snapshot again and again.
    const bool takes_long =
        replay_estimate_ > bounds.recovery_time && log_bytes >= snapshot_bytes_ / least_part_of_snapshot;
    return (is_large || takes_long) && std::forward<Now>(now)() >= not_before_;
  }

  /// Another thread is asked for a checkpoint. Until answer() none is due.
  void ask() noexcept { asked_for_ = true; }

  /// That thread looks whether one is still due, or there is no such thread.
  void answer() noexcept { asked_for_ = false; }

  /// A checkpoint begins. Until done() or failed() none is due.
  void begin() noexcept {
    under_way_ = true;
    estimate_at_begin_ = replay_estimate_;
  }

  /// It is done at `now`. `beside` says whether mutations went on meanwhile, so that the log holds those since it began.
  void done(const Stats::Checkpoint& checkpoint, bool beside, Clock::time_point now) noexcept {
    under_way_ = false;
    replay_estimate_ = beside ? replay_estimate_ - estimate_at_begin_ : std::chrono::nanoseconds(0);
    retry_bytes_ = 0;
    snapshot_bytes_ = checkpoint.bytes;
    not_before_ = now + checkpoint.elapsed * rest_for_one;
    last_ = checkpoint;
    ++done_;
  }

  /// It failed, and the log has this size. If it was an automatic one, the next one is due when the log has doubled.
  void failed(std::uint64_t log_bytes, bool is_automatic) noexcept {
    under_way_ = false;
    retry_bytes_ = is_automatic ? log_bytes * 2 : retry_bytes_;
    ++failed_;
  }

  /// The log is kept, but a replay begins behind what it holds now: a snapshot of this size was saved.
  void saved(std::uint64_t snapshot_bytes) noexcept {
    snapshot_bytes_ = snapshot_bytes;
    replay_estimate_ = std::chrono::nanoseconds(0);
  }

  /// The log was closed: nothing will be replayed onto this index.
  void closed() noexcept { replay_estimate_ = std::chrono::nanoseconds(0); }

  /// Fills in what is known here.
  void tell(Stats& stats) const noexcept {
    stats.replay_estimate = replay_estimate_;
    stats.checkpoints = done_;
    stats.failed_checkpoints = failed_;
    stats.last_checkpoint = last_;
  }

 private:
  static constexpr std::uint64_t least_part_of_snapshot = 8;
  static constexpr int rest_for_one = 10;  // so that at most an eleventh of the time goes into checkpoints

  CheckpointPolicy policy_;
  unsigned mutations_ = 0;
  bool asked_for_ = false;  // an automatic one waits for the thread that makes it
  bool under_way_ = false;  // one has begun, asked for or automatic
  std::chrono::nanoseconds replay_estimate_{0};
  std::chrono::nanoseconds estimate_at_begin_{0};
  std::uint64_t snapshot_bytes_ = 0;   // of the one that a load would read
  std::uint64_t retry_bytes_ = 0;      // a smaller log is not worth another attempt
  Clock::time_point not_before_ = {};  // the last checkpoint took so long that it is too early for another one
  std::uint64_t done_ = 0;
  std::uint64_t failed_ = 0;
  Stats::Checkpoint last_ = {};
};

}  // namespace iqdb
