// The history of an index: older states, which are kept beside it and loaded by the number of a mutation.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "support/catch.hpp"
#include "support/crash_states.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/history.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::HistoryEntry;
using iqdb::HistoryPolicy;
using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::empty_index;
using iqdb_test::entries_of;
using iqdb_test::Ids;
using iqdb_test::ids_at;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::require_kind;
using iqdb_test::up_to;
using iqdb_test::with_history;

}  // namespace

TEST_CASE("A replaced snapshot is kept with its log under second names", "[history]") {
  const DurableDirectory directory;
  auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(5)));
  insert_row(db, 1);
  const auto replaced = directory.snapshot_bytes();
  db.checkpoint();
  const auto entries = entries_of(directory.path());
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].has_snapshot);
  CHECK(entries[0].has_log);
  CHECK(iqdb_test::read_bytes(entries[0].path) == replaced);
  CHECK(ids_at(entries[0].path, 0).empty());
  CHECK(ids_at(entries[0].path, 1) == Ids{1});
}

TEST_CASE("Without a history a replaced snapshot is gone and nothing is listed or linked", "[history]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  auto db = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::open_with(
      empty_index(), directory.config(), iqdb_test::FaultyStorage(system));
  insert_row(db, 1);
  system.plan({});
  db.checkpoint();
  for (const auto& call : system.calls()) {
    CHECK(call.call != iqdb_test::FileCall::link);
    CHECK(call.call != iqdb_test::FileCall::names);
  }
  CHECK(entries_of(directory.path()).empty());
}

TEST_CASE("The index is loaded as it was at every mutation of a random life", "[history]") {
  const auto seed = static_cast<std::uint64_t>(GENERATE(1, 2));
  CAPTURE(seed);
  const DurableDirectory directory;
  const iqdb::PersistConfig config =
      with_history(directory.config(iqdb::FsyncPolicy::never()), HistoryPolicy::keep_last(1000));
  constexpr std::size_t mutations = 500;
  constexpr std::uint64_t steps_of = 60;
  std::optional<DurableIndex> db;
  const std::vector<Ids> states = iqdb_test::random_life(db, config, mutations, steps_of, iqdb::testing::Random(seed));
  std::size_t different = 0;
  for (std::uint64_t lsn = 0; lsn <= mutations; ++lsn) {
    different += ids_at(directory.path(), lsn) == states[lsn] ? 0U : 1U;
  }
  CHECK(different == 0);
}

TEST_CASE("A shared index is loaded as it was at every mutation beside its checkpoints", "[history][shared_index]") {
  const DurableDirectory directory;
  const iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(10));
  constexpr std::uint64_t mutations = 30;
  {
    auto db = iqdb::SharedIndex<iqdb::FlatIndex>::open_with(empty_index(), config);
    for (std::uint64_t id = 1; id <= mutations; ++id) {
      insert_row(db, id);
      if (id % 10 == 5) {
        db.checkpoint();
      }
    }
  }
  CHECK(entries_of(directory.path()).size() == 3);
  for (std::uint64_t lsn = 0; lsn <= mutations; ++lsn) {
    CHECK(ids_at(directory.path(), lsn) == up_to(lsn));
  }
}

TEST_CASE("A history keeps as many older states as it was told", "[history]") {
  const DurableDirectory directory;
  auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(2)));
  for (std::uint64_t id = 1; id <= 5; ++id) {
    insert_row(db, id);
    db.checkpoint();
  }
  CHECK(entries_of(directory.path()).size() == 2);
  CHECK(ids_at(directory.path(), 3) == up_to(3));
  require_kind(PersistErrorKind::invalid_config, [&] { ids_at(directory.path(), 2); });
}

TEST_CASE("A state is kept for as long as the index was in it in the span", "[history]") {
  const auto entry = [](std::uint64_t replaced_at) {
    return HistoryEntry{.replaced_at = replaced_at, .path = {}, .has_snapshot = true, .has_log = true};
  };
  const auto entries =
      iqdb::history::given_up({entry(1000), entry(50'000), entry(59'999), entry(60'000), entry(100'000)},
                              HistoryPolicy::keep_for(std::chrono::seconds(60)), 120'000);
  REQUIRE(entries.size() == 3);
  CHECK(entries[0].replaced_at == 1000);  // the oldest goes first
  CHECK(entries[2].replaced_at == 59'999);
}

TEST_CASE("What a crash left of an entry is given up and counts for nothing", "[history]") {
  const auto entries = iqdb::history::given_up({{.replaced_at = 1, .path = {}, .has_snapshot = true, .has_log = true},
                                                {.replaced_at = 2, .path = {}, .has_snapshot = false, .has_log = true}},
                                               HistoryPolicy::keep_last(1), 5);
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].replaced_at == 2);
}

TEST_CASE("A checkpoint that changes nothing adds nothing to the history", "[history]") {
  const DurableDirectory directory;
  auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(3)));
  insert_row(db, 1);
  db.checkpoint();
  db.checkpoint();
  db.save();
  CHECK(entries_of(directory.path()).size() == 1);
}

TEST_CASE("Attempts that fail do not push older states out of the history", "[history][faults]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  auto db = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::open_with(
      empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(2)), iqdb_test::FaultyStorage(system));
  insert_row(db, 1);
  db.checkpoint();
  insert_row(db, 2);
  system.plan([](const iqdb_test::CallRecord& call) {
    return call.text() == "rename index.iqdb.tmp to index.iqdb" ? iqdb_test::Fault{iqdb_test::system_error(ENOSPC)}
                                                                : iqdb_test::Fault{};
  });
  for (int attempt = 0; attempt < 5; ++attempt) {
    require_kind(PersistErrorKind::io, [&] { db.checkpoint(); });
  }
  system.plan({});
  db.checkpoint();
  CHECK(entries_of(directory.path()).size() == 2);
  for (std::uint64_t lsn = 0; lsn <= 2; ++lsn) {
    CHECK(ids_at(directory.path(), lsn) == up_to(lsn));
  }
}

TEST_CASE("A snapshot that is saved over without a log is kept", "[history]") {
  const DurableDirectory directory;
  auto db =
      DurableIndex::open_with(index_of({1}), with_history(directory.config_without_log(), HistoryPolicy::keep_last(3)));
  db.save();
  db.index_mut() = index_of({1, 2});
  db.save();
  const auto entries = entries_of(directory.path());
  REQUIRE(entries.size() == 1);
  CHECK_FALSE(entries[0].has_log);
  CHECK(ids_of(DurableIndex::load({.path = entries[0].path, .read_only = true}).index()) == Ids{1});
}

TEST_CASE("A snapshot that is replaced on demand is kept", "[history]") {
  const DurableDirectory directory;
  { auto db = directory.open_with(index_of({1})); }
  iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(3));
  config.replace_existing = true;
  const auto db = DurableIndex::open_with(index_of({7}), config);
  const auto entries = entries_of(directory.path());
  REQUIRE(entries.size() == 1);
  CHECK(ids_of(DurableIndex::load({.path = entries[0].path, .read_only = true}).index()) == Ids{1});
}

TEST_CASE("An older state is loaded to read and by no writer", "[history]") {
  const DurableDirectory directory;
  auto db = DurableIndex::open_with(index_of({1}), with_history(directory.config(), HistoryPolicy::keep_last(3)));
  insert_row(db, 2);
  db.checkpoint();
  const std::filesystem::path entry = entries_of(directory.path()).at(0).path;
  CHECK(ids_of(DurableIndex::load({.path = entry, .read_only = true}).index()) == Ids{1, 2});
  require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::load({.path = entry, .wal_enabled = true}); });
  require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::load({.path = entry}); });
  require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::open_with(empty_index(), {.path = entry}); });
}

TEST_CASE("A backup is made of an older state", "[history][backup]") {
  const DurableDirectory directory;
  const iqdb_test::TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(3)));
  for (std::uint64_t id = 1; id <= 4; ++id) {
    insert_row(db, id);
    if (id % 2 == 0) {
      db.checkpoint();
    }
  }
  for (std::uint64_t lsn = 0; lsn <= 4; ++lsn) {
    const auto made = db.backup(backups / std::to_string(lsn), {.up_to = lsn});
    CHECK(made.lsn == lsn);
    CHECK(ids_of(DurableIndex::load({.path = made.path, .wal_enabled = true}).index()) == up_to(lsn));
  }
}

TEST_CASE("No older state is loaded for one that the history does not reach", "[history]") {
  const DurableDirectory directory;
  auto db = DurableIndex::open_with(empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(3)));
  insert_row(db, 1);
  db.checkpoint();
  insert_row(db, 2);
  db.close();
  std::filesystem::remove(directory.log());
  CHECK(ids_at(directory.path(), 1) == up_to(1));
  require_kind(PersistErrorKind::invalid_config, [&] { ids_at(directory.path(), 2); });
}

TEST_CASE("The names of a history are read as they are written", "[history]") {
  namespace names = iqdb::history_paths;
  const std::filesystem::path entry = names::entry("/a/index.iqdb", 1'795'936'992'345);
  CHECK(entry == "/a/index.iqdb.001795936992345.history");
  CHECK(names::parsed(entry.filename().string(), "index.iqdb") == names::Member{1'795'936'992'345, false});
  CHECK(names::parsed(entry.filename().string() + ".wal", "index.iqdb") == names::Member{1'795'936'992'345, true});
  for (const char* other : {"index.iqdb", "index.iqdb.wal", "index.iqdb.history", "index.iqdb.00179593699234x.history",
                            "index.iqdbb001795936992345.history", "index.iqdb.001795936992345.history.tmp",
                            "other.iqdb.001795936992345.history", "index.iqdb.1795936992345.history"}) {
    CHECK_FALSE(names::parsed(other, "index.iqdb"));
  }
}

TEST_CASE("A history is refused where a name has no room for it or the policy says nothing", "[history][config]") {
  const DurableDirectory directory;
  iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(1));
  const std::string longest(255 - 32, 'n');
  config.path = directory.directory() / longest;
  auto db = DurableIndex::open_with(index_of({1}), config);
  insert_row(db, 2);
  db.checkpoint();
  CHECK(entries_of(config.path).size() == 1);
  config.path += "n";
  require_kind(PersistErrorKind::invalid_config, [&] { DurableIndex::open_with(empty_index(), config); });
  for (const HistoryPolicy policy :
       {HistoryPolicy::keep_last(1'000'001), HistoryPolicy::keep_for(std::chrono::hours(24) * 36526),
        HistoryPolicy::keep_for(std::chrono::seconds(-1))}) {
    require_kind(PersistErrorKind::invalid_config,
                 [&] { DurableIndex::load(with_history(directory.config(), policy)); });
  }
}

TEST_CASE("The second names are durable before the snapshot is replaced and the log's comes first",
          "[history][order]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  auto db = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::open_with(
      empty_index(), with_history(directory.config(), HistoryPolicy::keep_last(1)), iqdb_test::FaultyStorage(system));
  insert_row(db, 1);
  system.plan({});
  db.checkpoint();
  std::vector<std::string> order;
  for (const std::string& change : iqdb_test::changes_in(system.calls())) {
    const bool of_history = change.starts_with("link ");
    order.push_back(of_history ? change.substr(0, change.find(" to ")) : change);
  }
  const auto log = std::ranges::find(order, "link index.iqdb.wal");
  REQUIRE(order.end() - log >= 5);
  CHECK(*(log + 1) == "link index.iqdb");
  CHECK(*(log + 2) == "sync directory");
  CHECK(std::ranges::find(order, "rename index.iqdb.tmp to index.iqdb") > log + 2);
}

TEST_CASE("What cannot be removed is an event and is removed by a later checkpoint", "[history][faults]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  iqdb::PersistConfig config = with_history(directory.config(), HistoryPolicy::keep_last(1));
  std::vector<std::string> told;
  config.on_event = [&](const iqdb::Event& event) {
    if (event.kind == iqdb::Event::Kind::sweep_failed) {
      told.emplace_back(event.message);
    }
  };
  auto db = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::open_with(
      empty_index(), config, iqdb_test::FaultyStorage(system));
  const auto checkpoint_behind = [&](std::uint64_t id) {
    insert_row(db, id);
    db.checkpoint();
  };
  checkpoint_behind(1);
  const std::string oldest = entries_of(directory.path()).at(0).path.filename().string();
  system.plan([&oldest](const iqdb_test::CallRecord& call) {
    return call.call == iqdb_test::FileCall::remove && call.file == oldest
               ? iqdb_test::Fault{iqdb_test::system_error(EIO)}
               : iqdb_test::Fault{};
  });
  checkpoint_behind(2);
  CHECK(told.size() == 1);
  CHECK(entries_of(directory.path()).size() == 2);
  system.plan({});
  checkpoint_behind(3);
  CHECK(told.size() == 1);
  CHECK(entries_of(directory.path()).size() == 1);
}

namespace {

using iqdb::testing::CrashStates;
using iqdb::testing::DiskState;
using iqdb::testing::SimulatedFileSystem;
using SimulatedStorage = iqdb::BasicFileStorage<SimulatedFileSystem>;
using SimulatedIndex = iqdb::PersistedIndex<iqdb::FlatIndex, SimulatedStorage>;

const iqdb::PersistConfig simulated_history{.path = "/a/index.iqdb",
                                            .wal_enabled = true,
                                            .history = HistoryPolicy::keep_last(2),
                                            .buffer_bytes = 4096,
                                            .helper_threads = 0};

// Inserts 1 to 8. Behind the last checkpoint there is a state that only the log of the last snapshot leads to.
void three_checkpoints_and_two_mutations(SimulatedIndex& db) {
  for (std::uint64_t id = 1; id <= 8; ++id) {
    insert_row(db, id);
    if (id % 2 == 0 && id < 8) {
      db.checkpoint();
    }
  }
}

// Counts the states of a disk, and those in which something is not as it must be.
struct HistoryFindings {
  std::size_t states = 0;
  std::size_t wrong = 0;
  std::size_t most_entries = 0;

  // The index was acknowledged up to `last`, and its history must reach back to `oldest`.
  void look(const DiskState& disk, std::uint64_t oldest, std::uint64_t last) {
    ++states;
    try {
      for (std::uint64_t lsn = oldest; lsn <= last; ++lsn) {
        SimulatedFileSystem machine(disk, 1);
        wrong += ids_at(simulated_history.path, lsn, SimulatedStorage(machine)) == up_to(lsn) ? 0U : 1U;
      }
      SimulatedFileSystem machine(disk, 1);
      wrong +=
          ids_of(SimulatedIndex::load(simulated_history, SimulatedStorage(machine)).index()) == up_to(last) ? 0U : 1U;
      const auto entries = entries_of(simulated_history.path, SimulatedStorage(machine));
      most_entries =
          std::max(most_entries, static_cast<std::size_t>(std::ranges::count_if(entries, &HistoryEntry::has_snapshot)));
    } catch (const std::exception& error) {
      UNSCOPED_INFO(error.what());
      ++wrong;
    }
  }
};

}  // namespace

TEST_CASE("After a power cut at any call of a checkpoint every state that is kept is there", "[history][crash]") {
  SimulatedFileSystem machine;
  auto db = SimulatedIndex::open_with(empty_index(), simulated_history, SimulatedStorage(machine));
  three_checkpoints_and_two_mutations(db);
  HistoryFindings found;
  iqdb::testing::Random random(1);
  const auto look = [&](std::uint64_t oldest) {
    const CrashStates all(machine, 1);
    found.look(all.nothing_unsynced(), oldest, 8);
    found.look(all.everything(), oldest, 8);
    constexpr int random_states = 10;
    for (int number = 0; number < random_states; ++number) {
      found.look(all.any(random), oldest, 8);
    }
  };
  machine.plan([&](const iqdb::testing::FileCallRecord& /*call*/) {
    look(4);  // what the next sweep gives up may be gone at any moment
    return iqdb::testing::Fault{};
  });
  db.checkpoint();
  machine.plan({});
  look(4);
  CHECK(found.wrong == 0);
  CHECK(found.states > 300);
  CHECK(found.most_entries == 3);  // two, and one too many
}

TEST_CASE("Whatever call of a checkpoint fails every state that is kept is there", "[history][faults]") {
  std::size_t calls = 0;
  HistoryFindings found;
  for (std::size_t failing = 0; failing <= calls; ++failing) {
    SimulatedFileSystem machine;
    auto db = std::optional(SimulatedIndex::open_with(empty_index(), simulated_history, SimulatedStorage(machine)));
    three_checkpoints_and_two_mutations(*db);
    machine.plan([&](const iqdb::testing::FileCallRecord& call) {
      return call.number == failing && call.call != iqdb::testing::FileCall::close
                 ? iqdb::testing::Fault{iqdb::testing::system_error(EIO)}
                 : iqdb::testing::Fault{};
    });
    try {
      db->checkpoint();
    } catch (const iqdb::PersistError&) {  // then the old files stand, or the index is poisoned
    }
    calls = machine.calls();
    machine.plan({});
    found.look(machine.visible(), 4, 8);
    db.reset();
    machine = machine.after_kill();
    SimulatedIndex::load(simulated_history, SimulatedStorage(machine)).checkpoint();
    found.look(machine.visible(), 4, 8);
  }
  CHECK(found.wrong == 0);
  CHECK(found.states > 60);
  CHECK(found.most_entries <= 3);
}
