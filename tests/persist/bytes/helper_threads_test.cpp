// Threads that share a job with the one that calls.
#include "iqdb/persist/bytes/helper_threads.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/catch.hpp"

namespace {

using iqdb::HelperThreads;

// Returns when it was called by so many threads at the same time.
class Meeting {
 public:
  explicit Meeting(int threads) : missing_(threads) {}
  void attend() {
    --missing_;
    while (missing_ > 0) {
      std::this_thread::yield();
    }
  }

 private:
  std::atomic<int> missing_;
};

}  // namespace

TEST_CASE("Each helper and the caller do a job at the same time", "[helper_threads]") {
  HelperThreads helpers(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  Meeting meeting(4);
  helpers.run([&] {
    meeting.attend();
    const std::lock_guard guard(mutex);
    seen.insert(std::this_thread::get_id());
  });
  CHECK(seen.size() == 4);
  CHECK(seen.contains(std::this_thread::get_id()));
}

TEST_CASE("The same threads do one job after the other", "[helper_threads]") {
  HelperThreads helpers(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  for (int job = 0; job < 200; ++job) {
    Meeting meeting(3);
    helpers.run([&] {
      meeting.attend();
      const std::lock_guard guard(mutex);
      seen.insert(std::this_thread::get_id());
    });
  }
  CHECK(seen.size() == 3);
}

TEST_CASE("Without helpers the caller does a job alone", "[helper_threads]") {
  HelperThreads none(0);
  int calls = 0;
  none.run([&] { ++calls; });
  CHECK(calls == 1);
  CHECK(none.if_any() == nullptr);
}

TEST_CASE("With helpers there are some", "[helper_threads]") {
  HelperThreads helpers(1);
  CHECK(helpers.if_any() == &helpers);
}

TEST_CASE("What a helper throws is thrown to the caller when all have ended", "[helper_threads]") {
  HelperThreads helpers(2);
  const std::thread::id caller = std::this_thread::get_id();
  Meeting meeting(3);
  std::atomic<int> ended = 0;
  const auto work = [&] {
    meeting.attend();
    ++ended;
    if (std::this_thread::get_id() != caller) {
      throw std::runtime_error("of a helper");
    }
  };
  CHECK_THROWS_WITH(helpers.run(work), "of a helper");
  CHECK(ended == 3);
}

TEST_CASE("What the caller itself throws comes before what helpers throw", "[helper_threads]") {
  HelperThreads helpers(2);
  const std::thread::id caller = std::this_thread::get_id();
  Meeting meeting(3);
  const auto work = [&] {
    meeting.attend();
    throw std::runtime_error(std::this_thread::get_id() == caller ? "of the caller" : "of a helper");
  };
  CHECK_THROWS_WITH(helpers.run(work), "of the caller");
}

TEST_CASE("A job that failed does not spoil the next one", "[helper_threads]") {
  HelperThreads helpers(2);
  CHECK_THROWS_AS(helpers.run([] { throw std::runtime_error("first"); }), std::runtime_error);
  std::atomic<int> calls = 0;
  CHECK_NOTHROW(helpers.run([&] { ++calls; }));
  CHECK(calls == 3);
}

TEST_CASE("Helpers do a job while the caller goes on and each knows its number", "[helper_threads]") {
  HelperThreads helpers(3);
  std::mutex mutex;
  std::set<unsigned> numbers;
  std::atomic<bool> may_end = false;
  const unsigned begun = helpers.begin([&](unsigned number) {
    while (!may_end) {
      std::this_thread::yield();
    }
    const std::lock_guard guard(mutex);
    numbers.insert(number);
  });
  CHECK(begun == 3);
  may_end = true;
  helpers.end();
  CHECK(numbers == std::set<unsigned>{0, 1, 2});
}

TEST_CASE("What a helper throws while the caller goes on is thrown by end and only once", "[helper_threads]") {
  HelperThreads helpers(1);
  helpers.begin([](unsigned /*number*/) { throw std::runtime_error("of a helper"); });
  CHECK_THROWS_WITH(helpers.end(), "of a helper");
  CHECK_NOTHROW(helpers.end());
}

TEST_CASE("Without helpers nothing is begun", "[helper_threads]") {
  HelperThreads none(0);
  CHECK(none.begin([](unsigned /*number*/) {}) == 0);
  CHECK_NOTHROW(none.end());
}

TEST_CASE("In a child that the caller forks in the middle of a job nobody waits for the helpers", "[helper_threads]") {
  std::atomic<bool> is_over = false;
  const std::thread::id caller = std::this_thread::get_id();
  ::pid_t child = -1;
  {
    HelperThreads helpers(2);
    helpers.run([&] {
      if (std::this_thread::get_id() == caller) {
        child = ::fork();
        ::alarm(child == 0 ? 30 : 0);
        is_over = true;
      }
      while (!is_over) {
        std::this_thread::yield();
      }
    });
  }
  if (child == 0) {
    ::_exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}
