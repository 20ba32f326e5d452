// What should not happen and is looked for all the same: a log that others write to, and a save of what is poisoned.
#include "iqdb/persist/wal/recovery.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::PersistErrorKind;
using iqdb_test::CallRecord;
using iqdb_test::DurableDirectory;
using iqdb_test::Fault;
using iqdb_test::FaultyFileSystem;
using iqdb_test::FaultyStorage;
using iqdb_test::FileCall;
using Db = iqdb::PersistedIndex<iqdb::FlatIndex, FaultyStorage>;

}  // namespace

TEST_CASE("A log that another process changes while it is replayed is log_corrupted", "[recovery]") {
  const DurableDirectory directory;
  {
    iqdb_test::DurableIndex db = directory.open_with();
    iqdb_test::insert_row(db, 1);
    db.save();  // the snapshot is then another one than the log's base: so the log is read twice
    iqdb_test::insert_row(db, 2);
    iqdb_test::insert_row(db, 3);
  }
  iqdb_test::ByteVector changed = directory.log_bytes();
  const std::uint64_t offset = iqdb_test::frames_of(changed).at(2).offset;
  changed.at(offset + iqdb::FrameHeader::bytes) ^= std::byte{1};
  FaultyFileSystem system;
  // The new log is begun behind the scan of the old one and before its replay.
  system.plan([&](const CallRecord& call) {
    if (call.call == FileCall::create && call.file == "index.iqdb.wal.tmp") {
      iqdb_test::write_bytes(directory.log(), changed);
    }
    return Fault{};
  });
  const auto error = iqdb_test::require_kind(PersistErrorKind::log_corrupted,
                                             [&] { Db::load(directory.config(), FaultyStorage(system)); });
  CHECK(error.offset() == offset);
  CHECK(directory.log_bytes() == changed);
}

TEST_CASE("A poisoned index does not even begin to write a snapshot", "[persisted_index][faults]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  Db db = Db::open_with(iqdb_test::index_of({1}), directory.config(), FaultyStorage(system));
  system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  iqdb_test::require_kind(PersistErrorKind::io, [&] { iqdb_test::insert_row(db, 2); });
  system.plan({});
  iqdb_test::require_kind(PersistErrorKind::poisoned, [&] { db.save(); });
  iqdb_test::require_kind(PersistErrorKind::poisoned, [&] { db.checkpoint(); });
  CHECK(system.calls().empty());
}
