// Where a thread sleeps until another one wakes it.
//
// Invariant: a call of wake() wakes one call of sleep(), whichever comes first.
#pragma once

#include <condition_variable>
#include <mutex>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// One thread that sleeps. It has a mutex of its own: threads that are woken together and need one mutex to go on would go to sleep
/// once more, each until it gets that. `std::binary_semaphore` is not used: a thread that is awake could destroy it before release()
/// returns.
class SleepingThread {
 public:
  /// Returns when wake() is called, or has been since the last sleep(). One thread calls it.
  void sleep() {
    std::unique_lock guard(mutex_);
    condition_.wait(guard, [this] { return is_awake_; });
    is_awake_ = false;
  }

  /// Wakes the thread, which may destroy this as soon as it is awake. Any thread may call it.
  void wake() noexcept {
    const std::lock_guard guard(mutex_);
    is_awake_ = true;
    condition_.notify_one();  // within the mutex, which the thread needs before it can destroy anything
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool is_awake_ = false;
};

}  // namespace iqdb
