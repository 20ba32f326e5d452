// Backups: copies of an index that is in use, which load by themselves.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/catch.hpp"
#include "support/crash_states.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::BackupInfo;
using iqdb::BackupOptions;
using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::empty_index;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;
using SharedFlat = iqdb::SharedIndex<iqdb::FlatIndex>;

std::vector<std::uint64_t> ids_in_backup(const std::filesystem::path& path) {
  return ids_of(DurableIndex::load({.path = path, .wal_enabled = true, .helper_threads = 0}).index());
}

// How many files there are whose names do not end with ".lock".
std::size_t files_of_backup(const std::filesystem::path& directory) {
  const std::filesystem::directory_iterator all(directory);
  return static_cast<std::size_t>(
      std::count_if(begin(all), end(all), [](const auto& entry) { return entry.path().extension() != ".lock"; }));
}

// An index with the vectors 1 and 2 on files whose calls are counted and may fail, and a place for its backups.
struct Original {
  using Faulty = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>;

  Original() { insert_row(db, 2); }

  DurableDirectory directory;
  TemporaryDirectory backups{iqdb_test::memory_directory()};
  iqdb_test::FaultyFileSystem system;
  Faulty db = Faulty::open_with(index_of({1}), directory.config(), iqdb_test::FaultyStorage(system));
};

}  // namespace

TEST_CASE("A backup holds what was there and loads by itself", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1, 2}), directory.config());
  insert_row(db, 3);
  db.erase(1);
  const BackupInfo info = db.backup(backups / "monday", {.links = GENERATE(true, false)});
  insert_row(db, 4);  // not in it
  CHECK(info.path == backups / "monday" / directory.path().filename());
  CHECK(info.lsn == 2);
  CHECK(info.snapshot_bytes == std::filesystem::file_size(info.path));
  CHECK(info.log_bytes == std::filesystem::file_size(iqdb::log_path(info.path)));
  CHECK(ids_in_backup(info.path) == std::vector<std::uint64_t>{2, 3});
  CHECK(ids_of(db.index()) == std::vector<std::uint64_t>{2, 3, 4});
}

TEST_CASE("The log of a backup begins at its snapshot", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(empty_index(), directory.config());
  insert_row(db, 1);
  db.save();
  insert_row(db, 2);
  db.save();
  insert_row(db, 3);
  const BackupInfo info = db.backup(backups / "a");
  CHECK(info.lsn == 3);
  CHECK(iqdb_test::ops_of(iqdb_test::read_bytes(iqdb::log_path(info.path))) == "ix");
  const auto copy = DurableIndex::load({.path = info.path, .wal_enabled = true});
  CHECK(copy.recovery().replayed == 1);
  CHECK(copy.lsn() == 3);
  CHECK(ids_of(copy.index()) == std::vector<std::uint64_t>{1, 2, 3});
}

TEST_CASE("Of what stands before the record of a checkpoint a backup copies what its snapshot lacks", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  { directory.open_with(index_of({1})).close(); }
  const iqdb_test::ByteVector snapshot = directory.snapshot_bytes();
  const auto insert_of = [](std::uint64_t id) { return iqdb_test::insert_body(id, iqdb_test::vector_of(id)); };
  iqdb_test::RawLog log(77, 0, iqdb_test::ByteVector(16));
  log.frame(insert_of(1), 1).frame(insert_of(2), 1);
  log.control(iqdb_test::checkpoint_body(iqdb_test::fingerprint_of(snapshot), 1)).frame(insert_of(3), 1);
  log.control(iqdb_test::close_body());
  directory.put({{iqdb_test::snapshot_name, snapshot}, {iqdb_test::log_name, log.bytes()}});
  auto reader = DurableIndex::load({.path = directory.path(), .read_only = true});
  const BackupInfo info = reader.backup(backups / "a");
  CHECK(info.lsn == 3);
  CHECK(iqdb_test::ops_of(iqdb_test::read_bytes(iqdb::log_path(info.path))) == "iix");
  CHECK(ids_in_backup(info.path) == std::vector<std::uint64_t>{1, 2, 3});
}

TEST_CASE("The snapshot of a backup is the same file under a second name where it may be", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  const BackupInfo linked = db.backup(backups / "linked");
  const BackupInfo copied = db.backup(backups / "copied", {.links = false});
  CHECK(linked.linked);
  CHECK(std::filesystem::equivalent(linked.path, directory.path()));
  CHECK_FALSE(copied.linked);
  CHECK_FALSE(std::filesystem::equivalent(copied.path, directory.path()));
  CHECK(iqdb_test::read_bytes(copied.path) == iqdb_test::read_bytes(directory.path()));
}

TEST_CASE("Whatever is done with a backup or with the original the other stays as it was", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  insert_row(db, 2);
  const BackupInfo info = db.backup(backups / "a");
  {
    auto copy = DurableIndex::load({.path = info.path, .wal_enabled = true});
    insert_row(copy, 10);
    copy.checkpoint();
    insert_row(copy, 11);
    CHECK(ids_of(copy.index()) == std::vector<std::uint64_t>{1, 2, 10, 11});
  }
  insert_row(db, 3);
  db.checkpoint();
  db.close();
  CHECK(ids_in_backup(directory.path()) == std::vector<std::uint64_t>{1, 2, 3});
  CHECK(ids_in_backup(info.path) == std::vector<std::uint64_t>{1, 2, 10, 11});
}

TEST_CASE("A backup is a history of its own", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  const BackupInfo info = db.backup(backups / "a");
  const auto history_of = [](const std::filesystem::path& path) {
    iqdb::FileStorage storage;
    auto file = storage.open(iqdb::log_path(path));
    return iqdb::identify_log(*file).header.history_id;
  };
  CHECK(history_of(info.path) != history_of(directory.path()));
}

TEST_CASE("A backup with the log off holds the index as it is in memory", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config_without_log());
  insert_row(db, 2);
  const BackupInfo info = db.backup(backups / "a");
  CHECK(info.log_bytes == 0);
  CHECK(ids_in_backup(info.path) == std::vector<std::uint64_t>{1, 2});
  const iqdb::PersistError error =
      require_kind(PersistErrorKind::invalid_config, [&] { db.backup(backups / "b", {.up_to = 1}); });
  CHECK(iqdb_test::mentions(error, "no log"));
}

TEST_CASE("A reader makes a backup of the files as they are", "[backup][read_only]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  iqdb::PersistConfig config = directory.config();
  config.read_only = true;
  auto reader = DurableIndex::load(config);
  insert_row(db, 2);
  const BackupInfo info = reader.backup(backups / "a");
  CHECK(info.lsn == 1);
  CHECK(ids_in_backup(info.path) == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("A backup of a reader syncs piece by piece while another program writes the log", "[backup][read_only]") {
  const bool is_written_meanwhile = GENERATE(false, true);
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  constexpr std::uint64_t large_dim = 4096;
  iqdb::FlatIndex index(large_dim, iqdb::DistanceMetric::euclidean);
  const std::vector<float> vector(large_dim, 1.0F);
  for (std::uint64_t id = 0; id < 1088; ++id) {  // 17 MiB: progress is reported each 16 MiB
    index.insert(id, std::span<const float>(vector));
  }
  auto db = DurableIndex::open_with(std::move(index), directory.config());
  std::uint64_t next = 1'000'000;
  iqdb::PersistConfig config = directory.config();
  config.read_only = true;
  config.on_progress = [&](const iqdb::Progress& progress) {
    if (is_written_meanwhile && progress.phase == iqdb::Progress::Phase::save) {
      db.insert(next++, std::span<const float>(vector));
    }
  };
  iqdb_test::FaultyFileSystem system;
  auto reader = Original::Faulty::load(config, iqdb_test::FaultyStorage(system));
  system.plan({});
  const BackupInfo info = reader.backup(backups.path(), {.links = false});
  const std::vector<std::string> changes = iqdb_test::changes_in(system.calls());
  const auto syncs = std::count(changes.begin(), changes.end(), "sync index.iqdb.tmp");
  CHECK(info.lsn == 0);
  if (is_written_meanwhile) {
    CHECK(syncs > 1);
  } else {
    CHECK(syncs == 1);
  }
}

TEST_CASE("Nothing that is there is replaced by a backup", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  const BackupInfo info = db.backup(backups / "a");
  std::ignore = require_kind(PersistErrorKind::would_discard_snapshot, [&] { db.backup(backups / "a"); });
  std::filesystem::remove(info.path);
  std::ignore = require_kind(PersistErrorKind::would_discard_log, [&] { db.backup(backups / "a"); });
  std::ignore = require_kind(PersistErrorKind::invalid_config, [&] { db.backup(directory.path().parent_path()); });
  const auto error = require_kind(PersistErrorKind::io, [&] { db.backup(backups / "no" / "such"); });
  CHECK(iqdb_test::mentions(error, "create the directory"));
  insert_row(db, 2);  // it goes on
}

TEST_CASE("A backup is refused where it would lack what is in memory", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  std::ignore = db.index_mut();
  std::ignore = require_kind(PersistErrorKind::unlogged_changes, [&] { db.backup(backups / "a"); });
  db.save();
  db.close();
  std::ignore = require_kind(PersistErrorKind::poisoned, [&] { db.backup(backups / "a"); });
  CHECK(files_of_backup(backups / "a") == 0);
}

TEST_CASE("A backup up to a mutation is the state behind that mutation", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(empty_index(), directory.config());
  std::vector<std::vector<std::uint64_t>> states = {{}};
  const auto mutate = [&](auto&& mutation) {
    mutation();
    states.push_back(ids_of(db.index()));
  };
  mutate([&] { insert_row(db, 1); });
  mutate([&] { insert_row(db, 2); });
  mutate([&] { db.erase(1); });
  iqdb::WriteBatch batch;
  for (std::uint64_t id = 10; id < 14; ++id) {
    insert_row(batch, id);
    states.push_back(states.back());
    states.back().push_back(id);
  }
  db.apply(batch);
  mutate([&] { db.upsert(2, iqdb_test::vector_of(2)); });
  REQUIRE(db.lsn() + 1 == states.size());
  for (std::uint64_t lsn = 0; lsn < states.size(); ++lsn) {
    const BackupInfo info = db.backup(backups / std::to_string(lsn), {.verifies = true, .up_to = lsn});
    CHECK(info.lsn == lsn);
    CHECK(ids_in_backup(info.path) == states[lsn]);
  }
  std::ignore =
      require_kind(PersistErrorKind::invalid_config, [&] { db.backup(backups / "x", {.up_to = states.size()}); });
  db.checkpoint();
  std::ignore = require_kind(PersistErrorKind::invalid_config, [&] { db.backup(backups / "y", {.up_to = 3}); });
}

TEST_CASE("A backup that is verified is not there if its snapshot is damaged", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1, 2, 3}), directory.config());
  {
    std::fstream file(directory.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x55');
  }
  std::ignore =
      require_kind(PersistErrorKind::checksum_mismatch, [&] { db.backup(backups / "a", {.verifies = true}); });
  CHECK(files_of_backup(backups / "a") == 0);
}

TEST_CASE("The files of a backup are as private as the original", "[backup]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = DurableIndex::open_with(index_of({1}), directory.config());
  const auto owner_only = std::filesystem::perms::owner_read | std::filesystem::perms::owner_write;
  std::filesystem::permissions(directory.path(), owner_only);
  const BackupInfo info = db.backup(backups / "a", {.links = false});
  CHECK(std::filesystem::status(info.path).permissions() == owner_only);
  CHECK(std::filesystem::status(iqdb::log_path(info.path)).permissions() == owner_only);
}

TEST_CASE("Backups under mutations and checkpoints hold what was acknowledged before the call and nothing out of order",
          "[backup][threads]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  auto db = SharedFlat::open_with(empty_index(), directory.config());
  constexpr std::uint64_t writers = 3;
  constexpr std::uint64_t most_each = 2000;
  std::vector<std::atomic<std::uint64_t>> acknowledged(writers);
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (std::uint64_t writer = 0; writer < writers; ++writer) {
    threads.emplace_back([&, writer] {
      for (std::uint64_t number = 0; number < most_each && !done; ++number) {
        insert_row(db, number * writers + writer);
        acknowledged[writer] = number + 1;
      }
    });
  }
  threads.emplace_back([&] {
    while (!done) {
      db.checkpoint();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // a backup waits for a checkpoint, and the reverse
    }
  });
  for (int round = 0; round < 10; ++round) {
    std::vector<std::uint64_t> before;
    for (const auto& each : acknowledged) {
      before.push_back(each);
    }
    const BackupInfo info = db.backup(backups / std::to_string(round), {.links = round % 2 == 0});
    std::vector<std::uint64_t> found(writers);
    const std::vector<std::uint64_t> ids = ids_in_backup(info.path);
    for (const std::uint64_t id : ids) {
      ++found[id % writers];
    }
    const std::set<std::uint64_t> unique(ids.begin(), ids.end());
    for (std::uint64_t writer = 0; writer < writers; ++writer) {
      CHECK(found[writer] >= before[writer]);
      // What is there of a writer is what it wrote first.
      CHECK((found[writer] == 0 || unique.contains((found[writer] - 1) * writers + writer)));
    }
  }
  done = true;
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST_CASE("A backup that is under way ends when its index is closed and leaves nothing", "[backup][close]") {
  const DurableDirectory directory;
  const TemporaryDirectory backups(iqdb_test::memory_directory());
  using State = iqdb::SharedState<iqdb::FlatIndex, iqdb::FileStorage>;
  iqdb::PersistConfig config = directory.config();
  State* closing = nullptr;
  std::size_t reports = 0;
  config.on_progress = [&](const iqdb::Progress& /*progress*/) {
    if (closing != nullptr) {
      ++reports;
      closing->begin_closing();  // as close() does before it waits for its turn
    }
  };
  constexpr std::size_t large_dim = 1024;
  iqdb::FlatIndex large(large_dim, iqdb::DistanceMetric::euclidean);
  for (std::uint64_t id = 0; id * large_dim * sizeof(float) < 2 * iqdb::ProgressMeter::step; ++id) {
    large.insert(id, std::vector<float>(large_dim, static_cast<float>(id)));
  }
  State state(iqdb::PersistedIndex<iqdb::FlatIndex>::open_with(std::move(large), config));
  closing = &state;
  std::ignore = require_kind(PersistErrorKind::poisoned, [&] { state.backup(backups / "a", {.links = false}); });
  CHECK(reports == 1);
  CHECK(files_of_backup(backups / "a") == 0);
}

TEST_CASE("Whatever call of a backup fails there is a whole one or no snapshot", "[backup][faults]") {
  Original original;
  bool failed = true;
  std::size_t whole = 0;
  for (std::size_t call = 0; failed; ++call) {
    const std::filesystem::path place = original.backups / std::to_string(call);
    std::filesystem::create_directory(place);
    original.system.plan(iqdb_test::fail_call(call, EIO));
    failed = false;
    try {
      original.db.backup(place);
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == PersistErrorKind::io);
      failed = true;
    }
    failed = failed || original.system.calls().size() > call;  // a call whose failure does not matter
    original.system.plan({});
    const std::filesystem::path snapshot = place / original.directory.path().filename();
    if (std::filesystem::exists(snapshot)) {
      CHECK(ids_in_backup(snapshot) == std::vector<std::uint64_t>{1, 2});
      ++whole;
    }
    CHECK_FALSE(std::filesystem::exists(snapshot.string() + ".tmp"));
    CHECK_FALSE(std::filesystem::exists(snapshot.string() + ".wal.tmp"));
  }
  CHECK(whole > 0);
  insert_row(original.db, 3);
  CHECK_FALSE(original.db.poisoned());
}

TEST_CASE("After a crash at any call of a backup there is a whole one or no snapshot", "[backup][crash]") {
  Original original;
  const auto states = iqdb_test::states_during(original.system, original.backups.path(),
                                               [&] { original.db.backup(original.backups.path()); });
  CHECK(states.size() > 4);
  const std::string name = original.directory.path().filename().string();
  for (const iqdb_test::CrashState& state : states) {
    INFO(state.when);
    if (state.files.contains(name)) {
      CHECK(iqdb_test::load_of(state.files).ids() == std::vector<std::uint64_t>{1, 2});
    }
  }
}

TEST_CASE("After a power cut at any call of a backup there is a whole one or no snapshot", "[backup][crash]") {
  using iqdb::testing::CrashStates;
  using iqdb::testing::DiskState;
  using iqdb::testing::SimulatedFileSystem;
  using Simulated = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb::BasicFileStorage<SimulatedFileSystem>>;
  const std::filesystem::path original = "/original/index.iqdb";
  const std::filesystem::path copy = "/copies/index.iqdb";
  const iqdb::PersistConfig config{.path = original, .wal_enabled = true, .buffer_bytes = 4096, .helper_threads = 0};
  SimulatedFileSystem machine;
  auto db = Simulated::open_with(index_of({1}), config, iqdb::BasicFileStorage(machine));
  insert_row(db, 2);
  std::size_t states = 0;
  std::size_t whole = 0;
  iqdb::testing::Random random(1);
  const auto look = [&](const SimulatedFileSystem& cut) {
    const CrashStates all(cut, 1);
    constexpr std::size_t random_states = 12;
    for (std::size_t number = 0; number < random_states + 2; ++number) {
      const DiskState disk = number == 0 ? all.nothing_unsynced() : number == 1 ? all.everything() : all.any(random);
      const auto ids_at = [&](const std::filesystem::path& path) {
        iqdb::PersistConfig where = config;
        where.path = path;
        return ids_of(Simulated::load(where, iqdb::BasicFileStorage(SimulatedFileSystem(disk, 1))).index());
      };
      CHECK(ids_at(original) == std::vector<std::uint64_t>{1, 2});
      ++states;
      if (disk.contains(copy)) {
        CHECK(ids_at(copy) == std::vector<std::uint64_t>{1, 2});
        ++whole;
      }
    }
  };
  machine.plan([&](const iqdb::testing::FileCallRecord& /*call*/) {
    look(machine);
    return iqdb::testing::Fault{};
  });
  db.backup(copy.parent_path());
  machine.plan({});
  CHECK(whole > 0);
  CHECK(states > 100);
  const std::size_t before = whole;
  look(machine);
  CHECK(whole > before);
  CHECK(CrashStates(machine, 1).count() == 1);  // durable when it returns
}

TEST_CASE("A backup syncs its files before their names and the log before the snapshot", "[backup][order]") {
  Original original;
  original.system.plan({});
  original.db.backup(original.backups.path());
  CHECK(iqdb_test::changes_in(original.system.calls()) ==
        std::vector<std::string>{"create index.iqdb.wal.tmp", "write index.iqdb.wal.tmp", "create index.iqdb.tmp",
                                 "write index.iqdb.tmp", "sync index.iqdb.wal.tmp", "sync index.iqdb.tmp",
                                 "rename index.iqdb.wal.tmp to index.iqdb.wal", "sync directory",
                                 "rename index.iqdb.tmp to index.iqdb", "sync directory"});
}
