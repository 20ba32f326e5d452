// What the log's rules are for: each way in which a log without them loses what was acknowledged, reproduced, and shown
// closed. The table at the end of docs/format.md, row by row; then damage of every kind, bit by bit and byte by byte.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/crash_states.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::PersistErrorKind;
using iqdb::WriteBatch;
using iqdb_test::ByteVector;
using iqdb_test::CallRecord;
using iqdb_test::difference;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::Fault;
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
using iqdb_test::ops_of;
using iqdb_test::RawLog;
using iqdb_test::read_bytes;
using iqdb_test::require_kind;
using iqdb_test::SeenFrame;
using iqdb_test::snapshot_name;
using iqdb_test::states_during;
using iqdb_test::texts_of;
using iqdb_test::torn_name;
using iqdb_test::vector_of;
using iqdb_test::with_log;
using FaultyDb = iqdb::PersistedIndex<FlatIndex, FaultyStorage>;

constexpr auto always = FsyncPolicy::always();
constexpr auto never = FsyncPolicy::never();
constexpr auto hourly = FsyncPolicy::periodic(std::chrono::hours(1));

// What a process that is killed after these inserts leaves.
FileSet killed_after(const Ids& ids, FsyncPolicy policy = always) {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(iqdb_test::empty_index(), policy);
  for (const std::uint64_t id : ids) {
    insert_row(db, id);
  }
  return directory.files();
}

// The log without the zeros behind its frames.
ByteVector trimmed(const ByteVector& log) {
  const auto frames = frames_of(log);
  return {log.begin(), log.begin() + static_cast<std::ptrdiff_t>(frames.empty() ? 64 : frames.back().end)};
}

// How many bytes from `begin` on hold something: up to the last that is not zero.
std::size_t used_bytes(const ByteVector& log, std::size_t begin) {
  std::size_t end = log.size();
  while (end > begin && log[end - 1] == std::byte{0}) {
    --end;
  }
  return end - begin;
}

ByteVector with_tail(ByteVector log, std::span<const std::byte> tail) {
  log.insert(log.end(), tail.begin(), tail.end());
  return log;
}

std::size_t position(const std::vector<std::string>& texts, const std::string& text, std::size_t from = 0) {
  const auto found = std::find(texts.begin() + static_cast<std::ptrdiff_t>(from), texts.end(), text);
  INFO(text);
  REQUIRE(found != texts.end());
  return static_cast<std::size_t>(found - texts.begin());
}

}  // namespace

// ---- The table, row by row ------------------------------------------------------------------------------------------

TEST_CASE("Appends after a torn tail are there at the next load", "[durability]") {
  FileSet files = killed_after({1, 2, 3});
  ByteVector log = trimmed(files.at(log_name));
  log.resize(log.size() - 5);
  const DurableDirectory directory;
  directory.put(with_log(files, log));
  Ids expected = {1, 2};
  {
    DurableIndex db = directory.load();
    CHECK(db.recovery().dropped_bytes > 0);
    for (std::uint64_t id = 100; id < 200; ++id) {
      insert_row(db, id);
      expected.push_back(id);
    }
    const LoadResult after_a_kill = load_of(directory.files());
    CHECK(after_a_kill.ids() == expected);
  }
  CHECK(load_in(directory).ids() == expected);
}

TEST_CASE("A crash between a checkpoint's snapshot and its new log loads to the same rows", "[durability]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  FaultyDb db = FaultyDb::open_with(iqdb_test::empty_index(), directory.config(), FaultyStorage(system));
  insert_row(db, 1);
  insert_row(db, 2);
  db.erase(1);
  bool seen = false;
  const ByteVector old_snapshot = directory.snapshot_bytes();
  const ByteVector old_log = directory.log_bytes();
  for (const auto& [when, files] : states_during(system, directory.directory(), [&] { db.checkpoint(); })) {
    // The new snapshot beside the log that was there.
    if (files.at(snapshot_name) != old_snapshot &&
        std::equal(old_log.begin(), old_log.begin() + 64, files.at(log_name).begin())) {
      seen = true;
      CAPTURE(when);
      const LoadResult loaded = load_of(files);
      CHECK(loaded.kind == "ok");
      CHECK(loaded.ids() == Ids{2});
      CHECK(loaded.report.replayed == 0);
    }
  }
  CHECK(seen);
}

TEST_CASE("A save with the log on then a load applies nothing twice", "[durability]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with();
  insert_row(db, 1);
  insert_row(db, 2);
  db.save();
  insert_row(db, 3);
  const LoadResult loaded = load_of(directory.files());
  CHECK(loaded.ids() == Ids{1, 2, 3});
  CHECK(loaded.report.replayed == 1);
  CHECK(loaded.lsn == 3);
}

TEST_CASE("A log's header is never half written", "[durability]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  std::optional<FaultyDb> db;
  const auto states = states_during(system, directory.directory(), [&] {
    db.emplace(FaultyDb::open_with(index_of({1}), directory.config(), FaultyStorage(system)));
    insert_row(*db, 2);
    db->checkpoint();
  });
  for (const auto& [when, files] : states) {
    CAPTURE(when);
    if (const auto log = files.find(log_name); log != files.end()) {
      CHECK(log->second.size() >= 64);
    }
  }
}

TEST_CASE("A header that is cut short is damage and not an empty log", "[durability]") {
  const FileSet files = killed_after({1});
  for (std::size_t size = 12; size < 64; ++size) {
    CAPTURE(size);
    ByteVector log = files.at(log_name);
    log.resize(size);
    const LoadResult loaded = load_of(with_log(files, log));
    CHECK(loaded.kind == "log_corrupted");
  }
}

TEST_CASE("A flipped bit in the middle is log_corrupted at its record and not a shorter log", "[durability]") {
  const FileSet files = killed_after({1, 2, 3, 4});
  const auto frames = frames_of(files.at(log_name));
  REQUIRE(frames.size() == 4);
  for (std::size_t damaged = 0; damaged < 3; ++damaged) {
    ByteVector log = files.at(log_name);
    log[frames[damaged].offset + 30] ^= std::byte{8};
    const LoadResult loaded = load_of(with_log(files, log));
    CHECK(loaded.kind == "log_corrupted");
    CHECK(loaded.offset == frames[damaged].offset);
  }
}

TEST_CASE("Damage in a log that recovery wrote again is not taken for a torn tail", "[durability]") {
  const DurableDirectory directory;
  directory.put(killed_after({1, 2, 3}, never));
  const DurableIndex db = directory.load(never);
  const FileSet files = directory.files();
  const auto frames = frames_of(files.at(log_name));
  REQUIRE(ops_of(files.at(log_name)) == "iiix");
  ByteVector log = files.at(log_name);
  log[frames[2].offset + 30] ^= std::byte{1};
  const LoadResult loaded = load_of(with_log(files, log));
  CHECK(loaded.kind == "log_corrupted");
  CHECK(loaded.offset == frames[2].offset);
}

TEST_CASE("Damage in a log that was closed under never is not taken for a torn tail", "[durability]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(iqdb_test::empty_index(), never);
    insert_row(db, 1);
    insert_row(db, 2);
    db.close();
  }
  const FileSet files = directory.files();
  const auto frames = frames_of(files.at(log_name));
  REQUIRE(ops_of(files.at(log_name)) == "iix");
  for (std::size_t damaged = 0; damaged < 2; ++damaged) {
    ByteVector log = files.at(log_name);
    log[frames[damaged].offset + 30] ^= std::byte{1};
    const LoadResult loaded = load_of(with_log(files, log));
    CHECK(loaded.kind == "log_corrupted");
    CHECK(loaded.offset == frames[damaged].offset);
  }
}

TEST_CASE("A crash between a rejection and its abort leaves a log that loads now and one load later", "[durability]") {
  FileSet files = killed_after({1, 2});
  ByteVector log = trimmed(files.at(log_name));
  // What was appended before the index rejected it: a second vector 1.
  log = with_tail(log, iqdb_test::raw_frame(iqdb_test::number_at(log, 16, 8), 3, log.size(),
                                            iqdb_test::insert_body(1, vector_of(1))));
  const DurableDirectory directory;
  directory.put(with_log(files, log));
  {
    DurableIndex db = directory.load();
    CHECK(db.recovery().tolerated == 1);
    CHECK(db.recovery().replayed == 2);
    insert_row(db, 3);
    CHECK(load_of(directory.files()).ids() == Ids{1, 2, 3});
  }
  const LoadResult later = load_in(directory);
  CHECK(later.ids() == Ids{1, 2, 3});
  CHECK(later.report.aborted == 1);
  CHECK(later.report.tolerated == 0);
}

TEST_CASE("An abort that cannot be written poisons so that the log stays loadable", "[durability]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  {
    FaultyDb db = FaultyDb::open_with(iqdb_test::empty_index(), directory.config(), FaultyStorage(system));
    insert_row(db, 1);
    // The second write is that of the abort.
    std::size_t writes = 0;
    system.plan([&](const CallRecord& call) {
      const bool fails = call.call == FileCall::write && ++writes == 2;
      return Fault{.error = iqdb_test::system_error(fails ? EIO : 0)};
    });
    require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.apply(iqdb_test::twice(7)); });
    system.plan({});
    require_kind(PersistErrorKind::poisoned, [&] { insert_row(db, 2); });
  }
  CHECK(load_in(directory).ids() == Ids{1, 7});
}

TEST_CASE("What was read is made durable before anything is built on it", "[durability]") {
  const DurableDirectory directory;
  directory.put(killed_after({1, 2}, never));
  FaultyFileSystem system;
  const FaultyDb db = FaultyDb::load(directory.config(), FaultyStorage(system));
  const std::vector<CallRecord> records = system.calls();
  const auto calls = texts_of(records);
  const auto changes = [](const CallRecord& call) {
    return call.call == FileCall::write || call.call == FileCall::create || call.call == FileCall::rename ||
           call.call == FileCall::link || call.call == FileCall::truncate;
  };
  const auto first = std::ranges::find_if(records, changes);
  REQUIRE(first != records.end());
  const std::size_t first_change = first->number;
  CHECK(position(calls, "sync index.iqdb") < first_change);
  CHECK(position(calls, "sync index.iqdb.wal") < first_change);
  CHECK(position(calls, "sync directory") < first_change);
}

TEST_CASE("A log whose bytes may be in the page cache alone is not appended to but written again", "[durability]") {
  const DurableDirectory directory;
  directory.put(killed_after({1, 2}, never));
  struct ::stat before {};
  REQUIRE(::stat(directory.log().c_str(), &before) == 0);
  // A second name keeps the inode from being used again.
  fs::create_hard_link(directory.log(), directory.directory() / "old");
  const ByteVector old = directory.log_bytes();
  DurableIndex db = directory.load();
  insert_row(db, 3);
  struct ::stat after {};
  REQUIRE(::stat(directory.log().c_str(), &after) == 0);
  CHECK(before.st_ino != after.st_ino);
  CHECK(read_bytes(directory.directory() / "old") == old);
  CHECK(load_of(directory.files()).ids() == Ids{1, 2, 3});
}

TEST_CASE("A load whose sync of what it found fails leaves everything as it was", "[durability]") {
  for (const char* failing : {"sync index.iqdb", "sync index.iqdb.wal", "sync directory"}) {
    CAPTURE(failing);
    const DurableDirectory directory;
    directory.put(killed_after({1, 2}, never));
    const FileSet before = directory.files();
    FaultyFileSystem system;
    system.plan([&](const CallRecord& call) {
      return Fault{.error = iqdb_test::system_error(call.text() == failing ? EIO : 0)};
    });
    const auto error =
        require_kind(PersistErrorKind::io, [&] { return FaultyDb::load(directory.config(), FaultyStorage(system)); });
    CHECK(error.code() == std::errc::io_error);
    CHECK(directory.files() == before);
  }
}

TEST_CASE("A checkpoint's snapshot is durable in its place before the new log is", "[durability]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  FaultyDb db = FaultyDb::open_with(index_of({1}), directory.config(), FaultyStorage(system));
  insert_row(db, 2);
  system.plan({});
  db.checkpoint();
  const auto calls = texts_of(system.calls());
  const std::size_t snapshot = position(calls, "rename index.iqdb.tmp to index.iqdb");
  const std::size_t directory_sync = position(calls, "sync directory", snapshot);
  const std::size_t log = position(calls, "rename index.iqdb.wal.tmp to index.iqdb.wal");
  CHECK(snapshot < directory_sync);
  CHECK(directory_sync < log);
}

TEST_CASE("There is a log at every moment while a torn one is set aside", "[durability]") {
  FileSet files = killed_after({1, 2, 3});
  ByteVector log = trimmed(files.at(log_name));
  log.resize(log.size() - 1);
  for (const bool links : {true, false}) {
    const DurableDirectory directory;
    directory.put(with_log(files, log));
    FaultyFileSystem system;
    std::size_t states = 0;
    system.plan([&](const CallRecord& call) {
      CAPTURE(call.text());
      CHECK(fs::exists(directory.log()));
      ++states;
      return Fault{.error = iqdb_test::system_error(!links && call.call == FileCall::link ? EPERM : 0)};
    });
    const FaultyDb db = FaultyDb::load(directory.config(), FaultyStorage(system));
    system.plan({});
    CHECK(states > 10);
    CHECK(db.recovery().torn_log == directory.torn());
    CHECK(read_bytes(directory.torn()) == log);
  }
}

TEST_CASE("A tail of zeros is the end of the log and no record", "[durability]") {
  const FileSet files = killed_after({1, 2});
  for (const std::size_t zeros : {std::size_t{1}, std::size_t{8}, std::size_t{24}, std::size_t{4096}}) {
    CAPTURE(zeros);
    const LoadResult loaded = load_of(with_log(files, with_tail(trimmed(files.at(log_name)), ByteVector(zeros))));
    CHECK(loaded.ids() == Ids{1, 2});
    CHECK(loaded.report.dropped_bytes == 0);
    CHECK(loaded.report.torn_log.empty());
  }
}

TEST_CASE("An append that fails half way is cut back so that the next ones are read", "[durability]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  FaultyDb db = FaultyDb::open_with(iqdb_test::empty_index(), directory.config(), FaultyStorage(system));
  insert_row(db, 1);
  system.plan(iqdb_test::cut_call_short(0, 10, ENOSPC));
  bool cut = false;
  system.plan([&, writes = 0](const CallRecord& call) mutable {
    if (call.call != FileCall::write) {
      cut = cut || call.call == FileCall::truncate;
      return Fault{};
    }
    return ++writes == 1 ? Fault{.error = {}, .most_bytes = 10} : Fault{.error = iqdb_test::system_error(ENOSPC)};
  });
  const auto error = require_kind(PersistErrorKind::io, [&] { insert_row(db, 2); });
  CHECK(error.code() == std::errc::no_space_on_device);
  CHECK(cut);
  CHECK(db.index().size() == 1);
  system.plan({});
  insert_row(db, 3);
  const LoadResult loaded = load_of(directory.files());
  CHECK(loaded.ids() == Ids{1, 3});
  CHECK(loaded.report.dropped_bytes == 0);
}

TEST_CASE("An append that cannot be cut back poisons and what was acknowledged loads", "[durability]") {
  const DurableDirectory directory;
  FaultyFileSystem system;
  FaultyDb db = FaultyDb::open_with(iqdb_test::empty_index(), directory.config(), FaultyStorage(system));
  insert_row(db, 1);
  system.plan([writes = 0](const CallRecord& call) mutable {
    if (call.call == FileCall::truncate) {
      return Fault{.error = iqdb_test::system_error(EIO)};
    }
    if (call.call != FileCall::write) {
      return Fault{};
    }
    return ++writes == 1 ? Fault{.error = {}, .most_bytes = 10} : Fault{.error = iqdb_test::system_error(ENOSPC)};
  });
  require_kind(PersistErrorKind::io, [&] { insert_row(db, 2); });
  system.plan({});
  require_kind(PersistErrorKind::poisoned, [&] { insert_row(db, 3); });
  const LoadResult loaded = load_of(directory.files());
  CHECK(loaded.ids() == Ids{1});
  CHECK(loaded.report.dropped_bytes > 0);
}

TEST_CASE("A record over the limit is refused and not acknowledged", "[durability]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with();
  insert_row(db, 1);
  const ByteVector before = directory.log_bytes();
  require_kind(PersistErrorKind::record_too_large, [&] {
    db.insert(2, {1.0F, 2.0F}, {{"text", std::string(std::size_t{257} * 1024 * 1024, 'x')}});
  });
  CHECK(directory.log_bytes() == before);
  CHECK(db.index().size() == 1);
  CHECK(db.lsn() == 1);
  insert_row(db, 3);
  CHECK(load_of(directory.files()).ids() == Ids{1, 3});
}

TEST_CASE("A mutation for which there is no number left is refused and not acknowledged", "[durability]") {
  const FileSet files = killed_after({1});
  const DurableDirectory directory;
  directory.put({{snapshot_name, files.at(snapshot_name)},
                 {log_name, iqdb_test::raw_header(1, iqdb::largest_lsn - 1,
                                                  iqdb_test::fingerprint_of(files.at(snapshot_name)))}});
  DurableIndex db = directory.load();
  insert_row(db, 7);
  require_kind(PersistErrorKind::record_too_large, [&] { insert_row(db, 8); });
  db.save();
  const LoadResult loaded = load_of(directory.files());
  CHECK(loaded.ids() == iqdb_test::ids_of(db.index()));
  CHECK(db.lsn() == iqdb::largest_lsn);
}

TEST_CASE("Frames of an earlier log behind the end are not replayed", "[durability]") {
  const FileSet earlier = killed_after({1, 2, 3});
  const FileSet files = killed_after({1});
  ByteVector log = trimmed(files.at(log_name));
  const ByteVector old = trimmed(earlier.at(log_name));
  REQUIRE(frames_of(old)[1].offset == log.size());
  // As if the blocks behind the end still had what they held before: here stood number 2.
  log.insert(log.end(), old.begin() + static_cast<std::ptrdiff_t>(log.size()), old.end());
  const LoadResult loaded = load_of(with_log(files, log));
  CHECK(loaded.kind == "ok");
  CHECK(loaded.ids() == Ids{1});
  // The last byte, which says that there is no metadata, is a zero.
  CHECK(loaded.report.dropped_bytes == old.size() - frames_of(old)[1].offset - 1);
}

TEST_CASE("A snapshot with the bytes of the base starts the replay at its own checkpoint", "[durability]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with();
  const ByteVector base = directory.snapshot_bytes();
  insert_row(db, 1);
  db.erase(1);
  db.save();
  REQUIRE(directory.snapshot_bytes() == base);
  insert_row(db, 2);
  const LoadResult loaded = load_of(directory.files());
  CHECK(loaded.ids() == Ids{2});
  CHECK(loaded.report.replayed == 1);
  CHECK(loaded.lsn == 3);
}

// ---- Damage, everywhere ---------------------------------------------------------------------------------------------

namespace {

using Db = DurableIndex;

// Mutations of every kind, and the rows after each of them: a log that has every kind of frame. A rejected mutation
// changes no rows, but has a number.
struct Workload {
  std::vector<std::function<void(Db&)>> steps;

  static Workload every_kind(bool with_save) {
    Workload all;
    all.steps.emplace_back([](Db& db) { insert_row(db, 1); });
    all.steps.emplace_back([](Db& db) { db.insert(2, std::span<const float>(vector_of(2)), {{"t", "text"}}); });
    all.steps.emplace_back([](Db& db) {
      WriteBatch batch;
      insert_row(batch, 3);
      batch.erase(1);
      insert_row(batch, 4);
      db.apply(batch);
    });
    if (with_save) {
      all.steps.emplace_back([](Db& db) { db.save(); });
    }
    all.steps.emplace_back([](Db& db) { rejected([&] { insert_row(db, 3); }); });
    all.steps.emplace_back([](Db& db) {
      rejected([&] {
        WriteBatch batch;
        insert_row(batch, 5);
        batch.erase(99);
        insert_row(batch, 6);
        db.apply(batch);
      });
    });
    all.steps.emplace_back([](Db& db) { db.erase(2); });
    all.steps.emplace_back([](Db& db) { insert_row(db, 7); });
    return all;
  }

  template <class Action>
  static void rejected(Action&& action) {
    bool thrown = false;
    try {
      action();
    } catch (const iqdb::IndexError&) {
      thrown = true;
    }
    REQUIRE(thrown);
  }
};

// What running a workload leaves, and the rows after each of its steps, those before the first one included.
struct Run {
  FileSet files;
  std::vector<FlatIndex> states;

  [[nodiscard]] const ByteVector& log() const { return files.at(log_name); }
  [[nodiscard]] const FlatIndex& full() const { return states.back(); }
  [[nodiscard]] bool is_a_state(const FlatIndex& index) const {
    return std::ranges::any_of(states, [&](const FlatIndex& state) { return iqdb_test::same_rows(state, index); });
  }
};

enum class End { closed, killed, recovered, recovered_and_closed };

Run run(const Workload& workload, FsyncPolicy policy, End end) {
  Run result;
  const DurableDirectory directory;
  std::optional<Db> db = directory.open_with(iqdb_test::empty_index(), policy);
  result.states.push_back(db->index());
  for (const auto& step : workload.steps) {
    step(*db);
    result.states.push_back(db->index());
  }
  if (end == End::closed) {
    db->close();
  }
  result.files = directory.files();
  if (end == End::killed) {
    // Some of the zeros that were written ahead are enough.
    result.files[log_name].resize(frames_of(result.log()).back().end + 100);
  }
  if (end == End::recovered || end == End::recovered_and_closed) {
    db.reset();
    directory.put(result.files);
    db = directory.load(policy);
    REQUIRE(difference(db->index(), result.full()) == "");
    if (end == End::recovered_and_closed) {
      db->close();
    }
    result.files = directory.files();
  }
  return result;
}

// Calls `check(load, bit)` for the log with each of its bits flipped.
template <class Check>
void for_each_flip(const Run& run, std::size_t end, Check&& check) {
  const DurableDirectory directory;
  ByteVector log = run.log();
  for (std::size_t bit = 0; bit < 8 * end; bit += iqdb_test::bit_step) {
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    log[bit / 8] ^= mask;
    directory.put(with_log(run.files, log));
    check(load_in(directory), bit);
    log[bit / 8] ^= mask;
  }
}

// Counts what went wrong, so that thousands of loads are one assertion and the first failures are told.
class Complaints {
 public:
  void add(const std::string& text) {
    if (++count_ <= 5) {
      first_ += text + "\n";
    }
  }
  [[nodiscard]] std::string text() const {
    return count_ == 0 ? std::string() : std::to_string(count_) + " in all:\n" + first_;
  }

 private:
  std::size_t count_ = 0;
  std::string first_;
};

std::string described(const LoadResult& loaded, const std::string& where) {
  return where + ": " + loaded.kind + ", " + (loaded.index ? std::to_string(loaded.index->size()) + " rows" : "") +
         ", dropped " + std::to_string(loaded.report.dropped_bytes) + " " + loaded.message;
}

std::string policy_name(FsyncPolicy policy) {
  return policy.is_always() ? "always" : policy.is_never() ? "never" : "periodic";
}

}  // namespace

TEST_CASE("Any flipped bit of a log that was closed in order is found or harmless", "[durability][flips]") {
  for (const FsyncPolicy policy : {always, hourly, never}) {
    const Run run = ::run(Workload::every_kind(true), policy, End::closed);
    CAPTURE(policy_name(policy), ops_of(run.log()));
    REQUIRE(ops_of(run.log()).ends_with("x"));
    Complaints complaints;
    std::size_t found = 0;
    for_each_flip(run, run.log().size(), [&](const LoadResult& loaded, std::size_t bit) {
      found += loaded.ok() ? 0U : 1U;
      const bool right = loaded.ok() ? difference(*loaded.index, run.full()).empty() : loaded.kind == "log_corrupted";
      if (!right) {
        complaints.add(described(loaded, "bit " + std::to_string(bit)));
      }
    });
    CHECK(complaints.text() == "");
    // Only the close frame, 25 bytes, has nothing behind it that could tell.
    const std::size_t flipped_before_it = (8 * (run.log().size() - 25) - 1) / iqdb_test::bit_step + 1;
    CHECK(found == flipped_before_it);
  }
}

TEST_CASE("Any flipped bit of a log that recovery wrote again is found or harmless", "[durability][flips]") {
  for (const End end : {End::recovered, End::recovered_and_closed}) {
    for (const FsyncPolicy policy : {always, never}) {
      const Run run = ::run(Workload::every_kind(true), policy, end);
      CAPTURE(policy_name(policy), ops_of(run.log()));
      Complaints complaints;
      for_each_flip(run, run.log().size(), [&](const LoadResult& loaded, std::size_t bit) {
        const bool right = loaded.ok() ? difference(*loaded.index, run.full()).empty() : loaded.kind == "log_corrupted";
        if (!right) {
          complaints.add(described(loaded, "bit " + std::to_string(bit)));
        }
      });
      CHECK(complaints.text() == "");
    }
  }
}

TEST_CASE("A flipped bit of a log that was cut off by a kill costs at most the last mutation and is reported",
          "[durability][flips]") {
  const Run run = ::run(Workload::every_kind(true), always, End::killed);
  const std::size_t end = frames_of(run.log()).back().end;
  const FlatIndex& before_last = run.states[run.states.size() - 2];
  Complaints complaints;
  std::size_t lost = 0;
  for_each_flip(run, end + 100, [&](const LoadResult& loaded, std::size_t bit) {
    bool right = loaded.kind == "log_corrupted";
    if (loaded.ok()) {
      const bool full = difference(*loaded.index, run.full()).empty();
      right = full || (difference(*loaded.index, before_last).empty() && loaded.report.dropped_bytes > 0);
      lost += full ? 0U : 1U;
    }
    if (!right) {
      complaints.add(described(loaded, "bit " + std::to_string(bit)));
    }
  });
  CHECK(complaints.text() == "");
  CHECK(lost > 0);
}

TEST_CASE("A flipped bit of a log that was never synced leaves the mutations before it and is reported",
          "[durability][flips]") {
  for (const FsyncPolicy policy : {hourly, never}) {
    const Run run = ::run(Workload::every_kind(false), policy, End::killed);
    CAPTURE(policy_name(policy));
    const std::size_t end = frames_of(run.log()).back().end;
    Complaints complaints;
    for_each_flip(run, end, [&](const LoadResult& loaded, std::size_t bit) {
      const bool right = loaded.ok() ? run.is_a_state(*loaded.index) && loaded.report.dropped_bytes > 0
                                     : loaded.kind == "log_corrupted";
      if (!right) {
        complaints.add(described(loaded, "bit " + std::to_string(bit)));
      }
    });
    CHECK(complaints.text() == "");
  }
}

TEST_CASE("What a sync made durable is not dropped for a flipped bit whatever the policy", "[durability][flips]") {
  for (const FsyncPolicy policy : {hourly, never}) {
    CAPTURE(policy_name(policy));
    const DurableDirectory directory;
    DurableIndex db = directory.open_with(iqdb_test::empty_index(), policy);
    insert_row(db, 1);
    insert_row(db, 2);
    db.sync();
    insert_row(db, 3);
    const FileSet files = directory.files();
    const auto frames = frames_of(files.at(log_name));
    for (std::size_t damaged = 0; damaged < 3; ++damaged) {
      ByteVector log = files.at(log_name);
      log[frames[damaged].offset + 30] ^= std::byte{1};
      const LoadResult loaded = load_of(with_log(files, log));
      if (damaged < 2) {
        CHECK(loaded.kind == "log_corrupted");
        CHECK(loaded.offset == frames[damaged].offset);
      } else {
        CHECK(loaded.ids() == Ids{1, 2});
        CHECK(loaded.report.dropped_bytes > 0);
      }
    }
  }
}

TEST_CASE("A flipped bit in a version-2 header is log_corrupted also in its magic and version", "[durability][flips]") {
  const Run run = ::run(Workload::every_kind(false), always, End::closed);
  for_each_flip(run, 64, [&](const LoadResult& loaded, std::size_t bit) {
    CAPTURE(bit);
    CHECK(loaded.kind == "log_corrupted");
  });
}

TEST_CASE("Two flipped bits of a closed log are found or harmless", "[durability][flips]") {
  const Run run = ::run(Workload::every_kind(true), always, End::closed);
  const std::uint64_t seed = 20260101;
  iqdb_test::Random random(seed);
  CAPTURE(seed);
  const DurableDirectory directory;
  Complaints complaints;
  for (int round = 0; round < 2000; ++round) {
    ByteVector log = run.log();
    const std::size_t first = random.below(8 * (log.size() - 25));
    const std::size_t second = random.below(8 * (log.size() - 25));
    if (first == second) {
      continue;
    }
    log[first / 8] ^= static_cast<std::byte>(1U << (first % 8));
    log[second / 8] ^= static_cast<std::byte>(1U << (second % 8));
    directory.put(with_log(run.files, log));
    const LoadResult loaded = load_in(directory);
    // With a second bit of the header wrong, one in magic or version makes a version-2 log look like none.
    const bool header = std::min(first, second) / 8 < 12 && std::max(first, second) / 8 < 64;
    if (loaded.kind != "log_corrupted" && (loaded.ok() || !header)) {
      complaints.add(described(loaded, std::to_string(first) + " and " + std::to_string(second)));
    }
  }
  CHECK(complaints.text() == "");
}

TEST_CASE("Any truncation of a log leaves a prefix of the mutations", "[durability][truncations]") {
  for (const End end : {End::closed, End::killed, End::recovered}) {
    const Run run = ::run(Workload::every_kind(false), always, end);
    const auto frames = frames_of(run.log());
    const DurableDirectory directory;
    Complaints complaints;
    for (std::size_t size = 0; size <= frames.back().end; ++size) {
      ByteVector log = run.log();
      log.resize(size);
      directory.put(with_log(run.files, log));
      const LoadResult loaded = load_in(directory);
      bool right = false;
      if (size >= 12 && size < 64) {
        right = loaded.kind == "log_corrupted";
      } else if (loaded.ok()) {
        std::size_t whole = std::min<std::size_t>(size, 64);
        std::uint64_t mutations = 0;
        for (const SeenFrame& frame : frames) {
          if (frame.end <= size) {
            whole = frame.end;
            mutations = frame.lsn - (frame.op <= 3 ? 0 : 1) + (frame.op == 3 ? 2 : 0);
          }
        }
        right = run.is_a_state(*loaded.index) && loaded.report.log_found;
        if (size >= 64) {
          right = right && loaded.report.dropped_bytes == used_bytes(log, whole) && loaded.lsn == mutations &&
                  loaded.report.torn_log.empty() == (size == whole && loaded.report.tolerated == 0);
        }
      }
      if (!right) {
        complaints.add(described(loaded, "cut to " + std::to_string(size)));
      }
    }
    CHECK(complaints.text() == "");
  }
}

TEST_CASE("A truncation that takes the checkpoint of the snapshot is refused", "[durability][truncations]") {
  const Run run = ::run(Workload::every_kind(true), always, End::closed);
  const auto frames = frames_of(run.log());
  const auto checkpoint = std::ranges::find(frames, 5U, &SeenFrame::op);
  REQUIRE(checkpoint != frames.end());
  const DurableDirectory directory;
  // From here on there is a mutation that the snapshot might lack: nobody can tell.
  for (std::size_t size = frames.front().end; size < checkpoint->end; ++size) {
    CAPTURE(size);
    ByteVector log = run.log();
    log.resize(size);
    directory.put(with_log(run.files, log));
    CHECK(load_in(directory).kind == "log_mismatch");
  }
}

TEST_CASE("A tail of 1 to 65536 zeros loads everything and is not kept", "[durability][truncations]") {
  for (const End end : {End::closed, End::killed, End::recovered}) {
    const Run run = ::run(Workload::every_kind(true), always, end);
    const ByteVector log = trimmed(run.log());
    const DurableDirectory directory;
    Complaints complaints;
    const std::uint64_t seed = 7;
    iqdb_test::Random random(seed);
    CAPTURE(seed);
    for (std::size_t zeros = 1; zeros <= 65536; zeros += zeros < 100 ? 1 : 1 + random.below(2000)) {
      directory.put(with_log(run.files, with_tail(log, ByteVector(zeros))));
      const LoadResult loaded = load_in(directory);
      if (!loaded.ok() || !difference(*loaded.index, run.full()).empty() || loaded.report.dropped_bytes != 0 ||
          !loaded.report.torn_log.empty() || fs::exists(directory.torn())) {
        complaints.add(described(loaded, std::to_string(zeros) + " zeros"));
      }
    }
    directory.put(with_log(run.files, with_tail(log, ByteVector(65536))));
    CHECK(difference(*load_in(directory).index, run.full()) == "");
    CHECK(complaints.text() == "");
  }
}

TEST_CASE("Random bytes behind the end are dropped and counted and nothing else", "[durability][truncations]") {
  const std::uint64_t seed = 11;
  iqdb_test::Random random(seed);
  CAPTURE(seed);
  const Run run = ::run(Workload::every_kind(true), always, End::killed);
  const ByteVector log = trimmed(run.log());
  const DurableDirectory directory;
  Complaints complaints;
  for (int round = 0; round < 300; ++round) {
    ByteVector tail = random.bytes(1 + random.below(300));
    tail.back() |= std::byte{1};
    directory.put(with_log(run.files, with_tail(log, tail)));
    const LoadResult loaded = load_in(directory);
    if (!loaded.ok() || !difference(*loaded.index, run.full()).empty() || loaded.report.dropped_bytes != tail.size()) {
      complaints.add(described(loaded, "round " + std::to_string(round)));
    }
  }
  CHECK(complaints.text() == "");
}

TEST_CASE("Frames hidden in metadata are never taken for frames", "[durability]") {
  // A log that is filled with copies of its own frames and of another log's: wherever it is cut or damaged, none of
  // them is replayed.
  const DurableDirectory directory;
  DurableIndex db = directory.open_with();
  insert_row(db, 1);
  const ByteVector log_before = directory.log_bytes();
  const std::uint64_t log_id = iqdb_test::number_at(log_before, 16, 8);
  const std::size_t end = frames_of(log_before).back().end;
  // Erases of vectors, numbered as the next mutations, under this log's number and another's. Metadata is UTF-8: so are
  // these frames, of which there are many.
  std::string hidden;
  std::size_t count = 0;
  for (const std::uint64_t id : {log_id, log_id + 1}) {
    for (std::uint64_t lsn = 1; lsn < 6; ++lsn) {
      for (const std::size_t durable : {std::size_t{64}, end}) {
        for (std::uint64_t erased = 1; erased < 32; ++erased) {
          const ByteVector frame = iqdb_test::raw_frame(id, lsn, durable, iqdb_test::erase_body(erased));
          const std::string text(reinterpret_cast<const char*>(frame.data()),
                                 frame.size());  // NOLINT(*-reinterpret-cast)
          if (iqdb::is_utf8(text)) {
            hidden += text;
            ++count;
          }
        }
      }
    }
  }
  REQUIRE(count > 10);
  db.insert(5, std::span<const float>(vector_of(5)), {{"hidden", hidden}});
  const FlatIndex full = db.index();
  const FileSet files = directory.files();
  CHECK(difference(*load_of(files).index, full) == "");

  const ByteVector log = trimmed(files.at(log_name));
  const auto frames = frames_of(log);
  REQUIRE(frames.size() == 2);
  Complaints complaints;
  for (std::size_t size = frames[1].offset; size < log.size(); ++size) {
    const LoadResult loaded =
        load_of(with_log(files, ByteVector(log.begin(), log.begin() + static_cast<std::ptrdiff_t>(size))));
    if (!loaded.ok() || loaded.ids() != Ids{1}) {
      complaints.add(described(loaded, "cut to " + std::to_string(size)));
    }
  }
  for (std::size_t at = frames[1].offset; at < frames[1].offset + 24; ++at) {
    ByteVector damaged = log;
    damaged[at] ^= std::byte{1};
    const LoadResult loaded = load_of(with_log(files, damaged));
    if (!loaded.ok() || loaded.ids() != Ids{1}) {
      complaints.add(described(loaded, "damaged at " + std::to_string(at)));
    }
  }
  CHECK(complaints.text() == "");
}
