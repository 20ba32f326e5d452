// The logs that the Rust crate wrote, and what it made of them: tests/golden/README.md.
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/golden_dump.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb_test::ByteVector;
using iqdb_test::difference;
using iqdb_test::memory_directory;
using iqdb_test::read_bytes;
using iqdb_test::TemporaryDirectory;
using Db = iqdb::PersistedIndex<FlatIndex>;
using Names = std::set<std::string, std::less<>>;

const fs::path golden = iqdb_test::golden_directory();

struct Case : iqdb_test::GoldenCase {
  [[nodiscard]] std::string name() const { return file.substr(0, file.size() - std::string_view(".iqdb").size()); }
  [[nodiscard]] bool has_log() const { return fs::exists(golden / (file + ".wal")); }
  [[nodiscard]] ByteVector log() const { return read_bytes(golden / (file + ".wal")); }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (iqdb_test::GoldenCase& one : iqdb_test::golden_cases("wal")) {
    all.push_back({std::move(one)});
  }
  return all;
}

// Where the Rust crate is wrong or lax: what has an error there and loads here …
const Names loads_here = {"torn/tail_zero8",   "torn/tail_zero64",  "torn/last_frame_zeroed",
                          "walrec/empty_body", "walrec/dup_insert", "walrec/absent_delete"};

// … and what it takes, or names another kind than here. The README leaves to us of which of two kinds a record is that
// the index cannot take.
const std::map<std::string, std::string, std::less<>> other_kinds = {
    {"torn/wal_version_2", "log_corrupted"},
    {"walrec/trailing_bytes", "log_corrupted"},
    {"walrec/delete_trailing", "log_corrupted"},
    {"walrec/has_meta_2", "log_corrupted"},
    {"walrec/bool_2", "log_corrupted"},
    {"walrec/op_0", "log_corrupted"},
    {"walrec/op_3", "log_corrupted"},
    {"walrec/short_body", "log_corrupted"},
    {"walrec/idkind_2", "log_corrupted"},
    {"walrec/idlen_huge", "log_corrupted"},
    {"walrec/veclen_huge", "log_corrupted"},
    {"walrec/no_has_meta", "log_corrupted"},
    {"walrec/value_tag_5", "log_corrupted"},
    {"walrec/string_not_utf8", "log_corrupted"},
    {"walrec/key_not_utf8", "log_corrupted"},
    {"walrec/n_entries_huge", "log_corrupted"},
    {"walrec/dim_4", "replay_rejected"},
    {"walrec/dim_0", "replay_rejected"},
    {"torn/wal_bad_magic", "bad_magic"},
    {"torn/wal_is_snapshot", "bad_magic"},
    {"torn/wal_version_0", "unsupported_version"},
};

bool loads(const Case& one) {
  if (other_kinds.contains(one.name())) {
    return false;
  }
  return one.expected.ends_with(".json") || loads_here.contains(one.name());
}

bool codec_is_missing(const Case& one) { return iqdb_test::codec_is_missing(read_bytes(golden / one.file)); }

// Those that load in this program: without a codec, not the ones whose snapshot is compressed with it.
std::vector<Case> cases_that_load() {
  std::vector<Case> all = cases();
  std::erase_if(all, [](const Case& one) { return !loads(one) || codec_is_missing(one); });
  return all;
}

// A case's files in a directory of their own.
fs::path copy_of(const Case& one, const TemporaryDirectory& directory) {
  for (const auto& entry : fs::directory_iterator(directory.path())) {
    fs::remove(entry.path());
  }
  const fs::path path = directory / "case.iqdb";
  iqdb_test::write_bytes(path, read_bytes(golden / one.file));
  if (one.has_log()) {
    iqdb_test::write_bytes(path.string() + ".wal", one.log());
  }
  return path;
}

iqdb::PersistConfig config_for(const fs::path& path, std::size_t buffer_bytes = std::size_t{256} * 1024) {
  return {.path = path, .wal_enabled = true, .buffer_bytes = buffer_bytes};
}

// What a version-1 log says: how many whole records it has, and how many bytes behind them are not zero.
struct Contents {
  std::uint64_t records = 0;
  std::uint64_t dropped = 0;
};
Contents contents_of(const ByteVector& log) {
  Contents contents;
  if (log.size() < 12) {
    return contents;
  }
  std::size_t at = 12;
  while (log.size() - at >= 8) {
    const auto length = static_cast<std::size_t>(iqdb_test::number_at(log, at, 4));
    if (length == 0 || length > log.size() - at - 8 ||
        iqdb_test::number_at(log, at + 4, 4) != iqdb_test::crc32_of(std::span(log).subspan(at + 8, length))) {
      break;
    }
    ++contents.records;
    at += 8 + length;
  }
  for (std::size_t end = log.size(); end > at; --end) {
    if (log[end - 1] != std::byte{0}) {
      contents.dropped = end - at;
      break;
    }
  }
  return contents;
}

// Whether the log repeats what the snapshot holds: an insert, which replaces the row, or an erase, which is skipped.
bool replaces(const Case& one) { return one.name() == "walrec/dup_insert"; }
bool skips(const Case& one) { return one.name() == "walrec/absent_delete"; }
bool repeats(const Case& one) { return replaces(one) || skips(one); }

// The rows that a case is to load to. Those that the Rust crate refuses have none beside them.
FlatIndex expected_index(const Case& one) {
  if (one.expected.ends_with(".json")) {
    return iqdb_test::index_in(golden / one.expected);
  }
  // The crate made these rows of the same log without the zeros …
  if (one.name().starts_with("torn/tail_zero")) {
    return iqdb_test::index_in(golden / "torn/tail_zero7.iqdb.json");
  }
  if (one.name() == "torn/last_frame_zeroed") {
    return iqdb_test::index_in(golden / "torn/last_body_zeroed.iqdb.json");
  }
  // … and the others hold the two rows of their snapshot, behind the repeated mutation a third one.
  const FlatIndex good = iqdb_test::index_in(golden / "walrec/good.iqdb.json");
  FlatIndex index(good.dim(), good.metric());
  good.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    if (id != iqdb::VectorId(1) && (id != iqdb::VectorId(2) || repeats(one))) {
      index.insert(id, vector, metadata);
    }
  });
  if (replaces(one)) {
    // The log's first insert is of a row of the snapshot, with the vector of its second one.
    const iqdb::VectorId replaced(66484);
    std::vector<float> later;
    good.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& /*metadata*/) {
      if (id == iqdb::VectorId(2)) {
        later.assign(vector.begin(), vector.end());
      }
    });
    index.erase(replaced);
    index.erase(2);
    index.insert(replaced, std::span<const float>(later));
    index.insert(2, std::span<const float>(later));
  }
  return index;
}

}  // namespace

TEST_CASE("golden log: no case is missing", "[golden][wal]") {
  const auto all = cases();
  CHECK(all.size() == 90);
  std::set<std::string> names;
  for (const Case& one : all) {
    CAPTURE(one.file);
    CHECK(fs::exists(golden / one.file));
    CHECK(fs::exists(golden / one.expected));
    CHECK(one.has_log() == (one.name() != "wal/w13_missing_wal"));
    names.insert(one.name());
  }
  for (const auto& [name, kind] : other_kinds) {
    CAPTURE(name);
    CHECK(names.contains(name));
  }
  for (const std::string& name : loads_here) {
    CAPTURE(name);
    CHECK(names.contains(name));
  }
}

TEST_CASE("golden log: every log that is to load gives the rows of the Rust crate bit by bit", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const Case& one : cases_that_load()) {
    CAPTURE(one.file);
    const Db db = Db::load(config_for(copy_of(one, directory)));
    CHECK(difference(db.index(), expected_index(one)) == "");
  }
}

TEST_CASE("golden log: with the smallest buffer every log gives the same rows", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const Case& one : cases_that_load()) {
    CAPTURE(one.file);
    const Db whole = Db::load(config_for(copy_of(one, directory)));
    const FlatIndex expected = whole.index();
    const TemporaryDirectory other(memory_directory());
    CHECK(difference(Db::load(config_for(copy_of(one, other), 4096)).index(), expected) == "");
  }
}

TEST_CASE("golden log: every log that is to be refused is refused with its kind and nothing is changed",
          "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  std::size_t refused = 0;
  for (const Case& one : cases()) {
    if (loads(one)) {
      continue;
    }
    CAPTURE(one.file);
    const fs::path path = copy_of(one, directory);
    const auto before = iqdb_test::files_in(directory.path());
    const auto error = iqdb_test::error_of([&] { return Db::load(config_for(path)); });
    const auto kind = other_kinds.find(one.name());
    REQUIRE(kind != other_kinds.end());
    CHECK(to_string(error.kind()) == kind->second);
    CHECK(error.path() == path.string() + ".wal");
    CHECK(iqdb_test::files_in(directory.path()) == before);
    ++refused;
  }
  CHECK(refused == 21);
}

TEST_CASE("golden log: a record that the index cannot take has the index's own error nested", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const char* name : {"walrec/dim_4", "walrec/dim_0"}) {
    CAPTURE(name);
    const fs::path path =
        copy_of(Case{{.file = std::string(name) + ".iqdb", .mode = "wal", .expected = {}}}, directory);
    bool nested = false;
    try {
      Db::load(config_for(path));
    } catch (const iqdb::PersistError& error) {
      CHECK(error.offset() == 12U);
      try {
        std::rethrow_if_nested(error);
      } catch (const iqdb::IndexError& inner) {
        nested = inner.kind() == iqdb::IndexErrorKind::dimension_mismatch;
      }
    }
    CHECK(nested);
  }
}

TEST_CASE("golden log: the report says what was found", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const Case& one : cases_that_load()) {
    CAPTURE(one.file);
    const fs::path path = copy_of(one, directory);
    const Db db = Db::load(config_for(path));
    const iqdb::RecoveryReport& report = db.recovery();
    CHECK(report.log_found == one.has_log());
    CHECK(report.log_version == (one.has_log() ? 1U : 0U));
    CHECK(report.aborted == 0);
    CHECK(report.tolerated == 0);
    const Contents contents = one.has_log() ? contents_of(one.log()) : Contents{};
    CHECK(report.replayed + report.skipped == contents.records);
    CHECK(report.skipped == (skips(one) ? 1U : 0U));
    CHECK(report.dropped_bytes == contents.dropped);
    CHECK(db.lsn() == report.replayed + (replaces(one) ? 1 : 0));
  }
}

TEST_CASE("golden log: a log with a torn tail is kept and one with zeros behind it is not", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  std::size_t kept = 0;
  for (const Case& one : cases_that_load()) {
    if (!one.has_log()) {
      continue;
    }
    CAPTURE(one.file);
    const fs::path path = copy_of(one, directory);
    const Db db = Db::load(config_for(path));
    const fs::path torn = path.string() + ".wal.torn";
    if (contents_of(one.log()).dropped > 0) {
      ++kept;
      CHECK(db.recovery().torn_log == torn);
      REQUIRE(fs::exists(torn));
      CHECK(read_bytes(torn) == one.log());
    } else {
      CHECK(db.recovery().torn_log.empty());
      CHECK_FALSE(fs::exists(torn));
    }
  }
  CHECK(kept > 20);
}

TEST_CASE("golden log: a flipped bit drops what is behind it and says how much", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const char* name : {"torn/flip_first_body", "torn/flip_middle_body", "torn/flip_middle_len",
                           "torn/flip_middle_crc", "torn/flip_last_body"}) {
    CAPTURE(name);
    const Case one{{.file = std::string(name) + ".iqdb", .mode = "wal", .expected = std::string(name) + ".iqdb.json"}};
    const Db db = Db::load(config_for(copy_of(one, directory)));
    CHECK(difference(db.index(), expected_index(one)) == "");
    CHECK(db.recovery().dropped_bytes == contents_of(one.log()).dropped);
    CHECK(db.recovery().dropped_bytes > 0);
    CHECK(read_bytes(db.recovery().torn_log) == one.log());
  }
}

TEST_CASE("golden log: an insert of a row that is there replaces it, an erase of one that is not is skipped",
          "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const char* name : {"walrec/dup_insert", "walrec/absent_delete"}) {
    CAPTURE(name);
    const Case one{{.file = std::string(name) + ".iqdb", .mode = "wal", .expected = std::string(name) + ".iqdb.err"}};
    const fs::path path = copy_of(one, directory);
    const Db db = Db::load(config_for(path));
    CHECK(db.recovery().skipped == (skips(one) ? 1 : 0));
    CHECK(db.recovery().replayed == (skips(one) ? 1 : 2));
    CHECK(difference(db.index(), expected_index(one)) == "");
    // The new log lacks what was skipped, and has both halves of what was replaced.
    CHECK(iqdb_test::ops_of(read_bytes(path.string() + ".wal")) == (skips(one) ? "ix" : "bix"));
    CHECK(db.lsn() == (skips(one) ? 1 : 3));
  }
}

TEST_CASE("golden log: the new log is of version 3 and continues the snapshot", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const Case& one : cases_that_load()) {
    CAPTURE(one.file);
    const fs::path path = copy_of(one, directory);
    const ByteVector snapshot = read_bytes(path);
    const Db db = Db::load(config_for(path));
    const ByteVector log = read_bytes(path.string() + ".wal");
    REQUIRE(log.size() >= iqdb_test::raw_header_bytes);
    CHECK(ByteVector(log.begin(), log.begin() + 64) ==
          iqdb_test::raw_header_of(log, 0, iqdb_test::fingerprint_of(snapshot)));
    CHECK(read_bytes(path) == snapshot);
  }
}

TEST_CASE("golden log: after an insert and a close and a load nothing is missing", "[golden][wal]") {
  const TemporaryDirectory directory(memory_directory());
  for (const Case& one : cases_that_load()) {
    CAPTURE(one.file);
    const fs::path path = copy_of(one, directory);
    Db db = Db::load(config_for(path));
    FlatIndex expected = db.index();
    const std::vector<float> vector(db.index().dim(), 0.5F);
    const iqdb::VectorId id = iqdb::VectorId::from_bytes("inserted after the recovery");
    db.insert(id, vector);
    db.close();
    expected.insert(id, vector);
    const Db again = Db::load(config_for(path));
    CHECK(difference(again.index(), expected) == "");
    CHECK(again.recovery().log_version == 3);
    CHECK(again.recovery().dropped_bytes == 0);
    CHECK(again.recovery().skipped == 0);
  }
}
