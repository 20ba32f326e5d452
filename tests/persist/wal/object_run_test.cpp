#include "iqdb/persist/wal/object_run.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_object_run {

using iqdb::log_object_key;
using iqdb::LogObjectHeader;
using iqdb::LogObjectKind;
using iqdb::ObjectRun;
using iqdb::PersistErrorKind;
using iqdb_test::batch_of_erases;
using iqdb_test::erase_of_id;
using iqdb_test::hasty_options;
using iqdb_test::object_of;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;

// Writes objects of a log, each behind the one before it.
struct LogOf {
  ScriptedStore& store;
  LogObjectHeader next = {.nonce = 1, .number = 0, .base_lsn = 0, .fence = 0, .history_id = 7};

  void put(LogObjectKind kind, std::uint64_t mutations, iqdb::ObjectBytes bytes) {
    store.objects.insert_or_assign(log_object_key("a", next.number), std::move(bytes));
    next.base_lsn += mutations;
    ++next.number;
    ++next.nonce;
    next.kind = kind;
  }

  LogOf& fence() {
    next.fence = next.number;
    next.kind = LogObjectKind::fence;
    put(next.kind, 0, object_of(next, {}));
    return *this;
  }

  LogOf& frames(std::uint64_t mutations = 1) {
    next.kind = LogObjectKind::frames;
    put(next.kind, mutations, object_of(next, {batch_of_erases(mutations)}));
    return *this;
  }

  LogOf& checkpoint(std::uint64_t lsn) {
    next.kind = LogObjectKind::checkpoint;
    put(next.kind, 0, iqdb::encode_log_checkpoint(next, {.key = "a/snapshot/0-1", .fingerprint = {}, .lsn = lsn}));
    return *this;
  }

  LogOf& close() {
    next.kind = LogObjectKind::close;
    put(next.kind, 0, iqdb::encode_log_close(next));
    return *this;
  }
};

ObjectRun read(ScriptedStore& store) { return iqdb::read_object_run(store, "a", hasty_options()); }

std::vector<std::uint64_t> numbers_of(const ObjectRun& run) {
  std::vector<std::uint64_t> numbers;
  for (const iqdb::LogObject& object : run.objects) {
    numbers.push_back(object.header.number);
  }
  return numbers;
}

void erase(ScriptedStore& store, std::uint64_t number) { store.objects.erase(log_object_key("a", number)); }

std::string refused(ScriptedStore& store) {
  return require_kind(PersistErrorKind::log_corrupted, [&] { return read(store); }).what();
}

TEST_CASE("read_object_run: there is no log where there is no object", "[object_run]") {
  ScriptedStore store;
  const ObjectRun run = read(store);
  CHECK(run.objects.empty());
  CHECK(run.next_number() == 0);
  CHECK(run.next_lsn() == 1);
  CHECK_FALSE(run.is_closed());
}

TEST_CASE("read_object_run: without a checkpoint it reads from number 0 on", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames(3).frames().close();
  store.objects.emplace("a/log/notes", iqdb::ObjectBytes());
  const ObjectRun run = read(store);
  CHECK(numbers_of(run) == std::vector<std::uint64_t>{0, 1, 2, 3});
  CHECK_FALSE(run.checkpoint);
  CHECK(run.snapshot_lsn() == 0);
  CHECK(run.next_number() == 4);
  CHECK(run.next_lsn() == 5);
  CHECK(run.is_closed());
}

TEST_CASE("read_object_run: a fence behind the close is a new writer", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().close().fence();
  CHECK_FALSE(read(store).is_closed());
}

TEST_CASE("read_object_run: reads back to the mutations that the checkpoint does not hold and no further",
          "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames(2).frames(2).frames(2).checkpoint(4).frames(1);
  const ObjectRun run = read(store);
  CHECK(numbers_of(run) == std::vector<std::uint64_t>{3, 4, 5});
  CHECK(run.checkpoint == 1U);
  CHECK(run.snapshot_lsn() == 4);
  CHECK(run.next_lsn() == 8);
}

TEST_CASE("read_object_run: of two checkpoints the one that holds more counts", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames(2).frames(2).checkpoint(4).checkpoint(2).frames(1);
  erase(store, 1);
  erase(store, 2);
  const ObjectRun run = read(store);
  CHECK(numbers_of(run) == std::vector<std::uint64_t>{3, 4, 5});
  CHECK(run.snapshot_lsn() == 4);
}

TEST_CASE("read_object_run: a number that the listing lacks is asked for", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames().frames();
  store.is_listed = [](const std::string& key) { return key != log_object_key("a", 1); };
  CHECK(numbers_of(read(store)) == std::vector<std::uint64_t>{0, 1, 2});
}

TEST_CASE("read_object_run: a gap that no checkpoint makes up for is damage", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames(2).frames(2).frames(2).checkpoint(2).frames();
  erase(store, 2);
  const std::string message = refused(store);
  CHECK(message.find("lacks its object 2") != std::string::npos);
  CHECK(message.find("up to 5") != std::string::npos);
}

TEST_CASE("read_object_run: garbage in front of what is needed is not looked at", "[object_run]") {
  ScriptedStore store;
  LogOf log{store};
  log.fence().frames(2).frames(2).checkpoint(4).frames();
  // A late fence stands where frames were swept: it continues what was in front of them, and nothing continues it.
  store.objects.insert_or_assign(
      log_object_key("a", 2),
      object_of({.nonce = 99, .number = 2, .base_lsn = 2, .fence = 2, .history_id = 7, .kind = LogObjectKind::fence},
                {}));
  erase(store, 1);
  CHECK(numbers_of(read(store)) == std::vector<std::uint64_t>{3, 4});
}

TEST_CASE("read_object_run: lists again if a listed object is not there", "[object_run]") {
  ScriptedStore store;
  LogOf log{store};
  log.fence().frames(2).frames(2);
  bool is_swept = false;
  store.before = [&](const std::string& call) {
    if (call == "get " + log_object_key("a", 1) && !std::exchange(is_swept, true)) {
      log.checkpoint(4).checkpoint(4);
      erase(store, 1);
      erase(store, 2);
    }
  };
  CHECK(numbers_of(read(store)) == std::vector<std::uint64_t>{4});
  CHECK(is_swept);
}

TEST_CASE("read_object_run: what looks like damage while the log goes on is a sweep", "[object_run]") {
  for (const bool late_fence : {false, true}) {
    ScriptedStore store;
    LogOf log{store};
    log.fence().frames(2).frames(2).frames(2);
    store.is_listed = [late_fence](const std::string& key) { return late_fence || key != log_object_key("a", 1); };
    bool is_swept = false;
    store.before = [&](const std::string& call) {
      if (call == "get " + log_object_key("a", 1) && !std::exchange(is_swept, true)) {
        log.checkpoint(6).checkpoint(6);
        for (const std::uint64_t number : {1U, 2U, 3U}) {
          erase(store, number);
        }
        if (late_fence) {
          store.objects.emplace(
              log_object_key("a", 1),
              object_of(
                  {.nonce = 9, .number = 1, .base_lsn = 0, .fence = 1, .history_id = 7, .kind = LogObjectKind::fence},
                  {}));
        }
      }
    };
    CHECK(numbers_of(read(store)) == std::vector<std::uint64_t>{5});
    CHECK(is_swept);
  }
}

TEST_CASE("read_object_run: a late fence at the last listed number is not taken for the end of the log",
          "[object_run]") {
  ScriptedStore store;
  LogOf log{store};
  log.fence().frames(2);
  bool is_swept = false;
  store.before = [&](const std::string& call) {
    if (call == "get " + log_object_key("a", 1) && !std::exchange(is_swept, true)) {
      log.checkpoint(2).checkpoint(2);
      store.objects.insert_or_assign(
          log_object_key("a", 1),
          object_of({.nonce = 9, .number = 1, .base_lsn = 0, .fence = 1, .history_id = 7, .kind = LogObjectKind::fence},
                    {}));
    }
  };
  const ObjectRun run = read(store);
  CHECK(numbers_of(run) == std::vector<std::uint64_t>{3});
  CHECK(run.next_lsn() == 3);
  CHECK(is_swept);
}

TEST_CASE("read_object_run: a late fence in front of another fence is not taken for what stood there", "[object_run]") {
  ScriptedStore store;
  LogOf log{store};
  log.fence().checkpoint(0).fence().frames();
  bool is_swept = false;
  store.before = [&](const std::string& call) {
    if (call == "get " + log_object_key("a", 1) && !std::exchange(is_swept, true)) {
      log.checkpoint(1).checkpoint(1);
      erase(store, 3);
      // It continues what is in front of it, and in place of the snapshot there would be an empty index.
      store.objects.insert_or_assign(
          log_object_key("a", 1),
          object_of({.nonce = 9, .number = 1, .base_lsn = 0, .fence = 1, .history_id = 7, .kind = LogObjectKind::fence},
                    {}));
    }
  };
  const ObjectRun run = read(store);
  CHECK(numbers_of(run) == std::vector<std::uint64_t>{5});
  CHECK(run.checkpoint == 0U);
  CHECK(is_swept);
}

TEST_CASE("read_object_run: is not kept from reading by a writer that follows two fences and goes on", "[object_run]") {
  ScriptedStore store;
  LogOf log{store};
  log.fence().fence().frames();
  store.before = [&](const std::string& call) {
    if (call == "get " + log_object_key("a", 0)) {
      log.frames();  // behind what was listed
    }
  };
  const ObjectRun run = read(store);
  CHECK(numbers_of(run) == std::vector<std::uint64_t>{0, 1, 2, 3});
  CHECK(std::ranges::count(store.calls, "get " + log_object_key("a", 0)) == 2);
}

TEST_CASE("read_object_run: a fence that ends the log is read, and listed behind once", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames(2).fence();
  store.calls.clear();
  CHECK(numbers_of(read(store)) == std::vector<std::uint64_t>{0, 1, 2});
  CHECK(std::ranges::count(store.calls, "list") == 3);  // two pages, and behind the fence
}

TEST_CASE("read_object_run: gives up in words on a log that is never still", "[object_run]") {
  ScriptedStore store;
  LogOf log{store};
  log.fence().frames().frames();
  std::uint64_t lists = 0;
  store.before = [&](const std::string& call) {
    lists += call == "list" ? 1U : 0U;
    if (call == "get " + log_object_key("a", 1)) {
      erase(store, 1);
    } else if (call == "list") {
      LogOf{store}.fence().frames();
    }
  };
  const auto error = require_kind(PersistErrorKind::io, [&] { return read(store); });
  CHECK(std::string(error.what()).find("faster than it can be read") != std::string::npos);
  CHECK(lists == 10);  // five listings of two pages
}

TEST_CASE("read_object_run: objects that do not continue one another are damage", "[object_run]") {
  const auto refused_with = [](void (*change)(LogObjectHeader&)) {
    ScriptedStore store;
    LogOf log{store};
    log.fence().frames(2).fence();
    change(log.next);
    log.frames(2);
    return refused(store);
  };
  CHECK(refused_with([](LogObjectHeader& next) { next.base_lsn = 3; }).find("ends with 2") != std::string::npos);
  CHECK(refused_with([](LogObjectHeader& next) { next.history_id = 8; }).find("another history") != std::string::npos);
  CHECK(refused_with([](LogObjectHeader& next) { next.fence = 0; }).find("number 2 had taken") != std::string::npos);
  ScriptedStore store;
  LogOf log{store};
  log.next.base_lsn = 1;
  log.fence();
  CHECK(refused(store).find("expected 0") != std::string::npos);
}

TEST_CASE("list_log_objects: reads page after page from a number on", "[object_run]") {
  ScriptedStore store;
  LogOf{store}.fence().frames().frames().frames();
  auto options = hasty_options();
  options.listed_at_once = 1;
  CHECK(iqdb::list_log_objects(store, "a", options) == std::vector<std::uint64_t>{0, 1, 2, 3});
  CHECK(iqdb::list_log_objects(store, "a", options, 2) == std::vector<std::uint64_t>{2, 3});
  CHECK(iqdb::list_log_objects(store, "a", options, 4).empty());
}

TEST_CASE("extend_object_run: adds what was written behind a run", "[object_run]") {
  ScriptedStore store;
  auto writer = iqdb::open_object_log(store, "a", false, hasty_options()).writer;
  ObjectRun run = iqdb::read_object_run(store, "a", hasty_options());
  const auto body = erase_of_id(1);
  const std::span<const std::byte> bodies[] = {body};
  writer.append(bodies);
  writer.publish({.key = "a/snapshot/0-1", .fingerprint = {}, .lsn = 1});
  store.calls.clear();
  REQUIRE(iqdb::extend_object_run(store, "a", run, hasty_options()));
  CHECK(run.next_number() == 3);
  CHECK(run.snapshot_lsn() == 1);
  CHECK(store.calls.size() == 3);
}

TEST_CASE("extend_object_run: gives up a run that what is there does not continue", "[object_run]") {
  ScriptedStore store;
  auto writer = iqdb::open_object_log(store, "a", false, hasty_options()).writer;
  ObjectRun run = iqdb::read_object_run(store, "a", hasty_options());
  const LogObjectHeader late{.nonce = 5,
                             .number = 1,
                             .base_lsn = 9,
                             .fence = 0,
                             .history_id = writer.position().history_id,
                             .kind = LogObjectKind::frames};
  store.objects.emplace(log_object_key("a", 1), object_of(late, {erase_of_id(1)}));
  CHECK_FALSE(iqdb::extend_object_run(store, "a", run, hasty_options()));
}

}  // namespace of_object_run
