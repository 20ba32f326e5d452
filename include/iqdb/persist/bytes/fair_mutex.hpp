// A lock for many readers or one writer, which starves neither.
//
// Invariant: phases alternate. Readers that arrive while a writer waits are let in together when it is done, before the
// next writer. So a reader waits for one writer at most, and a writer for the readers that came before it. A child that is forked
// under a hold lets nothing go: a thread that does not exist there may be in the middle of that.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Meets the requirements of SharedMutex that std::shared_lock and std::lock_guard need. `std::shared_mutex` is not used:
/// with glibc, readers that overlap keep a writer out for as long as they do. The algorithm is that of a phase-fair lock
/// (Brandenburg and Anderson, "Spin-Based Reader-Writer Synchronization for Multiprocessor Real-Time Systems", 2010),
/// with waiting instead of spinning. Not recursive.
class FairMutex {
 public:
  /// How many threads wait now.
  struct Waiting {
    std::uint64_t readers = 0;  ///< for the writer that has the lock, or waits for it
    std::uint64_t writers = 0;  ///< for the readers, or the writer, that have the lock
  };

  /// The longest that a thread has waited so far.
  struct LongestWaits {
    std::chrono::nanoseconds reader{0};
    std::chrono::nanoseconds writer{0};
  };

  /// Has the mutex as a reader, or the writer, for as long as it lives, but for the child of a fork.
  template <bool writes>
  class Hold {
   public:
    explicit Hold(FairMutex& mutex) : mutex_(&mutex) { writes ? mutex.lock() : mutex.lock_shared(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      if (!made_in_.inherited()) {
        writes ? mutex_->unlock() : mutex_->unlock_shared();
      }
    }

   private:
    FairMutex* mutex_;
    ProcessMark made_in_;
  };
  using Reading = Hold<false>;
  using Writing = Hold<true>;

  FairMutex() = default;
  FairMutex(const FairMutex&) = delete;
  FairMutex& operator=(const FairMutex&) = delete;
  ~FairMutex() = default;

  void lock_shared() {
    std::unique_lock guard(mutex_);
    if (writing_ || waiting_writers_ > 0) {
      ++waiting_readers_;
      const std::uint64_t phase = phase_;
      const auto began = Clock::now();
      // The writer that ends the phase counts this reader among the active ones.
      readers_may_.wait(guard, [&] { return phase_ != phase; });
      longest_.reader = std::max(longest_.reader, std::chrono::nanoseconds(Clock::now() - began));
      return;
    }
    ++readers_;
  }

  void unlock_shared() {
    const std::lock_guard guard(mutex_);
    if (--readers_ == 0 && waiting_writers_ > 0) {
      writer_may_.notify_one();
    }
  }

  void lock() {
    std::unique_lock guard(mutex_);
    const auto may_write = [&] { return !writing_ && readers_ == 0; };
    if (!may_write()) {
      const auto began = Clock::now();
      ++waiting_writers_;
      writer_may_.wait(guard, may_write);
      --waiting_writers_;
      longest_.writer = std::max(longest_.writer, std::chrono::nanoseconds(Clock::now() - began));
    }
    writing_ = true;
  }

  void unlock() {
    const std::lock_guard guard(mutex_);
    writing_ = false;
    ++phase_;
    readers_ += waiting_readers_;
    waiting_readers_ = 0;
    if (readers_ > 0) {
      readers_may_.notify_all();
    } else if (waiting_writers_ > 0) {
      writer_may_.notify_one();
    }
  }

  [[nodiscard]] Waiting waiting() const {
    const std::lock_guard guard(mutex_);
    return {.readers = waiting_readers_, .writers = waiting_writers_};
  }

  [[nodiscard]] LongestWaits longest_waits() const {
    const std::lock_guard guard(mutex_);
    return longest_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  mutable std::mutex mutex_;
  std::condition_variable readers_may_;
  std::condition_variable writer_may_;
  std::uint64_t phase_ = 0;  // how many writers are done
  std::uint64_t readers_ = 0;
  std::uint64_t waiting_readers_ = 0;
  std::uint64_t waiting_writers_ = 0;
  bool writing_ = false;
  LongestWaits longest_;
};

}  // namespace iqdb
