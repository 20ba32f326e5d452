// Bringing snapshot and log back together: the rules of docs/format.md one by one, with logs put together by hand, and
// a crash at every step.
#include "iqdb/persist/wal/recovery.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/crash_states.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::PersistErrorKind;
using iqdb::WriteBatch;
using iqdb_test::abort_body;
using iqdb_test::batch_body;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::CallRecord;
using iqdb_test::checkpoint_body;
using iqdb_test::CrashState;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::erase_body;
using iqdb_test::Fault;
using iqdb_test::FaultyFileSystem;
using iqdb_test::FaultyStorage;
using iqdb_test::FileCall;
using iqdb_test::FileSet;
using iqdb_test::fingerprint_of;
using iqdb_test::frames_of;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::load_in;
using iqdb_test::load_of;
using iqdb_test::LoadResult;
using iqdb_test::log_name;
using iqdb_test::number_at;
using iqdb_test::ops_of;
using iqdb_test::outcome_of;
using iqdb_test::RawLog;
using iqdb_test::read_bytes;
using iqdb_test::require_kind;
using iqdb_test::snapshot_name;
using iqdb_test::states_during;
using iqdb_test::torn_name;
using iqdb_test::vector_of;
using iqdb_test::write_bytes;
using FaultyDb = iqdb::PersistedIndex<FlatIndex, FaultyStorage>;

ByteVector snapshot_of(const Ids& ids) {
  const DurableDirectory directory;
  DurableIndex::open_with(index_of(ids), directory.config_without_log()).save();
  return directory.snapshot_bytes();
}

ByteVector insert_of(std::uint64_t id) { return iqdb_test::insert_body(id, vector_of(id)); }

constexpr std::uint64_t log_id = 0xABCDEF;

// A snapshot of the rows 1, 2 and a log that continues it.
struct Base {
  ByteVector snapshot = snapshot_of({1, 2});
  RawLog log{log_id, 0, fingerprint_of(snapshot)};

  [[nodiscard]] FileSet files() const { return {{snapshot_name, snapshot}, {log_name, log.bytes()}}; }
};

void put_log(const DurableDirectory& directory, const Base& base) { directory.put(base.files()); }

std::uint64_t inode_of(const fs::path& path) {
  struct ::stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  return found.st_ino;
}

// Requires that a load is refused and that nothing on disk is changed.
LoadResult require_refused(const FileSet& files, const std::string& kind) {
  const DurableDirectory directory;
  directory.put(files);
  const LoadResult loaded = load_in(directory);
  CHECK(loaded.kind == kind);
  CHECK(directory.files() == files);
  return loaded;
}

// The kind of the IndexError nested in what a load of `files` throws.
std::optional<iqdb::IndexErrorKind> nested_kind(const FileSet& files) {
  const DurableDirectory directory;
  directory.put(files);
  try {
    static_cast<void>(directory.load());
  } catch (const iqdb::PersistError& error) {
    CHECK(error.path() == directory.log());
    try {
      std::rethrow_if_nested(error);
    } catch (const iqdb::IndexError& inner) {
      return inner.kind();
    }
  }
  return std::nullopt;
}

}  // namespace

// ---- Rule 0: visible is not durable ---------------------------------------------------------------------------------

TEST_CASE("A load without a log beside the snapshot makes one that is empty", "[recovery]") {
  const DurableDirectory directory;
  directory.put({{snapshot_name, snapshot_of({1, 2})}});
  const DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{1, 2});
  CHECK_FALSE(db.recovery().log_found);
  CHECK(db.recovery().log_version == 0);
  CHECK(db.lsn() == 0);
  const ByteVector log = directory.log_bytes();
  CHECK(log == iqdb_test::raw_header_of(log, 0, fingerprint_of(directory.snapshot_bytes())));
}

// ---- Rule 1: the header ---------------------------------------------------------------------------------------------

TEST_CASE("A damaged header is log_corrupted and nothing is changed", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  for (const std::size_t at : {std::size_t{12}, std::size_t{16}, std::size_t{24}, std::size_t{32}, std::size_t{63}}) {
    FileSet files = base.files();
    files[log_name][at] ^= std::byte{1};
    CHECK(require_refused(files, "log_corrupted").offset == 0U);
  }
}

TEST_CASE("A base LSN out of range is log_corrupted", "[recovery]") {
  Base base;
  base.log = RawLog(log_id, ~std::uint64_t{0}, fingerprint_of(base.snapshot));
  require_refused(base.files(), "log_corrupted");
}

TEST_CASE("A mutation with a number that no log reaches is log_corrupted", "[recovery]") {
  Base base;
  base.log = RawLog(log_id, iqdb::largest_lsn - 1, fingerprint_of(base.snapshot));
  base.log.frame(insert_of(3), 1);
  CHECK(load_of(base.files()).ids() == Ids{1, 2, 3});
  const std::size_t offset = base.log.size();
  base.log.frame(insert_of(4), 1);
  CHECK(require_refused(base.files(), "log_corrupted").offset == offset);
}

// ---- Rule 2: frames that no writer makes ----------------------------------------------------------------------------

TEST_CASE("A frame that does not parse is log_corrupted at its offset and nothing is changed", "[recovery]") {
  for (const ByteVector& body :
       {ByteVector(Bytes().u8(99)), ByteVector(Bytes().u8(9)), ByteVector(Bytes().append(insert_of(4)).u8(0)),
        ByteVector(Bytes().u8(3).u32(0)), ByteVector(abort_body(1))}) {
    Base base;
    base.log.frame(insert_of(3), 1).frame(erase_body(3), 1);
    const std::size_t offset = base.log.size();
    base.log.control(body);
    CHECK(require_refused(base.files(), "log_corrupted").offset == offset);
  }
}

TEST_CASE("An abort that is not valid itself aborts nothing", "[recovery]") {
  // Its checksum is right, but its number or its durable field are not: there the log ends.
  for (const bool wrong_number : {true, false}) {
    Base base;
    base.log.frame(insert_of(3), 1);
    const std::size_t end = base.log.size();
    base.log.frame_as(abort_body(1000), 0, wrong_number ? 99 : 2, wrong_number ? end : end + 1);
    const LoadResult loaded = load_of(base.files());
    INFO(loaded.message);
    CHECK(loaded.ids() == Ids{1, 2, 3});
    CHECK(loaded.report.dropped_bytes > 0);
  }
}

// ---- Rule 3: torn or damaged ----------------------------------------------------------------------------------------

TEST_CASE("Damage where the log was durable changes nothing on disk", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  const std::size_t offset = base.log.size();
  base.log.frame(insert_of(4), 1).frame(insert_of(5), 1);
  FileSet files = base.files();
  files[log_name][offset + 10] ^= std::byte{4};
  CHECK(require_refused(files, "log_corrupted").offset == offset);
  // Also where zeros took its place.
  files = base.files();
  std::fill_n(files[log_name].begin() + static_cast<std::ptrdiff_t>(offset), 47, std::byte{0});
  CHECK(require_refused(files, "log_corrupted").offset == offset);
}

TEST_CASE("A torn tail is dropped and counted and what stands behind it is not replayed", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  const std::size_t end = base.log.size();
  base.log.raw(ByteVector(10, std::byte{3}));
  // Valid, but it knew nothing durable.
  base.log.frame_as(insert_of(4), 1, 2, 64);
  const DurableDirectory directory;
  put_log(directory, base);
  DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{1, 2, 3});
  CHECK(db.recovery().dropped_bytes == base.log.size() - end - 1);  // the last byte is a zero
  CHECK(db.recovery().torn_log == directory.torn());
  CHECK(read_bytes(directory.torn()) == base.log.bytes());
  CHECK(db.lsn() == 1);
}

// ---- Rule 4: where replay starts ------------------------------------------------------------------------------------

TEST_CASE("Replay starts behind the last checkpoint that bears the snapshot's fingerprint", "[recovery]") {
  Base base;
  const ByteVector later = snapshot_of({1, 2, 3});
  base.log.frame(insert_of(3), 1)
      .checkpoint(fingerprint_of(later))
      .frame(insert_of(4), 1)
      .frame(erase_body(4), 1)
      .checkpoint(fingerprint_of(later))
      .frame(insert_of(5), 1);
  FileSet files = base.files();
  CHECK(load_of(files).ids() == Ids{1, 2, 3, 5});
  CHECK(load_of(files).report.replayed == 4);
  files[snapshot_name] = later;
  const LoadResult loaded = load_of(files);
  CHECK(loaded.ids() == Ids{1, 2, 3, 5});
  CHECK(loaded.report.replayed == 1);
  CHECK(loaded.lsn == 4);
}

TEST_CASE("Behind a checkpoint of the very snapshot that the log continues nothing of what came before counts",
          "[recovery]") {
  // No writer's index would then hold the row 3. What the snapshot holds is what the frame says.
  Base base;
  base.log.frame(insert_of(3), 1)
      .checkpoint(fingerprint_of(base.snapshot))
      .frame(insert_of(4), 1)
      .checkpoint(fingerprint_of(base.snapshot))
      .frame(insert_of(5), 1);
  const DurableDirectory directory;
  put_log(directory, base);
  const DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{1, 2, 5});
  CHECK(db.recovery().replayed == 1);
  CHECK(db.lsn() == 3);
  CHECK(ops_of(directory.log_bytes()) == "ix");
}

TEST_CASE("A checkpoint of the very snapshot that the log continues is passed over before the first mutation",
          "[recovery]") {
  Base base;
  base.log.checkpoint(fingerprint_of(base.snapshot)).frame(insert_of(3), 1);
  const LoadResult loaded = load_of(base.files());
  CHECK(loaded.ids() == Ids{1, 2, 3});
  CHECK(loaded.report.replayed == 1);
}

TEST_CASE("A log is read once where it continues its snapshot", "[recovery]") {
  Base base;
  for (std::uint64_t id = 10; id < 1000; ++id) {
    base.log.frame(insert_of(id), 1);
    if (id % 10 == 0) {
      base.log.frame(insert_of(1), 1).control(abort_body(base.log.next_lsn() - 1));
    }
  }
  const DurableDirectory directory;
  put_log(directory, base);
  FaultyFileSystem system;
  system.plan({});
  const FaultyDb db = FaultyDb::load(directory.config(), FaultyStorage(system));
  CHECK(db.recovery().replayed == 990);
  CHECK(db.recovery().aborted == 99);
  std::uint64_t next = 0;
  for (const CallRecord& call : system.calls()) {
    if (call.call == FileCall::read && call.file == log_name && call.offset > 0) {
      CHECK(call.offset >= next);  // never back
      next = call.offset;
    }
  }
  CHECK(next > 0);
}

TEST_CASE("A log that continues another snapshot and holds mutations is log_mismatch", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  FileSet files = base.files();
  files[snapshot_name] = snapshot_of({1});
  require_refused(files, "log_mismatch");
  // Also where all of them are behind a checkpoint of yet another one.
  base.log.checkpoint(fingerprint_of(base.snapshot)).control(iqdb_test::close_body());
  files[log_name] = base.log.bytes();
  require_refused(files, "log_mismatch");
}

TEST_CASE("A log that continues another snapshot is log_mismatch also if it holds no mutation", "[recovery]") {
  for (const bool with_aborted : {false, true}) {
    Base base;
    base.log = RawLog(log_id, 5, fingerprint_of(base.snapshot));
    if (with_aborted) {
      base.log.frame(insert_of(1), 1).control(abort_body(6));
    }
    base.log.control(iqdb_test::close_body());
    FileSet files = base.files();
    files[snapshot_name] = snapshot_of({1});
    require_refused(files, "log_mismatch");
    const DurableDirectory directory;
    directory.put(files);
    iqdb::PersistConfig read_only = directory.config();
    read_only.read_only = true;
    CHECK(outcome_of([&] { return DurableIndex::load(directory.config_without_log()); }) == "log_mismatch");
    CHECK(outcome_of([&] { return DurableIndex::load(read_only); }) == "log_mismatch");
    CHECK(directory.files() == files);
  }
}

TEST_CASE("A log_mismatch names both snapshots and says that one of the files is older", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  FileSet files = base.files();
  files[snapshot_name] = snapshot_of({1});
  const std::string message = load_of(files).message;
  INFO(message);
  for (const ByteVector& snapshot : {base.snapshot, files[snapshot_name]}) {
    const ByteVector fingerprint = fingerprint_of(snapshot);
    CHECK(message.find(std::to_string(snapshot.size()) + " bytes") != std::string::npos);
    CHECK(message.find(iqdb::hexadecimal(static_cast<std::uint32_t>(number_at(fingerprint, 12, 4)))) !=
          std::string::npos);
  }
  CHECK(message.find("older") != std::string::npos);
  CHECK(message.find("gives up its 1 mutations") != std::string::npos);
}

TEST_CASE("A backup whose two files are of two moments loads to a state between them or is log_mismatch",
          "[recovery]") {
  struct Moment {
    FileSet files;
    Ids ids;
  };
  const DurableDirectory directory;
  std::vector<Moment> moments;
  std::optional<DurableIndex> db = directory.open_with(index_of({1}));
  const auto remember = [&] { moments.push_back({.files = directory.files(), .ids = ids_of(db->index())}); };
  remember();
  std::uint64_t next = 2;
  for (const std::string_view step :
       {"insert", "insert", "save", "erase", "insert", "checkpoint", "insert", "checkpoint", "erase", "load", "insert",
        "save", "insert", "load", "checkpoint", "insert"}) {
    if (step == "insert") {
      insert_row(*db, next++);
    } else if (step == "erase") {
      db->erase(next - 1);
    } else if (step == "save") {
      db->save();
    } else if (step == "checkpoint") {
      db->checkpoint();
    } else {
      db->close();
      db.emplace(directory.load());
    }
    remember();
  }
  std::size_t mismatches = 0;
  for (std::size_t snapshot = 0; snapshot < moments.size(); ++snapshot) {
    for (std::size_t log = 0; log < moments.size(); ++log) {
      CAPTURE(snapshot, log);
      const LoadResult loaded = load_of(
          {{snapshot_name, moments[snapshot].files.at(snapshot_name)}, {log_name, moments[log].files.at(log_name)}});
      if (!loaded.ok()) {
        CHECK(loaded.kind == "log_mismatch");
        CHECK(snapshot != log);
        ++mismatches;
        continue;
      }
      bool is_between = false;
      for (std::size_t at = std::min(snapshot, log); at <= std::max(snapshot, log); ++at) {
        is_between = is_between || loaded.ids() == moments[at].ids;
      }
      CHECK(is_between);
    }
  }
  CHECK(mismatches > 0);
}

// ---- Rule 5: replay -------------------------------------------------------------------------------------------------

TEST_CASE("An aborted mutation is passed over whether or not the index would take it", "[recovery]") {
  Base base;
  base.log.frame(insert_of(1), 1).control(abort_body(1));  // rejected as a duplicate
  base.log.frame(insert_of(9), 1).control(abort_body(2));  // rejected for a reason that is gone
  base.log.frame(insert_of(3), 1);
  const LoadResult loaded = load_of(base.files());
  CHECK(loaded.ids() == Ids{1, 2, 3});
  CHECK(loaded.report.aborted == 2);
  CHECK(loaded.report.replayed == 1);
  CHECK(loaded.lsn == 3);
}

TEST_CASE("Of a batch with an abort the mutations before it are replayed and those from it on are not", "[recovery]") {
  for (std::uint64_t aborted = 1; aborted <= 3; ++aborted) {
    Base base;
    base.log.frame(batch_body({insert_of(3), insert_of(4), insert_of(5)}), 3).control(abort_body(aborted, 3));
    Ids expected = {1, 2, 3, 4, 5};
    expected.resize(1 + aborted);
    const DurableDirectory directory;
    put_log(directory, base);
    for (int load = 0; load < 3; ++load) {
      const LoadResult loaded = load_in(directory);
      CHECK(loaded.ids() == expected);
      CHECK(loaded.report.replayed == aborted - 1);
      CHECK(loaded.report.aborted == 4 - aborted);
      CHECK(loaded.lsn == 3);
    }
  }
}

TEST_CASE("A rejected mutation without an abort is tolerated at the very end and gets its abort", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1).frame(insert_of(1), 1);
  const DurableDirectory directory;
  put_log(directory, base);
  {
    const DurableIndex db = directory.load();
    CHECK(db.recovery().tolerated == 1);
    CHECK(db.recovery().replayed == 1);
    CHECK(db.recovery().aborted == 0);
    CHECK(db.lsn() == 2);
    const ByteVector log = directory.log_bytes();
    REQUIRE(ops_of(log) == "iiax");
    CHECK(frames_of(log)[2].body == ByteVector(abort_body(2)));
  }
  const LoadResult again = load_in(directory);
  CHECK(again.ids() == Ids{1, 2, 3});
  CHECK(again.report.tolerated == 0);
  CHECK(again.report.aborted == 1);
}

TEST_CASE("A rejected mutation with half an abort behind it is tolerated", "[recovery]") {
  Base base;
  base.log.frame(insert_of(1), 1);
  const ByteVector abort = iqdb_test::raw_frame(log_id, 2, base.log.size(), abort_body(1));
  base.log.raw(std::span(abort).first(20));
  const LoadResult loaded = load_of(base.files());
  CHECK(loaded.ids() == Ids{1, 2});
  CHECK(loaded.report.tolerated == 1);
  CHECK(loaded.report.dropped_bytes > 0);
}

TEST_CASE("What is behind a tolerated mutation in its batch is passed over too", "[recovery]") {
  Base base;
  base.log.frame(batch_body({insert_of(3), insert_of(1), insert_of(4)}), 3);
  const DurableDirectory directory;
  put_log(directory, base);
  {
    const DurableIndex db = directory.load();
    CHECK(ids_of(db.index()) == Ids{1, 2, 3});
    CHECK(db.recovery().replayed == 1);
    CHECK(db.recovery().tolerated == 2);
    const ByteVector log = directory.log_bytes();
    REQUIRE(ops_of(log) == "bax");
    CHECK(frames_of(log)[1].body == ByteVector(abort_body(2, 3)));
  }
  CHECK(load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("A rejected mutation with anything behind it is replay_rejected with the index's error nested",
          "[recovery]") {
  const std::vector<std::function<void(RawLog&)>> behind = {
      [](RawLog& log) { log.control(iqdb_test::close_body()); },
      [](RawLog& log) { log.frame(insert_of(9), 1); },
      [](RawLog& log) { log.checkpoint(ByteVector(16)); },
  };
  for (const auto& more : behind) {
    Base base;
    base.log.frame(insert_of(3), 1);
    const std::size_t offset = base.log.size();
    base.log.frame(erase_body(77), 1);
    more(base.log);
    CHECK(require_refused(base.files(), "replay_rejected").offset == offset);
    CHECK(nested_kind(base.files()) == iqdb::IndexErrorKind::not_found);
  }
}

TEST_CASE("What no writer makes and damage are told before what the index rejects", "[recovery]") {
  Base base;
  base.log.frame(insert_of(1), 1).frame(insert_of(3), 1);
  const std::size_t offset = base.log.size();
  {
    Base unreadable = base;
    unreadable.log.frame(ByteVector(5, std::byte{1}), 1);
    CHECK(require_refused(unreadable.files(), "log_corrupted").offset == offset);
  }
  base.log.frame(insert_of(4), 1).frame(insert_of(5), 1);
  FileSet files = base.files();
  files[log_name][offset + 10] ^= std::byte{4};
  CHECK(require_refused(files, "log_corrupted").offset == offset);
}

TEST_CASE("Mutations that are passed over must be some all the same", "[recovery]") {
  for (const bool aborted : {true, false}) {
    Base base;
    // Of the batch the first is aborted, or rejected.
    base.log.frame(batch_body({insert_of(1), ByteVector(5, std::byte{1})}), 2);
    if (aborted) {
      base.log.control(abort_body(1));
    }
    CHECK(require_refused(base.files(), "log_corrupted").offset == 64U);
  }
}

TEST_CASE("A mutation before the aborted one of its batch is not tolerated", "[recovery]") {
  Base base;
  base.log.frame(batch_body({insert_of(1), insert_of(3)}), 2).control(abort_body(2));
  require_refused(base.files(), "replay_rejected");
  CHECK(nested_kind(base.files()) == iqdb::IndexErrorKind::duplicate);
}

// ---- Rule 6: errors in the snapshot come first ----------------------------------------------------------------------

TEST_CASE("Errors in the snapshot come before errors in the log", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  FileSet files = base.files();
  files[log_name][20] ^= std::byte{1};
  files[snapshot_name].back() ^= std::byte{1};
  require_refused(files, "checksum_mismatch");
}

// ---- Rule 7: the log is written again -------------------------------------------------------------------------------

TEST_CASE("The new log holds what is behind the start of replay with its numbers and a close frame", "[recovery]") {
  Base base;
  const ByteVector later = snapshot_of({1, 2, 3});
  base.log.frame(insert_of(3), 1).checkpoint(fingerprint_of(later));
  base.log.frame(insert_of(4), 1).frame(insert_of(1), 1).control(abort_body(3));
  base.log.control(iqdb_test::close_body()).checkpoint(ByteVector(16));
  base.log.frame(batch_body({erase_body(4), insert_of(5)}), 2);
  FileSet files = base.files();
  files[snapshot_name] = later;
  const DurableDirectory directory;
  directory.put(files);
  const DurableIndex db = directory.load();
  const ByteVector log = directory.log_bytes();
  RawLog expected(number_at(log, 16, 8), 1, fingerprint_of(later), 3, number_at(log, 48, 8));
  expected.frame(insert_of(4), 1).frame(insert_of(1), 1).control(abort_body(3));
  expected.frame(batch_body({erase_body(4), insert_of(5)}), 2).control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
  CHECK(number_at(log, 16, 8) != log_id);
  CHECK(db.lsn() == 5);
}

TEST_CASE("The new log of one that continues the snapshot has its base LSN and ends with a close frame", "[recovery]") {
  Base base;
  base.log = RawLog(log_id, 5, fingerprint_of(base.snapshot));
  base.log.frame(insert_of(3), 1).frame(insert_of(1), 1).control(abort_body(7));
  const DurableDirectory directory;
  put_log(directory, base);
  const DurableIndex db = directory.load();
  const ByteVector log = directory.log_bytes();
  RawLog expected(number_at(log, 16, 8), 5, fingerprint_of(base.snapshot), 3, number_at(log, 48, 8));
  expected.frame(insert_of(3), 1).frame(insert_of(1), 1).control(abort_body(7)).control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
  CHECK(db.lsn() == 7);
}

TEST_CASE("A log that recovery wrote loads again as often as one likes", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1).frame(erase_body(1), 1).frame(insert_of(3), 1).control(abort_body(3));
  base.log.frame(insert_of(2), 1);
  const DurableDirectory directory;
  put_log(directory, base);
  Ids expected = {2, 3};
  for (std::uint64_t round = 0; round < 20; ++round) {
    DurableIndex db = directory.load();
    CHECK(ids_of(db.index()) == expected);
    CHECK(db.lsn() == 4 + round);
    insert_row(db, 100 + round);
    expected.push_back(100 + round);
    if (round % 2 == 0) {
      db.close();
    }
  }
}

TEST_CASE("A torn log is kept as the same file where there are links", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1).raw(ByteVector(5, std::byte{7}));
  const DurableDirectory directory;
  put_log(directory, base);
  const std::uint64_t inode = inode_of(directory.log());
  const DurableIndex db = directory.load();
  CHECK(inode_of(directory.torn()) == inode);
  CHECK(inode_of(directory.log()) != inode);
}

TEST_CASE("A torn log is kept as a synced copy where there are no links", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1).raw(ByteVector(200'000, std::byte{7}));
  const DurableDirectory directory;
  put_log(directory, base);
  FaultyFileSystem system;
  system.plan(iqdb_test::fail_every(FileCall::link, EPERM));
  const FaultyDb db = FaultyDb::load(directory.config(), FaultyStorage(system));
  CHECK(read_bytes(directory.torn()) == base.log.bytes());
  CHECK(db.recovery().torn_log == directory.torn());
  const auto changes = iqdb_test::changes_in(system.calls());
  const auto at = [&](const std::string& text) {
    const auto found = std::ranges::find(changes, text);
    INFO(text);
    REQUIRE(found != changes.end());
    return found;
  };
  CHECK(at("sync index.iqdb.wal.torn.tmp") < at("rename index.iqdb.wal.torn.tmp to index.iqdb.wal.torn"));
  CHECK(at("rename index.iqdb.wal.torn.tmp to index.iqdb.wal.torn") <
        at("rename index.iqdb.wal.tmp to index.iqdb.wal"));
}

TEST_CASE("Only the latest torn log is kept", "[recovery]") {
  const DurableDirectory directory;
  Base base;
  base.log.frame(insert_of(3), 1).raw(ByteVector(5, std::byte{7}));
  FileSet files = base.files();
  files[torn_name] = ByteVector(1000, std::byte{1});
  directory.put(files);
  static_cast<void>(load_in(directory));
  CHECK(read_bytes(directory.torn()) == base.log.bytes());
  // A load that drops nothing leaves it there.
  const LoadResult again = load_in(directory);
  CHECK(again.report.torn_log.empty());
  CHECK(read_bytes(directory.torn()) == base.log.bytes());
}

TEST_CASE("A load that fails on its last steps leaves the old log", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  for (const char* failing : {"sync index.iqdb.wal.tmp", "rename index.iqdb.wal.tmp to index.iqdb.wal"}) {
    CAPTURE(failing);
    const DurableDirectory directory;
    put_log(directory, base);
    FaultyFileSystem system;
    system.plan([&](const CallRecord& call) {
      return Fault{.error = iqdb_test::system_error(call.text() == failing ? EIO : 0)};
    });
    require_kind(PersistErrorKind::io, [&] { return FaultyDb::load(directory.config(), FaultyStorage(system)); });
    CHECK(directory.files() == base.files());
  }
}

// ---- Version 1 ------------------------------------------------------------------------------------------------------

namespace {

FileSet version_1(const ByteVector& snapshot, const std::vector<ByteVector>& bodies) {
  Bytes log;
  log.text(iqdb_test::raw_log_magic).u32(1);
  for (const ByteVector& body : bodies) {
    log.append(iqdb_test::raw_frame_1(body));
  }
  return {{snapshot_name, snapshot}, {log_name, log}};
}

}  // namespace

TEST_CASE("A version-1 log that repeats what its snapshot holds is replayed without it", "[recovery][version_1]") {
  const DurableDirectory directory;
  directory.put(version_1(snapshot_of({1, 2}), {insert_of(2), insert_of(3), erase_body(9), erase_body(1)}));
  const DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{2, 3});
  CHECK(db.recovery().log_version == 1);
  CHECK(db.recovery().skipped == 1);
  CHECK(db.recovery().replayed == 3);
  CHECK(db.lsn() == 4);
  const ByteVector log = directory.log_bytes();
  RawLog expected(number_at(log, 16, 8), 0, fingerprint_of(directory.snapshot_bytes()), 3, number_at(log, 48, 8));
  expected.frame(batch_body({erase_body(2), insert_of(2)}), 2);
  expected.frame(insert_of(3), 1).frame(erase_body(1), 1).control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
}

TEST_CASE("A version-1 log of an application that replaces by inserting again loads to the later vector",
          "[recovery][version_1]") {
  const std::vector<float> later = {7.0F, 8.0F};
  const DurableDirectory directory;
  directory.put(version_1(snapshot_of({1, 2, 3}), {iqdb_test::insert_body(2, later, "new")}));
  for (int load = 0; load < 3; ++load) {
    const DurableIndex db = directory.load();
    std::vector<std::uint64_t> order;
    std::vector<float> found;
    db.index().for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
      order.push_back(id.integer());
      if (id == iqdb::VectorId(2)) {
        found.assign(vector.begin(), vector.end());
        CHECK(metadata.has_value());
      }
    });
    CHECK(order == std::vector<std::uint64_t>{1, 3, 2});  // an erase and an insert
    CHECK(found == later);
  }
}

TEST_CASE("A version-1 insert of a vector that is there must be one that the index takes", "[recovery][version_1]") {
  const ByteVector three_components = iqdb_test::insert_body(1, std::vector<float>{1.0F, 2.0F, 3.0F});
  require_refused(version_1(snapshot_of({1}), {three_components}), "replay_rejected");
}

TEST_CASE("A version-1 log is brought up by one rename and no checkpoint", "[recovery][version_1]") {
  const DurableDirectory directory;
  directory.put(version_1(snapshot_of({1}), {insert_of(2)}));
  const ByteVector snapshot = directory.snapshot_bytes();
  FaultyFileSystem system;
  const FaultyDb db = FaultyDb::load(directory.config(), FaultyStorage(system));
  CHECK(std::ranges::count(system.calls(), FileCall::rename, &CallRecord::call) == 1);
  CHECK(directory.snapshot_bytes() == snapshot);
}

TEST_CASE("Another rejection than of a repeated mutation is replay_rejected in version 1 also at the end",
          "[recovery][version_1]") {
  const ByteVector three_components = iqdb_test::insert_body(9, std::vector<float>{1.0F, 2.0F, 3.0F});
  const FileSet files = version_1(snapshot_of({1}), {insert_of(2), three_components});
  require_refused(files, "replay_rejected");
  CHECK(nested_kind(files) == iqdb::IndexErrorKind::dimension_mismatch);
}

TEST_CASE("A log file shorter than a header holds nothing and the report says that it was there",
          "[recovery][version_1]") {
  const ByteVector snapshot = snapshot_of({1, 2});
  for (std::size_t size = 0; size < 12; ++size) {
    CAPTURE(size);
    FileSet files = version_1(snapshot, {});
    files[log_name].resize(size);
    const LoadResult loaded = load_of(files);
    CHECK(loaded.ids() == Ids{1, 2});
    CHECK(loaded.report.log_found);
    CHECK(loaded.report.replayed == 0);
  }
}

TEST_CASE("A large version-1 log loads right with the smallest buffer", "[recovery][version_1]") {
  std::vector<ByteVector> bodies;
  Ids expected = {1};
  for (std::uint64_t id = 2; id < 2000; ++id) {
    bodies.push_back(insert_of(id));
    expected.push_back(id);
  }
  const LoadResult loaded = load_of(version_1(snapshot_of({1}), bodies));
  CHECK(loaded.ids() == expected);
}

// ---- Numbers and reports --------------------------------------------------------------------------------------------

TEST_CASE("Mutations are numbered from one on and so are rejected ones that were logged", "[recovery]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  CHECK(db.lsn() == 0);
  insert_row(db, 2);
  CHECK(db.lsn() == 1);
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { insert_row(db, 2); });
  CHECK(db.lsn() == 1);  // refused before it was logged
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.apply(iqdb_test::twice(3)); });
  CHECK(db.lsn() == 3);
  insert_row(db, 4);
  CHECK(db.lsn() == 4);
  CHECK(db.save().lsn == 4);
  CHECK(db.lsn() == 4);
  CHECK(db.checkpoint().lsn == 4);
  CHECK(db.lsn() == 4);
  insert_row(db, 5);
  db.close();
  db = directory.load();
  CHECK(db.lsn() == 5);
  insert_row(db, 6);
  CHECK(db.lsn() == 6);
}

TEST_CASE("With the log off there are no numbers", "[recovery]") {
  const DurableDirectory directory;
  DurableIndex db = DurableIndex::open_with(index_of({1}), directory.config_without_log());
  insert_row(db, 2);
  CHECK(db.lsn() == 0);
  CHECK(db.save().lsn == 0);
  CHECK_FALSE(DurableIndex::load(directory.config_without_log()).recovery().log_found);
}

TEST_CASE("The report counts what was replayed and how long it took", "[recovery]") {
  const DurableDirectory directory;
  directory.put([&] {
    DurableIndex db = directory.open_with();
    CHECK_FALSE(db.recovery().log_found);
    insert_row(db, 1);
    WriteBatch batch;
    insert_row(batch, 2);
    insert_row(batch, 3);
    db.apply(batch);
    require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.apply(iqdb_test::twice(4)); });
    db.close();
    return directory.files();
  }());
  const LoadResult loaded = load_in(directory);
  CHECK(loaded.report.log_found);
  CHECK(loaded.report.log_version == 3);
  CHECK(loaded.report.replayed == 4);
  CHECK(loaded.report.aborted == 1);
  CHECK(loaded.report.skipped == 0);
  CHECK(loaded.report.tolerated == 0);
  CHECK(loaded.report.dropped_bytes == 0);
  CHECK(loaded.report.torn_log.empty());
  CHECK(loaded.report.elapsed.count() > 0);
}

TEST_CASE("A replay reports its progress to the end and can be cancelled", "[recovery]") {
  Base base;
  for (std::uint64_t id = 10; id < 500; ++id) {
    base.log.frame(insert_of(id), 1);
  }
  const DurableDirectory directory;
  put_log(directory, base);
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  iqdb::PersistConfig config = directory.config();
  config.on_progress = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::replay) {
      throw std::runtime_error("cancelled");
    }
  };
  CHECK_THROWS_WITH(DurableIndex::load(config), "cancelled");
  CHECK(directory.files() == base.files());
  config.on_progress = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::replay) {
      CHECK(progress.done >= done);
      done = progress.done;
      total = progress.total;
    }
  };
  CHECK(DurableIndex::load(config).recovery().replayed == 490);
  CHECK(done == base.log.size() - 64);
  CHECK(total == done);
}

TEST_CASE("At the end of a replay all of its bytes are done without the zeros ahead", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  const std::uint64_t frames = base.log.size() - 64;
  base.log.raw(ByteVector(10'000));
  const DurableDirectory directory;
  put_log(directory, base);
  std::vector<iqdb::Progress> seen;
  iqdb::PersistConfig config = directory.config();
  config.on_progress = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::replay) {
      seen.push_back(progress);
    }
  };
  std::ignore = DurableIndex::load(config);
  REQUIRE(seen.size() == 1);
  CHECK(seen.front().done == frames);
  CHECK(seen.front().total == frames);
}

// ---- A crash at every step ------------------------------------------------------------------------------------------

namespace {

// Requires that every state loads to one of these rows, goes on, and loads again.
void require_each_loads(const std::vector<CrashState>& states, const std::vector<Ids>& allowed) {
  for (const CrashState& state : states) {
    CAPTURE(state.when);
    const DurableDirectory directory;
    directory.put(state.files);
    Ids ids;
    try {
      DurableIndex db = directory.load();
      ids = ids_of(db.index());
      CHECK(std::ranges::find(allowed, ids) != allowed.end());
      insert_row(db, 1000);
    } catch (const std::exception& error) {
      FAIL_CHECK(error.what());
    }
    ids.push_back(1000);
    CHECK(load_in(directory).ids() == ids);
  }
}

struct Crashing {
  DurableDirectory directory;
  FaultyFileSystem system;
  std::optional<FaultyDb> db;

  explicit Crashing(FsyncPolicy policy = FsyncPolicy::always()) {
    db = FaultyDb::open_with(index_of({1}), directory.config(policy), FaultyStorage(system));
    insert_row(*db, 2);
    insert_row(*db, 3);
    db->erase(1);
  }
  template <class Action>
  std::vector<CrashState> during(Action&& action) {
    return states_during(system, directory.directory(), std::forward<Action>(action));
  }
};

}  // namespace

TEST_CASE("A crash between any two steps of a checkpoint or a save loads to the same rows", "[recovery][crash]") {
  for (const FsyncPolicy policy : {FsyncPolicy::always(), FsyncPolicy::never()}) {
    for (const bool is_checkpoint : {true, false}) {
      Crashing crashing(policy);
      const auto states = crashing.during([&] {
        if (is_checkpoint) {
          crashing.db->checkpoint();
        } else {
          crashing.db->save();
        }
      });
      CHECK(states.size() >= (is_checkpoint ? 7U : 4U));
      require_each_loads(states, {{2, 3}});
    }
  }
}

TEST_CASE("A crash between any two steps of several saves and checkpoints loads to the rows of then",
          "[recovery][crash]") {
  Crashing crashing;
  FaultyDb& db = *crashing.db;
  const auto states = crashing.during([&] {
    db.save();
    insert_row(db, 4);
    db.save();
    db.erase(4);
    db.save();
    db.checkpoint();
    insert_row(db, 5);
    db.checkpoint();
    db.close();
  });
  CHECK(states.size() > 20);
  require_each_loads(states, {{2, 3}, {2, 3, 4}, {2, 3, 5}});
}

TEST_CASE("A crash between any two steps of open_with loads to the old rows or the new ones", "[recovery][crash]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(index_of({1, 2}));
    insert_row(db, 3);
    db.checkpoint();
    db.close();
  }
  FaultyFileSystem system;
  std::optional<FaultyDb> db;
  iqdb::PersistConfig config = directory.config();
  config.replace_existing = true;
  const auto states = states_during(system, directory.directory(), [&] {
    db.emplace(FaultyDb::open_with(index_of({7}), config, FaultyStorage(system)));
  });
  CHECK(states.size() >= 6);
  require_each_loads(states, {{1, 2, 3}, {7}});
}

TEST_CASE("A crash between any two steps of the first open_with leaves nothing or the new rows", "[recovery][crash]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  std::optional<FaultyDb> db;
  auto states = states_during(system, directory.directory(), [&] {
    db.emplace(FaultyDb::open_with(index_of({7}), directory.config(), FaultyStorage(system)));
  });
  const std::size_t all = states.size();
  std::erase_if(states, [](const CrashState& state) { return !state.files.contains(snapshot_name); });
  CHECK(states.size() < all);
  CHECK(states.size() >= 2);
  require_each_loads(states, {{7}});
}

TEST_CASE("A crash between any two steps of a recovery and of the recovery from that loads to the same rows",
          "[recovery][crash]") {
  Base base;
  base.log.frame(insert_of(3), 1).checkpoint(ByteVector(16)).frame(insert_of(1), 1);
  FileSet torn = base.files();
  torn[log_name].resize(torn[log_name].size() + 20, std::byte{5});
  const FileSet old = version_1(base.snapshot, {insert_of(2), insert_of(3)});
  for (const FileSet& found : {base.files(), torn, old}) {
    for (const bool links : {true, false}) {
      const auto during_load = [&](const FileSet& files) {
        const DurableDirectory directory;
        directory.put(files);
        FaultyFileSystem system;
        std::vector<CrashState> states;
        const auto look = [&](const std::string& when) {
          FileSet now = directory.files();
          if (states.empty() || states.back().files != now) {
            states.push_back({when, std::move(now)});
          }
        };
        system.plan([&](const CallRecord& call) {
          look("before " + call.text());
          return Fault{.error = iqdb_test::system_error(!links && call.call == FileCall::link ? EPERM : 0)};
        });
        const FaultyDb db = FaultyDb::load(directory.config(), FaultyStorage(system));
        CHECK(ids_of(db.index()) == Ids{1, 2, 3});
        look("at the end");
        system.plan({});
        return states;
      };
      const auto first = during_load(found);
      CHECK(first.size() >= 3);
      for (const CrashState& state : first) {
        CAPTURE(state.when);
        require_each_loads(during_load(state.files), {{1, 2, 3}});
      }
    }
  }
}

TEST_CASE("Temporary files of a crash are removed and never loaded", "[recovery][crash]") {
  Base base;
  FileSet files = base.files();
  files["index.iqdb.tmp"] = ByteVector(10, std::byte{1});
  files["index.iqdb.wal.tmp"] = ByteVector(10, std::byte{1});
  const DurableDirectory directory;
  directory.put(files);
  {
    DurableIndex db = directory.load();
    db.checkpoint();
  }
  for (const auto& [name, bytes] : directory.files()) {
    CHECK_FALSE(name.ends_with(".tmp"));
  }
}

// ---- An index that throws -------------------------------------------------------------------------------------------

namespace {

struct OwnError {
  int number;
};

// A FlatIndex that throws what a test wants, before it changes anything.
class ThrowingIndex {
 public:
  static constexpr std::string_view index_type = "flat";
  explicit ThrowingIndex(FlatIndex index) : index_(std::move(index)) {}
  void insert(const iqdb::VectorId& id, std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) {
    if (on_change) {
      on_change();
    }
    index_.insert(id, vector, metadata);
  }
  void erase(const iqdb::VectorId& id) {
    if (on_change) {
      on_change();
    }
    index_.erase(id);
  }
  [[nodiscard]] std::size_t size() const { return index_.size(); }
  [[nodiscard]] std::size_t dim() const { return index_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return index_.metric(); }
  void save_to(iqdb::Writer& writer) const { index_.save_to(writer); }
  static ThrowingIndex load_from(iqdb::Reader& reader) { return ThrowingIndex(FlatIndex::load_from(reader)); }
  [[nodiscard]] const FlatIndex& flat() const { return index_; }

  inline static std::function<void()> on_change;

 private:
  FlatIndex index_;
};

using ThrowingDb = iqdb::PersistedIndex<ThrowingIndex>;

struct ThrowingScope {
  explicit ThrowingScope(std::function<void()> action) { ThrowingIndex::on_change = std::move(action); }
  ThrowingScope(const ThrowingScope&) = delete;
  ThrowingScope& operator=(const ThrowingScope&) = delete;
  ~ThrowingScope() { ThrowingIndex::on_change = nullptr; }
};

}  // namespace

TEST_CASE("What the index throws reaches the caller unchanged and the log replays to the same rows", "[recovery]") {
  struct Rejection {
    const char* what;
    std::function<void()> action;
    std::function<bool(const std::function<void()>&)> is_thrown_by;
  };
  const std::vector<Rejection> rejections = {
      {"an IndexError", [] { throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_vector, "not this one"); },
       [](const auto& call) {
         try {
           call();
         } catch (const iqdb::IndexError& error) {
           // Of a batch it says which mutation it was, too.
           return error.kind() == iqdb::IndexErrorKind::invalid_vector &&
                  std::string(error.what()).ends_with("not this one");
         }
         return false;
       }},
      {"its own type", [] { throw OwnError{42}; },
       [](const auto& call) {
         try {
           call();
         } catch (const OwnError& error) {
           return error.number == 42;
         }
         return false;
       }},
      {"bad_alloc", [] { throw std::bad_alloc(); },
       [](const auto& call) {
         try {
           call();
         } catch (const std::bad_alloc&) {
           return true;
         }
         return false;
       }},
      {"a PersistError", [] { throw iqdb::PersistError(PersistErrorKind::unsupported, "of the index"); },
       [](const auto& call) {
         try {
           call();
         } catch (const iqdb::PersistError& error) {
           return error.kind() == PersistErrorKind::unsupported && error.path().empty();
         }
         return false;
       }},
  };
  for (const Rejection& rejection : rejections) {
    CAPTURE(rejection.what);
    const DurableDirectory directory;
    std::optional<ThrowingDb> db = ThrowingDb::open_with(ThrowingIndex(index_of({1})), directory.config());
    insert_row(*db, 2);
    {
      const ThrowingScope scope(rejection.action);
      CHECK(rejection.is_thrown_by([&] { insert_row(*db, 3); }));
      CHECK(rejection.is_thrown_by([&] { db->erase(1); }));
      WriteBatch batch;
      insert_row(batch, 4);
      CHECK(rejection.is_thrown_by([&] { db->apply(batch); }));
    }
    insert_row(*db, 5);
    // The index would take them now: it is the log that says that they were rejected.
    const LoadResult loaded = load_of(directory.files());
    CHECK(loaded.ids() == Ids{1, 2, 5});
    CHECK(loaded.report.aborted == 3);
    db.reset();
    CHECK(load_in(directory).ids() == Ids{1, 2, 5});
  }
}

TEST_CASE("Duplicates and absent vectors and wrong dimensions are rejected and not even logged", "[recovery]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1, 2}));
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { insert_row(db, 1); });
  require_kind(iqdb::IndexErrorKind::not_found, [&] { db.erase(9); });
  require_kind(iqdb::IndexErrorKind::dimension_mismatch, [&] { db.insert(3, {1.0F, 2.0F, 3.0F}); });
  CHECK(ops_of(directory.log_bytes()) == "");
  CHECK(load_of(directory.files()).ids() == Ids{1, 2});
}

TEST_CASE("Metadata that cannot be stored is refused before it is logged", "[recovery]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  const ByteVector before = directory.log_bytes();
  require_kind(iqdb::IndexErrorKind::invalid_config, [&] { db.insert(2, {1.0F, 2.0F}, {{"k", "\xFF"}}); });
  CHECK(directory.log_bytes() == before);
  CHECK(db.lsn() == 0);
}

TEST_CASE("Another exception than an IndexError at replay is replay_rejected also at the very end", "[recovery]") {
  const DurableDirectory directory;
  directory.put([&] {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
    return directory.files();
  }());
  const FileSet before = directory.files();
  for (const std::function<void()>& action : {std::function<void()>([] { throw std::runtime_error("own"); }),
                                              std::function<void()>([] { throw OwnError{1}; })}) {
    const ThrowingScope scope(action);
    bool nested = false;
    try {
      static_cast<void>(ThrowingDb::load(directory.config()));
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == PersistErrorKind::replay_rejected);
      nested = dynamic_cast<const std::nested_exception*>(&error) != nullptr;
    }
    CHECK(nested);
    CHECK(directory.files() == before);
  }
}

TEST_CASE("Memory that runs out during a replay is std::bad_alloc and no rejection", "[recovery]") {
  const DurableDirectory directory;
  directory.put([&] {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
    return directory.files();
  }());
  const FileSet before = directory.files();
  const ThrowingScope scope([] { throw std::bad_alloc(); });
  for (const bool skip_rejected : {false, true}) {
    iqdb::PersistConfig config = directory.config();
    config.skip_rejected = skip_rejected;
    CHECK_THROWS_AS(ThrowingDb::load(config), std::bad_alloc);
    CHECK(directory.files() == before);
  }
}

TEST_CASE("Only a rejection that follows from the state is tolerated at the end of a log", "[recovery]") {
  // A load with a smaller capacity, say, must not give up what was acknowledged.
  const DurableDirectory directory;
  directory.put([&] {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
    return directory.files();
  }());
  const FileSet before = directory.files();
  for (const auto& [kind, tolerated] :
       {std::pair(iqdb::IndexErrorKind::duplicate, true), std::pair(iqdb::IndexErrorKind::not_found, true),
        std::pair(iqdb::IndexErrorKind::dimension_mismatch, true),
        std::pair(iqdb::IndexErrorKind::invalid_vector, true), std::pair(iqdb::IndexErrorKind::resource_limit, false),
        std::pair(iqdb::IndexErrorKind::invalid_config, false),
        std::pair(iqdb::IndexErrorKind::invalid_metric, false)}) {
    CAPTURE(to_string(kind));
    directory.put(before);
    const ThrowingScope scope([thrown = kind] { throw iqdb::IndexError(thrown, "own"); });
    CHECK(outcome_of([&] { return ThrowingDb::load(directory.config()); }) == (tolerated ? "ok" : "replay_rejected"));
    CHECK((directory.files() == before) != tolerated);
    CHECK(fs::exists(directory.torn()) == tolerated);  // the old log is kept
  }
}

TEST_CASE("A version-1 insert that is rejected as not found is no erase of what is gone already",
          "[recovery][version_1]") {
  const DurableDirectory directory;
  directory.put(version_1(snapshot_of({1}), {insert_of(2)}));
  const ThrowingScope scope([] { throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "own"); });
  CHECK(outcome_of([&] { return ThrowingDb::load(directory.config()); }) == "replay_rejected");
}

TEST_CASE("skip_rejected passes over whatever the index rejects and keeps the old log", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1).frame(erase_body(77), 1);
  base.log.frame(batch_body({insert_of(4), insert_of(1), insert_of(5)}), 3).control(iqdb_test::close_body());
  const DurableDirectory directory;
  put_log(directory, base);
  iqdb::PersistConfig config = directory.config();
  config.skip_rejected = true;
  {
    const DurableIndex db = DurableIndex::load(config);
    CHECK(ids_of(db.index()) == Ids{1, 2, 3, 4, 5});
    CHECK(db.recovery().replayed == 3);
    CHECK(db.recovery().tolerated == 2);
    CHECK(db.recovery().torn_log == directory.torn());
    CHECK(read_bytes(directory.torn()) == base.log.bytes());
    CHECK(number_at(directory.log_bytes(), 48, 8) != iqdb_test::raw_history_id);
  }
  CHECK(load_in(directory).ids() == Ids{1, 2, 3, 4, 5});
}

TEST_CASE("The progress of a replay ends with all bytes of the frames that it read", "[recovery]") {
  // A mutation that is rejected at the very end makes the load read the log a second time.
  for (const bool reads_twice : {false, true}) {
    CAPTURE(reads_twice);
    Base base;
    const std::size_t header_bytes = base.log.size();
    base.log.frame(insert_of(3), 1).frame(insert_of(4), 1);
    if (reads_twice) {
      base.log.frame(erase_body(77), 1);
    }
    const DurableDirectory directory;
    put_log(directory, base);
    iqdb::PersistConfig config = directory.config();
    std::optional<iqdb::Progress> last;
    config.on_progress = [&last](const iqdb::Progress& progress) {
      if (progress.phase == iqdb::Progress::Phase::replay) {
        last = progress;
      }
    };
    static_cast<void>(DurableIndex::load(config));
    REQUIRE(last.has_value());
    CHECK(last->done == base.log.size() - header_bytes);
    CHECK(last->total == last->done);
  }
}

// ---- Histories ------------------------------------------------------------------------------------------------------

TEST_CASE("A load that loses nothing keeps the history of the log", "[recovery][history]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  const DurableDirectory directory;
  put_log(directory, base);
  DurableIndex db = directory.load();
  CHECK(number_at(directory.log_bytes(), 48, 8) == iqdb_test::raw_history_id);
  db.save();
  db.checkpoint();
  CHECK(number_at(directory.log_bytes(), 48, 8) == iqdb_test::raw_history_id);
}

TEST_CASE("A load that drops bytes begins a new history", "[recovery][history]") {
  Base base;
  base.log.frame(insert_of(3), 1).raw(ByteVector(5, std::byte{7}));
  const DurableDirectory directory;
  put_log(directory, base);
  const DurableIndex db = directory.load();
  CHECK(number_at(directory.log_bytes(), 48, 8) != iqdb_test::raw_history_id);
  CHECK(load_of(directory.files()).ids() == Ids{1, 2, 3});
}

TEST_CASE("A log of version 2 is written again as version 3 with a history", "[recovery][history]") {
  Base base;
  base.log = RawLog(log_id, 5, fingerprint_of(base.snapshot), 2);
  base.log.frame(batch_body({insert_of(3), insert_of(1), insert_of(4)}), 3);
  base.log.control(iqdb_test::abort_body_2(7)).control(iqdb_test::close_body());
  const DurableDirectory directory;
  put_log(directory, base);
  const DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{1, 2, 3});
  CHECK(db.recovery().log_version == 2);
  const ByteVector log = directory.log_bytes();
  RawLog expected(number_at(log, 16, 8), 5, fingerprint_of(base.snapshot), 3, number_at(log, 48, 8));
  expected.frame(batch_body({insert_of(3), insert_of(1), insert_of(4)}), 3);
  expected.control(abort_body(7, 8)).control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
  CHECK(number_at(log, 48, 8) != 0);
}

// ---- Mutations over a checkpoint that stand before its frame --------------------------------------------------------

TEST_CASE("Replay starts behind the number that a checkpoint names and not behind its frame", "[recovery]") {
  Base base;
  const ByteVector later = snapshot_of({1, 2, 3});
  base.log.frame(insert_of(3), 1).frame(insert_of(4), 1).frame(insert_of(1), 1).control(abort_body(3));
  base.log.control(iqdb_test::checkpoint_body(fingerprint_of(later), 1)).frame(insert_of(5), 1);
  FileSet files = base.files();
  files[snapshot_name] = later;
  const DurableDirectory directory;
  directory.put(files);
  const DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{1, 2, 3, 4, 5});
  CHECK(db.recovery().replayed == 2);
  CHECK(db.recovery().aborted == 1);
  CHECK(db.lsn() == 4);
  const ByteVector log = directory.log_bytes();
  RawLog expected(number_at(log, 16, 8), 1, fingerprint_of(later), 3, iqdb_test::raw_history_id);
  expected.frame(insert_of(4), 1).frame(insert_of(1), 1).control(abort_body(3)).frame(insert_of(5), 1);
  expected.control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
}

TEST_CASE("A checkpoint of the snapshot that names a number within a record is log_corrupted", "[recovery]") {
  Base base;
  const ByteVector later = snapshot_of({1, 2, 3});
  base.log.frame(batch_body({insert_of(3), insert_of(4)}), 2);
  base.log.control(iqdb_test::checkpoint_body(fingerprint_of(later), 1));
  FileSet files = base.files();
  files[snapshot_name] = later;
  require_refused(files, "log_corrupted");
}

TEST_CASE("The new log keeps the last time before each mutation", "[recovery]") {
  Base base;
  const ByteVector later = snapshot_of({1, 2, 3});
  base.log.control(iqdb_test::time_body(100)).frame(insert_of(3), 1).checkpoint(fingerprint_of(later));
  base.log.frame(insert_of(4), 1).control(iqdb_test::time_body(200)).frame(insert_of(5), 1);
  FileSet files = base.files();
  files[snapshot_name] = later;
  const DurableDirectory directory;
  directory.put(files);
  const DurableIndex db = directory.load();
  const ByteVector log = directory.log_bytes();
  RawLog expected(number_at(log, 16, 8), 1, fingerprint_of(later));
  expected.control(iqdb_test::time_body(100)).frame(insert_of(4), 1);
  expected.control(iqdb_test::time_body(200)).frame(insert_of(5), 1).control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
}

// ---- Upserts --------------------------------------------------------------------------------------------------------

TEST_CASE("An upsert of a log inserts or replaces by the state at replay", "[recovery][upsert]") {
  Base base;
  base.log.frame(iqdb_test::upsert_body(1, vector_of(1)), 1).frame(iqdb_test::upsert_body(3, vector_of(3)), 1);
  const DurableDirectory directory;
  put_log(directory, base);
  for (int load = 0; load < 3; ++load) {
    const DurableIndex db = directory.load();
    CHECK(db.index().size() == 3);
    CHECK(db.recovery().replayed == 2);
    CHECK(ops_of(directory.log_bytes()) == "uux");
  }
}

TEST_CASE("An upsert that is tolerated leaves the old vector", "[recovery][upsert]") {
  Base base;
  const std::vector<float> three_components = {1.0F, 2.0F, 3.0F};
  base.log.frame(insert_of(3), 1).frame(iqdb_test::upsert_body(1, three_components), 1);
  const DurableDirectory directory;
  put_log(directory, base);
  const DurableIndex db = directory.load();
  CHECK(ids_of(db.index()) == Ids{1, 2, 3});
  CHECK(db.recovery().tolerated == 1);
  CHECK(ops_of(directory.log_bytes()) == "iuax");
}

TEST_CASE("A mutation of a kind that the index does not have is unsupported also at the end of the log", "[recovery]") {
  const ByteVector half_floats = Bytes().u8(10).u8(1).u8(0).u64(9).u32(2).u32(0).u8(0);
  Base base;
  base.log.frame(half_floats, 1);
  require_refused(base.files(), "unsupported");
}

// ---- With the log off -----------------------------------------------------------------------------------------------

TEST_CASE("With the log off a log that holds mutations is log_present and nothing is changed", "[recovery][log_off]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
  }
  const FileSet before = directory.files();
  require_kind(PersistErrorKind::log_present, [&] { return DurableIndex::load(directory.config_without_log()); });
  CHECK(directory.files() == before);
  iqdb::PersistConfig config = directory.config_without_log();
  config.replace_existing = true;
  require_kind(PersistErrorKind::would_discard_log, [&] { return DurableIndex::open_with(index_of({9}), config); });
  CHECK(directory.files() == before);
}

TEST_CASE("With the log off a log that came since the load is log_present at a save", "[recovery][log_off]") {
  const DurableDirectory directory;
  DurableIndex::open_with(index_of({1}), directory.config_without_log()).save();
  DurableIndex db = DurableIndex::load(directory.config_without_log());
  {
    DurableIndex other = directory.load();
    insert_row(other, 2);
  }
  const FileSet before = directory.files();
  require_kind(PersistErrorKind::log_present, [&] { return db.save(); });
  require_kind(PersistErrorKind::log_present, [&] { return db.checkpoint(); });
  CHECK(directory.files() == before);
}

TEST_CASE("With the log off a damaged log is log_corrupted", "[recovery][log_off]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  FileSet files = base.files();
  files[log_name][20] ^= std::byte{1};
  const DurableDirectory directory;
  directory.put(files);
  iqdb::PersistConfig config = directory.config_without_log();
  require_kind(PersistErrorKind::log_corrupted, [&] { return DurableIndex::load(config); });
  config.replace_existing = true;
  require_kind(PersistErrorKind::log_corrupted, [&] { return DurableIndex::open_with(index_of({9}), config); });
  CHECK(directory.files() == files);
}

TEST_CASE("With the log off a log without mutations is no obstacle and a save removes it", "[recovery][log_off]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
    db.checkpoint();
  }
  const FileSet before = directory.files();
  DurableIndex db = DurableIndex::load(directory.config_without_log());
  CHECK(ids_of(db.index()) == Ids{1, 2});
  CHECK(directory.files() == before);
  insert_row(db, 3);
  db.save();
  CHECK_FALSE(fs::exists(directory.log()));
  CHECK(load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("With the log off a log whose mutations the snapshot holds is no obstacle", "[recovery][log_off]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
    db.save();
  }
  REQUIRE(ops_of(directory.log_bytes()) == "icx");
  CHECK(ids_of(DurableIndex::load(directory.config_without_log()).index()) == Ids{1, 2});
}

TEST_CASE("A save with the log off removes the empty log durably before its rename", "[recovery][log_off]") {
  const DurableDirectory directory;
  { const DurableIndex db = directory.open_with(index_of({1})); }
  FaultyFileSystem system;
  iqdb::PersistConfig config = directory.config_without_log();
  config.replace_existing = true;
  FaultyDb db = FaultyDb::open_with(index_of({2}), config, FaultyStorage(system));
  const auto states = states_during(system, directory.directory(), [&] { db.save(); });
  require_each_loads(states, {{1}, {2}});
  system.plan({});
  write_bytes(directory.log(), iqdb_test::raw_header(1, 0, fingerprint_of(directory.snapshot_bytes())));
  db.save();
  const auto calls = iqdb_test::texts_of(system.calls());
  const auto removed = std::ranges::find(calls, "remove index.iqdb.wal");
  REQUIRE(removed != calls.end());
  const auto synced = std::find(removed, calls.end(), "sync directory");
  const auto renamed = std::ranges::find(calls, "rename index.iqdb.tmp to index.iqdb");
  CHECK(synced < renamed);
}

TEST_CASE("open_with does not replace a log that holds mutations or cannot be read", "[recovery]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  FileSet damaged = base.files();
  damaged[log_name][20] ^= std::byte{1};
  FileSet without_snapshot = base.files();
  without_snapshot.erase(snapshot_name);
  for (const bool replace_existing : {false, true}) {
    for (const auto& [files, kind] : {std::pair(base.files(), PersistErrorKind::would_discard_log),
                                      std::pair(damaged, PersistErrorKind::log_corrupted),
                                      std::pair(without_snapshot, PersistErrorKind::would_discard_log)}) {
      const DurableDirectory directory;
      directory.put(files);
      iqdb::PersistConfig config = directory.config();
      config.replace_existing = replace_existing;
      require_kind(kind, [&] { return DurableIndex::open_with(index_of({7}), config); });
      CHECK(directory.files() == files);
    }
  }
}

TEST_CASE("open_with does not replace a snapshot that holds vectors unless it is asked to", "[recovery]") {
  const Base base;
  for (const bool logged : {true, false}) {
    const DurableDirectory directory;
    put_log(directory, base);
    iqdb::PersistConfig config = logged ? directory.config() : directory.config_without_log();
    require_kind(PersistErrorKind::would_discard_snapshot,
                 [&] { return DurableIndex::open_with(index_of({7}), config); });
    CHECK(directory.files() == base.files());
    config.replace_existing = true;
    {
      DurableIndex db = DurableIndex::open_with(index_of({7}), config);
      db.save();
      CHECK_FALSE(db.config().replace_existing);
    }
    CHECK(load_of(directory.files()).ids() == Ids{7});
  }
}

TEST_CASE("open_with replaces a snapshot that holds no vector", "[recovery]") {
  const DurableDirectory directory;
  { const DurableIndex db = directory.open_with(); }
  const DurableIndex db = directory.open_with(index_of({7}));
  CHECK(load_of(directory.files()).ids() == Ids{7});
}

TEST_CASE("open_with does not replace a file that is no snapshot unless it is asked to", "[recovery]") {
  const DurableDirectory directory;
  const FileSet files = {{snapshot_name, ByteVector(100, std::byte{1})}};
  directory.put(files);
  require_kind(PersistErrorKind::bad_magic, [&] { return directory.open_with(index_of({7})); });
  CHECK(directory.files() == files);
  iqdb::PersistConfig config = directory.config();
  config.replace_existing = true;
  static_cast<void>(DurableIndex::open_with(index_of({7}), config));
  CHECK(load_of(directory.files()).ids() == Ids{7});
}

TEST_CASE("open_with asked to replace removes a log without mutations whatever it continues", "[recovery]") {
  Base base;
  base.log.control(iqdb_test::close_body());
  FileSet files = base.files();
  files[snapshot_name] = snapshot_of({1});
  const DurableDirectory directory;
  directory.put(files);
  require_kind(PersistErrorKind::log_mismatch, [&] { return directory.open_with(index_of({7})); });
  CHECK(directory.files() == files);
  iqdb::PersistConfig config = directory.config();
  config.replace_existing = true;
  static_cast<void>(DurableIndex::open_with(index_of({7}), config));
  CHECK(load_of(directory.files()).ids() == Ids{7});
}

// ---- The lock -------------------------------------------------------------------------------------------------------

TEST_CASE("A second index with the log on gets locked at once in this process and in another", "[recovery][lock]") {
  const DurableDirectory directory;
  const DurableIndex db = directory.open_with(index_of({1}));
  FaultyFileSystem system;
  require_kind(PersistErrorKind::locked, [&] { return FaultyDb::load(directory.config(), FaultyStorage(system)); });
  require_kind(PersistErrorKind::locked,
               [&] { return FaultyDb::open_with(index_of({2}), directory.config(), FaultyStorage(system)); });
  // Each asks for the lock once: one that waits asks again.
  CHECK(std::ranges::count(system.calls(), FileCall::lock, &CallRecord::call) == 2);
  // A program of its own: not a fork, which has the lock's file open too.
  CHECK(iqdb_test::in_child([&] { return outcome_of([&] { return directory.load(); }); }) == "locked");
}

TEST_CASE("The lock is given back by close", "[recovery][lock]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  insert_row(db, 2);
  db.close();
  DurableIndex second = directory.load();
  CHECK(ids_of(second.index()) == Ids{1, 2});
  // The first one is empty now: nothing of it reaches the files, at its end either.
  require_kind(PersistErrorKind::poisoned, [&] { insert_row(db, 3); });
  require_kind(PersistErrorKind::poisoned, [&] { return db.save(); });
  db.close();
  insert_row(second, 4);
  { const DurableIndex ended = std::move(db); }
  insert_row(second, 5);
  CHECK(load_of(directory.files()).ids() == Ids{1, 2, 4, 5});
}

TEST_CASE("The lock is given back by a close that throws and by destruction", "[recovery][lock]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  FaultyDb db = FaultyDb::open_with(index_of({1}), directory.config(FsyncPolicy::never()), FaultyStorage(system));
  insert_row(db, 2);
  system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { db.close(); });
  { const DurableIndex second = directory.load(); }
  const DurableIndex third = directory.load();
  CHECK(ids_of(third.index()) == Ids{1, 2});
}

TEST_CASE("The lock is given back by a kill", "[recovery][lock]") {
  const DurableDirectory directory;
  const iqdb_test::Pipe ready;
  iqdb_test::ChildProcess child([&] {
    DurableIndex db = directory.open_with(index_of({1}));
    insert_row(db, 2);
    ready.write("x");
    for (;;) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    return 0;
  });
  REQUIRE(ready.wait_for_byte());
  require_kind(PersistErrorKind::locked, [&] { return directory.load(); });
  CHECK(child.kill() == -SIGKILL);
  CHECK(ids_of(directory.load().index()) == Ids{1, 2});
}

TEST_CASE("The lock moves with the index", "[recovery][lock]") {
  const DurableDirectory directory;
  DurableIndex first = directory.open_with(index_of({1}));
  DurableIndex second = std::move(first);
  require_kind(PersistErrorKind::locked, [&] { return directory.load(); });
  require_kind(PersistErrorKind::poisoned, [&] { insert_row(first, 9); });  // NOLINT(bugprone-use-after-move)
  insert_row(second, 2);
  const DurableDirectory other;
  DurableIndex third = other.open_with(index_of({5}));
  insert_row(third, 6);
  third = std::move(second);
  // What it had before was ended in order.
  CHECK(ops_of(other.log_bytes()) == "ix");
  CHECK(ids_of(other.load().index()) == Ids{5, 6});
  require_kind(PersistErrorKind::locked, [&] { return directory.load(); });
  insert_row(third, 3);
  third.close();
  CHECK(load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("A load that fails gives the lock back", "[recovery][lock]") {
  Base base;
  base.log.frame(insert_of(3), 1);
  FileSet files = base.files();
  files[log_name][20] ^= std::byte{1};
  const DurableDirectory directory;
  directory.put(files);
  require_kind(PersistErrorKind::log_corrupted, [&] { return directory.load(); });
  directory.put(base.files());
  CHECK(ids_of(directory.load().index()) == Ids{1, 2, 3});
}

TEST_CASE("load_or_create holds the lock while the index is made", "[recovery][lock]") {
  const DurableDirectory directory;
  std::string meanwhile;
  const DurableIndex db = DurableIndex::load_or_create(directory.config(), [&] {
    meanwhile = outcome_of([&] { return directory.open_with(index_of({9})); });
    return index_of({1});
  });
  CHECK(meanwhile == "locked");
  CHECK(load_of(directory.files()).ids() == Ids{1});
}

TEST_CASE("load_or_create with the log on loads what is there and its log", "[recovery]") {
  const DurableDirectory directory;
  const auto open = [&] { return DurableIndex::load_or_create(directory.config(), [] { return index_of({1}); }); };
  {
    DurableIndex db = open();
    insert_row(db, 2);
  }
  const DurableIndex db = open();
  CHECK(ids_of(db.index()) == Ids{1, 2});
  CHECK(db.recovery().replayed == 1);
}

TEST_CASE("load_or_create gives the lock back where the index cannot be made", "[recovery][lock]") {
  const DurableDirectory directory;
  CHECK_THROWS_AS(
      DurableIndex::load_or_create(directory.config(), []() -> FlatIndex { throw std::runtime_error("no"); }),
      std::runtime_error);
  CHECK(directory.files().empty());
  const DurableIndex db = directory.open_with(index_of({1}));
}

// ---- Forks ----------------------------------------------------------------------------------------------------------

TEST_CASE("After a fork every call of the child throws and the parent goes on undisturbed", "[recovery][fork]") {
  for (const FsyncPolicy policy :
       {FsyncPolicy::always(), FsyncPolicy::never(), FsyncPolicy::periodic(std::chrono::milliseconds(1))}) {
    const DurableDirectory directory;
    std::optional<DurableIndex> db = directory.open_with(index_of({1}), policy);
    insert_row(*db, 2);
    db->sync();
    const ByteVector before = directory.log_bytes();
    const std::string in_child = iqdb_test::in_child([&] {
      WriteBatch batch;
      insert_row(batch, 9);
      std::string outcomes;
      for (const std::function<void()>& call : std::vector<std::function<void()>>{
               [&] { insert_row(*db, 9); }, [&] { db->erase(1); }, [&] { db->apply(batch); }, [&] { db->sync(); },
               [&] { db->save(); }, [&] { db->checkpoint(); }, [&] { db->close(); }}) {
        outcomes += outcome_of(call) + " ";
      }
      db.reset();
      return outcomes + std::to_string(directory.log_bytes() == before);
    });
    CHECK(in_child == "poisoned poisoned poisoned poisoned poisoned poisoned poisoned 1");
    insert_row(*db, 3);
    // The child's end did not give the parent's lock back.
    require_kind(PersistErrorKind::locked, [&] { return directory.load(); });
    CHECK(iqdb_test::in_child([&] { return outcome_of([&] { return directory.load(); }); }) == "locked");
    insert_row(*db, 4);
    db->close();
    CHECK(load_in(directory).ids() == Ids{1, 2, 3, 4});
  }
}

TEST_CASE("A child that only destroys its copy writes nothing", "[recovery][fork]") {
  const DurableDirectory directory;
  std::optional<DurableIndex> db = directory.open_with(index_of({1}), FsyncPolicy::never());
  insert_row(*db, 2);
  const FileSet before = directory.files();
  iqdb_test::ChildProcess child([&] {
    db.reset();
    return 0;
  });
  CHECK(child.wait() == 0);
  CHECK(directory.files() == before);
  insert_row(*db, 3);
  db->close();
  CHECK(load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("A child can open the index that its parent had closed", "[recovery][fork]") {
  const DurableDirectory directory;
  std::optional<DurableIndex> db = directory.open_with(index_of({1}));
  insert_row(*db, 2);
  const iqdb_test::Pipe closed;
  const iqdb_test::Pipe answer;
  iqdb_test::ChildProcess child([&] {
    if (!closed.wait_for_byte()) {
      return 1;
    }
    const std::string outcome = outcome_of([&] {
      DurableIndex own = directory.load();
      insert_row(own, 3);
      own.close();
    });
    return outcome == "ok" ? 0 : 2;
  });
  db->close();
  closed.write("x");
  CHECK(child.wait() == 0);
  CHECK(load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("A child of an index in snapshot mode saves as its parent does", "[recovery][fork]") {
  const DurableDirectory directory;
  DurableIndex db = DurableIndex::open_with(index_of({1}), directory.config_without_log());
  CHECK(iqdb_test::in_child([&] {
          insert_row(db, 2);
          return outcome_of([&] { return db.save(); });
        }) == "ok");
  CHECK(DurableIndex::load(directory.config_without_log()).index().size() == 2);
}
