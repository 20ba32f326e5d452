// The directory of a lock: what happens to an index whose directory or lock file is exchanged while it is open.
#include "iqdb/persist/storage/held_directory.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::PersistErrorKind;
using iqdb_test::DurableIndex;
using iqdb_test::files_in;
using iqdb_test::FileSet;
using iqdb_test::Ids;
using iqdb_test::insert_row;
using iqdb_test::mentions;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;

constexpr std::chrono::milliseconds at_once{0};

// Two directories, each with an index `x`.
class TwoIndexes {
 public:
  TwoIndexes() {
    for (const fs::path& place : {live(), other()}) {
      fs::create_directory(place);
    }
    DurableIndex::open_with(iqdb_test::index_of({1, 2}), config(live())).close();
    DurableIndex::open_with(iqdb_test::index_of({100, 101, 102}), config(other())).close();
  }

  [[nodiscard]] static iqdb::PersistConfig config(const fs::path& place) {
    return {.path = place / "x", .wal_enabled = true, .buffer_bytes = 4096, .helper_threads = 0};
  }

  [[nodiscard]] fs::path live() const { return directory_ / "live"; }
  [[nodiscard]] fs::path other() const { return directory_ / "other"; }
  [[nodiscard]] fs::path old() const { return directory_ / "old"; }

  // mv live old; mv other live
  void exchange() const {
    fs::rename(live(), old());
    fs::rename(other(), live());
  }
  void exchange_back() const {
    fs::rename(live(), other());
    fs::rename(old(), live());
  }

 private:
  TemporaryDirectory directory_{iqdb_test::memory_directory()};
};

void require_stale(const iqdb::PersistError& error) {
  CHECK(error.code().value() == ESTALE);
  CHECK(mentions(error, "was replaced while the index was open"));
  CHECK(mentions(error, "nothing was changed"));
}

}  // namespace

TEST_CASE("An index whose directory was exchanged under it overwrites neither of the two", "[held_directory]") {
  const TwoIndexes two;
  DurableIndex db = DurableIndex::load(TwoIndexes::config(two.live()));
  insert_row(db, 3);
  const FileSet old_before = files_in(two.live());
  const FileSet other_before = files_in(two.other());
  two.exchange();
  DurableIndex owner = DurableIndex::load(TwoIndexes::config(two.live()));
  insert_row(owner, 103);
  const FileSet owned = files_in(two.live());
  CHECK(owned != other_before);

  require_stale(require_kind(PersistErrorKind::io, [&] { return db.checkpoint(); }));
  require_stale(require_kind(PersistErrorKind::io, [&] { return db.save(); }));
  CHECK(files_in(two.old()) == old_before);
  CHECK(files_in(two.live()) == owned);
  CHECK_FALSE(db.poisoned());

  insert_row(db, 4);  // goes to the log that is open, in the directory that was moved
  owner.close();
  db.close();
  CHECK(iqdb_test::ids_of(DurableIndex::load(TwoIndexes::config(two.old())).index()) == Ids{1, 2, 3, 4});
  CHECK(iqdb_test::ids_of(DurableIndex::load(TwoIndexes::config(two.live())).index()) == Ids{100, 101, 102, 103});
}

TEST_CASE("An index whose directory was moved away says so and goes on when it is back", "[held_directory]") {
  const TwoIndexes two;
  DurableIndex db = DurableIndex::load(TwoIndexes::config(two.live()));
  insert_row(db, 3);
  fs::rename(two.live(), two.old());
  const FileSet before = files_in(two.old());
  const iqdb::PersistError error = require_kind(PersistErrorKind::io, [&] { return db.checkpoint(); });
  require_stale(error);
  CHECK(mentions(error, "does not exist any more"));
  CHECK(files_in(two.old()) == before);
  fs::rename(two.old(), two.live());
  CHECK_NOTHROW(db.checkpoint());
}

TEST_CASE("An index whose lock file was replaced leaves the files to the new owner", "[held_directory]") {
  const TwoIndexes two;
  DurableIndex db = DurableIndex::load(TwoIndexes::config(two.live()));
  insert_row(db, 3);
  fs::remove(two.live() / "x.lock");
  const iqdb::PersistError missing = require_kind(PersistErrorKind::io, [&] { return db.checkpoint(); });
  require_stale(missing);
  CHECK(mentions(missing, "x.lock"));
  DurableIndex owner = DurableIndex::load(TwoIndexes::config(two.live()));
  insert_row(owner, 4);
  const FileSet owned = files_in(two.live());
  require_stale(require_kind(PersistErrorKind::io, [&] { return db.checkpoint(); }));
  require_stale(require_kind(PersistErrorKind::io, [&] { return db.save(); }));
  CHECK(files_in(two.live()) == owned);
}

TEST_CASE("A new file that is not renamed since the directory was exchanged is removed where it lies",
          "[held_directory]") {
  const TwoIndexes two;
  const FileSet old_before = files_in(two.live());
  const FileSet other_before = files_in(two.other());
  iqdb::FileStorage storage;
  {
    const auto lock = storage.lock(two.live() / "x", at_once);
    auto file = storage.replace(two.live() / "x", lock);
    file.append(std::vector<std::byte>(10));
    file.sync();
    two.exchange();
    require_stale(require_kind(PersistErrorKind::io, [&] { file.rename(); }));
    CHECK_FALSE(file.in_doubt());
    CHECK(files_in(two.live()) == other_before);
  }
  CHECK(files_in(two.old()) == old_before);
  CHECK(files_in(two.live()) == other_before);
}

TEST_CASE("A temporary file that another wrote under the same name is left to it", "[held_directory]") {
  const TwoIndexes two;
  const fs::path temporary = two.live() / "x.tmp";
  const std::vector<std::byte> others(5, std::byte{5});
  iqdb::FileStorage storage;
  const auto lock = storage.lock(two.live() / "x", at_once);
  {
    const auto file = storage.replace(two.live() / "x", lock);
    fs::remove(two.live() / "x.lock");
    fs::remove(temporary);
    iqdb_test::write_bytes(temporary, others);
  }
  CHECK(iqdb_test::read_bytes(temporary) == others);
  require_stale(require_kind(PersistErrorKind::io, [&] { return storage.replace(two.live() / "x", lock); }));
  CHECK(iqdb_test::read_bytes(temporary) == others);
}

TEST_CASE("Nothing is removed or kept in a directory that was exchanged", "[held_directory]") {
  const TwoIndexes two;
  const fs::path log = two.live() / "x.wal";
  iqdb::FileStorage storage;
  const auto lock = storage.lock(two.live() / "x", at_once);
  const FileSet old_before = files_in(two.live());
  const FileSet other_before = files_in(two.other());
  two.exchange();
  require_stale(require_kind(PersistErrorKind::io, [&] { storage.remove(log, lock); }));
  require_stale(require_kind(PersistErrorKind::io, [&] { storage.keep(log, two.live() / "x.wal.torn", lock); }));
  CHECK(files_in(two.old()) == old_before);
  CHECK(files_in(two.live()) == other_before);
}

TEST_CASE("What is read under a lock is read in the directory of the lock", "[held_directory]") {
  const TwoIndexes two;
  iqdb::FileStorage storage;
  const auto lock = storage.lock(two.live() / "x", at_once);
  const auto size = fs::file_size(two.live() / "x");
  REQUIRE(fs::file_size(two.other() / "x") != size);
  two.exchange();
  CHECK(storage.open(two.live() / "x", lock).value().size() == size);
  CHECK(storage.open(two.live() / "x").value().size() != size);
  two.exchange_back();
}

TEST_CASE("A lock on a lock file that lost its name meanwhile is refused", "[held_directory]") {
  const TwoIndexes two;
  iqdb_test::FaultyFileSystem system;
  iqdb_test::FaultyStorage storage(system);
  system.plan([&](const iqdb_test::CallRecord& call) {
    if (call.call == iqdb_test::FileCall::status_of_open) {  // behind the lock
      fs::remove(two.live() / "x.lock");
    }
    return iqdb_test::Fault{};
  });
  require_stale(require_kind(PersistErrorKind::io, [&] { return storage.lock(two.live() / "x", at_once); }));
  system.plan({});
  const auto lock = storage.lock(two.live() / "x", at_once);
  CHECK_FALSE(lock.inherited());
}

// ---- In the laboratory: exchanged before any call -------------------------------------------------------------------

TEST_CASE("Whenever a directory is exchanged during a checkpoint the other one keeps its files", "[held_directory]") {
  using iqdb::testing::SimulatedFileSystem;
  using Storage = iqdb::BasicFileStorage<SimulatedFileSystem>;
  using HeldDb = iqdb::PersistedIndex<iqdb::FlatIndex, Storage>;
  std::size_t refused = 0;
  std::size_t done = 0;
  bool is_behind_end = false;
  for (std::size_t number = 0; !is_behind_end; ++number) {
    SimulatedFileSystem machine;
    HeldDb::open_with(iqdb_test::index_of({100, 101}), TwoIndexes::config("/other"), Storage(machine)).close();
    HeldDb db = HeldDb::open_with(iqdb_test::index_of({1, 2}), TwoIndexes::config("/live"), Storage(machine));
    insert_row(db, 3);
    const auto before = machine.visible();
    is_behind_end = true;
    machine.plan([&](const iqdb::testing::FileCallRecord& call) {
      if (call.number == number) {
        is_behind_end = false;
        machine.exchange_directories("/live", "/other");
      }
      return iqdb::testing::Fault{};
    });
    std::string outcome = "done";
    try {
      db.checkpoint();
      ++done;
    } catch (const iqdb::PersistError& error) {
      outcome = error.what();
      require_stale(error);
      ++refused;
    }
    machine.plan({});
    INFO("exchanged before call " << number << ": " << outcome);
    if (!is_behind_end) {
      const auto after = machine.visible();
      CHECK(after.at("/live/x") == before.at("/other/x"));
      CHECK(after.at("/live/x.wal") == before.at("/other/x.wal"));
      CHECK_FALSE(after.contains("/live/x.tmp"));
      CHECK_FALSE(after.contains("/other/x.tmp"));
      db.close();
      CHECK(iqdb_test::ids_of(HeldDb::load(TwoIndexes::config("/other"), Storage(machine)).index()) == Ids{1, 2, 3});
    }
  }
  CHECK(refused > 5);
  CHECK(done > 1);  // exchanged behind the last rename
}

TEST_CASE("A lock file that is removed in the laboratory ends checkpoints", "[held_directory]") {
  using iqdb::testing::SimulatedFileSystem;
  using Storage = iqdb::BasicFileStorage<SimulatedFileSystem>;
  using HeldDb = iqdb::PersistedIndex<iqdb::FlatIndex, Storage>;
  SimulatedFileSystem machine;
  HeldDb db = HeldDb::open_with(iqdb_test::index_of({1, 2}), TwoIndexes::config("/live"), Storage(machine));
  machine.remove_lock_file("/live/x.lock");
  const auto before = machine.visible();
  require_stale(require_kind(PersistErrorKind::io, [&] { return db.checkpoint(); }));
  CHECK(machine.visible() == before);
  HeldDb owner = HeldDb::load(TwoIndexes::config("/live"), Storage(machine));
  const auto owned = machine.visible();
  require_stale(require_kind(PersistErrorKind::io, [&] { return db.checkpoint(); }));
  CHECK(machine.visible() == owned);
}
