#include "iqdb/persist/wal/object_sweep.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_object_sweep {

using iqdb_test::erase_of_id;
using iqdb_test::hasty_options;
using iqdb_test::ScriptedStore;

struct WrittenLog {
  ScriptedStore store = {};
  iqdb::ObjectLogWriter<ScriptedStore> writer = iqdb::open_object_log(store, "a", false, hasty_options()).writer;

  void append() {
    const auto body = erase_of_id(1);
    const std::span<const std::byte> bodies[] = {body};
    writer.append(bodies);
  }

  void publish(std::uint64_t lsn) { writer.publish({.key = "a/snapshot/0-1", .fingerprint = {}, .lsn = lsn}); }

  void take_over() { writer = iqdb::open_object_log(store, "a", true, hasty_options()).writer; }

  iqdb::ObjectSweep sweep() { return iqdb::sweep_object_log(store, "a", hasty_options()); }

  std::vector<std::uint64_t> numbers() { return iqdb::list_log_objects(store, "a", hasty_options()); }
};

TEST_CASE("sweep_object_log: keeps the last two checkpoints, what is behind the first of them, and every fence",
          "[object_sweep]") {
  WrittenLog log;   // 0 fence
  log.append();     // 1
  log.publish(1);   // 2
  log.take_over();  // 3 fence
  log.append();     // 4
  log.publish(2);   // 5
  log.append();     // 6
  log.publish(3);   // 7
  log.append();     // 8
  const auto sweep = log.sweep();
  CHECK(sweep.removed == 3);
  CHECK(sweep.fences.size() == 2);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 3, 5, 6, 7, 8});
  CHECK(log.sweep().removed == 0);
  CHECK(iqdb::read_object_run(log.store, "a", hasty_options()).next_lsn() == 5);
}

TEST_CASE("sweep_object_log: deletes nothing of a log with fewer than two checkpoints", "[object_sweep]") {
  WrittenLog log;
  log.append();
  CHECK(log.sweep().removed == 0);
  log.publish(1);
  log.append();
  CHECK(log.sweep().removed == 0);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 1, 2, 3});
}

TEST_CASE("sweep_object_log: a checkpoint that does not hold what is in front of another does not make it needless",
          "[object_sweep]") {
  WrittenLog log;  // 0 fence
  log.append();    // 1
  log.publish(1);  // 2
  log.append();    // 3
  log.append();    // 4
  log.publish(2);  // 5: two mutations were made while it was written
  log.publish(2);  // 6
  CHECK(log.sweep().removed == 1);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 2, 3, 4, 5, 6});
  const auto run = iqdb::read_object_run(log.store, "a", hasty_options());
  CHECK(run.snapshot_lsn() == 2);
  CHECK(run.objects.front().header.number == 4);
}

TEST_CASE("sweep_object_log: a checkpoint that holds less does not hide one that holds more", "[object_sweep]") {
  WrittenLog log;  // 0 fence
  log.append();    // 1
  log.append();    // 2
  log.publish(2);  // 3
  log.publish(2);  // 4
  log.publish(1);  // 5
  CHECK(log.sweep().removed == 2);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 3, 4, 5});
}

TEST_CASE("sweep_object_log: passes over what others have swept meanwhile", "[object_sweep]") {
  WrittenLog log;
  log.append();
  log.append();
  log.publish(2);
  log.publish(2);
  log.store.before = [&](const std::string& call) {
    if (call == "get " + iqdb::log_object_key("a", 2)) {
      log.store.objects.erase(iqdb::log_object_key("a", 2));
    }
  };
  CHECK(log.sweep().removed == 1);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 3, 4});
}

struct StoredSnapshots : WrittenLog {
  static std::string key(std::uint64_t fence, std::uint64_t nonce) {
    return iqdb::object_snapshot_key("a", fence, nonce);
  }

  void store_snapshot(std::uint64_t fence, std::uint64_t nonce) { store.put(key(fence, nonce), {}); }

  void publish_snapshot(std::uint64_t nonce, std::uint64_t lsn) {
    store_snapshot(writer.position().fence, nonce);
    writer.publish({.key = key(writer.position().fence, nonce), .fingerprint = {}, .lsn = lsn});
  }

  std::uint64_t sweep_snapshots() {
    const auto swept = sweep();
    return iqdb::sweep_object_snapshots(store, "a", writer.position().fence, swept, hasty_options());
  }

  [[nodiscard]] bool has(std::uint64_t fence, std::uint64_t nonce) const {
    return store.objects.contains(key(fence, nonce));
  }
};

TEST_CASE("sweep_object_snapshots: keeps those of the last two checkpoints", "[object_sweep]") {
  StoredSnapshots log;
  log.append();
  for (std::uint64_t nonce = 1; nonce <= 4; ++nonce) {
    log.publish_snapshot(nonce, 1);
  }
  CHECK(log.sweep_snapshots() == 2);
  CHECK_FALSE(log.has(0, 1));
  CHECK_FALSE(log.has(0, 2));
  CHECK(log.has(0, 3));
  CHECK(log.has(0, 4));
}

TEST_CASE("sweep_object_snapshots: deletes what an earlier writer has not published, and nothing of a later one",
          "[object_sweep]") {
  StoredSnapshots log;
  log.store_snapshot(0, 1);
  log.take_over();
  log.store_snapshot(5, 1);
  CHECK(log.sweep_snapshots() == 1);
  CHECK_FALSE(log.has(0, 1));
  CHECK(log.has(5, 1));
}

// Snapshots whose lists name older states.
struct ListedSnapshots : StoredSnapshots {
  void publish_listed(std::uint64_t nonce, std::uint64_t lsn, std::vector<iqdb::HistoryState> states) {
    const std::string list = *iqdb::object_history_key("a", key(writer.position().fence, nonce));
    store.put(list, iqdb::encode_object_history({.states = std::move(states)}));
    publish_snapshot(nonce, lsn);
  }

  [[nodiscard]] static iqdb::HistoryState state_at(std::uint64_t number, std::uint64_t begin, std::uint64_t nonce) {
    return {.checkpoint = {.number = number,
                           .begin = begin,
                           .snapshot = {.key = key(0, nonce), .fingerprint = {}, .lsn = 0}},
            .replaced_at = number};
  }
};

TEST_CASE("sweep_object_log: keeps what the older states need that the last checkpoint lists", "[object_sweep]") {
  ListedSnapshots log;                                                       // 0 fence
  log.append();                                                              // 1
  log.append();                                                              // 2
  log.append();                                                              // 3
  log.publish_listed(1, 2, {});                                              // 4: needs 3
  log.append();                                                              // 5
  log.publish_listed(2, 4, {log.state_at(4, 3, 1)});                         // 6
  log.append();                                                              // 7
  log.publish_listed(3, 5, {log.state_at(4, 3, 1), log.state_at(6, 6, 2)});  // 8
  const auto sweep = log.sweep();
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 3, 4, 5, 6, 7, 8});
  CHECK(iqdb::sweep_object_snapshots(log.store, "a", 0, sweep, hasty_options()) == 0);
  CHECK(log.has(0, 1));
  // The lists of the last two stay.
  CHECK_FALSE(log.store.objects.contains(*iqdb::object_history_key("a", log.key(0, 1))));
  CHECK(log.store.objects.contains(*iqdb::object_history_key("a", log.key(0, 2))));
  CHECK(log.store.objects.contains(*iqdb::object_history_key("a", log.key(0, 3))));

  log.append();                                       // 9
  log.publish_listed(4, 6, {log.state_at(8, 8, 3)});  // 10: gives two states up
  CHECK(iqdb::sweep_object_snapshots(log.store, "a", 0, log.sweep(), hasty_options()) == 2);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 8, 9, 10});
}

TEST_CASE("sweep_object_log: a fence that came late to the number of a checkpoint is none", "[object_sweep]") {
  ListedSnapshots log;           // 0 fence
  log.append();                  // 1
  log.publish_listed(1, 1, {});  // 2
  log.append();                  // 3
  log.publish_listed(2, 2, {});  // 4
  const std::string key = iqdb::log_object_key("a", 2);
  std::uint64_t asked = 0;
  log.store.before = [&](const std::string& call) {
    if (call == "get " + key && ++asked == 2) {  // its header was a checkpoint's
      iqdb::LogObjectHeader header = iqdb::read_log_object_header(log.store.objects.at(key), key, 2);
      header.fence = 2;
      header.kind = iqdb::LogObjectKind::fence;
      log.store.objects.insert_or_assign(key, iqdb_test::object_of(header, {}));
    }
  };
  const auto sweep = log.sweep();
  CHECK(asked == 2);
  CHECK_FALSE(sweep.saw_all);
  CHECK(sweep.kept_snapshots == std::vector<std::string>{log.key(0, 2)});
}

TEST_CASE("sweep_object_log: deletes nothing where others have swept the list of the last checkpoint that it saw",
          "[object_sweep]") {
  ListedSnapshots log;                                // 0 fence
  log.append();                                       // 1
  log.publish_listed(1, 1, {});                       // 2
  log.append();                                       // 3
  log.publish_listed(2, 2, {log.state_at(2, 2, 1)});  // 4
  const std::string list = *iqdb::object_history_key("a", log.key(0, 2));
  // While this sweep sleeps, two checkpoints are published that keep the first state, and swept behind.
  bool is_asleep = false;
  log.store.before = [&](const std::string& call) {
    if (call == "get " + list && !std::exchange(is_asleep, true)) {
      log.append();
      log.publish_listed(3, 3, {log.state_at(2, 2, 1), log.state_at(4, 4, 2)});
      log.append();
      log.publish_listed(4, 4, {log.state_at(2, 2, 1), log.state_at(4, 4, 2), log.state_at(6, 6, 3)});
      log.store.objects.erase(list);
    }
  };
  const auto sweep = log.sweep();
  CHECK_FALSE(sweep.saw_all);
  CHECK(sweep.removed == 0);
  CHECK(log.numbers().size() == 9);
}

TEST_CASE("sweep_object_log: asks for no object whose kind is known", "[object_sweep]") {
  ListedSnapshots log;           // 0 fence
  log.append();                  // 1
  log.publish_listed(1, 1, {});  // 2
  log.append();                  // 3
  log.publish_listed(2, 2, {});  // 4
  log.append();                  // 5
  log.store.calls.clear();
  const auto sweep = iqdb::sweep_object_log(log.store, "a", hasty_options(),
                                            {.first = 0, .next = 6, .checkpoints = {2, 4}, .fences = {0}});
  CHECK(sweep.removed == 1);
  CHECK(sweep.fences == std::vector<std::uint64_t>{0});
  CHECK(log.store.calls_that_begin("get a/log/") == 2);
  CHECK(log.numbers() == std::vector<std::uint64_t>{0, 2, 3, 4, 5});
}

TEST_CASE("sweep_object_snapshots: leaves what is no snapshot of this library's", "[object_sweep]") {
  StoredSnapshots log;
  log.store.put("a/snapshot/notes", {});
  CHECK(log.sweep_snapshots() == 0);
  CHECK(log.store.objects.contains("a/snapshot/notes"));
}

TEST_CASE("sweep_object_snapshots: deletes nothing where a checkpoint is listed and cannot be read yet",
          "[object_sweep]") {
  StoredSnapshots log;
  log.append();
  log.publish_snapshot(1, 1);
  log.publish_snapshot(2, 1);
  // A read may not see an object that is just being stored.
  const std::string hidden = iqdb::log_object_key("a", 3);
  log.store.before = [&](const std::string& call) {
    if (call == "get " + hidden) {
      log.store.objects.erase(hidden);
    }
  };
  CHECK(log.sweep_snapshots() == 0);
  CHECK(log.has(0, 1));
  CHECK(log.has(0, 2));
}

struct PendingUploads : StoredSnapshots {
  void begin(std::uint64_t fence, std::uint64_t nonce) { store.begin_upload(key(fence, nonce)); }

  std::uint64_t sweep_uploads() {
    const auto swept = sweep();
    return iqdb::sweep_object_uploads(store, "a", writer.position().fence, swept, hasty_options());
  }

  [[nodiscard]] std::vector<std::string> pending() const {
    std::vector<std::string> keys;
    for (const auto& [id, key] : store.uploads) {
      keys.push_back(key);
    }
    return keys;
  }
};

TEST_CASE("sweep_object_uploads: ends those of its own writer and of earlier ones, and none of a later one",
          "[object_sweep]") {
  PendingUploads log;
  log.begin(0, 1);
  log.begin(0, 2);
  log.append();
  log.take_over();
  const std::uint64_t own = log.writer.position().fence;
  log.begin(own, 1);
  log.begin(own + 1, 1);
  CHECK(log.sweep_uploads() == 3);
  CHECK(log.pending() == std::vector<std::string>{PendingUploads::key(own + 1, 1)});
  CHECK(log.sweep_uploads() == 0);
}

TEST_CASE("sweep_object_uploads: lets an upload be whose snapshot a load may begin with", "[object_sweep]") {
  PendingUploads log;
  log.append();
  log.publish_snapshot(1, 1);
  log.begin(0, 1);  // as a store may list it that was killed while it completed it
  CHECK(log.sweep_uploads() == 0);
  log.publish_snapshot(2, 1);
  log.publish_snapshot(3, 1);
  CHECK(log.sweep_uploads() == 1);
}

TEST_CASE("sweep_object_uploads: ends nothing where a checkpoint is listed and cannot be read yet", "[object_sweep]") {
  PendingUploads log;
  log.append();
  log.publish_snapshot(1, 1);
  log.begin(0, 1);
  const std::string hidden = iqdb::log_object_key("a", 2);
  log.store.before = [&](const std::string& call) {
    if (call == "get " + hidden) {
      log.store.objects.erase(hidden);
    }
  };
  CHECK(log.sweep_uploads() == 0);
}

TEST_CASE("sweep_object_uploads: leaves what is no snapshot of this library's, and other indexes", "[object_sweep]") {
  PendingUploads log;
  log.store.begin_upload("a/snapshot/notes");
  log.store.begin_upload(iqdb::object_snapshot_key("ab", 0, 1));
  CHECK(log.sweep_uploads() == 0);
}

TEST_CASE("sweep_object_uploads: ends where a store lists the same uploads again and again", "[object_sweep]") {
  struct ListsTheSame : iqdb_test::WayToStore {
    using WayToStore::WayToStore;
    std::vector<iqdb::ObjectUpload> list_uploads(std::string_view prefix, const iqdb::ObjectUpload& /*behind*/,
                                                 std::size_t most) {
      return WayToStore::list_uploads(prefix, {}, most);
    }
  };
  PendingUploads log;
  log.begin(1000, 1);
  ListsTheSame store(log.store);
  CHECK(iqdb::sweep_object_uploads(store, "a", 0, {}, hasty_options()) == 0);
}

TEST_CASE("sweep_object_uploads: goes through a listing of many pages", "[object_sweep]") {
  PendingUploads log;
  constexpr std::uint64_t uploads = 25;
  for (std::uint64_t nonce = 1; nonce <= uploads; ++nonce) {
    log.begin(nonce % 2 == 0 ? 0 : 1000, nonce);
  }
  iqdb::ObjectLogOptions options = hasty_options();
  options.listed_at_once = 3;
  CHECK(iqdb::sweep_object_uploads(log.store, "a", 0, {}, options) == uploads / 2);
  CHECK(log.pending().size() == uploads - uploads / 2);
}

}  // namespace of_object_sweep
