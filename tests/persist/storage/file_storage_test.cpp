// BasicFileStorage and what is built on it, over a file system that fails where a test wants it: the order of the
// calls, and what is left behind when one of them fails.
#include "iqdb/persist/storage/file_storage.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/log_files.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::PersistedIndex;
using iqdb::PersistErrorKind;
using iqdb_test::CallRecord;
using iqdb_test::ChildProcess;
using iqdb_test::error_of;
using iqdb_test::Fault;
using iqdb_test::FaultPlan;
using iqdb_test::FaultyFileSystem;
using iqdb_test::FaultyStorage;
using iqdb_test::FileCall;
using iqdb_test::outcome_of;
using iqdb_test::read_bytes;
using iqdb_test::refused_with;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;
using iqdb_test::write_bytes;
using Db = PersistedIndex<FlatIndex, FaultyStorage>;

using Bytes = std::vector<std::byte>;

FlatIndex old_index() { return iqdb_test::make_sample_index(2, iqdb::DistanceMetric::euclidean, 3, 1); }
FlatIndex new_index() { return iqdb_test::make_sample_index(2, iqdb::DistanceMetric::euclidean, 5, 2); }

// What a save writes for an index.
Bytes file_of(FlatIndex index) {
  const TemporaryDirectory directory;
  PersistedIndex<FlatIndex>::open_with(std::move(index), {.path = directory / "index.iqdb"}).save();
  return read_bytes(directory / "index.iqdb");
}

std::size_t open_descriptors() {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

// What there is in a directory before a save.
enum class Before { nothing, a_snapshot, a_snapshot_and_an_empty_log };

// A directory in which a new index is about to be saved.
class Scene {
 public:
  explicit Scene(Before before) : path_(directory_ / "index.iqdb") {
    if (before != Before::nothing) {
      write_bytes(path_, old_file());
    }
    if (before == Before::a_snapshot_and_an_empty_log) {
      iqdb::FileStorage storage;
      write_bytes(log(), iqdb_test::empty_log(3, *iqdb::log_guard::fingerprint_at(storage, path_)));
    }
  }

  [[nodiscard]] static const Bytes& old_file() {
    static const Bytes bytes = file_of(old_index());
    return bytes;
  }
  [[nodiscard]] static const Bytes& new_file() {
    static const Bytes bytes = file_of(new_index());
    return bytes;
  }

  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] fs::path log() const { return path_.string() + ".wal"; }
  [[nodiscard]] bool has_temporary() const { return fs::exists(path_.string() + ".tmp"); }

  // What the snapshot's name leads to, in words.
  [[nodiscard]] std::string file() const {
    if (!fs::exists(path_)) {
      return "no file";
    }
    const Bytes bytes = read_bytes(path_);
    return bytes == old_file()   ? "the old file"
           : bytes == new_file() ? "the new file"
                                 : "something else, of " + std::to_string(bytes.size()) + " bytes";
  }

  [[nodiscard]] Db db(FlatIndex index = new_index()) {
    return Db::open_with(std::move(index), {.path = path_, .replace_existing = true}, FaultyStorage(system_));
  }
  [[nodiscard]] Db load() { return Db::load({.path = path_}, FaultyStorage(system_)); }

  [[nodiscard]] FaultyFileSystem& system() { return system_; }

 private:
  TemporaryDirectory directory_;
  fs::path path_;
  FaultyFileSystem system_;
};

// The calls that lock, or change what is on the disk or when it gets there.
std::vector<std::string> changes(const std::vector<CallRecord>& calls) {
  std::vector<std::string> texts;
  for (const CallRecord& call : calls) {
    switch (call.call) {
      case FileCall::resolve:
      case FileCall::status:
      case FileCall::status_of_open:
      case FileCall::open:
      case FileCall::open_directory:
      case FileCall::acl:
      case FileCall::name_limit:
      case FileCall::is_mount_point:
      case FileCall::read:
      case FileCall::close:
        break;
      default:
        texts.push_back(call.text());
    }
  }
  return texts;
}

// The calls of a save or load without faults.
std::vector<CallRecord> calls_of_save(Before before) {
  Scene scene(before);
  Db db = scene.db();
  scene.system().plan({});
  db.save();
  return scene.system().calls();
}

// Whether such a failure of this call of a save costs nothing: what it was for comes out all the same.
bool may_fail(const std::vector<CallRecord>& calls, std::size_t number, int error) {
  switch (calls[number].call) {
    case FileCall::close:      // after the sync it has nothing left to say
    case FileCall::unlock:     // cannot be refused
    case FileCall::set_owner:  // is refused to everybody but the superuser
      return true;
    case FileCall::acl:  // of the old file: who may not see its list gives nobody else a right
      return calls[number].file == "index.iqdb.tmp" || error == EACCES;
    case FileCall::status:  // asked before the lock only for a better message, and again behind it
      return std::none_of(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(number),
                          [](const CallRecord& call) { return call.call == FileCall::status; });
    default:
      return false;
  }
}

// Whether the new file had its name when this call was made.
bool is_behind_rename(const std::vector<CallRecord>& calls, std::size_t number) {
  for (std::size_t earlier = 0; earlier < number; ++earlier) {
    if (calls[earlier].call == FileCall::rename) {
      return true;
    }
  }
  return false;
}

// Whether this call of a save was made on a log, or on the directory to remove one durably.
bool is_about_log(const std::vector<CallRecord>& calls, std::size_t number) {
  const auto removes_log = [&](std::size_t at) {
    return at < calls.size() && calls[at].call == FileCall::remove && calls[at].file == "index.iqdb.wal";
  };
  return calls[number].file == "index.iqdb.wal" ||
         (calls[number].call == FileCall::status && (removes_log(number + 1) || removes_log(number + 2))) ||
         (calls[number].call == FileCall::sync_directory && number > 0 && removes_log(number - 1));
}

constexpr int errors[] = {EIO, ENOSPC, EDQUOT, EMFILE, EACCES};  // NOLINT(*-avoid-c-arrays)

const Before situation[] = {Before::nothing, Before::a_snapshot,  // NOLINT(*-avoid-c-arrays)
                            Before::a_snapshot_and_an_empty_log};

// Interrupts every call the first time it is made, but for those of which no answer is awaited.
FaultPlan interrupt_everything_once() {
  return [interrupted = std::set<std::string>()](const CallRecord& call) mutable {
    const bool first = interrupted.insert(call.text()).second;
    return Fault{.error = iqdb_test::system_error(first && call.call != FileCall::unlock ? EINTR : 0)};
  };
}

FaultPlan move_at_most(std::size_t bytes) {
  return [bytes](const CallRecord&) { return Fault{.most_bytes = bytes}; };
}

FaultPlan move_all_but_one() {
  return [](const CallRecord& call) { return call.bytes > 1 ? Fault{.most_bytes = call.bytes - 1} : Fault{}; };
}

}  // namespace

// ---- The order of things --------------------------------------------------------------------------------------------

TEST_CASE("A save over an old file syncs the new one before the rename and the directory behind it",
          "[file_storage][order]") {
  CHECK(changes(calls_of_save(Before::a_snapshot)) == std::vector<std::string>{
                                                          "lock index.iqdb.lock",
                                                          "remove index.iqdb.tmp",
                                                          "create index.iqdb.tmp",
                                                          "set owner of index.iqdb.tmp",
                                                          "set permissions of index.iqdb.tmp",
                                                          "write index.iqdb.tmp at 0",  // all of it
                                                          "write index.iqdb.tmp at 0",  // the header, completed
                                                          "sync index.iqdb.tmp",
                                                          "rename index.iqdb.tmp to index.iqdb",
                                                          "sync directory",
                                                          "unlock index.iqdb.lock",
                                                      });
}

TEST_CASE("Behind its rename a save does nothing with the temporary name", "[file_storage][order]") {
  // Whatever has this name by then is not the save's.
  const std::vector<CallRecord> calls = calls_of_save(Before::a_snapshot);
  const auto rename = std::ranges::find(calls, FileCall::rename, &CallRecord::call);
  REQUIRE(rename != calls.end());
  for (const CallRecord& call : std::vector(rename + 1, calls.end())) {
    CAPTURE(call.text());
    const bool is_by_handle = call.call == FileCall::close;  // a handle keeps the name under which it was opened
    CHECK((is_by_handle || call.file != "index.iqdb.tmp"));
  }
}

TEST_CASE("A save to a new name leaves owner and permissions to the system", "[file_storage][order]") {
  CHECK(changes(calls_of_save(Before::nothing)) == std::vector<std::string>{
                                                       "lock index.iqdb.lock",
                                                       "remove index.iqdb.tmp",
                                                       "create index.iqdb.tmp",
                                                       "write index.iqdb.tmp at 0",
                                                       "write index.iqdb.tmp at 0",
                                                       "sync index.iqdb.tmp",
                                                       "rename index.iqdb.tmp to index.iqdb",
                                                       "sync directory",
                                                       "unlock index.iqdb.lock",
                                                   });
}

TEST_CASE("A copy is synced before its rename and the directory behind it", "[file_storage][order]") {
  Scene scene(Before::nothing);
  Db db = scene.db();
  scene.system().plan({});
  db.save_copy(scene.path().parent_path() / "copy.iqdb");
  const std::vector<std::string> order = changes(scene.system().calls());
  REQUIRE(order.size() > 4);
  CHECK(std::vector<std::string>(order.end() - 5, order.end()) ==
        std::vector<std::string>{"write copy.iqdb.tmp at 0", "sync copy.iqdb.tmp", "rename copy.iqdb.tmp to copy.iqdb",
                                 "sync directory", "unlock copy.iqdb.lock"});
}

TEST_CASE("A save removes an empty log durably before it replaces the snapshot", "[file_storage][order]") {
  const std::vector<std::string> order = changes(calls_of_save(Before::a_snapshot_and_an_empty_log));
  REQUIRE(order.size() > 5);
  CHECK(std::vector<std::string>(order.end() - 6, order.end()) ==
        std::vector<std::string>{"sync index.iqdb.tmp", "remove index.iqdb.wal", "sync directory",
                                 "rename index.iqdb.tmp to index.iqdb", "sync directory", "unlock index.iqdb.lock"});
}

TEST_CASE("A load only opens and reads", "[file_storage][order]") {
  for (const Before before : {Before::a_snapshot, Before::a_snapshot_and_an_empty_log}) {
    Scene scene(before);
    scene.system().plan({});
    std::ignore = scene.load();
    CHECK(changes(scene.system().calls()).empty());
    CHECK(scene.system().calls().size() > 5);
  }
}

TEST_CASE("Whoever only makes an object changes nothing and locks nothing", "[file_storage][order]") {
  Scene scene(Before::a_snapshot);
  scene.system().plan({});
  std::ignore = scene.db();
  CHECK(changes(scene.system().calls()).empty());
}

// ---- Calls that fail ------------------------------------------------------------------------------------------------

TEST_CASE("Every call of a save that fails is reported as io and leaves the old file", "[file_storage][faults]") {
  const Before before = situation[GENERATE(0, 1, 2)];
  const int error = GENERATE(from_range(std::begin(errors), std::end(errors)));
  const std::vector<CallRecord> usual_calls = calls_of_save(before);
  for (std::size_t number = 0; number < usual_calls.size(); ++number) {
    Scene scene(before);
    const std::string file_before = scene.file();
    const std::size_t descriptors = open_descriptors();
    std::vector<CallRecord> calls;
    std::string outcome;
    fs::path named;
    {
      Db db = scene.db();
      scene.system().plan(iqdb_test::fail_call(number, error));
      try {
        db.save();
        outcome = "ok";
      } catch (const iqdb::PersistError& caught) {
        outcome = outcome_of([&] { throw caught; });
        named = caught.path();
      }
      calls = scene.system().calls();
      scene.system().plan({});
      INFO("call " << number << " (" << calls.at(number).text() << ") failed with " << error);

      if (may_fail(calls, number, error)) {
        CHECK(outcome == "ok");
        CHECK(scene.file() == "the new file");
      } else {
        CHECK(outcome == refused_with(error));
        CHECK(named == (is_about_log(usual_calls, number) ? scene.log() : scene.path()));
        CHECK(scene.file() == (is_behind_rename(calls, number) ? "the new file" : file_before));
      }
      CHECK_FALSE(scene.has_temporary());
      CHECK(scene.system().open_files() == 0);
      CHECK(open_descriptors() == descriptors);

      CHECK(outcome_of([&] { return db.save(); }) == "ok");
      CHECK(scene.file() == "the new file");
      CHECK_FALSE(scene.has_temporary());
    }
  }
}

TEST_CASE("A disk that fails for good in the middle of a save leaves a whole file and no open one",
          "[file_storage][faults]") {
  const Before before = situation[GENERATE(0, 1, 2)];
  const std::size_t calls_without_fault = calls_of_save(before).size();
  for (std::size_t number = 1; number < calls_without_fault; ++number) {
    Scene scene(before);
    const std::string file_before = scene.file();
    Db db = scene.db();
    scene.system().plan(iqdb_test::fail_from_call(number, EIO));
    const std::string outcome = outcome_of([&] { return db.save(); });
    const std::vector<CallRecord> calls = scene.system().calls();
    INFO("from call " << number << " (" << calls.at(number).text() << ") on all failed");
    scene.system().plan({});

    CHECK((outcome == refused_with(EIO) || may_fail(calls, number, EIO)));
    CHECK(scene.file() == (is_behind_rename(calls, number) ? "the new file" : file_before));
    CHECK(scene.system().open_files() == 0);

    CHECK(outcome_of([&] { return db.save(); }) == "ok");
    CHECK(scene.file() == "the new file");
    CHECK_FALSE(scene.has_temporary());
  }
}

TEST_CASE("A temporary file that cannot be removed is no reason to hide the error that came first",
          "[file_storage][faults]") {
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  bool full = false;
  scene.system().plan([&full](const CallRecord& call) {
    full = full || call.call == FileCall::write;
    return Fault{.error = iqdb_test::system_error(!full                           ? 0
                                                  : call.call == FileCall::write  ? ENOSPC
                                                  : call.call == FileCall::remove ? EROFS
                                                                                  : 0)};
  });
  CHECK(outcome_of([&] { return db.save(); }) == refused_with(ENOSPC));
  CHECK(scene.file() == "the old file");
}

TEST_CASE("A sync that failed is not tried again", "[file_storage][faults]") {
  const FileCall sync = GENERATE(FileCall::sync, FileCall::sync_directory);
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  scene.system().plan(iqdb_test::fail_every(sync, EIO));
  CHECK(outcome_of([&] { return db.save(); }) == refused_with(EIO));
  std::size_t syncs = 0;
  for (const CallRecord& call : scene.system().calls()) {
    syncs += call.call == sync ? 1 : 0;
  }
  CHECK(syncs == 1);
}

TEST_CASE("A file system without directory syncs is no error", "[file_storage][faults]") {
  const int answer = GENERATE(EINVAL, ENOTSUP);
  const Before before = situation[GENERATE(0, 1, 2)];
  Scene scene(before);
  Db db = scene.db();
  scene.system().plan(iqdb_test::fail_every(FileCall::sync_directory, answer));
  CHECK(outcome_of([&] { return db.save(); }) == "ok");
  CHECK(scene.file() == "the new file");
}

TEST_CASE("A file that cannot be synced is an error also where the answer is EINVAL", "[file_storage][faults]") {
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  scene.system().plan(iqdb_test::fail_every(FileCall::sync, EINVAL));
  CHECK(outcome_of([&] { return db.save(); }) == refused_with(EINVAL));
  CHECK(scene.file() == "the old file");
}

TEST_CASE("A write that moves nothing ends the save instead of being repeated for ever", "[file_storage][faults]") {
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  scene.system().plan(move_at_most(0));
  CHECK(outcome_of([&] { return db.save(); }) == refused_with(EIO));
  CHECK(scene.file() == "the old file");
  CHECK_FALSE(scene.has_temporary());
}

TEST_CASE("A save copes with an interruption of any one call", "[file_storage][interrupted]") {
  const Before before = situation[GENERATE(0, 1, 2)];
  const std::size_t calls_without_fault = calls_of_save(before).size();
  for (std::size_t number = 0; number < calls_without_fault; ++number) {
    Scene scene(before);
    Db db = scene.db();
    scene.system().plan(iqdb_test::fail_call(number, EINTR));
    const std::string outcome = outcome_of([&] { return db.save(); });
    INFO("interrupted: " << scene.system().calls().at(number).text());
    CHECK(outcome == "ok");
    CHECK(scene.file() == "the new file");
    CHECK_FALSE(scene.has_temporary());
    CHECK(scene.system().open_files() == 0);
  }
}

TEST_CASE("A save copes with an interruption of every call", "[file_storage][interrupted]") {
  const Before before = situation[GENERATE(0, 1, 2)];
  Scene scene(before);
  Db db = scene.db();
  scene.system().plan(interrupt_everything_once());
  CHECK(outcome_of([&] { return db.save(); }) == "ok");
  CHECK(scene.file() == "the new file");
  CHECK(scene.system().open_files() == 0);
}

TEST_CASE("An interrupted opening or write or sync is made again", "[file_storage][interrupted]") {
  const FileCall interrupted = GENERATE(FileCall::lock, FileCall::open, FileCall::open_directory, FileCall::create,
                                        FileCall::write, FileCall::sync, FileCall::sync_directory);
  Scene scene(Before::a_snapshot_and_an_empty_log);
  Db db = scene.db();
  scene.system().plan([interrupted, count = 0](const CallRecord& call) mutable {
    const bool now = call.call == interrupted && count++ % 2 == 0;
    return Fault{.error = iqdb_test::system_error(now ? EINTR : 0)};
  });
  CHECK(outcome_of([&] { return db.save(); }) == "ok");
  CHECK(scene.file() == "the new file");
}

TEST_CASE("An interrupted read is made again", "[file_storage][interrupted]") {
  Scene scene(Before::a_snapshot);
  scene.system().plan([count = 0](const CallRecord& call) mutable {
    const bool now = call.call == FileCall::read && count++ % 2 == 0;
    return Fault{.error = iqdb_test::system_error(now ? EINTR : 0)};
  });
  CHECK(iqdb_test::difference(scene.load().index(), old_index()).empty());
}

TEST_CASE("An interrupted change of owner is made again", "[file_storage][interrupted]") {
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  scene.system().plan([interrupted = false](const CallRecord& call) mutable {
    const bool now = call.call == FileCall::set_owner && !std::exchange(interrupted, true);
    return Fault{.error = iqdb_test::system_error(now ? EINTR : 0)};
  });
  db.save();
  std::size_t changes_of_owner = 0;
  for (const CallRecord& call : scene.system().calls()) {
    changes_of_owner += call.call == FileCall::set_owner ? 1 : 0;
  }
  CHECK(changes_of_owner == 2);
}

TEST_CASE("A save copes with writes of one byte", "[file_storage][short]") {
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  scene.system().plan(move_at_most(1));
  CHECK(outcome_of([&] { return db.save(); }) == "ok");
  CHECK(scene.file() == "the new file");
}

TEST_CASE("A save copes with writes that are one byte short", "[file_storage][short]") {
  Scene scene(Before::a_snapshot);
  Db db = scene.db();
  scene.system().plan(move_all_but_one());
  CHECK(outcome_of([&] { return db.save(); }) == "ok");
  CHECK(scene.file() == "the new file");
}

// ---- Loads ----------------------------------------------------------------------------------------------------------

TEST_CASE("Every call of a load that fails is reported as io and no file stays open", "[file_storage][faults]") {
  const Before before = situation[GENERATE(1, 2)];
  const int error = GENERATE(from_range(std::begin(errors), std::end(errors)));
  Scene scene(before);
  scene.system().plan({});
  std::ignore = scene.load();
  const std::vector<CallRecord> calls = scene.system().calls();
  for (std::size_t number = 0; number < calls.size(); ++number) {
    INFO("call " << number << " (" << calls[number].text() << ") failed with " << error);
    scene.system().plan(iqdb_test::fail_call(number, error));
    const std::string outcome = outcome_of([&] { return scene.load(); });
    CHECK(outcome == (calls[number].call == FileCall::close ? "ok" : refused_with(error)));
    CHECK(scene.system().open_files() == 0);
  }
}

TEST_CASE("An error of a load names the file", "[file_storage][faults]") {
  Scene scene(Before::a_snapshot);
  for (const FileCall call : {FileCall::resolve, FileCall::open, FileCall::status_of_open, FileCall::read}) {
    scene.system().plan(iqdb_test::fail_every(call, EIO));
    const iqdb::PersistError error = require_kind(PersistErrorKind::io, [&] { return scene.load(); });
    CHECK(error.path() == scene.path());
    CHECK(std::string(error.what()).find(scene.path().string()) != std::string::npos);
  }
}

TEST_CASE("A load copes with an interruption of any one call", "[file_storage][interrupted]") {
  Scene scene(Before::a_snapshot);
  scene.system().plan({});
  std::ignore = scene.load();
  const std::vector<CallRecord> calls = scene.system().calls();
  for (std::size_t number = 0; number < calls.size(); ++number) {
    INFO("interrupted: " << calls[number].text());
    scene.system().plan(iqdb_test::fail_call(number, EINTR));
    std::string difference = "not loaded";
    CHECK(outcome_of([&] { return difference = iqdb_test::difference(scene.load().index(), old_index()); }) == "ok");
    CHECK(difference.empty());
  }
}

TEST_CASE("A load copes with reads of one byte and with reads that are one byte short", "[file_storage][short]") {
  Scene scene(Before::a_snapshot);
  const bool one_byte = GENERATE(true, false);
  scene.system().plan(one_byte ? move_at_most(1) : move_all_but_one());
  CHECK(iqdb_test::difference(scene.load().index(), old_index()).empty());
}

TEST_CASE("A file that ends before the size it had when it was opened is io", "[file_storage][short]") {
  Scene scene(Before::a_snapshot);
  scene.system().plan({});
  std::ignore = scene.load();
  for (const CallRecord& read : scene.system().calls()) {
    if (read.call != FileCall::read) {
      continue;
    }
    INFO("from " << read.text() << " on the file had ended");
    scene.system().plan([number = read.number](const CallRecord& call) {
      return call.number >= number ? Fault{.most_bytes = 0} : Fault{};
    });
    CHECK(outcome_of([&] { return scene.load(); }) == refused_with(EIO));
  }
}

namespace {

// A flat index that is verified before it is decoded.
class TrustingIndex {
 public:
  static constexpr std::string_view index_type = FlatIndex::index_type;
  [[nodiscard]] std::size_t size() const { return index_.size(); }
  [[nodiscard]] std::size_t dim() const { return index_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return index_.metric(); }
  void save_to(iqdb::Writer& writer) const { index_.save_to(writer); }
  static TrustingIndex load_from(iqdb::Reader& reader) { return TrustingIndex(FlatIndex::load_from(reader)); }
  [[nodiscard]] const FlatIndex& flat() const { return index_; }

 private:
  explicit TrustingIndex(FlatIndex index) : index_(std::move(index)) {}
  FlatIndex index_;
};

// The outcome of a load of `file` whose bytes are overwritten by `other`, of the same size, when they are verified.
std::string outcome_of_overwritten(const Bytes& file, const Bytes& other) {
  REQUIRE(file.size() == other.size());
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  write_bytes(path, file);
  const auto overwrite = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::verify) {
      std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
      stream.write(reinterpret_cast<const char*>(other.data()),  // NOLINT(*-reinterpret-cast)
                   static_cast<std::streamsize>(other.size()));
    }
  };
  return outcome_of([&] { return PersistedIndex<TrustingIndex>::load({.path = path, .on_progress = overwrite}); });
}

}  // namespace

TEST_CASE("A file that is overwritten between its verification and its decoding is checksum_mismatch",
          "[file_storage]") {
  // What is there instead would decode.
  const auto file_with = [](float component) {
    FlatIndex index(2, iqdb::DistanceMetric::euclidean);
    index.insert(1, {1.0F, component});
    return file_of(std::move(index));
  };
  CHECK(outcome_of_overwritten(file_with(2.0F), file_with(3.0F)) == "checksum_mismatch");
}

TEST_CASE("A file that is damaged between its verification and its decoding is checksum_mismatch", "[file_storage]") {
  // What is there instead would not decode.
  Bytes damaged = Scene::old_file();
  damaged[damaged.size() - 30] ^= std::byte{1};
  CHECK(outcome_of_overwritten(Scene::old_file(), damaged) == "checksum_mismatch");
}

TEST_CASE("An index that trusts nothing is read once", "[file_storage]") {
  Scene scene(Before::a_snapshot);
  scene.system().plan({});
  std::ignore = scene.load();
  std::uint64_t next = 0;
  for (const CallRecord& call : scene.system().calls()) {
    if (call.call == FileCall::read && call.offset >= 41) {
      CHECK(call.offset >= next);
      next = call.offset + 1;
    }
  }
  CHECK(next > 0);
}

TEST_CASE("A file that is cut short between its verification and its decoding is io", "[file_storage][short]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  const std::uintmax_t kept = GENERATE(0U, 20U, 50U, 100U);
  write_bytes(path, Scene::old_file());
  const auto cut = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::verify) {
      fs::resize_file(path, kept);
    }
  };
  const iqdb::PersistError error =
      error_of([&] { return PersistedIndex<TrustingIndex>::load({.path = path, .on_progress = cut}); });
  CHECK(error.kind() == PersistErrorKind::io);
  CHECK(error.code().value() == EIO);
}

TEST_CASE("A load that has begun goes on with the old file when a new one takes its name", "[file_storage]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  write_bytes(path, Scene::old_file());
  const auto replace = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::verify) {
      PersistedIndex<FlatIndex>::open_with(new_index(), {.path = path, .replace_existing = true}).save();
    }
  };
  const auto db = PersistedIndex<TrustingIndex>::load({.path = path, .on_progress = replace});
  CHECK(iqdb_test::difference(db.index().flat(), old_index()).empty());
  CHECK(iqdb_test::difference(PersistedIndex<FlatIndex>::load({.path = path}).index(), new_index()).empty());
}

// ---- The storage by itself ------------------------------------------------------------------------------------------

TEST_CASE("A replacement that is not committed leaves nothing", "[file_storage]") {
  Scene scene(Before::a_snapshot);
  iqdb::FileStorage storage;
  {
    const auto lock = storage.lock(scene.path(), std::chrono::milliseconds::zero());
    auto replacement = storage.replace(scene.path(), lock);
    replacement.append(Bytes(10));
    CHECK(scene.has_temporary());
  }
  CHECK_FALSE(scene.has_temporary());
  CHECK(scene.file() == "the old file");
}

TEST_CASE("A replacement that was moved from neither commits nor removes anything", "[file_storage]") {
  Scene scene(Before::nothing);
  iqdb::FileStorage storage;
  const auto lock = storage.lock(scene.path(), std::chrono::milliseconds::zero());
  std::optional first = storage.replace(scene.path(), lock);
  auto second = std::move(*first);
  first.reset();
  CHECK(scene.has_temporary());
  second.append(Bytes(10));
  iqdb::put_in_place(second);
  CHECK(read_bytes(scene.path()) == Bytes(10));
}

TEST_CASE("A lock that is moved is given back once by whoever has it", "[file_storage][lock]") {
  const TemporaryDirectory directory;
  iqdb::FileStorage storage;
  auto first = storage.lock(directory / "a", std::chrono::milliseconds::zero());
  auto second = std::move(first);
  CHECK(iqdb::PosixFileSystem().lock(AT_FDCWD, directory / "a.lock").error == std::errc::operation_would_block);
  second = storage.lock(directory / "b", std::chrono::milliseconds::zero());  // gives a back
  const auto again = iqdb::PosixFileSystem().lock(AT_FDCWD, directory / "a.lock");
  CHECK_FALSE(again.error);
  iqdb::PosixFileSystem().unlock(again.value);
}

TEST_CASE("A lock is given back by its destruction", "[file_storage][lock]") {
  const TemporaryDirectory directory;
  iqdb::FileStorage storage;
  { const auto lock = storage.lock(directory / "a", std::chrono::milliseconds::zero()); }
  const auto again = iqdb::PosixFileSystem().lock(AT_FDCWD, directory / "a.lock");
  CHECK_FALSE(again.error);
  iqdb::PosixFileSystem().unlock(again.value);
}

TEST_CASE("A lock that a forked child destroys is still its parent's", "[file_storage][lock][fork]") {
  const TemporaryDirectory directory;
  iqdb::FileStorage storage;
  std::optional lock = storage.lock(directory / "a", std::chrono::milliseconds::zero());
  ChildProcess destroys([&] {
    lock.reset();
    return 0;
  });
  REQUIRE(destroys.wait() == 0);
  // Asked by another process: in this one the registry alone would refuse.
  ChildProcess asks([&] {
    const auto other = iqdb::PosixFileSystem().lock(AT_FDCWD, directory / "a.lock");
    return other.error == std::errc::operation_would_block ? 0 : 1;
  });
  CHECK(asks.wait() == 0);
}

TEST_CASE("An inherited lock that a child destroys does not release the child's own lock of its number",
          "[file_storage][lock][fork]") {
  const TemporaryDirectory directory;
  iqdb::PosixFileSystem system;
  const auto taken = system.lock(AT_FDCWD, directory / "a.lock");
  REQUIRE_FALSE(taken.error);
  std::optional<iqdb::FileLock<iqdb::PosixFileSystem>> lock(
      std::in_place, std::make_shared<iqdb::HeldDirectory<iqdb::PosixFileSystem>>(system, directory / "a"),
      taken.value);
  CHECK(iqdb_test::in_child([&]() -> std::string {
          const auto own = system.lock(AT_FDCWD, directory / "b.lock");
          if (own.error || own.value != taken.value) {
            return "the number was not used again";
          }
          lock.reset();
          return system.lock(AT_FDCWD, directory / "b.lock").error == std::errc::operation_would_block ? "held"
                                                                                                       : "lost";
        }) == "held");
}

TEST_CASE("A stale temporary file is replaced and not written into", "[file_storage]") {
  Scene scene(Before::a_snapshot);
  const fs::path temporary = scene.path().string() + ".tmp";
  write_bytes(temporary, Bytes(10'000, std::byte{1}));
  fs::create_hard_link(temporary, scene.path().string() + ".witness");
  Db db = scene.db();
  db.save();
  CHECK(scene.file() == "the new file");
  CHECK_FALSE(scene.has_temporary());
  CHECK(read_bytes(scene.path().string() + ".witness") == Bytes(10'000, std::byte{1}));
}

TEST_CASE("A temporary name that leads elsewhere is not followed", "[file_storage]") {
  Scene scene(Before::a_snapshot);
  const fs::path victim = scene.path().parent_path() / "victim";
  write_bytes(victim, Bytes(10));
  fs::create_symlink("victim", scene.path().string() + ".tmp");
  Db db = scene.db();
  db.save();
  CHECK(read_bytes(victim) == Bytes(10));
  CHECK(scene.file() == "the new file");
}

TEST_CASE("A temporary file that appears behind the removal of a stale one is left to whoever made it",
          "[file_storage]") {
  Scene scene(Before::a_snapshot);
  const fs::path temporary = scene.path().string() + ".tmp";
  Db db = scene.db();
  scene.system().plan([&](const CallRecord& call) {
    if (call.call == FileCall::create) {
      write_bytes(temporary, Bytes(10));
    }
    return Fault{};
  });
  CHECK(outcome_of([&] { return db.save(); }) == refused_with(EEXIST));
  CHECK(read_bytes(temporary) == Bytes(10));
  CHECK(scene.file() == "the old file");
}

TEST_CASE("Removing a file that is not there is no error", "[file_storage]") {
  const TemporaryDirectory directory;
  iqdb::FileStorage storage;
  const auto lock = storage.lock(directory / "index", std::chrono::milliseconds::zero());
  storage.remove(directory / "index.wal", lock);
  CHECK_FALSE(fs::exists(directory / "index.wal"));
}

// ---- A second name for a torn log -----------------------------------------------------------------------------------

TEST_CASE("A file that is not there cannot be kept and the older one stays", "[file_storage][keep]") {
  const TemporaryDirectory directory;
  iqdb::FileStorage storage;
  const auto lock = storage.lock(directory / "index", std::chrono::milliseconds::zero());
  write_bytes(directory / "index.wal.torn", Bytes(3));
  CHECK(outcome_of([&] {
          storage.keep(directory / "index.wal", directory / "index.wal.torn", lock);
          return 0;
        }) == refused_with(ENOENT));
  CHECK(read_bytes(directory / "index.wal.torn") == Bytes(3));
}

TEST_CASE("An older file that cannot be removed is an error and stays", "[file_storage][keep]") {
  const TemporaryDirectory directory;
  FaultyFileSystem system;
  FaultyStorage storage(system);
  const auto lock = storage.lock(directory / "index", std::chrono::milliseconds::zero());
  write_bytes(directory / "index.wal", Bytes(5));
  write_bytes(directory / "index.wal.torn", Bytes(3));
  system.plan(iqdb_test::fail_every(FileCall::remove, EACCES));
  const auto error = iqdb_test::require_kind(
      iqdb::PersistErrorKind::io, [&] { storage.keep(directory / "index.wal", directory / "index.wal.torn", lock); });
  system.plan({});
  CHECK(error.code().value() == EACCES);
  CHECK(iqdb_test::mentions(error, "remove the older"));
  CHECK(read_bytes(directory / "index.wal.torn") == Bytes(3));
}

TEST_CASE("A file is kept as a copy only where there are no second names", "[file_storage][keep]") {
  const int error = GENERATE(EPERM, ENOTSUP, ENOSYS, EMLINK, EXDEV, EIO, ENOSPC, EACCES);
  const bool is_copied = error != EIO && error != ENOSPC && error != EACCES;
  const TemporaryDirectory directory;
  FaultyFileSystem system;
  FaultyStorage storage(system);
  const auto lock = storage.lock(directory / "index", std::chrono::milliseconds::zero());
  write_bytes(directory / "index.wal", Bytes(300'000, std::byte{3}));
  system.plan(iqdb_test::fail_every(FileCall::link, error));
  const std::string outcome = outcome_of([&] {
    storage.keep(directory / "index.wal", directory / "index.wal.torn", lock);
    return 0;
  });
  system.plan({});
  CHECK(outcome == (is_copied ? "ok" : refused_with(error)));
  CHECK(fs::exists(directory / "index.wal.torn") == is_copied);
  if (is_copied) {
    CHECK(read_bytes(directory / "index.wal.torn") == Bytes(300'000, std::byte{3}));
  }
}

// ---- A rename of which nobody knows ---------------------------------------------------------------------------------

TEST_CASE("A rename that fails leaves no doubt where the old file has the name", "[file_storage][in_doubt]") {
  Scene scene(Before::a_snapshot);
  FaultyStorage storage(scene.system());
  const auto lock = storage.lock(scene.path(), std::chrono::milliseconds::zero());
  auto file = storage.replace(scene.path(), lock);
  CHECK_FALSE(file.in_doubt());
  scene.system().plan(iqdb_test::fail_every(FileCall::rename, EIO));
  require_kind(PersistErrorKind::io, [&] { file.rename(); });
  CHECK_FALSE(file.in_doubt());
}

TEST_CASE("A rename that was done though it failed is in doubt", "[file_storage][in_doubt]") {
  Scene scene(situation[GENERATE(0, 1)]);
  FaultyStorage storage(scene.system());
  const auto lock = storage.lock(scene.path(), std::chrono::milliseconds::zero());
  {
    auto file = storage.replace(scene.path(), lock);
    scene.system().rename_all_the_same();
    scene.system().plan(iqdb_test::fail_every(FileCall::rename, ENOENT));
    CHECK(iqdb_test::mentions(require_kind(PersistErrorKind::io, [&] { file.rename(); }), "may be in place"));
    CHECK(file.in_doubt());
  }
  CHECK(fs::exists(scene.path()));
}

TEST_CASE("A rename that fails is in doubt where nobody can look", "[file_storage][in_doubt]") {
  const FileCall unknown = GENERATE(FileCall::open, FileCall::status_of_open);
  Scene scene(Before::a_snapshot);
  FaultyStorage storage(scene.system());
  const auto lock = storage.lock(scene.path(), std::chrono::milliseconds::zero());
  auto file = storage.replace(scene.path(), lock);
  scene.system().plan([unknown](const CallRecord& call) {
    return Fault{.error = iqdb_test::system_error(call.call == FileCall::rename || call.call == unknown ? EIO : 0)};
  });
  require_kind(PersistErrorKind::io, [&] { file.rename(); });
  CHECK(file.in_doubt());
  scene.system().plan({});
}

TEST_CASE("A checkpoint whose rename is in doubt poisons and one that failed for sure does not",
          "[file_storage][in_doubt]") {
  const std::string renamed = GENERATE("index.iqdb.tmp to index.iqdb", "index.iqdb.wal.tmp to index.iqdb.wal");
  const bool done = GENERATE(true, false);
  const TemporaryDirectory directory;
  FaultyFileSystem system;
  const iqdb::PersistConfig config{.path = directory / "index.iqdb", .wal_enabled = true};
  {
    Db db = Db::open_with(old_index(), config, FaultyStorage(system));
    db.insert(1000, {1.0F, 2.0F});
    if (done) {
      system.rename_all_the_same();
    }
    system.plan([&](const CallRecord& call) {
      return Fault{.error = iqdb_test::system_error(call.call == FileCall::rename && call.file == renamed ? EIO : 0)};
    });
    CHECK(outcome_of([&] { return db.checkpoint(); }) == refused_with(EIO));
    CHECK(db.poisoned() == done);
    if (!done) {
      db.insert(1001, {1.0F, 2.0F});
    }
    system.plan({});
  }
  CHECK(Db::load(config, FaultyStorage(system)).index().size() == (done ? 4U : 5U));
}

// ---- Without files --------------------------------------------------------------------------------------------------

namespace {

struct WithoutRandomNumbers : iqdb::PosixFileSystem {
  iqdb::SystemResult<std::uint64_t> random() const { return {0, iqdb_test::system_error(ENOSYS)}; }
};

}  // namespace

TEST_CASE("A system without random numbers is io", "[file_storage]") {
  iqdb::BasicFileStorage<WithoutRandomNumbers> storage;
  CHECK(outcome_of([&] { return storage.new_log_id(); }) == refused_with(ENOSYS));
}

TEST_CASE("The advice fits what the system answered", "[file_storage][advice]") {
  const auto advice = [](int error) {
    return std::string(iqdb::file_errors::advice_for(iqdb_test::system_error(error)));
  };
  for (const int error : {EBUSY, ENOSYS, ENOLCK, ENOMEM, ESTALE, EINVAL, ENOTSUP}) {
    CAPTURE(error);
    CHECK(advice(error).find("check the disk") == std::string::npos);
  }
  CHECK(advice(EIO).find("check the disk") != std::string::npos);
  CHECK(advice(EBUSY).find("mount its directory") != std::string::npos);
  CHECK(advice(ENOLCK).find("locks") != std::string::npos);
  CHECK(advice(ENOSYS).find("another one") != std::string::npos);
}

TEST_CASE("A file that grows is read to its new end and one that shrinks reads as zeros", "[file_storage]") {
  const iqdb_test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "log";
  iqdb_test::write_bytes(path, std::vector<std::byte>(10, std::byte{1}));
  iqdb::FileStorage storage;
  auto file = storage.open(path).value();
  iqdb_test::write_bytes(path, std::vector<std::byte>(20, std::byte{1}));
  CHECK(file.size() == 10);
  file.refresh();
  CHECK(file.size() == 20);
  std::filesystem::resize_file(path, 5);
  std::vector<std::byte> read(20);
  std::size_t done = 0;
  while (done < read.size()) {
    done += file.read_at(done, std::span(read).subspan(done));
  }
  std::vector<std::byte> expected(20);
  std::fill_n(expected.begin(), 5, std::byte{1});
  CHECK(read == expected);
}

TEST_CASE("A directory is created durably whatever slash its path ends with", "[file_storage]") {
  const iqdb_test::TemporaryDirectory directory;
  struct CountingFileSystem : iqdb::PosixFileSystem {
    std::error_code sync(Handle handle) const noexcept {
      ++*syncs;
      return iqdb::PosixFileSystem::sync(handle);
    }
    std::shared_ptr<int> syncs = std::make_shared<int>(0);
  };
  const CountingFileSystem system;
  iqdb::BasicFileStorage<CountingFileSystem> storage(system);
  const std::string name = GENERATE("new", "new/");
  storage.create_directory(directory / name);
  CHECK(std::filesystem::is_directory(directory / "new"));
  CHECK(*system.syncs == 1);
  storage.create_directory(directory / name);  // an earlier attempt may have ended before its sync
  CHECK(*system.syncs == 2);
}
