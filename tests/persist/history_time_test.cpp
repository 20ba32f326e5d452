// The time in a log: when a writer notes it, and an index that is loaded as it was at a time.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/history_search.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/history.hpp"
#include "support/raw_log.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::HistoryPolicy;
using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::empty_index;
using iqdb_test::entries_of;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::mentions;
using iqdb_test::ops_of;
using iqdb_test::require_kind;
using iqdb_test::up_to;
using iqdb_test::with_history;

// The times that a log notes, one after the other.
std::vector<std::int64_t> times_in(const iqdb_test::ByteVector& log) {
  std::vector<std::int64_t> times;
  for (const iqdb_test::SeenFrame& frame : iqdb_test::frames_of(log)) {
    if (frame.op == static_cast<unsigned>(iqdb::FrameOp::time)) {
      times.push_back(static_cast<std::int64_t>(iqdb_test::number_at(frame.body, 1, 8)));
    }
  }
  return times;
}

// Writes the log of `snapshot`, a state of the index at `path`, anew as if each frame of mutations had been logged at `time_of`
// the number of its first one.
void log_at_times(const std::filesystem::path& path, const std::filesystem::path& snapshot,
                  const std::function<std::int64_t(std::uint64_t)>& time_of) {
  iqdb::FileStorage storage;
  const iqdb::PersistConfig config{.path = snapshot, .buffer_bytes = 4096, .helper_threads = 0};
  const auto lock = storage.lock(path, std::chrono::milliseconds(0));
  auto file = storage.open(iqdb::log_path(snapshot));
  const iqdb::LogIdentity old = iqdb::identify_log(*file);
  iqdb::NewLog<iqdb::FileStorage> log(storage, iqdb::log_path(snapshot), lock, old.header.base, old.header.base_lsn,
                                      old.header.history_id, config);
  log.append_time(time_of(old.header.base_lsn));
  iqdb::FrameReader reader(*file, old, old.first_frame(), config.buffer_bytes);
  while (const auto frame = reader.next()) {
    const iqdb::FrameBody body(frame->body, old.version);
    if (body.mutations() > 0) {
      log.append_time(time_of(frame->position.next_lsn));
    }
    if (body.op() != iqdb::FrameOp::time) {
      log.append(*frame, body.mutations());
    }
    reader.advance(body.mutations());
  }
  log.finish();
  iqdb::put_in_place(log.file());
}

constexpr std::int64_t one_second = 1000;

// The mutation n was logged n seconds after 1970.
std::int64_t in_seconds(std::uint64_t lsn) { return static_cast<std::int64_t>(lsn) * one_second; }

void log_all_in_seconds(const std::filesystem::path& path) {
  log_at_times(path, path, in_seconds);
  for (const iqdb::HistoryEntry& entry : entries_of(path)) {
    log_at_times(path, entry.path, in_seconds);
  }
}

iqdb::PersistConfig at(const std::filesystem::path& path, std::int64_t milliseconds) {
  return {.path = path,
          .read_only = true,
          .up_to_time = iqdb::SystemTime(std::chrono::milliseconds(milliseconds)),
          .buffer_bytes = 4096,
          .helper_threads = 0};
}

Ids ids_at_time(const std::filesystem::path& path, std::int64_t milliseconds) {
  return ids_of(DurableIndex::load(at(path, milliseconds)).index());
}

}  // namespace

TEST_CASE("A time is noted when none is and when the last one is a second old", "[history_time]") {
  iqdb::LogClock clock({.history = HistoryPolicy::keep_last(1)});
  const auto due_at = [&clock](std::int64_t now) { return clock.due([now] { return now; }); };
  CHECK(due_at(5000) == 5000);
  clock.noted(5000);
  CHECK_FALSE(due_at(5000));
  CHECK_FALSE(due_at(5999));
  CHECK(due_at(6000) == 6000);
  clock.noted(std::nullopt);
  CHECK_FALSE(due_at(5999));
}

TEST_CASE("A clock that is set back is not followed", "[history_time]") {
  iqdb::LogClock clock({.history = HistoryPolicy::keep_last(1)});
  clock.noted(5000);
  CHECK_FALSE(clock.due([] { return std::int64_t{-7000}; }));
  CHECK(clock.so_far([] { return std::int64_t{3000}; }) == 5000);
}

TEST_CASE("Without a history no time is asked for", "[history_time]") {
  const iqdb::LogClock clock{iqdb::PersistConfig{}};
  const auto now = []() -> std::int64_t { throw std::runtime_error("asked for the time"); };
  CHECK_FALSE(clock.due(now));
  CHECK_FALSE(clock.so_far(now));
}

TEST_CASE("A time is text that a person reads", "[history_time]") {
  CHECK(iqdb::utc_text(0) == "1970-01-01 00:00:00 UTC");
  CHECK(iqdb::utc_text(1'795'936'992'345) == "2026-11-29 07:23:12 UTC");
  CHECK(iqdb::utc_text(-1) == "1969-12-31 23:59:59 UTC");
}

TEST_CASE("A log begins with a time where a history is kept and only there", "[history_time]") {
  const DurableDirectory directory;
  const std::int64_t before = iqdb::milliseconds_now();
  {
    auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(2)));
    CHECK(ops_of(directory.log_bytes()) == "t");
    db.checkpoint();
    CHECK(ops_of(directory.log_bytes()) == "t");
    const std::vector<std::int64_t> times = times_in(directory.log_bytes());
    CHECK(times.front() >= before);
    CHECK(times.front() <= iqdb::milliseconds_now());
  }
  { const auto db = DurableIndex::load(with_history(directory.config(), HistoryPolicy::keep_last(2))); }
  CHECK(times_in(directory.log_bytes()).size() == 1);
  const DurableDirectory other;
  auto db = other.open_with();
  insert_row(db, 1);
  CHECK(ops_of(other.log_bytes()) == "i");
}

TEST_CASE("A history that is switched on at a load bounds the time of what was logged before", "[history_time]") {
  const DurableDirectory directory;
  {
    auto db = directory.open_with();
    insert_row(db, 1);
  }
  const std::int64_t before = iqdb::milliseconds_now();
  { const auto db = DurableIndex::load(with_history(directory.config(), HistoryPolicy::keep_last(2))); }
  CHECK(ops_of(directory.log_bytes()) == "itxx");
  CHECK(ids_at_time(directory.path(), iqdb::milliseconds_now()) == Ids{1});
  require_kind(PersistErrorKind::invalid_config, [&] { ids_at_time(directory.path(), before - 1); });
}

TEST_CASE("A history that is switched on at a load gives an empty log a time", "[history_time]") {
  const DurableDirectory directory;
  { const auto db = directory.open_with(index_of({1})); }
  std::filesystem::remove(directory.log());
  { const auto db = DurableIndex::load(with_history(directory.config(), HistoryPolicy::keep_last(2))); }
  CHECK(ops_of(directory.log_bytes()).starts_with("t"));
}

TEST_CASE("The time goes to the log in the write of the mutation that follows it", "[history_time][order]") {
  const DurableDirectory directory;
  const iqdb::PersistConfig config =
      with_history(directory.config(iqdb::FsyncPolicy::never()), HistoryPolicy::keep_last(2));
  {
    auto db = DurableIndex::open_with(empty_index(), config);
    insert_row(db, 1);
  }
  log_at_times(directory.path(), directory.path(), in_seconds);  // long ago
  iqdb_test::FaultyFileSystem system;
  auto db =
      iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::load(config, iqdb_test::FaultyStorage(system));
  const std::string before = ops_of(directory.log_bytes());
  system.plan({});
  insert_row(db, 2);
  CHECK(ops_of(directory.log_bytes()) == before + "ti");
  CHECK(std::ranges::count(system.calls(), iqdb_test::FileCall::write, &iqdb_test::CallRecord::call) == 1);
  insert_row(db, 3);
  const std::vector<std::int64_t> times = times_in(directory.log_bytes());
  CHECK(std::ranges::adjacent_find(times, [](auto one, auto next) { return next < one + one_second; }) == times.end());
}

TEST_CASE("A mutation that could not be logged leaves no time and the next one notes it", "[history_time][faults]") {
  const DurableDirectory directory;
  const iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(2));
  { const auto db = DurableIndex::open_with(empty_index(), config); }
  log_at_times(directory.path(), directory.path(), in_seconds);
  iqdb_test::FaultyFileSystem system;
  auto db =
      iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::load(config, iqdb_test::FaultyStorage(system));
  const std::string before = ops_of(directory.log_bytes());
  system.plan([](const iqdb_test::CallRecord& call) {
    return call.call == iqdb_test::FileCall::write ? iqdb_test::Fault{iqdb_test::system_error(ENOSPC)}
                                                   : iqdb_test::Fault{};
  });
  require_kind(PersistErrorKind::io, [&] { insert_row(db, 1); });
  system.plan({});
  CHECK(ops_of(directory.log_bytes()) == before);
  insert_row(db, 1);
  CHECK(ops_of(directory.log_bytes()) == before + "ti");
}

TEST_CASE("Times never go back over restarts and checkpoints", "[history_time]") {
  const DurableDirectory directory;
  const iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(2));
  {
    auto db = DurableIndex::open_with(empty_index(), config);
    insert_row(db, 1);
  }
  const std::int64_t a_century_on = iqdb::milliseconds_now() + 100 * 365 * 86'400'000LL;
  log_at_times(directory.path(), directory.path(), [&](std::uint64_t lsn) { return a_century_on + in_seconds(lsn); });
  {
    auto db = DurableIndex::load(config);
    insert_row(db, 2);
    CHECK(std::ranges::max(times_in(directory.log_bytes())) == a_century_on + one_second);
    db.checkpoint();
    insert_row(db, 3);
  }
  CHECK(times_in(directory.log_bytes()) == std::vector{a_century_on + one_second});
  auto shared = iqdb::SharedIndex<iqdb::FlatIndex>::load(config);
  shared.checkpoint();
  insert_row(shared, 4);
  CHECK(times_in(directory.log_bytes()) == std::vector{a_century_on + one_second});
}

TEST_CASE("The index is loaded as it was at every second of a random life", "[history_time]") {
  const auto seed = static_cast<std::uint64_t>(GENERATE(1, 2));
  CAPTURE(seed);
  const DurableDirectory directory;
  const iqdb::PersistConfig config =
      with_history(directory.config(iqdb::FsyncPolicy::never()), HistoryPolicy::keep_last(1000));
  constexpr std::size_t mutations = 200;
  constexpr std::uint64_t steps_of = 30;
  std::optional<DurableIndex> db;
  const std::vector<Ids> states = iqdb_test::random_life(db, config, mutations, steps_of, iqdb::testing::Random(seed));
  db.reset();
  log_all_in_seconds(directory.path());
  std::size_t different = 0;
  for (std::uint64_t lsn = 0; lsn <= mutations; ++lsn) {
    different += ids_at_time(directory.path(), in_seconds(lsn)) == states[lsn] ? 0U : 1U;
    different += ids_at_time(directory.path(), in_seconds(lsn + 1) - 1) == states[lsn] ? 0U : 1U;
  }
  CHECK(different == 0);
  CHECK(ids_at_time(directory.path(), in_seconds(10 * mutations)) == states.back());
}

TEST_CASE("A time before the oldest state that is kept is refused and the message says from when on there are states",
          "[history_time]") {
  const DurableDirectory directory;
  {
    auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(1)));
    for (std::uint64_t id = 1; id <= 6; ++id) {
      insert_row(db, id);
      if (id % 2 == 0) {
        db.checkpoint();
      }
    }
  }
  log_all_in_seconds(directory.path());
  CHECK(ids_at_time(directory.path(), 4 * one_second) == up_to(4));
  const auto error =
      require_kind(PersistErrorKind::invalid_config, [&] { ids_at_time(directory.path(), 4 * one_second - 1); });
  CHECK(mentions(error, "1970-01-01 00:00:03 UTC"));
  CHECK(mentions(error, "from 1970-01-01 00:00:04 UTC on"));
}

TEST_CASE("A time is refused where no log notes it", "[history_time]") {
  const DurableDirectory directory;
  auto db = directory.open_with();
  insert_row(db, 1);
  CHECK(mentions(
      require_kind(PersistErrorKind::invalid_config, [&] { ids_at_time(directory.path(), iqdb::milliseconds_now()); }),
      "PersistConfig::history"));
}

TEST_CASE("A time from before the numbers began anew finds the state of then", "[history_time]") {
  const DurableDirectory directory;
  const iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(5));
  {
    auto db = DurableIndex::open_with(empty_index(), config);
    for (std::uint64_t id = 1; id <= 5; ++id) {
      insert_row(db, id);
    }
    db.checkpoint();
  }
  {
    auto db = DurableIndex::load(with_history(directory.config_without_log(), HistoryPolicy::keep_last(5)));
    db.index_mut() = index_of({70});
    db.save();
  }
  {
    auto db = DurableIndex::load(config);
    for (std::uint64_t id = 71; id <= 79; ++id) {
      insert_row(db, id);
    }
  }
  for (const iqdb::HistoryEntry& entry : entries_of(directory.path())) {
    log_at_times(directory.path(), entry.path, in_seconds);
  }
  log_at_times(directory.path(), directory.path(), [](std::uint64_t lsn) { return in_seconds(100 + lsn); });
  CHECK(ids_at_time(directory.path(), 3 * one_second) == up_to(3));
  CHECK(ids_at_time(directory.path(), 50 * one_second) == up_to(5));
  CHECK(ids_at_time(directory.path(), 102 * one_second) == Ids{70, 71, 72});
}

TEST_CASE("A backup is made of the index as it was at a time", "[history_time][backup]") {
  const DurableDirectory directory;
  const iqdb_test::TemporaryDirectory backups(iqdb_test::memory_directory());
  const iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(3));
  {
    auto db = DurableIndex::open_with(empty_index(), config);
    for (std::uint64_t id = 1; id <= 4; ++id) {
      insert_row(db, id);
      if (id == 2) {
        db.checkpoint();
      }
    }
  }
  log_all_in_seconds(directory.path());
  auto db = DurableIndex::load(config);
  for (std::uint64_t lsn = 1; lsn <= 4; ++lsn) {
    const iqdb::BackupOptions options{.up_to_time = at({}, in_seconds(lsn)).up_to_time};
    const auto made = db.backup(backups / std::to_string(lsn), options);
    CHECK(made.lsn == lsn);
    CHECK(ids_of(DurableIndex::load({.path = made.path, .wal_enabled = true}).index()) == up_to(lsn));
  }
}

TEST_CASE("An older state is asked for in one way and only to read", "[history_time][config]") {
  const DurableDirectory directory;
  auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(3)));
  iqdb::PersistConfig both = at(directory.path(), iqdb::milliseconds_now());
  both.up_to = 0;
  require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::load(both); });
  const iqdb_test::TemporaryDirectory backups(iqdb_test::memory_directory());
  require_kind(PersistErrorKind::invalid_config, [&] {
    std::ignore = db.backup(backups / "copy", {.up_to = both.up_to, .up_to_time = both.up_to_time});
  });
  db.close();
  for (const bool logged : {false, true}) {
    iqdb::PersistConfig to_write = at(directory.path(), 0);
    to_write.read_only = false;
    to_write.wal_enabled = logged;
    CHECK(mentions(require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::load(to_write); }), "read_only"));
    to_write.up_to = 0;
    to_write.up_to_time.reset();
    CHECK(mentions(require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::load(to_write); }), "read_only"));
  }
  require_kind(PersistErrorKind::invalid_config,
               [&] { iqdb::Follower<iqdb::FlatIndex>::load(at(directory.path(), 0)); });
}

TEST_CASE("A state that a checkpoint moves into the history meanwhile is found there", "[history_time]") {
  const DurableDirectory directory;
  auto writer = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(3)));
  insert_row(writer, 1);
  insert_row(writer, 2);
  iqdb_test::FaultyFileSystem system;
  bool is_moved = false;
  system.plan([&](const iqdb_test::CallRecord& call) {
    if (call.call == iqdb_test::FileCall::open && call.file == iqdb_test::log_name && !std::exchange(is_moved, true)) {
      writer.checkpoint();
    }
    return iqdb_test::Fault{};
  });
  const iqdb_test::FaultyStorage storage(system);
  // Nothing is kept yet when the load looks for the state.
  CHECK(iqdb_test::ids_at(directory.path(), 1, storage) == Ids{1});
  CHECK(is_moved);
}
