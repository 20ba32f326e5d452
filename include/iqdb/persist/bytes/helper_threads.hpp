// Threads that help the one that calls: each does a share of a job, beside the caller or while the caller goes on.
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
  ~HelperThreads();

  /// Calls `work` in each of them and in the calling thread, at the same time; returns when all have returned. Throws
  /// what one of them has thrown, the calling thread's before others; so `work` has to see to it that all of them end
  /// then.
  void run(const std::function<void()>& work);

  /// Calls `work(number)` in each of them, with numbers from 0 on, while the caller goes on; returns how many they are.
  /// end() must follow before the next job, and before this is destroyed.
  unsigned begin(std::function<void(unsigned)> work);

  /// Waits until what begin() has begun has returned in each of them. Throws what one of them has thrown.
  void end();

  /// This, or null where there are none: for functions that do without then.
  [[nodiscard]] HelperThreads* if_any() noexcept { return wanted_ == 0 ? nullptr : this; }

 private:
  void start();

  std::exception_ptr await();

  void help(unsigned number) noexcept;

  unsigned wanted_;
  bool started_ = false;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // guards what is below
  std::condition_variable begin_;
  std::condition_variable end_;
  std::function<void(unsigned)> work_;
  std::uint64_t job_ = 0;  // its number
  std::size_t running_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE HelperThreads::~HelperThreads() {
  {
    const std::lock_guard guard(mutex_);
    stopping_ = true;
  }
  begin_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

IQDB_PERSIST_INLINE void HelperThreads::run(const std::function<void()>& work) {
  begin([&work](unsigned /*number*/) { work(); });
  std::exception_ptr error;
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  std::exception_ptr of_helper = await();
  if (!error) {
    error = std::move(of_helper);
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

IQDB_PERSIST_INLINE unsigned HelperThreads::begin(std::function<void(unsigned)> work) {
  start();
  {
    const std::lock_guard guard(mutex_);
    work_ = std::move(work);
    ++job_;
    running_ = threads_.size();
    error_ = nullptr;
  }
  begin_.notify_all();
  return static_cast<unsigned>(threads_.size());
}

IQDB_PERSIST_INLINE void HelperThreads::end() {
  if (const std::exception_ptr error = await()) {
    std::rethrow_exception(error);
  }
}

IQDB_PERSIST_INLINE void HelperThreads::start() {
  if (std::exchange(started_, true)) {
    return;
  }
  threads_.reserve(wanted_);
  while (threads_.size() < wanted_) {
    try {
      threads_.emplace_back([this, number = static_cast<unsigned>(threads_.size())] { help(number); });
    } catch (const std::system_error&) {
      break;  // there are no more threads to be had: fewer do it too
    }
  }
}

IQDB_PERSIST_INLINE std::exception_ptr HelperThreads::await() {
  std::unique_lock guard(mutex_);
  end_.wait(guard, [this] { return running_ == 0; });
  return std::exchange(error_, nullptr);
}

IQDB_PERSIST_INLINE void HelperThreads::help(unsigned number) noexcept {
  std::uint64_t done = 0;
  std::unique_lock guard(mutex_);
  for (;;) {
    begin_.wait(guard, [&] { return stopping_ || job_ != done; });
    if (stopping_) {
      return;
    }
    done = job_;
    guard.unlock();
    std::exception_ptr error;
    try {
      work_(number);  // which begin() changes only when nobody runs it
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

#endif  // IQDB_PERSIST_DEFINITIONS

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
