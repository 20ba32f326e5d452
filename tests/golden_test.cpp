// The files that the Rust crate wrote, and what it made of them: tests/golden/README.md.
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/golden_dump.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::Compression;
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb_test::codec_is_missing;
using iqdb_test::golden_cases;
using iqdb_test::index_in;
using iqdb_test::scheme_of;
using iqdb_test::TemporaryDirectory;
using Case = iqdb_test::GoldenCase;
using Db = iqdb::PersistedIndex<FlatIndex>;

const std::filesystem::path golden = iqdb_test::golden_directory();

// Where the Rust crate takes what the format forbids, or names another kind than fits here.
const std::map<std::string, PersistErrorKind, std::less<>> differences = {
    {"codec/none_len_mismatch.iqdb", PersistErrorKind::invalid_payload},
    {"codec/none_len_max.iqdb", PersistErrorKind::invalid_payload},
    {"codec/payload_trailing.iqdb", PersistErrorKind::invalid_payload},
    {"codec/zstd_ratio_guard.iqdb", PersistErrorKind::compression},
    {"codec/lz4_ratio_guard.iqdb", PersistErrorKind::compression},
    {"codec/zstd_ratio_edge.iqdb", PersistErrorKind::compression},
    {"codec/scheme_3.iqdb", PersistErrorKind::compression},
    {"bad/version_2_no_preamble.iqdb", PersistErrorKind::compression},
};

// "ERROR ChecksumMismatch checksum mismatch: …" is checksum_mismatch.
std::string kind_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string error;
  std::string name;
  file >> error >> name;
  if (error != "ERROR" || name.empty()) {
    throw std::runtime_error("not an expected error: " + path.string());
  }
  std::string kind;
  for (const char character : name) {
    if (std::isupper(static_cast<unsigned char>(character)) != 0 && !kind.empty()) {
      kind += '_';
    }
    kind += static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
  }
  return kind;
}

// The name of the kind of error that a case is to end with.
std::string expected_kind(const Case& one, const std::vector<std::byte>& file) {
  const auto difference = differences.find(one.file);
  const std::string kind =
      difference != differences.end() ? std::string(to_string(difference->second)) : kind_in(golden / one.expected);
  // What only the codec could tell is not found without it.
  return kind == "compression" && codec_is_missing(file) ? "unsupported" : kind;
}

// ---- Loading them ---------------------------------------------------------------------------------------------------

// A copy of a case's snapshot, with nothing beside it.
std::filesystem::path copy_of(const Case& one, const TemporaryDirectory& directory) {
  const auto path = directory / "case.iqdb";
  std::filesystem::copy_file(golden / one.file, path, std::filesystem::copy_options::overwrite_existing);
  return path;
}

}  // namespace

TEST_CASE("golden: no case is missing", "[golden]") {
  const auto all = golden_cases();
  const auto snapshots = golden_cases("snapshot");
  CHECK(all.size() == 219);
  REQUIRE(snapshots.size() == 129);
  CHECK(std::ranges::count_if(snapshots, [](const Case& one) { return one.expects_rows(); }) == 61);
  CHECK(std::ranges::count_if(snapshots, [](const Case& one) { return !one.expects_rows(); }) == 68);
  for (const Case& one : all) {
    CAPTURE(one.file);
    CHECK(std::filesystem::exists(golden / one.file));
    CHECK(std::filesystem::exists(golden / one.expected));
  }
}

TEST_CASE("golden: every difference from the Rust crate is of a case that is there", "[golden]") {
  std::set<std::string> files;
  for (const Case& one : golden_cases("snapshot")) {
    files.insert(one.file);
  }
  for (const auto& [file, kind] : differences) {
    CAPTURE(file);
    CHECK(files.contains(file));
  }
}

TEST_CASE("golden: every snapshot that the Rust crate reads is read and holds the same rows bit by bit", "[golden]") {
  const TemporaryDirectory directory;
  int loaded = 0;
  int unsupported = 0;
  for (const Case& one : golden_cases("snapshot")) {
    if (!one.expects_rows() || differences.contains(one.file)) {
      continue;
    }
    CAPTURE(one.file);
    const auto path = copy_of(one, directory);
    if (codec_is_missing(iqdb_test::read_bytes(path))) {
      iqdb_test::require_kind(PersistErrorKind::unsupported, [&] { return Db::load({.path = path}); });
      ++unsupported;
      continue;
    }
    const FlatIndex expected = index_in(golden / one.expected);
    const Db db = Db::load({.path = path});
    CHECK(iqdb_test::difference(db.index(), expected) == "");
    const iqdb::FileHeader header = iqdb::read_header(path);
    CHECK(header.index_type == "flat");
    CHECK(header.dim == expected.dim());
    CHECK(header.metric == expected.metric());
    CHECK(header.vectors == expected.size());
    ++loaded;
  }
  CHECK(loaded + unsupported == 58);
  if (IQDB_PERSIST_HAS_ZSTD != 0 && IQDB_PERSIST_HAS_LZ4 != 0) {
    CHECK(unsupported == 0);
  }
}

TEST_CASE("golden: every snapshot that is to be refused is refused with its kind and left as it is", "[golden]") {
  const TemporaryDirectory directory;
  int refused = 0;
  for (const Case& one : golden_cases("snapshot")) {
    if (one.expects_rows() && !differences.contains(one.file)) {
      continue;
    }
    CAPTURE(one.file);
    const auto path = copy_of(one, directory);
    const auto before = iqdb_test::read_bytes(path);
    const auto error = iqdb_test::error_of([&] { return Db::load({.path = path}); });
    CHECK(to_string(error.kind()) == expected_kind(one, before));
    CHECK(error.path() == path);
    CHECK(iqdb_test::read_bytes(path) == before);
    ++refused;
  }
  CHECK(refused == 71);
}

TEST_CASE("golden: an uncompressed snapshot is saved again as the bytes that the Rust crate wrote", "[golden]") {
  const TemporaryDirectory directory;
  int compared = 0;
  for (const Case& one : golden_cases("snapshot")) {
    if (!one.expects_rows() || differences.contains(one.file)) {
      continue;
    }
    const auto path = copy_of(one, directory);
    const auto before = iqdb_test::read_bytes(path);
    if (scheme_of(before) != 0U) {
      continue;
    }
    CAPTURE(one.file);
    Db db = Db::load({.path = path});
    const TemporaryDirectory other;
    const std::filesystem::path again = other / "again.iqdb";
    const iqdb::SnapshotInfo info = db.save_copy(again);
    CHECK(iqdb_test::read_bytes(again) == before);
    CHECK(info.file_bytes == before.size());
    ++compared;
  }
  CHECK(compared == 15);
}

TEST_CASE("golden: every snapshot saved again in any compression loads to the same rows", "[golden]") {
  std::vector<Compression> compressions = {Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    compressions.push_back(Compression::zstd());
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    compressions.push_back(Compression::lz4());
  }
  const TemporaryDirectory directory;
  for (const Case& one : golden_cases("snapshot")) {
    if (!one.expects_rows() || differences.contains(one.file)) {
      continue;
    }
    const auto path = copy_of(one, directory);
    if (codec_is_missing(iqdb_test::read_bytes(path))) {
      continue;
    }
    const Db original = Db::load({.path = path});
    for (const Compression compression : compressions) {
      CAPTURE(one.file, static_cast<int>(compression.codec()));
      const auto copy = directory / "again.iqdb";
      Db::open_with(original.index(), {.path = copy, .compression = compression, .replace_existing = true}).save();
      CHECK(iqdb_test::integer_at(iqdb_test::read_bytes(copy), 8, 4) == 2);
      CHECK(scheme_of(iqdb_test::read_bytes(copy)) == static_cast<unsigned>(compression.codec()));
      CHECK(iqdb_test::difference(Db::load({.path = copy}).index(), original.index()) == "");
    }
  }
}
