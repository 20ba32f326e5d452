#include "iqdb/persist/commit_delay.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "support/catch.hpp"

namespace {

using iqdb::CommitDelay;

// What a group takes that is synced.
void measure_a_long_group(CommitDelay& delay) {
  for (int doubled = 0; doubled < 16; ++doubled) {
    delay.measure([] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); });
  }
}

}  // namespace

TEST_CASE("A leader that expects nobody does not let the mutex go", "[commit_delay]") {
  std::mutex mutex;
  std::unique_lock guard(mutex);
  CommitDelay delay;
  int asked = 0;
  delay.await_more(guard, [&] {
    ++asked;
    return false;
  });
  CHECK(asked == 1);
  CHECK(guard.owns_lock());
}

TEST_CASE("A leader goes on when the last expected call is there", "[commit_delay]") {
  std::mutex mutex;
  std::unique_lock guard(mutex);
  CommitDelay delay;
  measure_a_long_group(delay);
  int missing = 3;
  delay.await_more(guard, [&] { return missing-- > 0; });
  CHECK(missing == -1);
  CHECK(guard.owns_lock());
}

TEST_CASE("A leader goes on without a call that does not come", "[commit_delay]") {
  std::mutex mutex;
  std::unique_lock guard(mutex);
  CommitDelay delay;
  delay.await_more(guard, [] { return true; });
  CHECK(guard.owns_lock());
}

TEST_CASE("A thread that leads at once does not let the mutex go", "[commit_delay]") {
  std::mutex mutex;
  std::unique_lock guard(mutex);
  CommitDelay delay;
  int asked = 0;
  delay.await_settled(guard, [&] {
    ++asked;
    return true;
  });
  CHECK(asked == 1);
}

TEST_CASE("A thread does not stay awake for a group that takes long", "[commit_delay]") {
  std::mutex mutex;
  std::unique_lock guard(mutex);
  CommitDelay delay;
  measure_a_long_group(delay);
  int asked = 0;
  delay.await_settled(guard, [&] {
    ++asked;
    return false;
  });
  CHECK(asked == 0);
}

TEST_CASE("A thread that stays awake for a short group gives up when the moment is over", "[commit_delay]") {
  std::mutex mutex;
  std::unique_lock guard(mutex);
  CommitDelay delay;
  delay.await_settled(guard, [] { return false; });
  CHECK(guard.owns_lock());
}
