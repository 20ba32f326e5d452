// The bytes of a log's header and of a frame's, as docs/format.md has them: written out by hand.
#include "iqdb/persist/wal/wal_format.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::FrameHeader;
using iqdb::LogHeader;
using iqdb::PersistErrorKind;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::crc32_of;
using iqdb_test::hex;
using iqdb_test::require_kind;

const LogHeader sample_header{.log_id = 0x0123456789ABCDEF,
                              .base_lsn = 41,
                              .base = {.file_bytes = 71, .header_crc32 = 0xAABBCCDD, .region_crc32 = 0x11223344},
                              .history_id = 0x99AA};

ByteVector sample_header_bytes() {
  return iqdb::bytes_of([](Writer& writer) { iqdb::write_log_header(writer, sample_header); });
}

void put_right_checksum(ByteVector& header) {
  std::fill_n(header.begin() + 12, 4, std::byte{0});
  const ByteVector crc32 = Bytes().u32(crc32_of(header));
  std::copy(crc32.begin(), crc32.end(), header.begin() + 12);
}

}  // namespace

TEST_CASE("A log header is 64 bytes: magic and version and checksum and the fields and zeros", "[wal_format]") {
  const auto expected_with = [](std::uint32_t crc32) {
    return Bytes()
        .text(std::string_view("IQDBWAL\0", 8))
        .u32(3)
        .u32(crc32)
        .u64(0x0123456789ABCDEF)
        .u64(41)
        .u64(71)
        .u32(0xAABBCCDD)
        .u32(0x11223344)
        .u64(0x99AA)
        .u64(0)
        .get();
  };
  const ByteVector expected = expected_with(crc32_of(expected_with(0)));
  CHECK(expected.size() == 64);
  CHECK(hex(sample_header_bytes()) == hex(expected));
}

TEST_CASE("A log header is read as it was written", "[wal_format]") {
  CHECK(iqdb::read_log_version(sample_header_bytes()) == 3);
  CHECK(iqdb::read_log_header(sample_header_bytes()) == sample_header);
}

TEST_CASE("A header of version 2 has no history", "[wal_format]") {
  const ByteVector fingerprint = Bytes().u64(71).u32(0xAABBCCDD).u32(0x11223344);
  const ByteVector bytes = iqdb_test::raw_header(0x0123456789ABCDEF, 41, fingerprint, 2);
  CHECK(iqdb::read_log_version(bytes) == 2);
  LogHeader expected = sample_header;
  expected.history_id = 0;
  CHECK(iqdb::read_log_header(bytes, 2) == expected);
  require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(bytes, 3); });
  CHECK(hex(iqdb::bytes_of([](Writer& writer) { iqdb::write_log_header(writer, sample_header, 2); })) == hex(bytes));
}

TEST_CASE("The history id of a log header is at offset 48 and zeros are behind it", "[wal_format]") {
  const ByteVector bytes = sample_header_bytes();
  CHECK(iqdb_test::number_at(bytes, 48, 8) == sample_header.history_id);
  CHECK(iqdb_test::number_at(bytes, 56, 8) == 0);
}

TEST_CASE("A version-2 header with something in the place of the history id is refused though its checksum is right",
          "[wal_format]") {
  for (const std::size_t at : {std::size_t{48}, std::size_t{55}}) {
    ByteVector bytes = iqdb_test::raw_header(1, 2, ByteVector(16), 2);
    bytes[at] = std::byte{1};
    put_right_checksum(bytes);
    require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(bytes, 2); });
  }
}

TEST_CASE("Every flipped bit of a version-2 header is found", "[wal_format]") {
  const ByteVector right = iqdb_test::raw_header(1, 2, ByteVector(16), 2);
  for (std::size_t bit = 0; bit < 8 * right.size(); ++bit) {
    CAPTURE(bit);
    ByteVector wrong = right;
    wrong[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(wrong, 2); });
  }
}

TEST_CASE("A header of a later version that damage turns into version 1 is damage", "[wal_format]") {
  for (const std::uint32_t version : {2U, 3U}) {
    ByteVector right = iqdb_test::raw_header(1, 2, ByteVector(16), version);
    right[8] = std::byte{1};
    for (std::size_t bit = 8 * 12; bit < 8 * right.size(); ++bit) {
      CAPTURE(version, bit);
      ByteVector wrong = right;
      wrong[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_version(wrong); });
    }
  }
}

TEST_CASE("A header whose magic or version is damaged is not taken for another version", "[wal_format]") {
  for (const std::uint32_t version : {2U, 3U}) {
    const ByteVector right = iqdb_test::raw_header(1, 2, ByteVector(16), version);
    for (std::size_t bit = 0; bit < 8 * 12; ++bit) {
      CAPTURE(version, bit);
      ByteVector wrong = right;
      wrong[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      require_kind(PersistErrorKind::log_corrupted,
                   [&] { return iqdb::read_log_header(wrong, iqdb::read_log_version(wrong)); });
    }
  }
}

TEST_CASE("Every flipped bit of a log header is found", "[wal_format]") {
  const ByteVector right = sample_header_bytes();
  for (std::size_t bit = 0; bit < 8 * right.size(); ++bit) {
    CAPTURE(bit);
    ByteVector wrong = right;
    wrong[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto error = require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(wrong); });
    CHECK(error.offset() == 0U);
  }
}

TEST_CASE("A log header whose zeros are not is refused though its checksum is right", "[wal_format]") {
  for (const std::size_t at : {std::size_t{56}, std::size_t{63}}) {
    ByteVector bytes = sample_header_bytes();
    bytes[at] = std::byte{1};
    put_right_checksum(bytes);
    require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(bytes); });
  }
}

TEST_CASE("A log header with a base LSN that no log reaches is refused", "[wal_format]") {
  const auto bytes_with = [](std::uint64_t base_lsn) { return iqdb_test::raw_header(1, base_lsn, ByteVector(16)); };
  CHECK(iqdb::read_log_header(bytes_with(iqdb::largest_lsn)).base_lsn == iqdb::largest_lsn);
  require_kind(PersistErrorKind::log_corrupted,
               [&] { return iqdb::read_log_header(bytes_with(iqdb::largest_lsn + 1)); });
  require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(bytes_with(~std::uint64_t{0})); });
}

TEST_CASE("A log header that is cut short is refused", "[wal_format]") {
  for (std::size_t size = 12; size < 64; ++size) {
    CAPTURE(size);
    ByteVector bytes = sample_header_bytes();
    bytes.resize(size);
    require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::read_log_header(bytes); });
  }
}

TEST_CASE("What is no log is told from a log of another version", "[wal_format]") {
  const auto with = [](std::string_view magic, std::uint32_t version) {
    return Bytes().text(magic).u32(version).get();
  };
  const std::string_view magic("IQDBWAL\0", 8);
  CHECK(iqdb::read_log_version(with(magic, 1)) == 1);
  CHECK(iqdb::read_log_version(with(magic, 2)) == 2);
  CHECK(iqdb::read_log_version(with(magic, 3)) == 3);
  for (const std::uint32_t version : {0U, 4U, ~0U}) {
    require_kind(PersistErrorKind::unsupported_version, [&] { return iqdb::read_log_version(with(magic, version)); });
  }
  require_kind(PersistErrorKind::bad_magic, [&] { return iqdb::read_log_version(with("IQDBWAL1", 2)); });
  require_kind(PersistErrorKind::bad_magic, [&] { return iqdb::read_log_version(with("IQDBPRST", 2)); });
}

TEST_CASE("A frame's checksum covers the log id and length and LSN and durable and every byte of the body",
          "[wal_format]") {
  const ByteVector body = iqdb_test::erase_body(5);
  const FrameHeader header{.body_bytes = 10, .crc32 = 0, .lsn = 77, .durable = 640};
  const std::uint32_t right = iqdb::frame_checksum(1, header, body);
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t flip = std::uint64_t{1} << bit;
    CAPTURE(bit);
    CHECK(iqdb::frame_checksum(1 ^ flip, header, body) != right);
    FrameHeader other = header;
    other.lsn ^= flip;
    CHECK(iqdb::frame_checksum(1, other, body) != right);
    other = header;
    other.durable ^= flip;
    CHECK(iqdb::frame_checksum(1, other, body) != right);
    if (bit < 32) {
      other = header;
      other.body_bytes ^= static_cast<std::uint32_t>(flip);
      CHECK(iqdb::frame_checksum(1, other, body) != right);
    }
  }
  for (std::size_t bit = 0; bit < 8 * body.size(); ++bit) {
    ByteVector other = body;
    other[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    CHECK(iqdb::frame_checksum(1, header, other) != right);
  }
  // The checksum itself is not in it: it is written last.
  FrameHeader other = header;
  other.crc32 = ~0U;
  CHECK(iqdb::frame_checksum(1, other, body) == right);
}
