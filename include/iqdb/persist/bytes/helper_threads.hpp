// Threads that help the one that calls: each does a share of a job, and the caller one too.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Some threads, which wait until there is a job. They are started for the first one. Used by one thread.
class HelperThreads {
 public:
  /// `count` of them, or as many as the system gives; with none the caller does every job alone.
  explicit HelperThreads(unsigned count) noexcept : wanted_(count) {}
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;
  ~HelperThreads() {
    {
      const std::lock_guard guard(mutex_);
      stopping_ = true;
    }
    begin_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  /// Calls `work` in each of them and in the calling thread, at the same time; returns when all have returned. Throws
  /// what one of them has thrown, the calling thread's before others; so `work` has to see to it that all of them end
  /// then.
  void run(const std::function<void()>& work) {
    start();
    {
      const std::lock_guard guard(mutex_);
      work_ = &work;
      ++job_;
      running_ = threads_.size();
      error_ = nullptr;
    }
    begin_.notify_all();
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    std::unique_lock guard(mutex_);
    end_.wait(guard, [this] { return running_ == 0; });
    if (!error) {
      error = std::exchange(error_, nullptr);
    }
    if (error) {
      std::rethrow_exception(error);
    }
  }

  /// This, or null where there are none: for functions that do without then.
  [[nodiscard]] HelperThreads* if_any() noexcept { return wanted_ == 0 ? nullptr : this; }

 private:
  void start() {
    if (std::exchange(started_, true)) {
      return;
    }
    threads_.reserve(wanted_);
    while (threads_.size() < wanted_) {
      try {
        threads_.emplace_back([this] { help(); });
      } catch (const std::system_error&) {
        break;  // there are no more threads to be had: fewer do it too
      }
    }
  }

  void help() noexcept {
    std::uint64_t done = 0;
    std::unique_lock guard(mutex_);
    for (;;) {
      begin_.wait(guard, [&] { return stopping_ || job_ != done; });
      if (stopping_) {
        return;
      }
      done = job_;
      const std::function<void()>& work = *work_;
      guard.unlock();
      std::exception_ptr error;
      try {
        work();
      } catch (...) {
        error = std::current_exception();
      }
      guard.lock();
      if (error && !error_) {
        error_ = error;
      }
      if (--running_ == 0) {
        end_.notify_one();
      }
    }
  }

  unsigned wanted_;
  bool started_ = false;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // guards what is below
  std::condition_variable begin_;
  std::condition_variable end_;
  const std::function<void()>* work_ = nullptr;
  std::uint64_t job_ = 0;  // its number
  std::size_t running_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
};

/// Hands out the numbers 0 to count - 1, each once, to several threads.
class Pieces {
 public:
  explicit Pieces(std::uint64_t count) : count_(count) {}

  /// Calls `take(number)` until there are no more. If it throws, nobody gets another one.
  template <class Take>
  void take_all(Take&& take) {
    try {
      for (std::uint64_t number = next_++; number < count_; number = next_++) {
        take(number);
      }
    } catch (...) {
      next_ = count_;
      throw;
    }
  }

 private:
  std::uint64_t count_;
  std::atomic<std::uint64_t> next_ = 0;
};

}  // namespace iqdb
