// Appending to a log: what is written and synced when, and what happens when that fails.
#include "iqdb/persist/wal/wal_writer.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <semaphore>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/crash_states.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/memory_storage.hpp"
#include "support/outcome.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::PersistErrorKind;
using iqdb::WriteBatch;
using iqdb_test::ByteVector;
using iqdb_test::CallRecord;
using iqdb_test::changes_in;
using iqdb_test::DurableDirectory;
using iqdb_test::Fault;
using iqdb_test::FaultPlan;
using iqdb_test::FaultyFileSystem;
using iqdb_test::FaultyStorage;
using iqdb_test::FileCall;
using iqdb_test::FileSet;
using iqdb_test::frames_of;
using iqdb_test::Ids;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::load_in;
using iqdb_test::load_of;
using iqdb_test::LoadResult;
using iqdb_test::log_name;
using iqdb_test::MemoryStorage;
using iqdb_test::ops_of;
using iqdb_test::outcome_of;
using iqdb_test::Random;
using iqdb_test::require_kind;
using iqdb_test::system_error;
using iqdb_test::texts_of;
using Db = iqdb::PersistedIndex<FlatIndex, FaultyStorage>;
using MemoryDb = iqdb::PersistedIndex<FlatIndex, MemoryStorage>;
using Strings = std::vector<std::string>;

constexpr auto always = FsyncPolicy::always();
constexpr auto never = FsyncPolicy::never();
constexpr auto hourly = FsyncPolicy::periodic(std::chrono::hours(1));

const std::string appended_log = "index.iqdb.wal.tmp";  // the name that the log was made under

struct Opened {
  DurableDirectory directory;
  FaultyFileSystem system;
  std::optional<Db> db;

  explicit Opened(const Ids& ids = {}, FsyncPolicy policy = always) {
    db = Db::open_with(index_of(ids), directory.config(policy), FaultyStorage(system));
    system.plan({});
  }
};

// Where syncs of a log wait until they may go on.
class SyncGate {
 public:
  // Whether a sync has come here, for each call another one.
  bool await_sync() { return waiting_.try_acquire_for(patience); }
  void let_pass(std::ptrdiff_t syncs) { passing_.release(syncs); }
  void pass() {
    waiting_.release();
    std::ignore = passing_.try_acquire_for(patience);
  }

 private:
  static constexpr std::chrono::seconds patience{300};
  std::counting_semaphore<> waiting_{0};
  std::counting_semaphore<> passing_{0};
};

struct GatedFileSystem : iqdb::PosixFileSystem {
  explicit GatedFileSystem(std::shared_ptr<SyncGate> its_gate) : gate(std::move(its_gate)) {}
  std::error_code sync_data(Handle handle) const noexcept {
    gate->pass();
    return iqdb::PosixFileSystem::sync_data(handle);
  }
  std::shared_ptr<SyncGate> gate;
};

std::size_t count_of(const std::vector<CallRecord>& calls, FileCall which) {
  return static_cast<std::size_t>(std::ranges::count(calls, which, &CallRecord::call));
}

WriteBatch batch_of(const Ids& inserted, const Ids& erased = {}) {
  WriteBatch batch;
  for (const std::uint64_t id : inserted) {
    insert_row(batch, id);
  }
  for (const std::uint64_t id : erased) {
    batch.erase(id);
  }
  return batch;
}

}  // namespace

// ---- What is written ------------------------------------------------------------------------------------------------

TEST_CASE("Every mutation is the frame that the format has for it", "[wal_writer]") {
  Opened opened({1});
  Db& db = *opened.db;
  const ByteVector snapshot = opened.directory.snapshot_bytes();
  insert_row(db, 2);
  db.insert(3, std::span<const float>(iqdb_test::vector_of(3)), {{"t", "text"}});
  db.erase(1);
  db.apply(batch_of({4, 5}, {2}));
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.apply(iqdb_test::twice(6)); });
  db.close();
  const ByteVector log = opened.directory.log_bytes();
  iqdb_test::RawLog expected(iqdb_test::number_at(log, 16, 8), 0, iqdb_test::fingerprint_of(snapshot), 3,
                             iqdb_test::number_at(log, 48, 8));
  const auto insert = [](std::uint64_t id, std::optional<std::string> text = {}) {
    return iqdb_test::insert_body(id, iqdb_test::vector_of(id), std::move(text));
  };
  expected.frame(insert(2), 1)
      .frame(insert(3, "text"), 1)
      .frame(iqdb_test::erase_body(1), 1)
      .frame(iqdb_test::batch_body({insert(4), insert(5), iqdb_test::erase_body(2)}), 3)
      .frame(iqdb_test::batch_body({insert(6), insert(6)}), 2)
      .control(iqdb_test::abort_body(8))
      .control(iqdb_test::close_body());
  CHECK(iqdb_test::hex(log) == iqdb_test::hex(expected.bytes()));
}

TEST_CASE("A log that was closed ends with its close frame", "[wal_writer]") {
  for (const Ids& inserted : {Ids{}, Ids{2}}) {
    Opened opened({1});
    for (const std::uint64_t id : inserted) {
      insert_row(*opened.db, id);
    }
    opened.db->close();
    const ByteVector log = opened.directory.log_bytes();
    const auto frames = frames_of(log);
    REQUIRE(!frames.empty());
    CHECK(frames.back().op == 6);
    CHECK(frames.back().durable == frames.back().offset);
    CHECK(frames.back().end == log.size());
  }
}

TEST_CASE("Under never the durable field is what the last sync reached", "[wal_writer]") {
  Opened opened({}, never);
  Db& db = *opened.db;
  insert_row(db, 1);
  insert_row(db, 2);
  db.sync();
  insert_row(db, 3);
  insert_row(db, 4);
  const auto frames = frames_of(opened.directory.log_bytes());
  REQUIRE(frames.size() == 4);
  CHECK(frames[0].durable == 64);
  CHECK(frames[1].durable == 64);
  CHECK(frames[2].durable == frames[1].end);
  CHECK(frames[3].durable == frames[1].end);
}

TEST_CASE("Under always each frame knows everything before it durable", "[wal_writer]") {
  Opened opened;
  for (std::uint64_t id = 0; id < 5; ++id) {
    insert_row(*opened.db, id);
  }
  for (const auto& frame : frames_of(opened.directory.log_bytes())) {
    CHECK(frame.durable == frame.offset);
  }
}

TEST_CASE("An empty batch writes nothing", "[wal_writer]") {
  Opened opened;
  opened.db->apply(WriteBatch());
  CHECK(opened.system.calls().empty());
  CHECK(opened.db->lsn() == 0);
}

TEST_CASE("Every log has a number of its own", "[wal_writer]") {
  Opened opened;
  const auto id = [&] { return iqdb_test::number_at(opened.directory.log_bytes(), 16, 8); };
  const std::uint64_t first = id();
  opened.db->checkpoint();
  const std::uint64_t second = id();
  opened.db->close();
  opened.db = Db::load(opened.directory.config(), FaultyStorage(opened.system));
  CHECK(first != second);
  CHECK(id() != second);
  CHECK(id() != first);
}

// ---- In which order -------------------------------------------------------------------------------------------------

TEST_CASE("An insert under always is one write and one sync of data", "[wal_writer][order]") {
  Opened opened;
  insert_row(*opened.db, 1);
  // The first one prepares space ahead, behind itself.
  CHECK(texts_of(opened.system.calls()) == Strings{"write " + appended_log + " at 111",
                                                   "write " + appended_log + " at 64", "sync data of " + appended_log});
  opened.system.plan({});
  insert_row(*opened.db, 2);
  CHECK(texts_of(opened.system.calls()) ==
        Strings{"write " + appended_log + " at 111", "sync data of " + appended_log});
}

TEST_CASE("Most inserts prepare no space", "[wal_writer][order]") {
  Opened opened;
  for (std::uint64_t id = 0; id < 2000; ++id) {
    insert_row(*opened.db, id);
  }
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 2000);
  CHECK(count_of(opened.system.calls(), FileCall::write) < 2000 + 100);
}

namespace {

// How many bytes of zeros stand behind the last record of a log of so many inserts.
std::uint64_t bytes_ahead(std::size_t log_extent_bytes, std::size_t inserts) {
  const DurableDirectory directory;
  iqdb::PersistConfig config = directory.config();
  config.log_extent_bytes = log_extent_bytes;
  auto db = Db::open_with(iqdb_test::empty_index(), config, FaultyStorage(FaultyFileSystem()));
  for (std::uint64_t id = 0; id < inserts; ++id) {
    insert_row(db, id);
  }
  const ByteVector log = directory.log_bytes();
  const std::size_t end = frames_of(log).back().end;
  CHECK(std::ranges::all_of(std::span(log).subspan(end), [](std::byte each) { return each == std::byte{0}; }));
  db.close();
  // At an orderly end it is given back.
  CHECK(directory.log_bytes().size() == frames_of(directory.log_bytes()).back().end);
  return log.size() - end;
}

constexpr std::size_t kibibyte = 1024;

}  // namespace

TEST_CASE("With extents of 0 bytes nothing is written ahead", "[wal_writer][extents]") {
  CHECK(bytes_ahead(0, 1) == 0);
  CHECK(bytes_ahead(0, 50) == 0);
  const DurableDirectory directory;
  FaultyFileSystem system;
  iqdb::PersistConfig config = directory.config();
  config.log_extent_bytes = 0;
  Db db = Db::open_with(index_of({}), config, FaultyStorage(system));
  system.plan({});
  insert_row(db, 1);
  insert_row(db, 2);
  CHECK(texts_of(system.calls()) == Strings{"write " + appended_log + " at 64", "sync data of " + appended_log,
                                            "write " + appended_log + " at 111", "sync data of " + appended_log});
}

TEST_CASE("Extents of less than 16 KiB are written ahead whole", "[wal_writer][extents]") {
  CHECK(bytes_ahead(300, 1) == 300);
  CHECK(bytes_ahead(200, 1) == 200);
  CHECK(bytes_ahead(5000, 1) == 5000);
  // The next record takes of it, and when it is used up there is another one.
  CHECK(bytes_ahead(300, 2) == 300 - 47);
  CHECK(bytes_ahead(300, 7) == 300 - 6 * 47);
  CHECK(bytes_ahead(300, 8) == 300);
}

TEST_CASE("Of an extent a small log takes 16 KiB at least and a large one as much as it has", "[wal_writer][extents]") {
  CHECK(bytes_ahead(iqdb::PersistConfig{}.log_extent_bytes, 1) == 16 * kibibyte);
  // The first 349 records fill the first extent; then the log has a little more than 16 KiB, and gets as much again.
  const std::uint64_t needed = 64 + 350 * 47;
  CHECK(bytes_ahead(iqdb::PersistConfig{}.log_extent_bytes, 350) == needed);
  // But no more than the extent.
  CHECK(bytes_ahead(16 * kibibyte + 7, 350) == 16 * kibibyte + 7);
}

TEST_CASE("A record that would fill much of an extent is written without one", "[wal_writer][extents]") {
  CHECK(bytes_ahead(4 * 47, 1) == 4 * 47);
  CHECK(bytes_ahead(4 * 47 - 1, 1) == 0);
}

TEST_CASE("Nothing is written ahead where not every mutation is synced", "[wal_writer][extents]") {
  for (const FsyncPolicy policy : {never, hourly}) {
    Opened opened({}, policy);
    insert_row(*opened.db, 1);
    CHECK(texts_of(opened.system.calls()) == Strings{"write " + appended_log + " at 64"});
  }
}

TEST_CASE("The index is changed after the sync and not before", "[wal_writer][order]") {
  Opened opened({1});
  Db& db = *opened.db;
  const auto check = [&](const std::function<void()>& action) {
    const std::size_t before = db.index().size();
    std::size_t calls = 0;
    opened.system.plan([&](const CallRecord&) {
      ++calls;
      CHECK(db.index().size() == before);
      return Fault{};
    });
    action();
    opened.system.plan({});
    CHECK(calls > 0);
    CHECK(db.index().size() != before);
  };
  check([&] { insert_row(db, 2); });
  check([&] { db.erase(1); });
  check([&] { db.apply(batch_of({3, 4})); });
}

TEST_CASE("A batch is one frame and one sync", "[wal_writer][order]") {
  Opened opened({1});
  opened.db->apply(batch_of({2, 3, 4}, {1}));
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 1);
  CHECK(ops_of(opened.directory.log_bytes()) == "b");
}

TEST_CASE("A rejected insert under always is followed by its abort and a sync of it", "[wal_writer][order]") {
  Opened opened({1});
  insert_row(*opened.db, 2);
  opened.system.plan({});
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { opened.db->apply(iqdb_test::twice(3)); });
  const Strings write_and_sync = {"write " + appended_log, "sync data of " + appended_log};
  CHECK(changes_in(opened.system.calls()) ==
        Strings{write_and_sync[0], write_and_sync[1], write_and_sync[0], write_and_sync[1]});
}

TEST_CASE("open_with writes snapshot and log and then puts first the one and then the other in place",
          "[wal_writer][order]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  const Db db = Db::open_with(index_of({1}), directory.config(), FaultyStorage(system));
  CHECK(changes_in(system.calls()) == Strings{"create index.iqdb.tmp", "write index.iqdb.tmp",
                                              "create index.iqdb.wal.tmp", "write index.iqdb.wal.tmp",
                                              "sync index.iqdb.tmp", "rename index.iqdb.tmp to index.iqdb",
                                              "sync directory", "sync index.iqdb.wal.tmp",
                                              "rename index.iqdb.wal.tmp to index.iqdb.wal", "sync directory"});
}

TEST_CASE("save writes and syncs the snapshot and the checkpoint frame and then renames", "[wal_writer][order]") {
  Opened opened({1});
  insert_row(*opened.db, 2);
  opened.system.plan({});
  opened.db->save();
  CHECK(changes_in(opened.system.calls()) ==
        Strings{"create index.iqdb.tmp", "write index.iqdb.tmp", "sync index.iqdb.tmp", "write " + appended_log,
                "sync data of " + appended_log, "rename index.iqdb.tmp to index.iqdb", "sync directory"});
}

TEST_CASE("checkpoint is a save and then a new log synced and renamed and its directory synced",
          "[wal_writer][order]") {
  for (const FsyncPolicy policy : {always, never, hourly}) {
    Opened opened({1}, policy);
    insert_row(*opened.db, 2);
    opened.system.plan({});
    opened.db->checkpoint();
    CHECK(changes_in(opened.system.calls()) ==
          Strings{"create index.iqdb.tmp", "write index.iqdb.tmp", "sync index.iqdb.tmp", "write " + appended_log,
                  "sync data of " + appended_log, "rename index.iqdb.tmp to index.iqdb", "sync directory",
                  "create index.iqdb.wal.tmp", "write index.iqdb.wal.tmp", "sync index.iqdb.wal.tmp",
                  "rename index.iqdb.wal.tmp to index.iqdb.wal", "sync directory"});
  }
}

TEST_CASE("load syncs snapshot and log and directory before it writes a new log", "[wal_writer][order]") {
  Opened opened({1});
  insert_row(*opened.db, 2);
  opened.db.reset();
  opened.system.plan({});
  opened.db = Db::load(opened.directory.config(), FaultyStorage(opened.system));
  CHECK(changes_in(opened.system.calls()) == Strings{"sync index.iqdb", "sync index.iqdb.wal", "sync directory",
                                                     "create index.iqdb.wal.tmp", "write index.iqdb.wal.tmp",
                                                     "sync directory", "sync index.iqdb.wal.tmp",
                                                     "rename index.iqdb.wal.tmp to index.iqdb.wal", "sync directory"});
}

TEST_CASE("close syncs and then writes its frame and syncs that", "[wal_writer][order]") {
  Opened opened({}, never);
  insert_row(*opened.db, 1);
  opened.system.plan({});
  opened.db->close();
  CHECK(changes_in(opened.system.calls()) == Strings{"sync data of " + appended_log, "write " + appended_log,
                                                     "truncate " + appended_log, "sync data of " + appended_log});
}

TEST_CASE("What is released at close is released behind the last sync", "[wal_writer][order]") {
  Opened opened;
  insert_row(*opened.db, 1);
  opened.system.plan({});
  opened.db->close();
  const Strings calls = texts_of(opened.system.calls());
  const auto unlocked = std::ranges::find(calls, "unlock index.iqdb.lock");
  CHECK(std::ranges::count(calls.begin(), unlocked, "sync data of " + appended_log) > 0);
  CHECK(std::vector(unlocked, calls.end()) == Strings{"unlock index.iqdb.lock", "close ."});
  CHECK(std::ranges::count(calls, "unlock index.iqdb.lock") == 1);
}

// ---- When it is synced ----------------------------------------------------------------------------------------------

TEST_CASE("Under never nothing is synced before sync and then once", "[wal_writer][policy]") {
  Opened opened({}, never);
  insert_row(*opened.db, 1);
  opened.db->erase(1);
  opened.db->apply(batch_of({1, 2}));
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 0);
  opened.db->sync();
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 1);
  opened.db->sync();
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 1);
}

TEST_CASE("Under always sync has nothing to do", "[wal_writer][policy]") {
  Opened opened;
  insert_row(*opened.db, 1);
  opened.system.plan({});
  opened.db->sync();
  CHECK(opened.system.calls().empty());
}

namespace {

// Whether `condition` comes true before a test is taken for one that hangs.
template <class Condition>
bool comes_true(Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(300);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

TEST_CASE("A periodic policy syncs also when writes stop", "[wal_writer][policy]") {
  Opened opened({}, FsyncPolicy::periodic(std::chrono::milliseconds(10)));
  insert_row(*opened.db, 1);
  CHECK(comes_true([&] { return count_of(opened.system.calls(), FileCall::sync_data) == 1; }));
  // And not again while nothing is written.
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 1);
  insert_row(*opened.db, 2);
  CHECK(comes_true([&] { return count_of(opened.system.calls(), FileCall::sync_data) == 2; }));
}

TEST_CASE("A periodic policy does not sync each mutation", "[wal_writer][policy]") {
  Opened opened({}, hourly);
  for (std::uint64_t id = 0; id < 100; ++id) {
    insert_row(*opened.db, id);
  }
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 0);
}

TEST_CASE("A periodic sync that fails in the background poisons", "[wal_writer][policy]") {
  Opened opened({}, FsyncPolicy::periodic(std::chrono::milliseconds(2)));
  opened.system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  insert_row(*opened.db, 1);
  REQUIRE(comes_true([&] { return count_of(opened.system.calls(), FileCall::sync_data) > 0; }));
  CHECK(comes_true([&] { return outcome_of([&] { opened.db->sync(); }) == "poisoned"; }));
  require_kind(PersistErrorKind::poisoned, [&] { insert_row(*opened.db, 2); });
  // It is not tried again.
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 1);
}

TEST_CASE("What is appended while a sync runs is not taken for durable", "[wal_writer][policy]") {
  const DurableDirectory directory;
  const auto gate = std::make_shared<SyncGate>();
  // Long enough that the second mutation need not wait for the sync of the first one.
  auto db = iqdb::PersistedIndex<FlatIndex, iqdb::BasicFileStorage<GatedFileSystem>>::open_with(
      index_of({}), directory.config(FsyncPolicy::periodic(std::chrono::milliseconds(2000))),
      iqdb::BasicFileStorage(GatedFileSystem(gate)));
  insert_row(db, 1);
  REQUIRE(gate->await_sync());
  insert_row(db, 2);
  gate->let_pass(1);
  REQUIRE(gate->await_sync());  // the next one: what the first has made durable is known by now
  insert_row(db, 3);
  gate->let_pass(100);
  db.close();
  const auto frames = frames_of(directory.log_bytes());
  REQUIRE(frames.size() == 4);
  CHECK(frames[2].durable == frames[1].offset);
}

TEST_CASE("No mutation is acknowledged while an older one is overdue and the disk does not sync",
          "[wal_writer][policy]") {
  const DurableDirectory directory;
  const auto gate = std::make_shared<SyncGate>();
  auto db = iqdb::PersistedIndex<FlatIndex, iqdb::BasicFileStorage<GatedFileSystem>>::open_with(
      index_of({}), directory.config(FsyncPolicy::periodic(std::chrono::milliseconds(1))),
      iqdb::BasicFileStorage(GatedFileSystem(gate)));
  insert_row(db, 1);
  REQUIRE(gate->await_sync());
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // now the first one is overdue
  std::atomic<int> acknowledged = 0;
  std::jthread writer([&] {
    for (std::uint64_t id = 2; id <= 20; ++id) {
      insert_row(db, id);
      ++acknowledged;
    }
  });
  // Without the brake they would all be acknowledged in this time.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const int before_the_sync = acknowledged;
  gate->let_pass(1000);
  writer.join();
  CHECK(before_the_sync == 0);
  CHECK(acknowledged == 19);
  db.close();
}

TEST_CASE("Closing a periodic log does not wait for its interval", "[wal_writer][policy]") {
  // If it did, this test would not end.
  Opened opened({}, hourly);
  insert_row(*opened.db, 1);
  opened.db->close();
  // Before the close frame, and behind it.
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 2);
}

// ---- When something fails -------------------------------------------------------------------------------------------

TEST_CASE("Space that cannot be prepared is no error", "[wal_writer][faults]") {
  Opened opened;
  opened.system.plan(iqdb_test::fail_call(0, ENOSPC));
  insert_row(*opened.db, 1);
  CHECK(load_of(opened.directory.files()).ids() == Ids{1});
  opened.system.plan(iqdb_test::cut_call_short(0, 5000, 0));
  insert_row(*opened.db, 2);
  insert_row(*opened.db, 3);
  CHECK(load_of(opened.directory.files()).ids() == Ids{1, 2, 3});
}

TEST_CASE("A failed write leaves the log as it was and the next insert works", "[wal_writer][faults]") {
  for (const int error : {EIO, ENOSPC, EDQUOT}) {
    for (const std::size_t written : {std::size_t{0}, std::size_t{1}, std::size_t{24}, std::size_t{40}}) {
      CAPTURE(error, written);
      Opened opened({1});
      insert_row(*opened.db, 2);
      const std::size_t end = frames_of(opened.directory.log_bytes()).back().end;
      opened.system.plan([&, calls = 0](const CallRecord& call) mutable {
        if (call.call != FileCall::write) {
          return Fault{};
        }
        return ++calls == 1 && written > 0 ? Fault{.error = {}, .most_bytes = written}
                                           : Fault{.error = system_error(error)};
      });
      const auto thrown = require_kind(PersistErrorKind::io, [&] { insert_row(*opened.db, 3); });
      CHECK(thrown.code().value() == error);
      opened.system.plan({});
      CHECK(fs::file_size(opened.directory.log()) == end);
      CHECK(opened.db->index().size() == 2);
      CHECK(opened.db->lsn() == 1);
      insert_row(*opened.db, 4);
      const LoadResult loaded = load_of(opened.directory.files());
      CHECK(loaded.ids() == Ids{1, 2, 4});
      CHECK(loaded.lsn == 2);
      CHECK(loaded.report.dropped_bytes == 0);
    }
  }
}

namespace {

using iqdb::testing::CrashStates;
using iqdb::testing::SimulatedFileSystem;
using SimulatedStorage = iqdb::BasicFileStorage<SimulatedFileSystem>;
using SimulatedDb = iqdb::PersistedIndex<FlatIndex, SimulatedStorage>;

const iqdb::PersistConfig simulated_config{
    .path = "/index.iqdb", .wal_enabled = true, .buffer_bytes = 4096, .helper_threads = 0, .log_extent_bytes = 4096};

// The first write is cut short by its last byte, and those behind it fail.
FaultPlan cut_by_the_last_byte() {
  return [writes = 0](const CallRecord& call) mutable {
    return call.call != FileCall::write ? Fault{}
           : ++writes == 1              ? Fault{.error = {}, .most_bytes = call.bytes - 1}
                                        : Fault{.error = system_error(EIO)};
  };
}

}  // namespace

TEST_CASE("A failed write is cut back durably before it is reported", "[wal_writer][faults]") {
  SimulatedFileSystem machine;
  SimulatedDb db = SimulatedDb::open_with(iqdb_test::empty_index(), simulated_config, SimulatedStorage(machine));
  insert_row(db, 1);
  // The last byte is a zero, as what stands there is: but for the cut, the record would be whole.
  const ByteVector body = iqdb_test::insert_body(2, iqdb_test::vector_of(2));
  REQUIRE(body.back() == std::byte{0});
  const std::size_t end = 64 + (24 + body.size());
  REQUIRE(machine.visible().at("/index.iqdb.wal")->at(end + 100) == std::byte{0});
  machine.plan(cut_by_the_last_byte());
  require_kind(PersistErrorKind::io, [&] { insert_row(db, 2); });
  machine.plan({});
  const CrashStates states(machine, 1);
  CHECK(states.count() == 1);
  Random random(1);
  for (int draw = 0; draw < 10; ++draw) {
    const SimulatedFileSystem after(states.any(random), 1);
    const SimulatedDb loaded = SimulatedDb::load(simulated_config, SimulatedStorage(after));
    CHECK(iqdb_test::ids_of(loaded.index()) == Ids{1});
    CHECK(loaded.lsn() == 1);
  }
  insert_row(db, 3);
  CHECK(iqdb_test::ids_of(db.index()) == Ids{1, 3});
}

TEST_CASE("A failed write is cut and synced in this order", "[wal_writer][faults][order]") {
  for (const FsyncPolicy policy : {always, never, hourly}) {
    Opened opened({1}, policy);
    insert_row(*opened.db, 2);
    opened.system.plan(cut_by_the_last_byte());
    require_kind(PersistErrorKind::io, [&] { insert_row(*opened.db, 3); });
    CHECK(texts_of(opened.system.calls()) ==
          Strings{"write " + appended_log + " at 111", "write " + appended_log + " at 157",
                  "truncate " + appended_log + " to 111", "sync data of " + appended_log});
  }
}

TEST_CASE("A failed write whose cut cannot be synced poisons", "[wal_writer][faults]") {
  for (const FsyncPolicy policy : {always, never}) {
    Opened opened({1}, policy);
    insert_row(*opened.db, 2);
    opened.system.plan([cut = cut_by_the_last_byte()](const CallRecord& call) {
      return call.call == FileCall::sync_data ? Fault{.error = system_error(ENOSPC)} : cut(call);
    });
    // What is reported is the write.
    const auto thrown = require_kind(PersistErrorKind::io, [&] { insert_row(*opened.db, 3); });
    CHECK(thrown.code().value() == EIO);
    opened.system.plan({});
    CHECK(opened.db->lsn() == 1);
    require_kind(PersistErrorKind::poisoned, [&] { insert_row(*opened.db, 4); });
    CHECK(opened.system.calls().empty());
  }
}

TEST_CASE("A mutation that is refused before anything was written syncs nothing", "[wal_writer][faults]") {
  Opened opened({}, never);
  insert_row(*opened.db, 1);
  opened.system.plan({});
  // More than the buffer for records has room for.
  const std::vector<float> large(100'000);
  CHECK_THROWS_AS(iqdb_test::refusing_allocation(1, [&] { opened.db->insert(2, std::span<const float>(large)); }),
                  std::bad_alloc);
  CHECK(opened.system.calls().empty());
  CHECK(opened.db->lsn() == 1);
  insert_row(*opened.db, 3);
  CHECK(count_of(opened.system.calls(), FileCall::sync_data) == 0);
  CHECK(load_of(opened.directory.files()).ids() == Ids{1, 3});
}

TEST_CASE("A mutation whose sync failed is not counted", "[wal_writer][faults]") {
  Opened opened({1});
  insert_row(*opened.db, 2);
  CHECK(opened.db->lsn() == 1);
  opened.system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { opened.db->apply(batch_of({3, 4})); });
  CHECK(opened.db->lsn() == 1);
  require_kind(PersistErrorKind::poisoned, [&] { insert_row(*opened.db, 5); });
  CHECK(opened.db->lsn() == 1);
}

TEST_CASE("After a failed sync nothing at all is appended", "[wal_writer][faults]") {
  Opened opened({1});
  insert_row(*opened.db, 2);
  opened.system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { insert_row(*opened.db, 3); });
  opened.system.plan({});
  CHECK(opened.db->index().size() == 2);
  const FileSet before = opened.directory.files();
  CHECK(outcome_of([&] { insert_row(*opened.db, 4); }) == "poisoned");
  CHECK(outcome_of([&] { opened.db->erase(1); }) == "poisoned");
  CHECK(outcome_of([&] { opened.db->apply(batch_of({4})); }) == "poisoned");
  CHECK(outcome_of([&] { opened.db->sync(); }) == "poisoned");
  CHECK(outcome_of([&] { opened.db->save(); }) == "poisoned");
  CHECK(outcome_of([&] { opened.db->checkpoint(); }) == "poisoned");
  CHECK(outcome_of([&] { opened.db->close(); }) == "poisoned");
  opened.db.reset();
  CHECK(opened.directory.files() == before);
  CHECK(opened.system.open_files() == 0);
  // What was never acknowledged may be there.
  const Ids ids = load_in(opened.directory).ids();
  CHECK((ids == Ids{1, 2} || ids == Ids{1, 2, 3}));
}

TEST_CASE("A poisoned index is not written to by its destruction", "[wal_writer][faults]") {
  Opened opened({1});
  opened.system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { insert_row(*opened.db, 3); });
  opened.system.plan({});
  opened.db.reset();
  for (const CallRecord& call : opened.system.calls()) {
    CAPTURE(call.text());
    CHECK((call.call == FileCall::close || call.call == FileCall::unlock));
  }
  CHECK(ops_of(opened.directory.log_bytes()) == "i");
}

TEST_CASE("A close frame that cannot be synced is cut off again", "[wal_writer][faults]") {
  Opened opened({1}, never);
  insert_row(*opened.db, 2);
  opened.system.plan([syncs = 0](const CallRecord& call) mutable {
    return Fault{.error = system_error(call.call == FileCall::sync_data && ++syncs == 2 ? EIO : 0)};
  });
  require_kind(PersistErrorKind::io, [&] { opened.db->close(); });
  CHECK(ops_of(opened.directory.log_bytes()) == "i");
  CHECK(load_in(opened.directory).ids() == Ids{1, 2});
}

TEST_CASE("A close whose first sync fails writes no close frame", "[wal_writer][faults]") {
  Opened opened({1}, never);
  insert_row(*opened.db, 2);
  opened.system.plan(iqdb_test::fail_every(FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { opened.db->close(); });
  CHECK(count_of(opened.system.calls(), FileCall::write) == 0);
  CHECK(ops_of(opened.directory.log_bytes()) == "i");
}

TEST_CASE("A failed sync of the snapshot or of a directory poisons", "[wal_writer][faults]") {
  for (const FileCall failing : {FileCall::sync, FileCall::sync_directory}) {
    for (std::size_t which = 0; which < 2; ++which) {
      CAPTURE(static_cast<int>(failing), which);
      Opened opened({1});
      insert_row(*opened.db, 2);
      opened.system.plan([&, seen = std::size_t{0}](const CallRecord& call) mutable {
        return Fault{.error = system_error(call.call == failing && seen++ == which ? EIO : 0)};
      });
      require_kind(PersistErrorKind::io, [&] { opened.db->checkpoint(); });
      opened.system.plan({});
      require_kind(PersistErrorKind::poisoned, [&] { insert_row(*opened.db, 3); });
      CHECK(load_of(opened.directory.files()).ids() == Ids{1, 2});
    }
  }
}

TEST_CASE("A file system that syncs no directories is no error", "[wal_writer][faults]") {
  for (const int error : {EINVAL, ENOTSUP}) {
    Opened opened({1});
    insert_row(*opened.db, 2);
    opened.system.plan(iqdb_test::fail_every(FileCall::sync_directory, error));
    opened.db->checkpoint();
    insert_row(*opened.db, 3);
    CHECK(load_of(opened.directory.files()).ids() == Ids{1, 2, 3});
  }
}

TEST_CASE("An interrupted call is made again", "[wal_writer][faults]") {
  Opened opened({1});
  for (const FileCall which : {FileCall::write, FileCall::sync_data, FileCall::sync, FileCall::sync_directory}) {
    CAPTURE(static_cast<int>(which));
    opened.system.plan([which, seen = 0](const CallRecord& call) mutable {
      return Fault{.error = system_error(call.call == which && ++seen == 1 ? EINTR : 0)};
    });
    const std::uint64_t id = 10 + static_cast<std::uint64_t>(which);
    insert_row(*opened.db, id);
    opened.db->checkpoint();
  }
  opened.system.plan({});
  CHECK(load_of(opened.directory.files()).index->size() == 5);
}

namespace {

// A call under test: what it does, and what it adds to the rows where it succeeds.
struct Operation {
  std::string name;
  std::function<void(Db&)> run;
  Ids rows_after;
};

const Ids rows_before = {1, 2, 3};

std::vector<Operation> operations() {
  return {
      {"insert", [](Db& db) { insert_row(db, 4); }, {1, 2, 3, 4}},
      {"erase", [](Db& db) { db.erase(2); }, {1, 3}},
      {"apply",
       [](Db& db) {
         db.apply(batch_of({4, 5}, {1}));
       },
       {2, 3, 4, 5}},
      {"rejected insert", [](Db& db) { insert_row(db, 2); }, {1, 2, 3}},
      {"sync", [](Db& db) { db.sync(); }, {1, 2, 3}},
      {"save", [](Db& db) { db.save(); }, {1, 2, 3}},
      {"checkpoint", [](Db& db) { db.checkpoint(); }, {1, 2, 3}},
      {"close", [](Db& db) { db.close(); }, {1, 2, 3}},
  };
}

void prepare(Opened& opened) {
  insert_row(*opened.db, 2);
  insert_row(*opened.db, 3);
}

bool is_sync(const CallRecord& call) {
  return call.call == FileCall::sync || call.call == FileCall::sync_data || call.call == FileCall::sync_directory;
}

struct Sweep {
  std::string name;
  std::function<FaultPlan(std::size_t)> plan;
};

std::vector<Sweep> sweeps() {
  std::vector<Sweep> all;
  for (const int error : {EIO, ENOSPC, EDQUOT}) {
    const std::string name = std::to_string(error);
    all.push_back({"once " + name, [error](std::size_t n) { return iqdb_test::fail_call(n, error); }});
    all.push_back({"for good " + name, [error](std::size_t n) { return iqdb_test::fail_from_call(n, error); }});
    all.push_back(
        {"short and then " + name, [error](std::size_t n) { return iqdb_test::cut_call_short(n, 7, error); }});
  }
  return all;
}

}  // namespace

TEST_CASE("Whichever call of a mutation or a save fails nothing acknowledged is lost", "[wal_writer][faults]") {
  for (const FsyncPolicy policy : {always, never}) {
    for (const Operation& operation : operations()) {
      std::size_t calls = 0;
      {
        Opened opened({1}, policy);
        prepare(opened);
        opened.system.plan({});
        static_cast<void>(outcome_of([&] { operation.run(*opened.db); }));
        calls = opened.system.calls().size();
      }
      for (const Sweep& sweep : sweeps()) {
        for (std::size_t failing = 0; failing < calls; ++failing) {
          CAPTURE(operation.name, sweep.name, failing, policy.is_always());
          Opened opened({1}, policy);
          prepare(opened);
          // Whether a sync was made to fail: only then may what was not acknowledged be there.
          bool sync_failed = false;
          bool close_tried = operation.name == "close";
          const FaultPlan plan = sweep.plan(failing);
          opened.system.plan([&](const CallRecord& call) {
            const Fault fault = plan(call);
            sync_failed = sync_failed || (fault.error && is_sync(call));
            return fault;
          });
          const std::string outcome = outcome_of([&] { operation.run(*opened.db); });
          opened.system.plan({});
          const bool acknowledged = outcome == "ok" || operation.name == "rejected insert";
          Ids expected = outcome == "ok" ? operation.rows_after : rows_before;

          // The index in memory agrees with what was acknowledged.
          if (!close_tried) {
            CHECK(iqdb_test::ids_of(opened.db->index()) == expected);
          }
          // After a failed sync everything is refused; a write that failed and was cut back is no reason for that.
          std::string next = "closed";
          if (!close_tried) {
            next = outcome_of([&] { insert_row(*opened.db, 50); });
            CHECK((next == "ok" || next == "poisoned"));
            if (sync_failed) {
              CHECK(next == "poisoned");
            }
          }
          std::vector<Ids> allowed = {expected};
          if (!acknowledged && sync_failed) {
            allowed.push_back(operation.rows_after);
          }
          if (next == "ok") {
            for (Ids& ids : allowed) {
              ids.push_back(50);
            }
          }
          const auto check = [&](const LoadResult& loaded) {
            INFO(loaded.message);
            REQUIRE(loaded.kind == "ok");
            CHECK(std::ranges::find(allowed, loaded.ids()) != allowed.end());
          };
          // Killed now; and ended in order.
          check(load_of(opened.directory.files()));
          opened.db.reset();
          CHECK(opened.system.open_files() == 0);
          if (sync_failed && operation.name != "close") {
            CHECK_FALSE(ops_of(opened.directory.log_bytes()).ends_with("x"));
          }
          check(load_in(opened.directory));
        }
      }
    }
  }
}

TEST_CASE("Whichever call of a load fails the next load finds everything", "[wal_writer][faults]") {
  FileSet files;
  {
    Opened opened({1});
    prepare(opened);
    files = opened.directory.files();
  }
  FileSet torn = files;
  ByteVector& log = torn[log_name];
  log.resize(frames_of(log).back().end);
  log.resize(log.size() + 10, std::byte{9});
  for (const FileSet& found : {files, torn}) {
    std::size_t calls = 0;
    {
      const DurableDirectory directory;
      directory.put(found);
      FaultyFileSystem system;
      const Db db = Db::load(directory.config(), FaultyStorage(system));
      calls = system.calls().size();
    }
    REQUIRE(calls > 10);
    for (const Sweep& sweep : sweeps()) {
      for (std::size_t failing = 0; failing < calls; ++failing) {
        CAPTURE(sweep.name, failing);
        const DurableDirectory directory;
        directory.put(found);
        FaultyFileSystem system;
        system.plan(sweep.plan(failing));
        std::optional<Db> db;
        const std::string outcome =
            outcome_of([&] { db.emplace(Db::load(directory.config(), FaultyStorage(system))); });
        system.plan({});
        if (outcome == "ok") {
          CHECK(iqdb_test::ids_of(db->index()) == Ids{1, 2, 3});
          CHECK(load_of(directory.files()).ids() == Ids{1, 2, 3});
        } else {
          CHECK(outcome.starts_with("io "));
        }
        CHECK(directory.files().at("index.iqdb") == found.at("index.iqdb"));
        db.reset();
        CHECK(system.open_files() == 0);
        const LoadResult loaded = load_in(directory);
        INFO(loaded.message);
        CHECK(loaded.ids() == Ids{1, 2, 3});
      }
    }
  }
}

namespace {

iqdb::PersistConfig replacing(const DurableDirectory& directory) {
  iqdb::PersistConfig config = directory.config();
  config.replace_existing = true;
  return config;
}

}  // namespace

TEST_CASE("Whichever call of open_with fails there is the old index or the new one", "[wal_writer][faults]") {
  FileSet files;
  {
    Opened opened({1, 2});
    opened.db->close();
    files = opened.directory.files();
  }
  for (const FileSet& found : {FileSet{}, files}) {
    std::size_t calls = 0;
    {
      const DurableDirectory directory;
      directory.put(found);
      FaultyFileSystem system;
      const Db db = Db::open_with(index_of({7}), replacing(directory), FaultyStorage(system));
      calls = system.calls().size();
    }
    for (const Sweep& sweep : sweeps()) {
      for (std::size_t failing = 0; failing < calls; ++failing) {
        CAPTURE(sweep.name, failing, found.empty());
        const DurableDirectory directory;
        directory.put(found);
        FaultyFileSystem system;
        system.plan(sweep.plan(failing));
        std::optional<Db> db;
        const std::string outcome =
            outcome_of([&] { db.emplace(Db::open_with(index_of({7}), replacing(directory), FaultyStorage(system))); });
        system.plan({});
        db.reset();
        CHECK(system.open_files() == 0);
        const LoadResult loaded = load_in(directory);
        INFO(outcome + " / " + loaded.message);
        if (outcome == "ok") {
          CHECK(loaded.ids() == Ids{7});
        } else if (loaded.ok()) {
          CHECK((loaded.ids() == Ids{7} || (!found.empty() && loaded.ids() == Ids{1, 2})));
        } else {
          CHECK((found.empty() && loaded.kind == "io"));
        }
      }
    }
  }
}

TEST_CASE("Out of memory while a failed sync is reported it poisons all the same", "[wal_writer][faults]") {
  bool went_through = false;
  for (std::uint64_t refused = 1; refused < 200 && !went_through; ++refused) {
    CAPTURE(refused);
    MemoryStorage storage;
    MemoryDb db = MemoryDb::open_with(index_of({1}), {.path = "/index.iqdb", .wal_enabled = true}, storage);
    insert_row(db, 2);
    // Made before memory runs out: what is tested is what becomes of it.
    const iqdb::PersistError failure(PersistErrorKind::io, std::string(100, 'x'));
    bool tried_to_append = false;
    storage.watch([&](std::string_view what) {
      tried_to_append = tried_to_append || what == "write the log";
      if (what == "sync the log") {
        throw failure;
      }
    });
    const std::vector<float> vector = iqdb_test::vector_of(3);
    bool refused_one = false;
    try {
      iqdb_test::refusing_allocation(refused, [&] { db.insert(3, std::span<const float>(vector)); });
    } catch (const std::bad_alloc&) {
      refused_one = true;
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == PersistErrorKind::io);
      went_through = true;
    }
    storage.watch({});
    const std::string next = outcome_of([&] { insert_row(db, 4); });
    // What a failed append may have left is synced too. Before the append there was no sync that could fail.
    CHECK(next == (tried_to_append ? "poisoned" : "ok"));
    CHECK((refused_one || went_through));
  }
  CHECK(went_through);
}

TEST_CASE("Out of memory while an abort is written it poisons or succeeds and does not terminate",
          "[wal_writer][faults]") {
  for (std::uint64_t refused = 1; refused < 60; ++refused) {
    CAPTURE(refused);
    MemoryStorage storage;
    MemoryDb db = MemoryDb::open_with(index_of({1}), {.path = "/index.iqdb", .wal_enabled = true}, storage);
    insert_row(db, 2);
    const std::vector<float> vector = iqdb_test::vector_of(2);
    const iqdb::PersistError failure(PersistErrorKind::io, std::string(100, 'x'));
    storage.watch([&, writes = 0](std::string_view what) mutable {
      if (what == "write the log" && ++writes == 2) {
        throw failure;
      }
    });
    CHECK_THROWS(iqdb_test::refusing_allocation(refused, [&] { db.insert(2, std::span<const float>(vector)); }));
    storage.watch({});
    static_cast<void>(outcome_of([&] { insert_row(db, 3); }));
    const auto files = storage.files();
    MemoryStorage after;
    after.files() = files;
    const MemoryDb loaded = MemoryDb::load({.path = "/index.iqdb", .wal_enabled = true}, after);
    CHECK(iqdb_test::difference(loaded.index(), db.index()) == "");
  }
}

// ---- What it costs --------------------------------------------------------------------------------------------------

namespace {

// An index that takes everything, and no memory.
class CountingIndex {
 public:
  static constexpr std::string_view index_type = "counting";
  void insert(const iqdb::VectorId&, std::span<const float>, const std::optional<iqdb::Metadata>&) { ++count_; }
  void erase(const iqdb::VectorId&) { --count_; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] static std::size_t dim() noexcept { return 2; }
  [[nodiscard]] static iqdb::DistanceMetric metric() noexcept { return iqdb::DistanceMetric::cosine; }
  void save_to(iqdb::Writer& writer) const { writer.write_le(std::uint64_t{count_}); }
  static CountingIndex load_from(iqdb::Reader& reader) {
    CountingIndex index;
    index.count_ = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
    return index;
  }

 private:
  std::size_t count_ = 0;
};

}  // namespace

TEST_CASE("In the steady state a mutation allocates nothing", "[wal_writer]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<CountingIndex>::open_with(CountingIndex(), directory.config());
  const std::vector<float> vector(500, 1.0F);
  const auto mutate = [&] {
    db.insert(1, std::span<const float>(vector));
    db.erase(1);
  };
  mutate();
  CHECK(iqdb_test::allocated_by([&] {
          for (int round = 0; round < 200; ++round) {
            mutate();
          }
        }).count == 0);
}

TEST_CASE("A storage that was moved into the index is not used any more", "[wal_writer]") {
  MemoryStorage storage;
  const iqdb::PersistConfig config{.path = "/index.iqdb", .wal_enabled = true};
  {
    MemoryDb db = MemoryDb::open_with(index_of({1}), config, storage);
    insert_row(db, 2);
    db.checkpoint();
    insert_row(db, 3);
  }
  MemoryDb db = MemoryDb::load(config, storage);
  MemoryDb moved = std::move(db);
  insert_row(moved, 4);
  moved.checkpoint();
  insert_row(moved, 5);
  moved.close();
  CHECK(iqdb_test::ids_of(MemoryDb::load(config, storage).index()) == Ids{1, 2, 3, 4, 5});
}
