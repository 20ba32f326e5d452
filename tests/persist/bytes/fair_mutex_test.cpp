#include "iqdb/persist/bytes/fair_mutex.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string>
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

// Who waits. An explicit instantiation may name private members.
std::uint64_t readers_that_wait(FairMutex& mutex);
std::uint64_t writers_that_wait(FairMutex& mutex);
template <auto guard, auto readers, auto writers>
struct SeesWaitingIn {
  friend std::uint64_t readers_that_wait(FairMutex& mutex) {
    const std::lock_guard locked(mutex.*guard);
    return mutex.*readers;
  }
  friend std::uint64_t writers_that_wait(FairMutex& mutex) {
    const std::lock_guard locked(mutex.*guard);
    return mutex.*writers;
  }
};
template struct SeesWaitingIn<&FairMutex::mutex_, &FairMutex::waiting_readers_, &FairMutex::waiting_writers_>;

}  // namespace

TEST_CASE("A writer waits until the readers have gone", "[fair_mutex]") {
  FairMutex mutex;
  std::atomic<bool> inside = false;
  mutex.lock_shared();
  std::thread writer([&] {
    const std::lock_guard guard(mutex);
    inside = true;
  });
  while (writers_that_wait(mutex) == 0 && !inside) {
    std::this_thread::yield();
  }
  CHECK_FALSE(inside);
  mutex.unlock_shared();
  writer.join();
  CHECK(inside);
}

TEST_CASE("A reader that comes while a writer waits comes in behind it", "[fair_mutex]") {
  FairMutex mutex;
  std::atomic<bool> inside = false;
  bool written = false;
  bool seen = false;
  mutex.lock_shared();
  std::thread writer([&] {
    const std::lock_guard guard(mutex);
    written = true;
  });
  while (writers_that_wait(mutex) == 0) {
    std::this_thread::yield();
  }
  std::thread reader([&] {
    const std::shared_lock guard(mutex);
    inside = true;
    seen = written;
  });
  while (readers_that_wait(mutex) == 0 && !inside) {
    std::this_thread::yield();
  }
  CHECK_FALSE(inside);
  mutex.unlock_shared();
  writer.join();
  reader.join();
  CHECK(seen);
}

TEST_CASE("Readers that came while one wrote come in before the next writer", "[fair_mutex]") {
  FairMutex mutex;
  std::string order;
  std::mutex of_order;
  const auto come = [&](char who) {
    const std::lock_guard guard(of_order);
    order += who;
  };
  mutex.lock();
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    const std::lock_guard guard(mutex);
    come('w');
  });
  while (writers_that_wait(mutex) < 1) {
    std::this_thread::yield();
  }
  for (std::size_t readers = 1; readers <= 2; ++readers) {
    threads.emplace_back([&] {
      const std::shared_lock guard(mutex);
      come('r');
    });
    while (readers_that_wait(mutex) < readers) {
      std::this_thread::yield();
    }
  }
  mutex.unlock();
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(order == "rrw");
}

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

TEST_CASE("A child that is forked under a hold lets nothing go", "[fair_mutex]") {
  FairMutex mutex;
  std::uint64_t waited = 0;
  const auto outcome_of = [&](auto&& hold_and_fork) {
    const ::pid_t child = hold_and_fork();
    if (child == 0) {
      // Whoever wants it now waits for ever, and so this process for its alarm.
      ::alarm(1);
      mutex.lock();
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    waited += WIFSIGNALED(status) ? 1U : 0U;
  };
  outcome_of([&] {
    const FairMutex::Reading hold(mutex);
    return ::fork();
  });
  outcome_of([&] {
    const FairMutex::Writing hold(mutex);
    return ::fork();
  });
  CHECK(waited == 2);
  mutex.lock();
  mutex.unlock();
}
