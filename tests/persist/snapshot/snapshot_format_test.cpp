#include "iqdb/persist/snapshot/snapshot_format.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FileHeader;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::require_kind;
using iqdb_test::written_by;

// The fields of a header as they lie in a file, each to be replaced by a wrong one.
struct RawHeader {
  std::string magic = "IQDBPRST";
  std::uint32_t version = 2;
  std::optional<std::uint64_t> type_bytes = {};  // the length of index_type unless given
  std::string index_type = "flat";
  std::uint64_t dim = 3;
  unsigned metric = 2;
  std::uint64_t vectors = 7;
  std::uint32_t crc32 = 0x89ABCDEF;

  [[nodiscard]] std::vector<std::byte> bytes() const {
    return Bytes()
        .text(magic)
        .u32(version)
        .u64(type_bytes.value_or(index_type.size()))
        .text(index_type)
        .u64(dim)
        .u8(metric)
        .u64(vectors)
        .u32(crc32);
  }
};

FileHeader read(std::span<const std::byte> bytes, std::optional<std::string_view> expected_type = "flat") {
  Reader reader(bytes);
  return read_header(reader, expected_type);
}

void require_refused(PersistErrorKind kind, const RawHeader& raw) {
  require_kind(kind, [&] { return read(raw.bytes()); });
}

}  // namespace

TEST_CASE("write_header: the bytes of a header", "[format]") {
  const FileHeader header{.version = 2,
                          .index_type = "flat",
                          .dim = 0x0102030405060708,
                          .metric = DistanceMetric::manhattan,
                          .vectors = 0x1112131415161718,
                          .crc32 = 0x21222324};
  const auto bytes = written_by([&](iqdb::Writer& writer) { write_header(writer, header); });
  CHECK(hex(bytes) ==
        "49 51 44 42 50 52 53 54 "
        "02 00 00 00 "
        "04 00 00 00 00 00 00 00 "
        "66 6c 61 74 "
        "08 07 06 05 04 03 02 01 "
        "03 "
        "18 17 16 15 14 13 12 11 "
        "24 23 22 21");
  CHECK(bytes.size() == iqdb::header_bytes(4));
}

TEST_CASE("write_header: writes the version it is given", "[format]") {
  const auto bytes = written_by([&](iqdb::Writer& writer) { write_header(writer, {.version = 1, .index_type = ""}); });
  CHECK(bytes.size() == 41);
  CHECK(hex(std::span(bytes).subspan(8, 4)) == "01 00 00 00");
}

TEST_CASE("read_header: reads every field", "[format]") {
  const FileHeader header = read(RawHeader{}.bytes());
  CHECK(header.version == 2);
  CHECK(header.index_type == "flat");
  CHECK(header.dim == 3);
  CHECK(header.metric == DistanceMetric::euclidean);
  CHECK(header.vectors == 7);
  CHECK(header.crc32 == 0x89ABCDEF);
}

TEST_CASE("read_header: reads what write_header wrote and stops behind it", "[format]") {
  const FileHeader header{.version = 1,
                          .index_type = "my index \xC3\xA9",
                          .dim = ~std::uint64_t{0},
                          .metric = DistanceMetric::hamming,
                          .vectors = ~std::uint64_t{0} - 1,
                          .crc32 = 0xFFFFFFFF};
  auto bytes = written_by([&](iqdb::Writer& writer) { write_header(writer, header); });
  bytes.push_back(std::byte{0x55});
  Reader reader(bytes);
  CHECK(read_header(reader) == header);
  CHECK(reader.remaining() == 1);
}

TEST_CASE("read_header: takes any index type where none is expected", "[format]") {
  for (const std::string& type : {std::string(), std::string("hnsw"), std::string(4096, 'x')}) {
    CHECK(read(RawHeader{.index_type = type}.bytes(), std::nullopt).index_type == type);
  }
}

TEST_CASE("read_header: takes the longest index type where it is expected", "[format]") {
  const std::string longest(4096, 'x');
  CHECK(read(RawHeader{.index_type = longest}.bytes(), longest).index_type == longest);
}

TEST_CASE("read_header: takes each of the five metrics", "[format]") {
  for (unsigned tag = 0; tag < 5; ++tag) {
    CHECK(static_cast<unsigned>(read(RawHeader{.metric = tag}.bytes()).metric) == tag);
  }
}

TEST_CASE("read_header: each wrong byte of the magic is bad_magic", "[format]") {
  for (std::size_t at = 0; at < 8; ++at) {
    RawHeader raw;
    raw.magic[at] = static_cast<char>(raw.magic[at] ^ 1);
    CAPTURE(raw.magic);
    require_refused(PersistErrorKind::bad_magic, raw);
  }
}

TEST_CASE("read_header: every version but 1 and 2 is unsupported_version", "[format]") {
  for (const std::uint32_t version : {0U, 3U, 0x102U, 0x01000002U, ~0U}) {
    CAPTURE(version);
    require_refused(PersistErrorKind::unsupported_version, {.version = version});
  }
  CHECK(read(RawHeader{.version = 1}.bytes()).version == 1);
}

TEST_CASE("read_header: an index type stated to be over 4096 bytes is invalid_payload wherever the file ends",
          "[format]") {
  require_refused(PersistErrorKind::invalid_payload, {.index_type = std::string(4097, 'x')});
  require_refused(PersistErrorKind::invalid_payload, {.type_bytes = 4097});
  require_refused(PersistErrorKind::invalid_payload, {.type_bytes = std::uint64_t{1} << 63U});
  require_refused(PersistErrorKind::invalid_payload, {.type_bytes = ~std::uint64_t{0}});
}

TEST_CASE("read_header: an index type that is not UTF-8 is invalid_payload", "[format]") {
  require_refused(PersistErrorKind::invalid_payload, {.index_type = "fl\xFFt"});
  require_kind(PersistErrorKind::invalid_payload,
               [] { return read(RawHeader{.index_type = "fl\xFFt"}.bytes(), std::nullopt); });
}

TEST_CASE("read_header: another index type than expected is invalid_index_type", "[format]") {
  for (const char* type : {"", "fla", "flat2", "Flat", "hnsw"}) {
    CAPTURE(type);
    require_refused(PersistErrorKind::invalid_index_type, {.index_type = type});
  }
}

TEST_CASE("read_header: invalid_index_type names both types", "[format]") {
  const auto error =
      require_kind(PersistErrorKind::invalid_index_type, [] { return read(RawHeader{.index_type = "h\nsw"}.bytes()); });
  CHECK(iqdb_test::mentions(error, "h\\x0asw"));
  CHECK(iqdb_test::mentions(error, "flat"));
}

TEST_CASE("read_header: every metric tag over 4 is invalid_metric", "[format]") {
  for (unsigned tag = 5; tag <= 255; ++tag) {
    CAPTURE(tag);
    require_refused(PersistErrorKind::invalid_metric, {.metric = tag});
  }
}

TEST_CASE("read_header: cut at any byte it is truncated_header", "[format]") {
  const auto bytes = RawHeader{}.bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    require_kind(PersistErrorKind::truncated_header, [&] { return read(std::span(bytes).first(size)); });
  }
}

TEST_CASE("read_header: cut at any byte it is truncated_header from a source too", "[format]") {
  const auto bytes = RawHeader{}.bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    const auto part = std::span(bytes).first(size);
    iqdb_test::MemorySource source(part, 3);
    Reader reader(source, size, iqdb::LengthEvidence::stored, 16);
    require_kind(PersistErrorKind::truncated_header, [&] { return read_header(reader, "flat"); });
  }
}

TEST_CASE("read_header: of several wrong fields the first in the file is reported", "[format]") {
  RawHeader raw{.magic = "IQDBWALx", .version = 9, .type_bytes = 5000, .index_type = "\xFFnsw", .metric = 77};
  require_refused(PersistErrorKind::bad_magic, raw);
  raw.magic = "IQDBPRST";
  require_refused(PersistErrorKind::unsupported_version, raw);
  raw.version = 2;
  require_refused(PersistErrorKind::invalid_payload, raw);
  raw.type_bytes = 4;
  require_refused(PersistErrorKind::invalid_payload, raw);
  raw.index_type = "hnsw";
  require_refused(PersistErrorKind::invalid_index_type, raw);
  raw.index_type = "flat";
  require_refused(PersistErrorKind::invalid_metric, raw);
  raw.metric = 0;
  CHECK(read(raw.bytes()).metric == DistanceMetric::cosine);
}

TEST_CASE("read_header: a wrong field is reported before the end of the file behind it", "[format]") {
  const auto first = [](const RawHeader& raw, std::size_t size) {
    return [raw, size] {
      const auto bytes = raw.bytes();
      return read(std::span(bytes).first(size));
    };
  };
  require_kind(PersistErrorKind::bad_magic, first({.magic = "12345678"}, 8));
  require_kind(PersistErrorKind::unsupported_version, first({.version = 3}, 12));
  require_kind(PersistErrorKind::invalid_payload, first({.type_bytes = 4097}, 20));
  require_kind(PersistErrorKind::invalid_index_type, first({.index_type = "hnsw"}, 24));
  require_kind(PersistErrorKind::invalid_metric, first({.metric = 5}, 33));
}

TEST_CASE("header_bytes: 41 and the index type", "[format]") {
  static_assert(iqdb::header_bytes(0) == 41);
  static_assert(iqdb::header_bytes(4) == 45);
  static_assert(iqdb::header_bytes(4096) == 4137);
  CHECK(RawHeader{}.bytes().size() == 45);
}
