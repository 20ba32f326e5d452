// A thread for work that takes long and that nobody waits for at once.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A thread that runs jobs, one after the other. The first job starts it. Any thread may call its members, but a job must
/// not call end().
class WorkerThread {
 public:
  WorkerThread() = default;
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;
  ~WorkerThread() { end(); }

  /// Has `job` run, which must not throw. Returns false, and does nothing, after end(). Throws std::system_error if there is
  /// no thread for it; std::bad_alloc.
  bool run(std::function<void()> job) {
    const std::lock_guard guard(mutex_);
    if (ending_) {
      return false;
    }
    jobs_.push_back(std::move(job));
    if (!thread_.joinable()) {
      try {
        thread_ = std::thread([this] { work(); });
      } catch (...) {
        jobs_.pop_back();
        throw;
      }
    }
    changed_.notify_one();
    return true;
  }

  /// Waits until the jobs are done, and ends the thread. Nothing can be run afterwards. Of several threads that call it the
  /// first one waits.
  void end() noexcept {
    std::thread ended;
    {
      const std::lock_guard guard(mutex_);
      ending_ = true;
      ended = std::move(thread_);
    }
    changed_.notify_one();
    if (ended.joinable()) {
      ended.join();
    }
  }

 private:
  void work() noexcept {
    std::unique_lock guard(mutex_);
    for (;;) {
      changed_.wait(guard, [this] { return ending_ || !jobs_.empty(); });
      if (jobs_.empty()) {
        return;
      }
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      guard.unlock();
      job();
      guard.lock();
    }
  }

  std::mutex mutex_;  // guards the members below
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace iqdb
