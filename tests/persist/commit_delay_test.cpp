#include "iqdb/persist/commit_delay.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "support/catch.hpp"

namespace {

using iqdb::CommitDelay;

// A thread that has the mutex of the queue.
struct DelayedThread {
  std::mutex mutex;
  std::unique_lock<std::mutex> guard{mutex};
  CommitDelay delay;
  bool had_mutex = false;  // another thread
};

// What a group takes on a slow disk: so long that a test which loses its processor for a moment is still in time.
void measure_a_long_group(CommitDelay& delay) {
  for (std::chrono::microseconds time{10}; time < std::chrono::milliseconds(300); time *= 2) {
    delay.measure([&] { std::this_thread::sleep_for(time); });
  }
}

}  // namespace

TEST_CASE("A leader that expects nobody does not let the mutex go", "[commit_delay]") {
  DelayedThread thread;
  std::thread other([&] {
    const std::lock_guard guard(thread.mutex);
    thread.had_mutex = true;
  });
  thread.delay.await_more(thread.guard, 0);
  CHECK_FALSE(thread.had_mutex);
  thread.guard.unlock();
  other.join();
}

TEST_CASE("A leader goes on when the last expected call is there", "[commit_delay]") {
  DelayedThread thread;
  measure_a_long_group(thread.delay);
  std::atomic<int> submitted = 0;
  std::thread others([&] {
    while (submitted < 3) {
      const std::lock_guard guard(thread.mutex);  // when the leader waits
      ++submitted;
      thread.delay.submitted();
    }
  });
  thread.delay.await_more(thread.guard, 3);
  CHECK(submitted == 3);
  CHECK(thread.guard.owns_lock());
  thread.guard.unlock();
  others.join();
}

TEST_CASE("A leader goes on without a call that does not come", "[commit_delay]") {
  DelayedThread thread;
  thread.delay.await_more(thread.guard, 1);
  CHECK(thread.guard.owns_lock());
}

TEST_CASE("A thread that leads at once does not let the mutex go", "[commit_delay]") {
  DelayedThread thread;
  int asked = 0;
  thread.delay.await_settled(thread.guard, [&] {
    ++asked;
    return true;
  });
  CHECK(asked == 1);
}

TEST_CASE("A thread does not stay awake for a group that takes long", "[commit_delay]") {
  DelayedThread thread;
  measure_a_long_group(thread.delay);
  int asked = 0;
  thread.delay.await_settled(thread.guard, [&] {
    ++asked;
    return false;
  });
  CHECK(asked == 0);
}

TEST_CASE("A thread that stays awake for a short group gives up when the moment is over", "[commit_delay]") {
  DelayedThread thread;
  thread.delay.await_settled(thread.guard, [] { return false; });
  CHECK(thread.guard.owns_lock());
}
