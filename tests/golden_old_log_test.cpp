// The logs of format version 2 that release 0.1.0 wrote, and what it loads from them: tests/golden/README.md.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/golden_dump.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace golden_old_log {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb_test::ByteVector;
using iqdb_test::difference;
using iqdb_test::read_bytes;
using iqdb_test::TemporaryDirectory;
using Db = iqdb::PersistedIndex<FlatIndex>;

struct Case {
  std::string name;
  fs::path file = iqdb_test::golden_directory() / "wal2" / (name + ".iqdb");

  [[nodiscard]] fs::path log() const { return file.string() + ".wal"; }
  [[nodiscard]] fs::path dump() const { return file.string() + ".json"; }
  [[nodiscard]] FlatIndex rows() const { return iqdb_test::index_in(dump()); }
  // A number beside the rows.
  [[nodiscard]] std::uint64_t number(const char* key) const {
    std::ifstream text(dump());
    return nlohmann::json::parse(text).at(key).get<std::uint64_t>();
  }
  // Its files in a directory of their own. The log has a second name, so that it can be seen what is written into it.
  [[nodiscard]] fs::path copy_to(const TemporaryDirectory& directory) const {
    const fs::path path = directory / "case.iqdb";
    iqdb_test::write_bytes(path, read_bytes(file));
    iqdb_test::write_bytes(directory / "case.iqdb.wal", read_bytes(log()));
    fs::create_hard_link(directory / "case.iqdb.wal", directory / "old log");
    return path;
  }
};

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const auto& entry : fs::directory_iterator(iqdb_test::golden_directory() / "wal2")) {
    if (entry.path().extension() == ".iqdb") {
      all.push_back({.name = entry.path().stem().string()});
    }
  }
  return all;
}

// Without a codec, not the case whose snapshot is compressed with it.
template <class Check>
void for_each_case(Check&& check) {
  for (const Case& one : all_cases()) {
    if (!iqdb_test::codec_is_missing(read_bytes(one.file))) {
      CAPTURE(one.name);
      const TemporaryDirectory directory(iqdb_test::memory_directory());
      check(one, directory, iqdb::PersistConfig{.path = one.copy_to(directory), .wal_enabled = true});
    }
  }
}

std::uint64_t version_of(const ByteVector& log) { return iqdb_test::number_at(log, 8, 4); }

}  // namespace golden_old_log

}  // namespace

TEST_CASE("golden old log: no case is missing", "[golden][wal]") {
  using namespace golden_old_log;
  CHECK(all_cases().size() == 36);
  for (const Case& one : all_cases()) {
    CAPTURE(one.name);
    CHECK(version_of(read_bytes(one.log())) == 2);
    CHECK(fs::exists(one.dump()));
  }
}

TEST_CASE("golden old log: every log gives what the release that wrote it loads from it", "[golden][wal]") {
  using namespace golden_old_log;
  for_each_case([](const Case& one, const TemporaryDirectory&, const iqdb::PersistConfig& config) {
    const Db db = Db::load(config);
    CHECK(difference(db.index(), one.rows()) == "");
    CHECK(db.lsn() == one.number("lsn"));
    CHECK(db.recovery().log_version == 2);
    CHECK(db.recovery().dropped_bytes == one.number("dropped_bytes"));
    CHECK(db.recovery().tolerated == one.number("tolerated"));
  });
}

TEST_CASE("golden old log: read only every log gives the same rows and nothing is written", "[golden][wal]") {
  using namespace golden_old_log;
  for_each_case([](const Case& one, const TemporaryDirectory& directory, iqdb::PersistConfig config) {
    config.read_only = true;
    const auto before = iqdb_test::files_in(directory.path());
    CHECK(difference(Db::load(config).index(), one.rows()) == "");
    CHECK(iqdb_test::files_in(directory.path()) == before);
  });
}

TEST_CASE("golden old log: nothing is appended to any log but a version-3 log takes its place", "[golden][wal]") {
  using namespace golden_old_log;
  for_each_case([](const Case& one, const TemporaryDirectory& directory, const iqdb::PersistConfig& config) {
    const ByteVector old_log = read_bytes(one.log());
    FlatIndex expected = one.rows();
    const std::vector<float> vector(expected.dim(), 0.5F);
    const iqdb::VectorId id = iqdb::VectorId::from_bytes("inserted after the load");
    {
      Db db = Db::load(config);
      const ByteVector new_log = read_bytes(directory / "case.iqdb.wal");
      CHECK(version_of(new_log) == 3);
      CHECK(iqdb_test::number_at(new_log, 16, 8) != iqdb_test::number_at(old_log, 16, 8));
      db.insert(id, vector);
      expected.insert(id, vector);
      CHECK(read_bytes(directory / "case.iqdb.wal").size() > new_log.size());
      db.close();
    }
    CHECK(read_bytes(directory / "old log") == old_log);
    CHECK(read_bytes(directory / "case.iqdb") == read_bytes(one.file));
    const bool is_kept = one.number("dropped_bytes") > 0 || one.number("tolerated") > 0;
    CHECK(fs::exists(directory / "case.iqdb.wal.torn") == is_kept);
    if (is_kept) {
      CHECK(read_bytes(directory / "case.iqdb.wal.torn") == old_log);
    }
    const Db again = Db::load(config);
    CHECK(difference(again.index(), expected) == "");
    CHECK(again.lsn() == one.number("lsn") + 1);
    CHECK(again.recovery().log_version == 3);
    CHECK(again.recovery().dropped_bytes == 0);
    CHECK(again.recovery().tolerated == 0);
  });
}
