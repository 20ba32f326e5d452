// Saves without a log: a file that somebody else has changed is not replaced, and a copy replaces nothing.
#include "iqdb/persist/wal/save_alone.hpp"

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::FileSet;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::require_kind;
using iqdb_test::write_bytes;

DurableIndex opened(const DurableDirectory& directory) { return DurableIndex::load(directory.config_without_log()); }

}  // namespace

TEST_CASE("A stale object does not save over what another saved", "[save_alone]") {
  const DurableDirectory directory;
  DurableIndex::open_with(index_of({1}), directory.config_without_log()).save();
  DurableIndex stale = opened(directory);
  DurableIndex fresh = opened(directory);
  insert_row(fresh, 2);
  fresh.save();
  insert_row(stale, 3);
  const FileSet before = directory.files();
  const iqdb::PersistError error = require_kind(PersistErrorKind::snapshot_changed, [&] { return stale.save(); });
  CHECK(std::string(error.what()).find("save_copy") != std::string::npos);
  CHECK(error.path() == directory.path());
  CHECK(directory.files() == before);
  insert_row(fresh, 4);
  fresh.save();
  CHECK(ids_of(opened(directory).index()) == Ids{1, 2, 4});
}

TEST_CASE("A stale object does not save over a checkpoint of one with the log on", "[save_alone]") {
  const DurableDirectory directory;
  DurableIndex::open_with(index_of({1}), directory.config_without_log()).save();
  DurableIndex stale = opened(directory);
  {
    DurableIndex logged = directory.load();
    insert_row(logged, 2);
    logged.checkpoint();
  }
  const FileSet before = directory.files();
  require_kind(PersistErrorKind::snapshot_changed, [&] { return stale.save(); });
  CHECK(directory.files() == before);
}

TEST_CASE("A file that is gone or damaged or came since is snapshot_changed", "[save_alone]") {
  const DurableDirectory directory;
  DurableIndex created = DurableIndex::open_with(index_of({7}), directory.config_without_log());
  DurableIndex::open_with(index_of({1}), directory.config_without_log()).save();
  require_kind(PersistErrorKind::snapshot_changed, [&] { return created.save(); });
  DurableIndex db = opened(directory);
  fs::remove(directory.path());
  require_kind(PersistErrorKind::snapshot_changed, [&] { return db.save(); });
  CHECK_FALSE(fs::exists(directory.path()));
  write_bytes(directory.path(), iqdb_test::ByteVector(100, std::byte{1}));
  require_kind(PersistErrorKind::snapshot_changed, [&] { return db.save(); });
  CHECK(directory.snapshot_bytes() == iqdb_test::ByteVector(100, std::byte{1}));
}

TEST_CASE("replace_existing counts for the first save only", "[save_alone]") {
  const DurableDirectory directory;
  DurableIndex::open_with(index_of({1}), directory.config_without_log()).save();
  iqdb::PersistConfig config = directory.config_without_log();
  config.replace_existing = true;
  DurableIndex db = DurableIndex::open_with(index_of({7}), config);
  db.save();
  DurableIndex other = opened(directory);
  insert_row(other, 8);
  other.save();
  require_kind(PersistErrorKind::snapshot_changed, [&] { return db.save(); });
  CHECK(ids_of(opened(directory).index()) == Ids{7, 8});
}

TEST_CASE("A copy is a snapshot of what is in memory and leaves the index and its files", "[save_copy]") {
  const DurableDirectory directory;
  const fs::path copy = directory.directory() / "copy.iqdb";
  for (const bool logged : {true, false}) {
    directory.put({});
    DurableIndex db =
        DurableIndex::open_with(index_of({1}), logged ? directory.config() : directory.config_without_log());
    db.save();
    insert_row(db, 2);
    const FileSet before = directory.files();
    const iqdb::SnapshotInfo info = db.save_copy(copy);
    CHECK(info.vectors == 2);
    CHECK(info.file_bytes == fs::file_size(copy));
    FileSet after = directory.files();
    CHECK(after.erase("copy.iqdb") == 1);
    CHECK(after == before);
    CHECK(ids_of(DurableIndex::load({.path = copy}).index()) == Ids{1, 2});
    insert_row(db, 3);
    db.save();
    CHECK(ids_of(db.index()) == Ids{1, 2, 3});
  }
}

TEST_CASE("A copy replaces neither a file nor a log nor the index's own files", "[save_copy]") {
  const DurableDirectory directory;
  const fs::path copy = directory.directory() / "copy.iqdb";
  DurableIndex db = directory.open_with(index_of({1}));
  require_kind(PersistErrorKind::invalid_config, [&] { return db.save_copy(directory.path()); });
  fs::create_symlink(directory.path(), directory.directory() / "link.iqdb");
  require_kind(PersistErrorKind::invalid_config, [&] { return db.save_copy(directory.directory() / "link.iqdb"); });
  write_bytes(copy, iqdb_test::ByteVector(3));
  require_kind(PersistErrorKind::would_discard_snapshot, [&] { return db.save_copy(copy); });
  fs::remove(copy);
  write_bytes(copy.string() + ".wal", iqdb_test::ByteVector(3));
  require_kind(PersistErrorKind::would_discard_log, [&] { return db.save_copy(copy); });
  CHECK_FALSE(fs::exists(copy));
  DurableIndex moved = std::move(db);
  require_kind(PersistErrorKind::poisoned, [&] { return db.save_copy(copy); });  // NOLINT(bugprone-use-after-move)
}

TEST_CASE("A copy of a poisoned index has what is in memory", "[save_copy]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  auto db = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>::open_with(
      index_of({1}), directory.config(iqdb::FsyncPolicy::never()), iqdb_test::FaultyStorage(system));
  insert_row(db, 2);
  system.plan(iqdb_test::fail_every(iqdb_test::FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { db.sync(); });
  system.plan({});
  CHECK(db.poisoned());
  const iqdb::PersistError error = require_kind(PersistErrorKind::poisoned, [&] { insert_row(db, 3); });
  CHECK(std::string(error.what()).find("save_copy") != std::string::npos);
  db.save_copy(directory.directory() / "copy.iqdb");
  CHECK(ids_of(DurableIndex::load({.path = directory.directory() / "copy.iqdb"}).index()) == Ids{1, 2});
}
