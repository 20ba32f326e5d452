// How long a thread stays awake where it waits for the calls of other threads: a moment, in proportion to what a group of
// calls takes.
//
// Invariant: no thread waits here for longer than a part of the time that a group takes, whatever the others do.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The waits of threads that commit together. Every function is called while `guard` holds the mutex of their queue, and
/// lets it go while it waits.
class CommitDelay {
 public:
  /// Waits for the end of the group in flight where that is near: where nothing is synced, a group takes less time than
  /// to put a thread to sleep and to wake it. Returns at once if `may_go_on()`, else when it may or the moment is over.
  template <class MayGoOn>
  void await_settled(std::unique_lock<std::mutex>& guard, MayGoOn&& may_go_on) {
    if (took_ > longest_group_awake || may_go_on()) {
      return;
    }
    const auto end = Clock::now() + groups_awake * took_ + least_delay;
    do {
      const std::uint64_t settled = settled_;
      guard.unlock();
      bool is_over = false;
      while (settled_ == settled && !is_over) {
        std::this_thread::yield();
        is_over = Clock::now() >= end;
      }
      guard.lock();
      if (is_over) {
        return;
      }
    } while (!may_go_on());
  }

  /// Waits, before a group is formed, for `missing` calls: for a quarter of what a group takes at most. So much is lost
  /// where nobody comes, and gained where one does: a whole group.
  void await_more(std::unique_lock<std::mutex>& guard, std::uint64_t missing) {
    if (missing == 0) {
      return;
    }
    const auto end = Clock::now() + std::max<Clock::duration>(took_ / parts_of_group, least_delay);
    const std::uint64_t all = submitted_ + missing;
    guard.unlock();
    do {
      std::this_thread::yield();  // those who come back may need this processor
    } while (submitted_ < all && Clock::now() < end);
    guard.lock();
  }

  /// A call has been submitted.
  void submitted() noexcept { ++submitted_; }

  /// Calls `commit()`, which commits a group and settles it, and measures it.
  template <class Commit>
  void measure(Commit&& commit) {
    const auto began = Clock::now();
    std::forward<Commit>(commit)();
    // It rises slowly: a leader that the system did not let run teaches nobody to wait.
    took_ = std::min<Clock::duration>(Clock::now() - began, 2 * took_ + least_delay);
    ++settled_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  static constexpr Clock::duration longest_group_awake = std::chrono::microseconds{20};  // about what a wake costs
  static constexpr Clock::duration least_delay = std::chrono::microseconds{4};  // to come back and encode a call
  static constexpr int groups_awake = 4;
  static constexpr int parts_of_group = 4;

  Clock::duration took_{0};  // what a group takes
  // Read without the mutex, which those need for whom somebody waits.
  std::atomic<std::uint64_t> settled_ = 0;    // groups
  std::atomic<std::uint64_t> submitted_ = 0;  // calls
};

}  // namespace iqdb
