// Threads that help the caller: each does a share of a job, together with the caller or while the caller goes on.
//
// Invariants: one job runs at a time. An exception in a helper reaches the caller of run() or end().
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A fixed number of threads, which wait for jobs. The first job starts them. Used by one thread. In the child of a fork there
/// are none: it waits for none, and does not end them.
class HelperThreads {
 public:
  /// Uses `count` threads, or as many as the system gives. With 0 the caller does every job alone.
  explicit HelperThreads(unsigned count) noexcept : wanted_(count) {}
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;
  ~HelperThreads() = default;

  /// Calls `work` in every helper and in the calling thread, at the same time. Returns when all have returned. Throws
  /// what the calling thread threw, else what a helper threw, and std::bad_alloc. If `work` throws in one thread, it
  /// must still return in all others.
  void run(const std::function<void()>& work);

  /// Calls `work(number)` in every helper, with numbers from 0 on, while the caller goes on. Returns the number of
  /// helpers. end() must follow before the next job. The destructor also waits for `work`, but drops its exception.
  /// Throws std::bad_alloc.
  unsigned begin(std::function<void(unsigned)> work);

  /// Waits until the `work` of begin() has returned in every helper. Throws what one of them threw.
  void end();

  /// How many helpers there are; before the first job, how many are wanted.
  [[nodiscard]] std::size_t count() const noexcept { return crew_ ? crew_->threads.size() : wanted_; }

  /// Returns this, or null if the count is 0: for functions that take helpers or null.
  [[nodiscard]] HelperThreads* if_any() noexcept { return wanted_ == 0 ? nullptr : this; }

 private:
  // The threads, and what they share with the caller.
  struct Crew {
    Crew() = default;
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;
    ~Crew();

    // Not in the constructor: if memory runs out, the threads that have begun must be ended by the destructor.
    void start(unsigned wanted);
    void help(unsigned number) noexcept;

    std::vector<std::thread> threads;

    std::mutex mutex;  // guards the members below
    std::condition_variable begin;
    std::condition_variable end;
    std::function<void(unsigned)> work;
    std::uint64_t job = 0;  // the number of the last job
    std::size_t running = 0;
    bool stopping = false;
    std::exception_ptr error;
  };

  std::exception_ptr await();

  unsigned wanted_;
  LeftInFork<Crew> crew_;
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void HelperThreads::Crew::start(unsigned wanted) {
  threads.reserve(wanted);
  while (threads.size() < wanted) {
    try {
      threads.emplace_back([this, number = static_cast<unsigned>(threads.size())] { help(number); });
    } catch (const std::system_error&) {
      break;  // the system gives no more threads; fewer suffice
    }
  }
}

IQDB_PERSIST_INLINE HelperThreads::Crew::~Crew() {
  {
    const std::lock_guard guard(mutex);
    stopping = true;
  }
  begin.notify_all();
  for (std::thread& thread : threads) {
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
  if (!crew_) {
    crew_.reset(std::make_unique<Crew>());
    crew_->start(wanted_);
  }
  {
    const std::lock_guard guard(crew_->mutex);
    crew_->work = std::move(work);
    ++crew_->job;
    crew_->running = crew_->threads.size();
    crew_->error = nullptr;
  }
  crew_->begin.notify_all();
  return static_cast<unsigned>(crew_->threads.size());
}

IQDB_PERSIST_INLINE void HelperThreads::end() {
  if (const std::exception_ptr error = await()) {
    std::rethrow_exception(error);
  }
}

IQDB_PERSIST_INLINE std::exception_ptr HelperThreads::await() {
  if (!crew_ || crew_.inherited()) {
    return nullptr;
  }
  std::unique_lock guard(crew_->mutex);
  crew_->end.wait(guard, [this] { return crew_->running == 0; });
  return std::exchange(crew_->error, nullptr);
}

IQDB_PERSIST_INLINE void HelperThreads::Crew::help(unsigned number) noexcept {
  std::uint64_t done = 0;
  std::unique_lock guard(mutex);
  for (;;) {
    begin.wait(guard, [&] { return stopping || job != done; });
    if (stopping) {
      return;
    }
    done = job;
    guard.unlock();
    std::exception_ptr thrown;
    try {
      work(number);  // not guarded: begin() changes it only while no helper runs it
    } catch (...) {
      thrown = std::current_exception();
    }
    guard.lock();
    if (thrown && !error) {
      error = thrown;
    }
    if (--running == 0) {
      end.notify_one();
    }
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

/// Hands out the numbers 0 to count - 1, each once, to several threads. Several threads may call it at the same time.
class Pieces {
 public:
  explicit Pieces(std::uint64_t count) : count_(count) {}

  /// Calls `take(number)` until no numbers are left. If it throws, no thread gets another number. Throws what `take`
  /// throws.
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
