// Calls of a SharedIndex that a test can hold at a write or a sync, and how many others wait meanwhile.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"

namespace iqdb_test {

/// A place at which threads are held.
class Gate {
 public:
  /// Holds the thread that comes next until open().
  void close() {
    const std::lock_guard guard(mutex_);
    closed_ = true;
    held_ = false;
  }

  /// Called by the threads: waits if it is the one to be held. Others pass.
  void pass() {
    std::unique_lock guard(mutex_);
    if (closed_ && !held_) {
      held_ = true;
      changed_.notify_all();
      changed_.wait(guard, [this] { return !closed_; });
    }
  }

  /// Waits until a thread is held.
  void wait_until_held() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [this] { return held_; });
  }

  /// Lets it go.
  void open() {
    const std::lock_guard guard(mutex_);
    closed_ = false;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  bool held_ = false;
};

/// How a call ended: "ok", or what it threw in a word.
[[nodiscard]] inline std::string outcome_in_a_word(const std::exception_ptr& thrown) {
  if (!thrown) {
    return "ok";
  }
  try {
    std::rethrow_exception(thrown);
  } catch (const iqdb::BatchError& error) {
    return "mutation " + std::to_string(error.position());
  } catch (const iqdb::IndexError& error) {
    return std::string(to_string(error.kind()));
  } catch (const iqdb::PersistError& error) {
    return std::string(to_string(error.kind()));
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "what is no std::exception";
  }
}

/// What `call()` throws; null if it returns.
template <class Call>
[[nodiscard]] std::exception_ptr thrown_by_call(Call&& call) {
  try {
    std::forward<Call>(call)();
    return {};
  } catch (...) {
    return std::current_exception();
  }
}

/// How `call()` ends, in a word.
template <class Call>
[[nodiscard]] std::string word_of(Call&& call) {
  return outcome_in_a_word(thrown_by_call(std::forward<Call>(call)));
}

/// Calls under way, each in a thread of its own.
class Callers {
 public:
  Callers() = default;
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;
  ~Callers() { join(); }

  /// Begins a call.
  void begin(std::function<void()> call) {
    std::exception_ptr& thrown = *thrown_.emplace_back(std::make_unique<std::exception_ptr>());
    threads_.emplace_back([call = std::move(call), &thrown] { thrown = thrown_by_call(call); });
  }

  /// Waits until all have ended. Returns what each threw, in the order in which they began.
  std::vector<std::exception_ptr> exceptions() {
    join();
    std::vector<std::exception_ptr> all;
    for (const auto& each : thrown_) {
      all.push_back(*each);
    }
    return all;
  }

  /// The same in words.
  std::vector<std::string> outcomes() {
    std::vector<std::string> words;
    for (const std::exception_ptr& each : exceptions()) {
      words.push_back(outcome_in_a_word(each));
    }
    return words;
  }

 private:
  void join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) {
        thread.join();
      }
    }
  }

  std::vector<std::unique_ptr<std::exception_ptr>> thrown_;
  std::vector<std::thread> threads_;
};

/// Waits, without an end, until `condition()` is true.
template <class Condition>
void wait_until(Condition&& condition) {
  while (!condition()) {
    std::this_thread::yield();
  }
}

/// How many calls wait for the group in flight.
template <class Shared>
std::size_t waiting_calls(const Shared& db) {
  return db.waiting().calls;
}

/// How many readers wait until a mutation is applied.
template <class Shared>
std::size_t waiting_readers(const Shared& db) {
  return db.waiting().readers;
}

/// How many writers wait until readers have gone.
template <class Shared>
std::size_t waiting_writers(const Shared& db) {
  return db.waiting().writers;
}

}  // namespace iqdb_test
