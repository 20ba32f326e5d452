// Loads that only read: beside a writer, without rights, without space, and up to a number.
#include "iqdb/persist/wal/read_only.hpp"

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/outcome.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::FileSet;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::log_name;
using iqdb_test::outcome_of;
using iqdb_test::require_kind;
using FaultyReader = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::FaultyStorage>;

iqdb::PersistConfig reading(const DurableDirectory& directory) {
  iqdb::PersistConfig config = directory.config();
  config.read_only = true;
  return config;
}

// Files of a killed process: a snapshot of the rows 1 and 2, and a log with the rows 3 to 6.
FileSet killed(const DurableDirectory& directory) {
  DurableIndex db = directory.open_with(index_of({1, 2}));
  for (std::uint64_t id = 3; id <= 6; ++id) {
    insert_row(db, id);
  }
  return directory.files();
}

}  // namespace

TEST_CASE("A read-only load has snapshot and log whether or not the log is on", "[read_only]") {
  const DurableDirectory directory;
  directory.put(killed(directory));
  for (const bool wal_enabled : {true, false}) {
    iqdb::PersistConfig config = reading(directory);
    config.wal_enabled = wal_enabled;
    const DurableIndex db = DurableIndex::load(config);
    CHECK(ids_of(db.index()) == Ids{1, 2, 3, 4, 5, 6});
    CHECK(db.lsn() == 4);
    CHECK(db.recovery().replayed == 4);
    CHECK_FALSE(db.poisoned());
  }
}

TEST_CASE("A read-only load makes no call that writes or locks", "[read_only]") {
  const DurableDirectory directory;
  FileSet files = killed(directory);
  files[log_name].resize(iqdb_test::frames_of(files[log_name]).back().end -
                         3);  // with a torn tail, which other loads put aside
  directory.put(files);
  iqdb_test::FaultyFileSystem system;
  const FaultyReader db = FaultyReader::load(reading(directory), iqdb_test::FaultyStorage(system));
  CHECK(ids_of(db.index()) == Ids{1, 2, 3, 4, 5});
  CHECK(db.recovery().dropped_bytes > 0);
  for (const iqdb_test::CallRecord& call : system.calls()) {
    INFO(call.text());
    CHECK(call.call != iqdb_test::FileCall::lock);
    CHECK(call.call != iqdb_test::FileCall::write);
    CHECK(call.call != iqdb_test::FileCall::sync);
    CHECK(call.call != iqdb_test::FileCall::rename);
    CHECK(call.call != iqdb_test::FileCall::link);
    CHECK(call.call != iqdb_test::FileCall::remove);
  }
  CHECK(directory.files() == files);
  CHECK_FALSE(std::filesystem::exists(directory.path().string() + ".lock"));
}

TEST_CASE("A read-only load runs beside a writer and sees what it has written", "[read_only]") {
  const DurableDirectory directory;
  DurableIndex writer = directory.open_with(index_of({1}));
  Ids expected = {1};
  for (std::uint64_t id = 2; id < 12; ++id) {
    insert_row(writer, id);
    expected.push_back(id);
    if (id % 3 == 0) {
      writer.checkpoint();
    }
    CHECK(ids_of(DurableIndex::load(reading(directory)).index()) == expected);
  }
}

TEST_CASE("A read-only load of files that stay two of different moments is tried eight times", "[read_only]") {
  const DurableDirectory directory;
  FileSet files = killed(directory);
  const DurableDirectory other;
  other.open_with(index_of({1})).close();
  files[iqdb_test::snapshot_name] = other.snapshot_bytes();
  directory.put(files);
  iqdb_test::FaultyFileSystem system;
  CHECK(outcome_of([&] { return FaultyReader::load(reading(directory), iqdb_test::FaultyStorage(system)); }) ==
        "log_mismatch");
  std::size_t opened = 0;
  for (const iqdb_test::CallRecord& call : system.calls()) {
    opened += call.call == iqdb_test::FileCall::open && call.file == log_name ? 1U : 0U;
  }
  CHECK(opened == 8);
}

TEST_CASE("Mutations and saves of a read-only index throw read_only and the index stays", "[read_only]") {
  const DurableDirectory directory;
  const FileSet files = killed(directory);
  directory.put(files);
  DurableIndex db = DurableIndex::load(reading(directory));
  iqdb::WriteBatch batch;
  batch.erase(1);
  require_kind(PersistErrorKind::read_only, [&] { insert_row(db, 9); });
  require_kind(PersistErrorKind::read_only, [&] { db.upsert(9, std::span<const float>(iqdb_test::vector_of(9))); });
  require_kind(PersistErrorKind::read_only, [&] { db.erase(1); });
  require_kind(PersistErrorKind::read_only, [&] { db.apply(batch); });
  require_kind(PersistErrorKind::read_only, [&] { return db.save(); });
  require_kind(PersistErrorKind::read_only, [&] { return db.checkpoint(); });
  CHECK_NOTHROW(db.sync());
  CHECK_NOTHROW(db.close());
  CHECK(ids_of(db.index()) == Ids{1, 2, 3, 4, 5, 6});
  CHECK(directory.files() == files);
}

TEST_CASE("Read only, there is nothing to create", "[read_only]") {
  const DurableDirectory directory;
  require_kind(PersistErrorKind::read_only, [&] { return DurableIndex::open_with(index_of({1}), reading(directory)); });
  require_kind(PersistErrorKind::read_only,
               [&] { return DurableIndex::load_or_create(reading(directory), index_of({1})); });
  require_kind(PersistErrorKind::io, [&] { return DurableIndex::load(reading(directory)); });
  CHECK(directory.files().empty());
}

TEST_CASE("up_to loads every mutation up to its number and none behind it", "[read_only][up_to]") {
  const DurableDirectory directory;
  directory.put(killed(directory));
  Ids expected = {1, 2};
  for (std::uint64_t lsn = 0; lsn <= 6; ++lsn) {
    iqdb::PersistConfig config = reading(directory);
    config.up_to = lsn;
    const DurableIndex db = DurableIndex::load(config);
    CHECK(ids_of(db.index()) == expected);
    CHECK(db.lsn() == std::min<std::uint64_t>(lsn, 4));
    if (lsn < 4) {
      expected.push_back(3 + lsn);
    }
  }
}

TEST_CASE("up_to divides a batch", "[read_only][up_to]") {
  const DurableDirectory directory;
  DurableIndex writer = directory.open_with(index_of({1}));
  iqdb::WriteBatch batch;
  insert_row(batch, 2);
  insert_row(batch, 3);
  batch.erase(1);
  writer.apply(batch);
  iqdb::PersistConfig config = reading(directory);
  config.up_to = 2;
  CHECK(ids_of(DurableIndex::load(config).index()) == Ids{1, 2, 3});
}

TEST_CASE("The way out that the message of a damaged log names has everything before the damage",
          "[read_only][up_to]") {
  const DurableDirectory directory;
  FileSet files = killed(directory);
  const auto frames = iqdb_test::frames_of(files[log_name]);
  for (std::size_t damaged = 0; damaged + 1 < frames.size(); ++damaged) {
    FileSet wrong = files;
    wrong[log_name][frames[damaged].offset + 30] ^= std::byte{1};
    directory.put(wrong);
    const iqdb_test::LoadResult refused = iqdb_test::load_in(directory);
    REQUIRE(refused.kind == "log_corrupted");
    CHECK(refused.message.find("read_only = true and up_to = " + std::to_string(damaged)) != std::string::npos);
    CHECK(outcome_of([&] { return DurableIndex::load(reading(directory)); }) == "log_corrupted");
    iqdb::PersistConfig config = reading(directory);
    config.up_to = damaged;
    DurableIndex db = DurableIndex::load(config);
    Ids expected = {1, 2};
    for (std::uint64_t id = 3; id < 3 + damaged; ++id) {
      expected.push_back(id);
    }
    CHECK(ids_of(db.index()) == expected);
    db.save_copy(directory.directory() / "rescued.iqdb");
    CHECK(ids_of(DurableIndex::load({.path = directory.directory() / "rescued.iqdb"}).index()) == expected);
  }
}

TEST_CASE("up_to finds the snapshot's checkpoint though it stands behind the last mutation", "[read_only][up_to]") {
  const DurableDirectory directory;
  DurableIndex writer = directory.open_with(index_of({1}));
  insert_row(writer, 2);
  writer.save();
  insert_row(writer, 3);
  insert_row(writer, 4);
  FileSet files = directory.files();
  const auto frames = iqdb_test::frames_of(files[log_name]);
  files[log_name][frames[2].offset + 30] ^= std::byte{1};  // in the mutation 2
  const DurableDirectory damaged;
  damaged.put(files);
  REQUIRE(iqdb_test::load_in(damaged).kind == "log_corrupted");
  iqdb::PersistConfig config = reading(damaged);
  config.up_to = 1;
  CHECK(ids_of(DurableIndex::load(config).index()) == Ids{1, 2});
}

TEST_CASE("up_to below what the snapshot holds is invalid_config", "[read_only][up_to]") {
  const DurableDirectory directory;
  DurableIndex writer = directory.open_with(index_of({1}));
  insert_row(writer, 2);
  insert_row(writer, 3);
  writer.checkpoint();
  insert_row(writer, 4);
  iqdb::PersistConfig config = reading(directory);
  config.up_to = 1;
  require_kind(PersistErrorKind::invalid_config, [&] { return DurableIndex::load(config); });
  config.up_to = 2;
  CHECK(ids_of(DurableIndex::load(config).index()) == Ids{1, 2, 3});
}
