// The older states of an index on an object store: their list, and an index that is loaded as it was.
#include "iqdb/persist/wal/object_history.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/history_search.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/late_index.hpp"
#include "support/object_logs.hpp"

namespace of_object_history {

using iqdb::HistoryPolicy;
using iqdb::HistoryState;
using iqdb::LogCheckpoint;
using iqdb::ObjectHistory;
using iqdb::PersistConfig;
using iqdb::PersistErrorKind;
using iqdb_test::hasty_options;
using iqdb_test::LateIndex;
using iqdb_test::mentions;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

using Storage = iqdb::ObjectStorage<WayToStore>;
using Database = iqdb::PersistedIndex<LateIndex, Storage>;
using Ids = std::set<std::uint64_t>;

constexpr std::array<float, 1> some_vector{1.0F};

[[nodiscard]] LogCheckpoint checkpoint_at(std::uint64_t number, std::uint64_t lsn) {
  return {.number = number,
          .begin = number - 1,
          .snapshot = {.key = iqdb::object_snapshot_key("a", 0, number),
                       .fingerprint = {.file_bytes = number, .header_crc32 = 2, .region_crc32 = 3},
                       .lsn = lsn}};
}

[[nodiscard]] ObjectHistory some_history() {
  return {.states = {{.checkpoint = checkpoint_at(5, 3), .replaced_at = 1000},
                     {.checkpoint = checkpoint_at(9, 8), .replaced_at = 2000}},
          .policy = HistoryPolicy::keep_last(7)};
}

[[nodiscard]] std::vector<std::uint64_t> numbers_of(const ObjectHistory& history) {
  std::vector<std::uint64_t> numbers;
  for (const HistoryState& state : history.states) {
    numbers.push_back(state.checkpoint.number);
  }
  return numbers;
}

TEST_CASE("object_history_key: lies beside the snapshot's, and leads back to it", "[object_history]") {
  const std::string snapshot = iqdb::object_snapshot_key("a", 7, 12);
  const auto list = iqdb::object_history_key("a", snapshot);
  REQUIRE(list == "a/snapshot/history/00000000000000000007-00000000000000000012");
  CHECK(iqdb::snapshot_of_object_history("a", *list) == snapshot);
  CHECK_FALSE(iqdb::snapshot_of_object_history("a", snapshot));
  CHECK_FALSE(iqdb::snapshot_of_object_history("a", *list + "0"));
  CHECK_FALSE(iqdb::object_history_key("a", "a/snapshot/mine"));
}

TEST_CASE("decode_object_history: reads what encode_object_history wrote", "[object_history]") {
  for (const ObjectHistory& history :
       {some_history(), ObjectHistory(), ObjectHistory{.policy = HistoryPolicy::keep_for(std::chrono::hours(24))}}) {
    CHECK(iqdb::decode_object_history(iqdb::encode_object_history(history), "key") == history);
  }
}

TEST_CASE("decode_object_history: refuses a list of which a bit is flipped or the end is missing", "[object_history]") {
  const iqdb::ObjectBytes right = iqdb::encode_object_history(some_history());
  constexpr std::size_t bits = 8;
  for (std::size_t bit = 0; bit < right.size() * bits; ++bit) {
    iqdb::ObjectBytes wrong = right;
    wrong[bit / bits] ^= std::byte{1} << (bit % bits);
    CHECK_THROWS_AS(iqdb::decode_object_history(wrong, "key"), iqdb::PersistError);
  }
  for (std::size_t bytes = 0; bytes < right.size(); ++bytes) {
    const auto error = require_kind(PersistErrorKind::log_corrupted, [&] {
      std::ignore = iqdb::decode_object_history(std::span(right).first(bytes), "key");
    });
    CHECK(mentions(error, "key"));
  }
}

TEST_CASE("decode_object_history: refuses states that cannot be, whatever the checksum says", "[object_history]") {
  ObjectHistory history = some_history();
  SECTION("two that begin at the same checkpoint") { history.states[1].checkpoint = history.states[0].checkpoint; }
  SECTION("one that needs what stands behind it") { history.states[0].checkpoint.begin = 6; }
  SECTION("one at a number that no log reaches") { history.states[1].checkpoint.number = iqdb::largest_log_object + 1; }
  require_kind(PersistErrorKind::log_corrupted,
               [&] { std::ignore = iqdb::decode_object_history(iqdb::encode_object_history(history), "key"); });
}

TEST_CASE("decode_object_history: believes no count and no length", "[object_history]") {
  iqdb::ObjectBytes list = iqdb::encode_object_history(some_history());
  const std::size_t at = GENERATE(std::size_t{32}, std::size_t{40 + 48});  // how many states, and the length of a key
  std::fill_n(list.begin() + static_cast<std::ptrdiff_t>(at), 4, std::byte{0xFF});
  std::ranges::copy(iqdb::to_little_endian(iqdb::object_history::checksum_of(list)),
                    list.begin() + static_cast<std::ptrdiff_t>(iqdb::object_history::checksum_begin));
  require_kind(PersistErrorKind::log_corrupted, [&] { std::ignore = iqdb::decode_object_history(list, "key"); });
}

TEST_CASE("decode_object_history: refuses what follows the last state", "[object_history]") {
  iqdb::ObjectBytes list = iqdb::encode_object_history(some_history());
  list.push_back(std::byte{0});
  const auto checksum = iqdb::to_little_endian(iqdb::object_history::checksum_of(list));
  std::ranges::copy(checksum, list.begin() + static_cast<std::ptrdiff_t>(iqdb::object_history::checksum_begin));
  require_kind(PersistErrorKind::log_corrupted, [&] { std::ignore = iqdb::decode_object_history(list, "key"); });
}

TEST_CASE("history_behind: adds the state that is replaced, and keeps as many as the policy says", "[object_history]") {
  ObjectHistory history;
  for (std::uint64_t number = 1; number <= 5; ++number) {
    history = iqdb::history_behind(history, checkpoint_at(number, number), HistoryPolicy::keep_last(3),
                                   1000 + static_cast<std::int64_t>(number));
  }
  CHECK(numbers_of(history) == std::vector<std::uint64_t>{3, 4, 5});
  CHECK(history.states.back().replaced_at == 1005);
}

TEST_CASE("history_behind: keeps what was replaced within the span, and nothing in front of it", "[object_history]") {
  ObjectHistory history;
  const HistoryPolicy policy = HistoryPolicy::keep_for(std::chrono::seconds(10));
  std::int64_t now = 100'000;
  for (std::uint64_t number = 1; number <= 5; ++number) {
    now += 5000;
    history = iqdb::history_behind(history, checkpoint_at(number, number), policy, now);
  }
  // Replaced at 115, 120 and 125 s.
  CHECK(numbers_of(history) == std::vector<std::uint64_t>{3, 4, 5});
  // A snapshot that changes nothing gives up what is too old by then.
  CHECK(numbers_of(iqdb::history_behind(history, {}, policy, 130'001)) == std::vector<std::uint64_t>{5});
  CHECK(numbers_of(iqdb::history_behind(history, {}, HistoryPolicy::keep_last(2), 125'000)) ==
        std::vector<std::uint64_t>{4, 5});
}

TEST_CASE("history_behind: a writer without a policy keeps by that of the one before", "[object_history]") {
  ObjectHistory history = some_history();
  history = iqdb::history_behind(history, checkpoint_at(12, 9), HistoryPolicy::none(), 3000);
  CHECK(numbers_of(history) == std::vector<std::uint64_t>{5, 9, 12});
  CHECK(history.policy == HistoryPolicy::keep_last(7));
  history = iqdb::history_behind({}, checkpoint_at(12, 9), HistoryPolicy::none(), 3000);
  CHECK(history == ObjectHistory());
}

TEST_CASE("history_behind: no two states are replaced at the same time, whatever the clock says", "[object_history]") {
  ObjectHistory history = some_history();
  history = iqdb::history_behind(history, checkpoint_at(12, 9), HistoryPolicy::none(), 2000);
  history = iqdb::history_behind(history, checkpoint_at(13, 9), HistoryPolicy::none(), 500);
  CHECK(history.states[2].replaced_at == 2001);
  CHECK(history.states[3].replaced_at == 2002);
  // A clock in front of 1970, and one that no name has the digits for.
  CHECK(iqdb::history_behind({}, checkpoint_at(1, 1), HistoryPolicy::keep_last(1), -5).states[0].replaced_at == 1);
  CHECK(iqdb::history_behind({}, checkpoint_at(1, 1), HistoryPolicy::keep_last(1), std::int64_t{1} << 60)
            .states[0]
            .replaced_at == iqdb::object_history::latest_time);
}

TEST_CASE("ObjectRun: what the last checkpoint needs begins where its snapshot ends", "[object_history]") {
  iqdb::ObjectRun run;
  const auto add = [&](iqdb::LogObjectKind kind, std::uint64_t base_lsn) {
    run.objects.push_back({.header = {.number = 10 + run.objects.size(), .base_lsn = base_lsn, .kind = kind},
                           .frames = {},
                           .snapshot = {},
                           .bytes = {}});
  };
  CHECK_FALSE(run.last_checkpoint());
  add(iqdb::LogObjectKind::frames, 3);      // 10
  add(iqdb::LogObjectKind::frames, 4);      // 11
  add(iqdb::LogObjectKind::frames, 5);      // 12
  add(iqdb::LogObjectKind::checkpoint, 6);  // 13
  run.checkpoint = 3;
  run.objects.back().snapshot.lsn = 4;
  CHECK(run.last_checkpoint()->number == 13);
  CHECK(run.last_checkpoint()->begin == 11);
  run.objects.back().snapshot.lsn = 6;
  CHECK(run.last_checkpoint()->begin == 13);
}

// ---- An index with a history ---------------------------------------------------------------------------------------

[[nodiscard]] PersistConfig keeping(const HistoryPolicy& history) {
  return {.path = "index", .wal_enabled = true, .history = history, .helper_threads = 0};
}

[[nodiscard]] Storage storage_in(ScriptedStore& store) { return Storage(WayToStore(store), hasty_options()); }

[[nodiscard]] Database opened(ScriptedStore& store, PersistConfig config) {
  return Database::load_or_create(std::move(config), LateIndex(), storage_in(store));
}

// Inserts these vectors, and makes a checkpoint behind each.
void insert_and_checkpoint(Database& database, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t id = first; id <= last; ++id) {
    database.insert(id, some_vector);
    database.checkpoint();
  }
}

[[nodiscard]] Ids ids_in(const LateIndex& index) {
  Ids ids;
  for (const iqdb::VectorId& id : index.ids()) {
    ids.insert(id.integer());
  }
  return ids;
}

[[nodiscard]] Ids ids_behind(ScriptedStore& store, std::uint64_t lsn) {
  PersistConfig config{.path = "index", .wal_enabled = true, .read_only = true, .up_to = lsn, .helper_threads = 0};
  return ids_in(Database::load(config, storage_in(store)).index());
}

[[nodiscard]] Ids ids_at(ScriptedStore& store, iqdb::SystemTime time) {
  PersistConfig config{.path = "index", .wal_enabled = true, .read_only = true, .helper_threads = 0};
  config.up_to_time = time;
  return ids_in(Database::load(config, storage_in(store)).index());
}

// A time by the system's clock that no mutation so far was logged at.
[[nodiscard]] iqdb::SystemTime a_moment_later() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return std::chrono::system_clock::now();
}

[[nodiscard]] std::vector<iqdb::HistoryEntry> entries_in(ScriptedStore& store) {
  Storage storage = storage_in(store);
  return iqdb::history::entries(storage, "index");
}

TEST_CASE("ObjectStorage: the index is loaded as it was at every mutation of a random life", "[object_history]") {
  constexpr std::uint64_t seed = 20261130;
  INFO("seed " << seed);
  iqdb::testing::Random random(seed);
  ScriptedStore store;
  std::map<std::uint64_t, Ids> states{{0, {}}};
  auto database = std::optional(opened(store, keeping(HistoryPolicy::keep_last(100))));
  for (std::uint64_t id = 1; id <= 60; ++id) {
    database->insert(id, some_vector);
    if (random.one_in(4)) {
      states[database->lsn()] = ids_in(database->index());
      database->erase(id);
    }
    states[database->lsn()] = ids_in(database->index());
    if (random.one_in(6)) {
      random.one_in(2) ? database->save() : database->checkpoint();
    }
    if (random.one_in(10)) {
      database.reset();
      database.emplace(opened(store, keeping(HistoryPolicy::keep_last(100))));
    }
  }
  REQUIRE(entries_in(store).size() > 5);
  for (const auto& [lsn, ids] : states) {
    CAPTURE(lsn);
    CHECK(ids_behind(store, lsn) == ids);
  }
}

TEST_CASE("ObjectStorage: a history keeps as many states as it was told, and what they need", "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(3)));
  insert_and_checkpoint(database, 1, 10);
  const auto entries = entries_in(store);
  REQUIRE(entries.size() == 3);
  CHECK(std::ranges::all_of(entries, [](const auto& entry) { return entry.has_snapshot && entry.has_log; }));
  CHECK(ids_behind(store, 7) == Ids{1, 2, 3, 4, 5, 6, 7});
  CHECK(ids_behind(store, 10).size() == 10);
  const auto error = require_kind(PersistErrorKind::invalid_config, [&] { std::ignore = ids_behind(store, 6); });
  CHECK(mentions(error, "up_to is 6"));
  // The snapshots of four states, the lists of the last two, and of the log a fence, and what is behind the first one.
  CHECK(store.objects_below("index/snapshot/0") == 4);
  CHECK(store.objects_below("index/snapshot/history/") == 2);
  CHECK(store.objects_below("index/log/") == 1 + 1 + 3 * 2);
}

TEST_CASE("ObjectStorage: without a history the last two checkpoints are kept, and no state is listed",
          "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::none()));
  insert_and_checkpoint(database, 1, 5);
  CHECK(entries_in(store).empty());
  CHECK(store.objects_below("index/snapshot/0") == 2);
  require_kind(PersistErrorKind::invalid_config, [&] { std::ignore = ids_behind(store, 4); });
}

TEST_CASE("ObjectStorage: a program that does not know of the history keeps it", "[object_history]") {
  ScriptedStore store;
  {
    Database database = opened(store, keeping(HistoryPolicy::keep_last(2)));
    database.insert(1, some_vector);
    database.checkpoint();
  }
  Database database = opened(store, keeping(HistoryPolicy::none()));
  database.insert(2, some_vector);
  database.checkpoint();
  CHECK(entries_in(store).size() == 2);
  CHECK(ids_behind(store, 0).empty());
  database.insert(3, some_vector);
  database.checkpoint();
  CHECK(entries_in(store).size() == 2);
  CHECK(ids_behind(store, 1) == Ids{1});
}

TEST_CASE("ObjectStorage: one list is read for a state, however many there are", "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(20)));
  insert_and_checkpoint(database, 1, 20);
  store.calls.clear();
  CHECK(ids_behind(store, 1) == Ids{1});
  CHECK(store.calls_that_begin("get index/snapshot/history/") == 1);
}

TEST_CASE("ObjectStorage: a history that is kept smaller gives up its older states", "[object_history]") {
  ScriptedStore store;
  for (std::uint64_t id = 1; id <= 5; ++id) {
    Database database = opened(store, keeping(HistoryPolicy::keep_last(id < 5 ? 10 : 1)));
    database.insert(id, some_vector);
    database.checkpoint();
  }
  CHECK(entries_in(store).size() == 1);
  CHECK(store.objects_below("index/snapshot/0") == 2);
}

TEST_CASE("ObjectStorage: a checkpoint that changes nothing adds nothing to the history", "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(3)));
  database.insert(1, some_vector);
  for (int times = 0; times < 5; ++times) {
    database.checkpoint();
  }
  CHECK(entries_in(store).size() == 1);
  CHECK(ids_behind(store, 0).empty());
  CHECK(ids_behind(store, 1) == Ids{1});
}

TEST_CASE("ObjectStorage: an index that was replaced is a state of the history", "[object_history]") {
  ScriptedStore store;
  {
    Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
    database.insert(1, some_vector);
    database.insert(2, some_vector);
    database.checkpoint();
  }
  PersistConfig config = keeping(HistoryPolicy::keep_last(5));
  config.replace_existing = true;
  LateIndex other;
  other.insert(7, some_vector);
  Database replaced = Database::open_with(std::move(other), config, storage_in(store));
  const auto before_it_changed = a_moment_later();
  CHECK(ids_at(store, before_it_changed) == Ids{7});
  std::ignore = a_moment_later();
  replaced.insert(8, some_vector);
  CHECK(ids_behind(store, 1) == Ids{1});
  CHECK(ids_behind(store, 3) == Ids{7, 8});
  CHECK(ids_at(store, before_it_changed) == Ids{7});
  const auto entries = entries_in(store);
  REQUIRE_FALSE(entries.empty());
  // Behind the last mutation of the one that was replaced stands the other one; the state itself has a name.
  PersistConfig by_name{.path = entries.back().path, .wal_enabled = true, .read_only = true, .helper_threads = 0};
  CHECK(ids_in(Database::load(by_name, storage_in(store)).index()) == Ids{1, 2});
}

TEST_CASE("ObjectStorage: an older state is loaded by its name, and by no writer", "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
  database.insert(1, some_vector);
  database.checkpoint();
  database.insert(2, some_vector);
  const auto entries = entries_in(store);
  REQUIRE(entries.size() == 1);
  PersistConfig config{.path = entries.front().path, .wal_enabled = true, .read_only = true, .helper_threads = 0};
  CHECK(ids_in(Database::load(config, storage_in(store)).index()) == Ids{1});
  config.read_only = false;
  require_kind(PersistErrorKind::invalid_config, [&] { std::ignore = opened(store, config); });
  config.read_only = true;
  config.path = "index.000000000000001.history";
  require_kind(PersistErrorKind::io, [&] { std::ignore = Database::load(config, storage_in(store)); });
}

TEST_CASE("ObjectStorage: the first mutation behind a snapshot notes its time", "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
  insert_and_checkpoint(database, 1, 3);
  database.insert(4, some_vector);
  const iqdb::ObjectRun run = iqdb::read_object_run(store, "index", hasty_options());
  const iqdb::LogObject& last = run.objects.back();
  REQUIRE(last.frames.size() == 2);
  CHECK(static_cast<iqdb::FrameOp>(last.body(last.frames.front()).front()) == iqdb::FrameOp::time);
}

TEST_CASE("ObjectStorage: the index is loaded as it was at a time", "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
  const auto before = a_moment_later() - std::chrono::hours(1);
  database.insert(1, some_vector);
  database.checkpoint();
  const auto between = a_moment_later();
  std::ignore = a_moment_later();
  database.insert(2, some_vector);
  database.checkpoint();
  database.insert(3, some_vector);
  CHECK(ids_at(store, between) == Ids{1});
  CHECK(ids_at(store, a_moment_later()) == Ids{1, 2, 3});
  require_kind(PersistErrorKind::invalid_config, [&] { std::ignore = ids_at(store, before); });
}

TEST_CASE("ObjectStorage: the list of older states is stored before the checkpoint that publishes it",
          "[object_history][order]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
  database.insert(1, some_vector);
  store.calls.clear();
  database.checkpoint();
  const auto first_put = [&](std::string_view prefix) {
    return std::ranges::find_if(store.calls, [&](const std::string& call) { return call.starts_with(prefix); });
  };
  const auto snapshot = first_put("put index/snapshot/0");
  const auto list = first_put("put index/snapshot/history/");
  const auto checkpoint = first_put("put index/log/");
  REQUIRE(checkpoint != store.calls.end());
  CHECK(snapshot < list);
  CHECK(list < checkpoint);
}

TEST_CASE("ObjectStorage: a list that cannot be stored fails the checkpoint, and the index goes on",
          "[object_history]") {
  ScriptedStore store;
  Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
  database.insert(1, some_vector);
  store.before = [](const std::string& call) {
    if (call.starts_with("put index/snapshot/history/")) {
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  require_kind(PersistErrorKind::io, [&] { database.checkpoint(); });
  store.before = [](const std::string&) {};
  CHECK_FALSE(database.poisoned());
  CHECK(store.objects_below("index/snapshot/0") == 1);
  database.insert(2, some_vector);
  database.checkpoint();
  CHECK(entries_in(store).size() == 1);
}

TEST_CASE("ObjectStorage: a list that is damaged stops checkpoints and not loads, until it is deleted",
          "[object_history]") {
  ScriptedStore store;
  {
    Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
    database.insert(1, some_vector);
    database.checkpoint();
  }
  const auto list = std::ranges::find_if(store.objects.rbegin(), store.objects.rend(), [](const auto& object) {
    return object.first.starts_with("index/snapshot/history/");
  });
  for (auto& [key, bytes] : store.objects) {
    if (key.starts_with("index/snapshot/history/")) {
      bytes.back() ^= std::byte{1};
    }
  }
  REQUIRE(list != store.objects.rend());
  Database database = opened(store, keeping(HistoryPolicy::keep_last(5)));
  CHECK(ids_in(database.index()) == Ids{1});
  database.insert(2, some_vector);
  const auto error = require_kind(PersistErrorKind::log_corrupted, [&] { database.checkpoint(); });
  CHECK(mentions(error, "delete it"));
  CHECK_FALSE(database.poisoned());
  std::erase_if(store.objects, [](const auto& object) { return object.first.starts_with("index/snapshot/history/"); });
  database.checkpoint();
  CHECK(entries_in(store).size() == 1);
  CHECK(ids_behind(store, 2) == Ids{1, 2});
}

TEST_CASE("ObjectStorage: a checkpoint asks for no object of the log but two, however many were put",
          "[object_history]") {
  ScriptedStore store;
  {
    Database database = opened(store, keeping(HistoryPolicy::none()));
    for (std::uint64_t id = 1; id <= 20; ++id) {
      database.insert(id, some_vector);
    }
  }
  Database database = opened(store, keeping(HistoryPolicy::none()));
  for (std::uint64_t round = 1; round <= 3; ++round) {
    for (std::uint64_t id = 1; id <= 20; ++id) {
      database.insert(round * 100 + id, some_vector);
    }
    store.calls.clear();
    database.checkpoint();
    const std::size_t asked = store.calls_that_begin("get index/log/");
    CHECK(asked == (round == 1 ? 3 : 2));  // at first also for the fence of the writer before
  }
  CHECK(store.objects_below("index/log/") == 2 + 1 + 20 + 1);  // two fences, and the last two checkpoints
}

TEST_CASE("HeldObjectLog: a snapshot that was begun early needs the log from there on", "[object_history]") {
  ScriptedStore store;
  iqdb::HeldObjectLog<WayToStore> held(WayToStore(store), "a", false, hasty_options());
  held.keep_history(HistoryPolicy::keep_last(2));
  const auto append = [&] {
    iqdb::FrameEncoder encoder;
    encoder.begin().write(iqdb_test::erase_of_id(1));
    held.append(encoder.finish(1, held.last_lsn() + 1, 0));
    held.flush();
  };
  const auto publish = [&](std::uint64_t nonce, std::uint64_t lsn) {
    const iqdb::Fingerprint snapshot{.file_bytes = nonce, .header_crc32 = 2, .region_crc32 = 3};
    iqdb::FrameEncoder encoder;
    iqdb::write_checkpoint(encoder.begin(), snapshot, lsn);
    held.append(encoder.finish(1, held.last_lsn() + 1, 0));
    held.publish(iqdb::object_snapshot_key("a", 0, nonce), snapshot);
  };
  append();       // 1
  append();       // 2
  append();       // 3
  publish(1, 1);  // 4: needs what 2 holds
  append();       // 5
  publish(2, 4);  // 6: needs nothing
  append();       // 7
  publish(3, 4);  // 8: needs what 7 holds
  publish(4, 5);  // 9
  const auto found = iqdb::find_object_history(store, "a", hasty_options());
  REQUIRE(found.history.states.size() == 2);
  CHECK(found.last == 9);
  CHECK(found.history.states[0].checkpoint.number == 6);
  CHECK(found.history.states[0].checkpoint.begin == 6);
  CHECK(found.history.states[1].checkpoint.number == 8);
  CHECK(found.history.states[1].checkpoint.begin == 7);
  CHECK(iqdb::decode_object_history(
            store.objects.at(*iqdb::object_history_key("a", iqdb::object_snapshot_key("a", 0, 3))), "list")
            .states.front()
            .checkpoint.begin == 2);
}

TEST_CASE("HeldObjectLog: a snapshot that holds less than the one before is not published", "[object_history]") {
  ScriptedStore store;
  iqdb::HeldObjectLog<WayToStore> held(WayToStore(store), "a", false, hasty_options());
  iqdb::FrameEncoder encoder;
  encoder.begin().write(iqdb_test::erase_of_id(1));
  held.append(encoder.finish(1, 1, 0));
  held.publish(iqdb::object_snapshot_key("a", 0, 1), {.file_bytes = 1, .header_crc32 = 2, .region_crc32 = 3});
  const iqdb::Fingerprint early{.file_bytes = 2, .header_crc32 = 2, .region_crc32 = 3};
  iqdb::write_checkpoint(encoder.begin(), early, 0);
  held.append(encoder.finish(1, 2, 0));
  const std::size_t objects = store.objects.size();
  held.publish(iqdb::object_snapshot_key("a", 0, 2), early);
  CHECK(store.objects.size() == objects);
  CHECK(held.snapshot()->lsn == 1);
}

TEST_CASE("A follower of an index on an object store shows the one that takes its place", "[object_history]") {
  ScriptedStore store;
  {
    Database database = opened(store, keeping(HistoryPolicy::none()));
    database.insert(1, some_vector);
    database.checkpoint();
  }
  auto follower = iqdb::Follower<LateIndex, Storage>::load({.path = "index", .helper_threads = 0}, storage_in(store));
  PersistConfig config = keeping(HistoryPolicy::none());
  config.replace_existing = true;
  LateIndex other;
  other.insert(7, some_vector);
  Database replaced = Database::open_with(std::move(other), config, storage_in(store));
  replaced.insert(8, some_vector);
  CHECK(follower.catch_up() == 2);
  CHECK(follower.read([](const LateIndex& index) { return ids_in(index); }) == Ids{7, 8});
}

}  // namespace of_object_history
