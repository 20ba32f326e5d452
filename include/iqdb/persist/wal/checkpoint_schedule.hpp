// When an automatic checkpoint is due, and what became of those before it.
//
// A state machine without a clock or threads, so that a test can tell it any story.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
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

  /// Calls `apply()`, which applies mutations that were logged together, and measures it. Throws what it throws.
  template <class Apply>
  void apply_batch(Apply&& apply) {
    const auto began = Clock::now();
    std::forward<Apply>(apply)();
    applied(Clock::now() - began);
  }

  /// Calls `apply()`, which applies one mutation, and measures some of these calls. Throws what it throws.
  template <class Apply>
  void apply_one(Apply&& apply) {
    if (++mutations_ % sampled_one_in != 0) {
      std::forward<Apply>(apply)();
      return;
    }
    const auto began = Clock::now();
    std::forward<Apply>(apply)();
    applied((Clock::now() - began) * sampled_one_in);
  }

  /// Whether a checkpoint is due. `now()` returns the time; it is called only if that matters.
  template <class Now>
  [[nodiscard]] bool is_due(std::uint64_t log_bytes, std::uint64_t snapshot_bytes, Now&& now) const {
    if (!policy_.is_automatic() || under_way_ || log_bytes < retry_bytes_) {
      return false;
    }
    const CheckpointPolicy::Bounds& bounds = policy_.bounds();
    const bool is_large = log_bytes > std::max(bounds.least_log_bytes, snapshot_bytes);
    // Of a small log the time does not count: else a slow disk would be worn out by a large snapshot again and again.
    const bool takes_long =
        replay_estimate_ > bounds.recovery_time && log_bytes >= snapshot_bytes / least_part_of_snapshot;
    return (is_large || takes_long) && std::forward<Now>(now)() >= not_before_;
  }

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

  /// The index was saved, and the log is kept: a replay begins behind what it holds.
  void saved() noexcept { replay_estimate_ = std::chrono::nanoseconds(0); }

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
  bool under_way_ = false;
  std::chrono::nanoseconds replay_estimate_{0};
  std::chrono::nanoseconds estimate_at_begin_{0};
  std::uint64_t retry_bytes_ = 0;      // a smaller log is not worth another attempt
  Clock::time_point not_before_ = {};  // the last checkpoint took so long that it is too early for another one
  std::uint64_t done_ = 0;
  std::uint64_t failed_ = 0;
  Stats::Checkpoint last_ = {};
};

/// Makes a checkpoint: `make()` does it. Tells the schedule and `on_event`. `with_schedule(use)` calls `use(schedule)` while
/// nobody else uses the schedule; `log_bytes()` returns the size of the log. Throws what `make` throws.
template <class WithSchedule, class LogBytes, class Make>
SnapshotInfo watched_checkpoint(const std::function<void(const Event&)>& on_event, bool is_automatic,
                                WithSchedule&& with_schedule, LogBytes&& log_bytes, Make&& make) {
  const char* const name = is_automatic ? "an automatic checkpoint" : "a checkpoint";
  const auto which = [name] { return std::string(name); };
  events::emit(on_event, {.kind = Event::Kind::checkpoint_begun}, [&] { return which() + " begins"; });
  with_schedule([](CheckpointSchedule& schedule) { schedule.begin(); });
  SnapshotInfo info;
  try {
    info = std::forward<Make>(make)();
  } catch (...) {
    with_schedule([&](CheckpointSchedule& schedule) { schedule.failed(log_bytes(), is_automatic); });
    events::emit(on_event, {.kind = Event::Kind::checkpoint_failed},
                 [&] { return which() + " failed: " + message_of_current_exception(); });
    throw;
  }
  with_schedule([&](CheckpointSchedule& schedule) {
    schedule.done({.when = std::chrono::system_clock::now(),
                   .elapsed = info.elapsed,
                   .pause = info.pause,
                   .bytes = info.file_bytes},
                  info.frozen != Freezing::by_waiting, CheckpointSchedule::Clock::now());
  });
  events::emit(
      on_event, {.kind = Event::Kind::checkpoint_done, .elapsed = info.elapsed, .bytes = info.file_bytes}, [&] {
        return which() + " of " + std::to_string(info.vectors) + " vectors was done in " +
               events::in_seconds(info.elapsed) + "; the snapshot has " + std::to_string(info.file_bytes) + " bytes";
      });
  return info;
}

}  // namespace iqdb
