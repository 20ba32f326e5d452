// A thread for work that takes long and that nobody waits for at once.
#pragma once

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A thread that runs jobs, one after the other. The first job starts it. Any thread may call its members. A process that
/// a job has forked ends when that job returns: it has no other thread.
class WorkerThread {
 public:
  WorkerThread() = default;
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;
  ~WorkerThread() { end(); }

  /// Has `job` run, which must not throw. Returns false, and does nothing, after end(). Throws std::system_error if there is
  /// no thread for it; std::bad_alloc.
  bool run(std::function<void()> job) {
    const std::lock_guard guard(work_->mutex);
    if (work_->ending) {
      return false;
    }
    work_->jobs.push_back(std::move(job));
    if (!thread_.joinable()) {
      try {
        thread_ = std::thread([work = work_] { work->run(); });
      } catch (...) {
        work_->jobs.pop_back();
        throw;
      }
    }
    work_->changed.notify_one();
    return true;
  }

  /// Waits until the jobs are done, and ends the thread. Nothing can be run afterwards. Of several threads that call it the
  /// first one waits. A job may call it, too, or destroy this object: the jobs behind it are then not run, since what they
  /// use may be gone, and the thread ends with that job.
  void end() noexcept {
    std::thread ended;
    std::deque<std::function<void()>> dropped;  // their destructors run without the mutex
    {
      const std::lock_guard guard(work_->mutex);
      work_->ending = true;
      ended = std::move(thread_);
      if (ended.get_id() == std::this_thread::get_id()) {
        dropped.swap(work_->jobs);
        ended.detach();  // it would wait for itself
      }
    }
    work_->changed.notify_one();
    if (ended.joinable()) {
      ended.join();
    }
  }

 private:
  // What the thread uses. It shares the ownership: the object may be gone before it.
  struct Work {
    std::mutex mutex;  // guards the members below
    std::condition_variable changed;
    std::deque<std::function<void()>> jobs;
    bool ending = false;

    void run() noexcept {
      std::unique_lock guard(mutex);
      for (;;) {
        changed.wait(guard, [this] { return ending || !jobs.empty(); });
        if (jobs.empty()) {
          return;
        }
        const std::function<void()> job = std::move(jobs.front());
        jobs.pop_front();
        guard.unlock();
        const ProcessMark here;
        job();
        if (here.inherited()) {
          std::_Exit(EXIT_FAILURE);  // nobody is left who could give the mutex back
        }
        guard.lock();
      }
    }
  };

  std::shared_ptr<Work> work_ = std::make_shared<Work>();
  std::thread thread_;  // under work_->mutex
};

}  // namespace iqdb
