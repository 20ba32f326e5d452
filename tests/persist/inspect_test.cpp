// Looking at a snapshot without the type of its index.
#include "iqdb/persist/inspect.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/scripted_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::Compression;
using iqdb::CompressionScheme;
using iqdb::PersistErrorKind;
using iqdb_test::outcome_of;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;

void save(const fs::path& path, Compression compression = Compression::none()) {
  iqdb::PersistedIndex<iqdb::FlatIndex>::open_with(iqdb_test::make_sample_index(3, iqdb::DistanceMetric::hamming, 10),
                                                   {.path = path, .compression = compression, .replace_existing = true})
      .save();
}

std::vector<std::pair<Compression, CompressionScheme>> codecs() {
  std::vector<std::pair<Compression, CompressionScheme>> all{{Compression::none(), CompressionScheme::none}};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    all.emplace_back(Compression::zstd(), CompressionScheme::zstd);
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    all.emplace_back(Compression::lz4(), CompressionScheme::lz4_block);
  }
  return all;
}

void change_byte(const fs::path& path, std::size_t at) {
  std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
  bytes.at(at) ^= std::byte{1};
  iqdb_test::write_bytes(path, bytes);
}

}  // namespace

TEST_CASE("read_header tells what a file says of itself", "[inspect]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb");
  const iqdb::FileHeader header = iqdb::read_header(directory / "index.iqdb");
  CHECK(header.version == 2);
  CHECK(header.index_type == "flat");
  CHECK(header.dim == 3);
  CHECK(header.metric == iqdb::DistanceMetric::hamming);
  CHECK(header.vectors == 10);
  CHECK(header.crc32 != 0);
}

TEST_CASE("read_header takes an index type that the program does not know", "[inspect]") {
  const TemporaryDirectory directory;
  iqdb::PersistedIndex<iqdb_test::ScriptedIndex>::open_with(iqdb_test::ScriptedIndex("text"),
                                                            {.path = directory / "index.iqdb"})
      .save();
  CHECK(iqdb::read_header(directory / "index.iqdb").index_type == "scripted");
}

TEST_CASE("read_header does not look at the contents", "[inspect]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb");
  change_byte(directory / "index.iqdb", 60);
  CHECK(iqdb::read_header(directory / "index.iqdb").vectors == 10);
}

TEST_CASE("verify_snapshot reports header and sizes and scheme of a whole file", "[inspect]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  std::uint64_t payload_bytes = 0;
  for (const auto& [compression, scheme] : codecs()) {
    save(path, compression);
    const iqdb::SnapshotReport report = iqdb::verify_snapshot(path);
    CHECK(report.header == iqdb::read_header(path));
    CHECK(report.scheme == scheme);
    CHECK(report.file_bytes == fs::file_size(path));
    payload_bytes = payload_bytes == 0 ? report.file_bytes - 54 : payload_bytes;
    CHECK(report.payload_bytes == payload_bytes);
  }
}

TEST_CASE("verify_snapshot reports its progress and can be cancelled", "[inspect]") {
  const TemporaryDirectory directory;
  for (const auto& [compression, scheme] : codecs()) {
    const fs::path path = directory / "vectors.iqdb";
    save(path, compression);
    iqdb::Progress last{};
    const iqdb::SnapshotReport report =
        iqdb::verify_snapshot(path, {.on_progress = [&](const iqdb::Progress& progress) { last = progress; }});
    // Of a payload that is stored as it is, the checksum reports, which also covers what says so.
    constexpr std::uint64_t preamble = 9;
    CHECK(last.total == report.payload_bytes + (scheme == iqdb::CompressionScheme::none ? preamble : 0));
    CHECK(last.done == last.total);
    CHECK_THROWS_AS(iqdb::verify_snapshot(path, {.on_progress = [](const iqdb::Progress&) { throw 7; }}), int);
  }
}

TEST_CASE("verify_snapshot finds a flipped bit in the contents", "[inspect]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  for (const auto& [compression, scheme] : codecs()) {
    save(path, compression);
    change_byte(path, fs::file_size(path) - 1);
    const iqdb::PersistError error =
        require_kind(PersistErrorKind::checksum_mismatch, [&] { return iqdb::verify_snapshot(path); });
    CHECK(error.path() == path);
  }
}

TEST_CASE("verify_snapshot finds data that does not decode to the stated length", "[inspect]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  for (const auto& [compression, scheme] : codecs()) {
    save(path, compression);
    std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
    bytes.at(46) ^= std::byte{1};  // the stated length
    iqdb::Crc32 checksum;
    checksum.update(std::span<const std::byte>(bytes).subspan(45));
    std::ranges::copy(iqdb::to_little_endian(checksum.value()), bytes.begin() + 41);
    iqdb_test::write_bytes(path, bytes);
    CHECK(outcome_of([&] { return iqdb::verify_snapshot(path); }) ==
          (compression == Compression::none() ? "invalid_payload" : "compression"));
  }
}

TEST_CASE("Looking at a file does not need its index to be whole", "[inspect]") {
  // What the index itself would refuse is none of verify_snapshot's business: it has no index.
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  save(path);
  std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
  bytes.at(62) = std::byte{9};  // the metric within the payload
  iqdb::Crc32 checksum;
  checksum.update(std::span<const std::byte>(bytes).subspan(45));
  std::ranges::copy(iqdb::to_little_endian(checksum.value()), bytes.begin() + 41);
  iqdb_test::write_bytes(path, bytes);
  CHECK(outcome_of([&] { return iqdb::PersistedIndex<iqdb::FlatIndex>::load({.path = path}); }) == "invalid_metric");
  CHECK(outcome_of([&] { return iqdb::verify_snapshot(path); }) == "ok");
}

TEST_CASE("Looking at a missing file is io and names it", "[inspect]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "missing.iqdb";
  for (const bool verify : {false, true}) {
    const iqdb::PersistError error = require_kind(PersistErrorKind::io, [&] {
      if (verify) {
        std::ignore = iqdb::verify_snapshot(path);
      } else {
        std::ignore = iqdb::read_header(path);
      }
    });
    CHECK(error.code().value() == ENOENT);
    CHECK(error.path() == path);
  }
}

TEST_CASE("Looking at what is no snapshot says so", "[inspect]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "notes.txt";
  iqdb_test::write_bytes(path, std::vector<std::byte>(100, std::byte{'a'}));
  CHECK(outcome_of([&] { return iqdb::read_header(path); }) == "bad_magic");
  CHECK(outcome_of([&] { return iqdb::verify_snapshot(path); }) == "bad_magic");
  iqdb_test::write_bytes(path, {});
  CHECK(outcome_of([&] { return iqdb::read_header(path); }) == "truncated_header");
}

TEST_CASE("Looking at a directory is io", "[inspect]") {
  const TemporaryDirectory directory;
  CHECK(outcome_of([&] { return iqdb::read_header(directory.path()); }) == iqdb_test::refused_with(EISDIR));
}

TEST_CASE("Looking follows a symbolic link and writes nothing", "[inspect]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb");
  fs::remove(directory / "index.iqdb.lock");
  fs::create_symlink("index.iqdb", directory / "link");
  CHECK(iqdb::verify_snapshot(directory / "link").header.vectors == 10);
  CHECK_FALSE(fs::exists(directory / "index.iqdb.lock"));
  CHECK_FALSE(fs::exists(directory / "link.lock"));
}

// ---- Snapshot and log together --------------------------------------------------------------------------------------

namespace {

using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::index_of;
using iqdb_test::insert_row;

// Files of a killed process: a snapshot of the rows 1 and 2, and a log with the rows 3 to 6.
void put_killed(const DurableDirectory& directory) {
  iqdb_test::FileSet files;
  {
    DurableIndex db = directory.open_with(index_of({1, 2}));
    for (std::uint64_t id = 3; id <= 6; ++id) {
      insert_row(db, id);
    }
    files = directory.files();
  }
  directory.put(files);
}

}  // namespace

TEST_CASE("inspect_index tells what snapshot and log hold", "[inspect]") {
  const DurableDirectory directory;
  put_killed(directory);
  const iqdb::IndexReport report = iqdb::inspect_index(directory.path());
  CHECK(report.header == iqdb::read_header(directory.path()));
  CHECK(report.file_bytes == fs::file_size(directory.path()));
  REQUIRE(report.log);
  CHECK_FALSE(report.log->problem);
  CHECK(report.log->log.version == iqdb::log_version);
  CHECK(report.log->log.header.base == report.fingerprint);
  CHECK(report.log->file_bytes == fs::file_size(iqdb::log_path(directory.path())));
  REQUIRE(report.log->scan);
  CHECK(report.log->scan->mutations == 4);
  CHECK(report.log->scan->frames == 4);
  CHECK(report.log->end->position.next_lsn == 5);
  CHECK_FALSE(report.log->end->closed);

  const iqdb::IndexReport glance = iqdb::inspect_index(directory.path(), {.most_log_bytes = 100});
  REQUIRE(glance.log);
  CHECK_FALSE(glance.log->scan);
  CHECK(glance.log->end == report.log->end);
}

TEST_CASE("inspect_index tells of an index without a log, and of none", "[inspect]") {
  const DurableDirectory directory;
  put_killed(directory);
  fs::remove(iqdb::log_path(directory.path()));
  CHECK_FALSE(iqdb::inspect_index(directory.path()).log);
  fs::remove(directory.path());
  CHECK(require_kind(PersistErrorKind::io, [&] { return iqdb::inspect_index(directory.path()); }).path() ==
        directory.path());
}

TEST_CASE("inspect_index reports a damaged log up to its damage", "[inspect]") {
  const DurableDirectory directory;
  put_killed(directory);
  const fs::path log = iqdb::log_path(directory.path());
  const auto frames = iqdb_test::frames_of(iqdb_test::read_bytes(log));
  change_byte(log, frames.at(1).offset + 30);
  const iqdb::IndexReport report = iqdb::inspect_index(directory.path());
  REQUIRE(report.log);
  REQUIRE(report.log->problem);
  CHECK(report.log->problem->kind() == PersistErrorKind::log_corrupted);
  CHECK(report.log->problem->offset() == frames.at(1).offset);
  CHECK(report.log->problem->path() == log);
  CHECK(report.log->scan->mutations == 1);
  CHECK(report.log->end->position.next_lsn == 2);

  const iqdb::LogReport alone = iqdb::inspect_log(log);
  CHECK(alone.problem->offset() == frames.at(1).offset);
  CHECK(alone.scan->frames == 1);
}

TEST_CASE("inspect_index reports a log with a damaged header, and one that is none", "[inspect]") {
  const DurableDirectory directory;
  put_killed(directory);
  const fs::path log = iqdb::log_path(directory.path());
  change_byte(log, 20);
  CHECK(iqdb::inspect_index(directory.path()).log->problem->kind() == PersistErrorKind::log_corrupted);
  CHECK_FALSE(iqdb::inspect_log(log).scan);
  iqdb_test::write_bytes(log, std::vector<std::byte>(100, std::byte{1}));
  CHECK(iqdb::inspect_index(directory.path()).log->problem->kind() == PersistErrorKind::bad_magic);
}

TEST_CASE("inspect_index reports a log of another snapshot", "[inspect]") {
  const DurableDirectory directory;
  put_killed(directory);
  const TemporaryDirectory elsewhere;
  save(elsewhere / "other.iqdb");
  iqdb_test::write_bytes(directory.path(), iqdb_test::read_bytes(elsewhere / "other.iqdb"));
  const iqdb::IndexReport report = iqdb::inspect_index(directory.path());
  REQUIRE(report.log);
  CHECK(report.log->problem->kind() == PersistErrorKind::log_mismatch);
  CHECK(report.log->problem->path() == iqdb::log_path(directory.path()));
  CHECK(report.log->scan->mutations == 4);
  CHECK_FALSE(iqdb::inspect_log(iqdb::log_path(directory.path())).problem);
}
