#include "iqdb/persist/bytes/fair_mutex.hpp"

#include <atomic>
#include <cstddef>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace {

using iqdb::FairMutex;

constexpr int rounds = 300;

// Runs `others` threads that do `work` again and again until this thread has done `mine` a number of times.
template <class Work, class Mine>
void beside(std::size_t others, Work&& work, Mine&& mine) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < others; ++thread) {
    threads.emplace_back([&] {
      while (!stop) {
        work();
      }
    });
  }
  for (int round = 0; round < rounds; ++round) {
    mine();
  }
  stop = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace

TEST_CASE("A writer has the lock alone and readers have it together", "[fair_mutex]") {
  FairMutex mutex;
  int writers = 0;
  std::atomic<int> readers = 0;
  std::atomic<int> faults = 0;
  const auto write = [&] {
    const std::lock_guard guard(mutex);
    faults += ++writers != 1 || readers != 0 ? 1 : 0;
    --writers;
  };
  beside(
      2,
      [&] {
        const std::shared_lock guard(mutex);
        ++readers;
        faults += writers != 0 ? 1 : 0;
        --readers;
      },
      write);
  beside(2, write, write);
  CHECK(faults == 0);
  const std::shared_lock first(mutex);
  const std::shared_lock second(mutex);
}

TEST_CASE("A writer comes in beside readers that always overlap", "[fair_mutex]") {
  // Each reader lets the lock go only when another one has it, or waits for it, so that a lock that prefers readers is
  // never free.
  FairMutex mutex;
  std::atomic<int> inside = 0;
  beside(
      3,
      [&] {
        const std::shared_lock guard(mutex);
        ++inside;
        for (int turn = 0; turn < 200 && inside < 2; ++turn) {
          std::this_thread::yield();
        }
        --inside;
      },
      [&] { const std::lock_guard guard(mutex); });
  CHECK(inside == 0);
}

TEST_CASE("A reader comes in beside writers that never pause", "[fair_mutex]") {
  FairMutex mutex;
  int written = 0;
  beside(
      2,
      [&] {
        const std::lock_guard guard(mutex);
        ++written;
      },
      [&] {
        const std::shared_lock guard(mutex);
        CHECK(written >= 0);
      });
}
