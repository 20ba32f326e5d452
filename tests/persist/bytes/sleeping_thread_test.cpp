#include "iqdb/persist/bytes/sleeping_thread.hpp"

#include <atomic>
#include <memory>
#include <thread>

#include "support/catch.hpp"

namespace of_sleeping_thread {

using iqdb::SleepingThread;

constexpr int rounds = 1000;

TEST_CASE("A thread that was woken before does not sleep", "[sleeping_thread]") {
  SleepingThread thread;
  thread.wake();
  thread.sleep();
  SUCCEED();
}

TEST_CASE("A thread sleeps again after each time that it was woken", "[sleeping_thread]") {
  SleepingThread ours;
  SleepingThread theirs;
  int turns = 0;  // each thread counts only while the other one sleeps
  std::thread other([&] {
    for (int round = 0; round < rounds; ++round) {
      theirs.sleep();
      ++turns;
      ours.wake();
    }
  });
  for (int round = 1; round <= rounds; ++round) {
    theirs.wake();
    ours.sleep();
    if (turns != round) {
      FAIL_CHECK("after round " << round << " the other thread had " << turns << " turns");
      break;
    }
  }
  other.join();
}

TEST_CASE("A thread that is awake may destroy what it slept in", "[sleeping_thread]") {
  std::atomic<SleepingThread*> sleeping = nullptr;
  std::thread waker([&] {
    for (int round = 0; round < rounds; ++round) {
      SleepingThread* thread = nullptr;
      while ((thread = sleeping.exchange(nullptr)) == nullptr) {
        std::this_thread::yield();
      }
      thread->wake();
    }
  });
  for (int round = 0; round < rounds; ++round) {
    auto thread = std::make_unique<SleepingThread>();
    sleeping = thread.get();
    thread->sleep();
  }
  waker.join();
  SUCCEED();
}

}  // namespace of_sleeping_thread
