// Syncs of a log that meet.
#include "iqdb/persist/wal/wal_writer.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string_view>
#include <thread>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/memory_storage.hpp"

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
