// A log beside a snapshot, seen by calls that have the log off: what may hold mutations is never passed over.
#include "iqdb/persist/wal/log_guard.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/log_files.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb_test::empty_log;
using iqdb_test::log_with_a_mutation;
using iqdb_test::outcome_of;
using iqdb_test::read_bytes;
using iqdb_test::require_kind;
using iqdb_test::write_bytes;
using FileBytes = std::vector<std::byte>;
using PosixDb = iqdb::PersistedIndex<FlatIndex>;

FileBytes cut_to(FileBytes bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

FileBytes longer_by(FileBytes bytes, std::size_t count, std::byte value = std::byte{1}) {
  bytes.resize(bytes.size() + count, value);
  return bytes;
}

// Logs that hold no mutation.
std::vector<std::pair<std::string, FileBytes>> empty_logs(const iqdb::Fingerprint& base) {
  return {{"no byte", {}},
          {"half a header", FileBytes(11)},
          {"the header of version 1", empty_log(1)},
          {"the header of version 2", empty_log(2, base)},
          {"the header of version 3", empty_log(3, base)},
          {"a header and space prepared ahead", longer_by(empty_log(3, base), 100'000, std::byte{0})},
          {"a header and a torn record", longer_by(empty_log(3, base), 20)}};
}

// Files that hold mutations, or of which it cannot be said, and the kinds of error that tell it.
struct RefusedLog {
  std::string what;
  FileBytes bytes;
  std::string kind;
};
std::vector<RefusedLog> logs_not_to_be_passed_over(const iqdb::Fingerprint& base) {
  FileBytes other_version = empty_log(1);
  other_version[8] = std::byte{9};
  FileBytes other_magic = empty_log(1);
  other_magic[0] = std::byte{'X'};
  FileBytes damaged_header = empty_log(3, base);
  damaged_header[20] ^= std::byte{1};
  return {{"version 1 with a mutation", log_with_a_mutation(1), "log_present"},
          {"version 2 with a mutation", log_with_a_mutation(2, base), "log_present"},
          {"version 3 with a mutation", log_with_a_mutation(3, base), "log_present"},
          {"version 3 with a mutation and a torn record", longer_by(log_with_a_mutation(3, base), 20), "log_present"},
          {"a log of another snapshot", log_with_a_mutation(3), "log_mismatch"},
          {"an empty log of another snapshot", empty_log(3), "log_mismatch"},
          {"version 3 cut within its header", cut_to(empty_log(3, base), 40), "log_corrupted"},
          {"version 3 of which only version 1's header is left", cut_to(empty_log(3, base), 12), "log_corrupted"},
          {"a damaged header", damaged_header, "log_corrupted"},
          {"an unknown version", other_version, "unsupported_version"},
          {"no log at all", other_magic, "bad_magic"}};
}

class Scene {
 public:
  Scene() {
    PosixDb::open_with(iqdb_test::make_sample_index(2, iqdb::DistanceMetric::cosine, 3), {.path = path()}).save();
    snapshot_ = read_bytes(path());
  }

  [[nodiscard]] fs::path path() const { return directory_ / "index.iqdb"; }
  [[nodiscard]] fs::path log() const { return directory_ / "index.iqdb.wal"; }
  [[nodiscard]] bool snapshot_is_unchanged() const { return read_bytes(path()) == snapshot_; }
  [[nodiscard]] PosixDb load() const { return PosixDb::load({.path = path()}); }
  // The fingerprint of the snapshot.
  [[nodiscard]] iqdb::Fingerprint fingerprint() const {
    iqdb::FileStorage storage;
    return *iqdb::log_guard::fingerprint_at(storage, path());
  }

 private:
  iqdb_test::TemporaryDirectory directory_;
  FileBytes snapshot_;
};

}  // namespace

TEST_CASE("The log of a snapshot lies beside it", "[log_guard]") {
  CHECK(iqdb::log_path("a/index.iqdb") == "a/index.iqdb.wal");
  CHECK(iqdb::log_path("index") == "index.wal");
}

TEST_CASE("A load passes over a log that holds nothing and leaves it", "[log_guard]") {
  const Scene scene;
  for (const auto& [what, log] : empty_logs(scene.fingerprint())) {
    INFO(what);
    write_bytes(scene.log(), log);
    CHECK(outcome_of([&] { return scene.load(); }) == "ok");
    CHECK(read_bytes(scene.log()) == log);
  }
}

TEST_CASE("A load refuses a log that may hold mutations and changes nothing", "[log_guard]") {
  const Scene scene;
  for (const RefusedLog& log : logs_not_to_be_passed_over(scene.fingerprint())) {
    INFO(log.what);
    write_bytes(scene.log(), log.bytes);
    CHECK(outcome_of([&] { return scene.load(); }) == log.kind);
    CHECK(read_bytes(scene.log()) == log.bytes);
    CHECK(scene.snapshot_is_unchanged());
  }
}

TEST_CASE("The refusal of a log names snapshot and log and what can be done", "[log_guard]") {
  const Scene scene;
  write_bytes(scene.log(), log_with_a_mutation(3, scene.fingerprint()));
  const iqdb::PersistError error = require_kind(PersistErrorKind::log_present, [&] { return scene.load(); });
  const std::string message = error.what();
  CHECK(error.path() == scene.path());
  CHECK(message.find(scene.log().string()) != std::string::npos);
  CHECK(message.find("1 mutations") != std::string::npos);
  CHECK(message.find("wal_enabled = true") != std::string::npos);
}

TEST_CASE("A save removes a log that holds nothing", "[log_guard]") {
  for (const auto& [what, log] : empty_logs(Scene().fingerprint())) {
    INFO(what);
    const Scene scene;
    PosixDb db = scene.load();
    db.insert(1'000'000, {1.0F, 2.0F});
    write_bytes(scene.log(), log);
    CHECK(outcome_of([&] { return db.save(); }) == "ok");
    CHECK_FALSE(fs::exists(scene.log()));
    CHECK(scene.load().index().contains(1'000'000));
  }
}

TEST_CASE("A save refuses a log that may hold mutations and changes nothing", "[log_guard]") {
  const Scene scene;
  PosixDb db = scene.load();
  for (const RefusedLog& log : logs_not_to_be_passed_over(scene.fingerprint())) {
    INFO(log.what);
    write_bytes(scene.log(), log.bytes);
    CHECK(outcome_of([&] { return db.save(); }) == log.kind);
    CHECK(read_bytes(scene.log()) == log.bytes);
    CHECK(scene.snapshot_is_unchanged());
    CHECK_FALSE(fs::exists(scene.path().string() + ".tmp"));
  }
}

TEST_CASE("A log without its snapshot is refused by a load and by load_or_create", "[log_guard]") {
  const Scene scene;
  fs::remove(scene.path());
  write_bytes(scene.log(), log_with_a_mutation(1));
  bool made = false;
  const auto make = [&] {
    made = true;
    return FlatIndex(2, iqdb::DistanceMetric::cosine);
  };
  CHECK(outcome_of([&] { return scene.load(); }) == "log_present");
  CHECK(outcome_of([&] { return PosixDb::load_or_create({.path = scene.path()}, make); }) == "log_present");
  CHECK_FALSE(made);
}

TEST_CASE("Errors in the snapshot come before a log beside it", "[log_guard]") {
  const Scene scene;
  FileBytes damaged = read_bytes(scene.path());
  damaged.back() ^= std::byte{1};
  write_bytes(scene.path(), damaged);
  write_bytes(scene.log(), log_with_a_mutation(1));
  CHECK(outcome_of([&] { return scene.load(); }) == "checksum_mismatch");
}

TEST_CASE("A directory in the log's place is an error that names it", "[log_guard]") {
  const Scene scene;
  PosixDb db = scene.load();
  fs::create_directory(scene.log());
  const auto require_log_error = [&](const auto& call) {
    CHECK(require_kind(PersistErrorKind::io, call).path() == scene.log());
  };
  require_log_error([&] { return scene.load(); });
  require_log_error([&] { return db.save(); });
  CHECK(scene.snapshot_is_unchanged());
}

TEST_CASE("The log is looked for behind a symbolic link", "[log_guard]") {
  const Scene scene;
  const iqdb_test::TemporaryDirectory elsewhere;
  fs::create_symlink(scene.path(), elsewhere / "link.iqdb");
  write_bytes(scene.log(), log_with_a_mutation(1));
  CHECK(outcome_of([&] { return PosixDb::load({.path = elsewhere / "link.iqdb"}); }) == "log_present");
}
