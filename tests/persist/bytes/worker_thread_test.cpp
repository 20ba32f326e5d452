// A thread that runs jobs.
#include "iqdb/persist/bytes/worker_thread.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using iqdb::WorkerThread;

TEST_CASE("A worker thread runs its jobs in order and in one thread that is not the caller's", "[worker_thread]") {
  WorkerThread worker;
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  for (int job = 0; job < 100; ++job) {
    REQUIRE(worker.run([&, job] {
      order.push_back(job);
      threads.push_back(std::this_thread::get_id());
    }));
  }
  worker.end();
  REQUIRE(order.size() == 100);
  for (int job = 0; job < 100; ++job) {
    CHECK(order[static_cast<std::size_t>(job)] == job);
    CHECK(threads[static_cast<std::size_t>(job)] == threads[0]);
  }
  CHECK(threads[0] != std::this_thread::get_id());
}

TEST_CASE("A worker thread that was ended runs nothing more", "[worker_thread]") {
  WorkerThread worker;
  worker.end();
  bool ran = false;
  CHECK_FALSE(worker.run([&] { ran = true; }));
  worker.end();
  CHECK_FALSE(ran);
}

TEST_CASE("The destructor of a worker thread waits for its jobs", "[worker_thread]") {
  std::atomic<int> done = 0;
  {
    WorkerThread worker;
    for (int job = 0; job < 10; ++job) {
      worker.run([&] { ++done; });
    }
  }
  CHECK(done == 10);
}

TEST_CASE("A job may ask for another job", "[worker_thread]") {
  WorkerThread worker;
  std::promise<void> second;
  worker.run([&] { worker.run([&] { second.set_value(); }); });
  second.get_future().wait();
}

TEST_CASE("Several threads may end a worker thread", "[worker_thread]") {
  WorkerThread worker;
  std::promise<void> release;
  worker.run([&] { release.get_future().wait(); });
  std::thread first([&] { worker.end(); });
  std::thread second([&] { worker.end(); });
  release.set_value();
  first.join();
  second.join();
  CHECK_FALSE(worker.run([] {}));
}

TEST_CASE("A job may end its worker thread and what waits behind it is not run", "[worker_thread]") {
  WorkerThread worker;
  std::promise<void> begun;
  std::promise<void> release;
  std::promise<void> ended;
  std::atomic<bool> ran = false;
  worker.run([&] {
    begun.set_value();
    release.get_future().wait();
    worker.end();
    ended.set_value();
  });
  begun.get_future().wait();
  worker.run([&] { ran = true; });
  release.set_value();
  ended.get_future().wait();
  CHECK_FALSE(worker.run([] {}));
  worker.end();
  CHECK_FALSE(ran);
}

TEST_CASE("A job may destroy its worker thread", "[worker_thread]") {
  std::optional<WorkerThread> worker(std::in_place);
  const auto destroyed = std::make_shared<std::promise<void>>();
  worker->run([&worker, destroyed] {
    worker.reset();
    destroyed->set_value();
  });
  destroyed->get_future().wait();
  CHECK_FALSE(worker.has_value());
}
