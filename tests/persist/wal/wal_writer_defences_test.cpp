// Syncs of a log that meet, and a thread for them that the system refuses.
#include "iqdb/persist/wal/wal_writer.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/durable.hpp"
#include "support/memory_storage.hpp"
#include "support/outcome.hpp"

TEST_CASE("A sync waits for one that runs in the background", "[wal_writer][policy]") {
  // The system reports a failure once: of two syncs at the same time the second could see success.
  std::atomic<int> running = 0;
  std::atomic<int> most_running = 0;
  std::atomic<int> begun = 0;
  iqdb_test::MemoryStorage storage;
  auto db = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::MemoryStorage>::open_with(
      iqdb_test::empty_index(),
      {.path = "/index.iqdb",
       .wal_enabled = true,
       .fsync_policy = iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(1))},
      storage);
  storage.watch([&](std::string_view what) {
    if (what == "sync the log") {
      most_running = std::max(most_running.load(), ++running);
      ++begun;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      --running;
    }
  });
  iqdb_test::insert_row(db, 1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(300);
  while (begun == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  REQUIRE(begun == 1);
  iqdb_test::insert_row(db, 2);
  db.sync();
  CHECK(begun >= 2);
  CHECK(most_running == 1);
}

TEST_CASE("A thread for syncs that the system refuses is io with the error of the system", "[wal_writer][policy]") {
  CHECK(iqdb_test::in_child_without_privileges([]() -> std::string {
          const rlimit no_more{.rlim_cur = 0, .rlim_max = 0};
          if (::setrlimit(RLIMIT_NPROC, &no_more) != 0) {
            return "the limit could not be set";
          }
          return iqdb_test::outcome_of([] {
            return iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::MemoryStorage>::open_with(
                iqdb_test::empty_index(), {.path = "/index.iqdb",
                                           .wal_enabled = true,
                                           .fsync_policy = iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(1))});
          });
        }) == iqdb_test::refused_with(EAGAIN));
}
