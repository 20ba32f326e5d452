// The bytes of a log, as docs/format.md has them: written out by hand.
#include "iqdb/persist/wal/wal_format.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::FrameBody;
using iqdb::FrameEncoder;
using iqdb::FrameHeader;
using iqdb::FrameOp;
using iqdb::LogHeader;
using iqdb::Metadata;
using iqdb::Mutation;
using iqdb::PersistErrorKind;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::crc32_of;
using iqdb_test::error_of;
using iqdb_test::hex;
using iqdb_test::require_kind;

const LogHeader sample_header{.log_id = 0x0123456789ABCDEF,
                              .base_lsn = 41,
                              .base = {.file_bytes = 71, .header_crc32 = 0xAABBCCDD, .region_crc32 = 0x11223344}};

ByteVector encoded(const std::function<void(Writer&)>& write) { return iqdb::bytes_of(write); }

ByteVector sample_header_bytes() {
  return encoded([](Writer& writer) { iqdb::write_log_header(writer, sample_header); });
}

// The kind of the error with which a body is refused, or "ok": read to its end, as a scan does.
std::string read_body(const ByteVector& bytes, std::uint32_t version = 2) {
  try {
    FrameBody body(bytes, version);
    Mutation mutation;
    for (std::uint32_t at = 0; at < body.mutations(); ++at) {
      body.read_next(mutation);
    }
    body.require_end();
    return "ok";
  } catch (const iqdb::PersistError& error) {
    return std::string(to_string(error.kind()));
  }
}

bool is_refused(const ByteVector& bytes, std::uint32_t version = 2) {
  const std::string kind = read_body(bytes, version);
  return kind == "invalid_payload" || kind == "truncated_payload";
}

const std::vector<float> sample_vector = {1.0F, -2.5F};

ByteVector body_of(const std::function<void(Writer&)>& write) { return encoded(write); }

std::vector<ByteVector> one_body_of_each_kind() {
  const ByteVector insert = iqdb_test::insert_body(7, sample_vector, "text");
  const ByteVector erase = iqdb_test::erase_body(8);
  return {insert,
          erase,
          iqdb_test::batch_body({insert, erase, insert}),
          iqdb_test::abort_body(9),
          iqdb_test::checkpoint_body(ByteVector(16, std::byte{0x5A})),
          iqdb_test::close_body()};
}

}  // namespace

// ---- The header -----------------------------------------------------------------------------------------------------

TEST_CASE("A log header is 64 bytes: magic and version and checksum and the fields and zeros", "[wal_format]") {
  const auto expected_with = [](std::uint32_t crc32) {
    return Bytes()
        .text(std::string_view("IQDBWAL\0", 8))
        .u32(2)
        .u32(crc32)
        .u64(0x0123456789ABCDEF)
        .u64(41)
        .u64(71)
        .u32(0xAABBCCDD)
        .u32(0x11223344)
        .u64(0)
        .u64(0)
        .get();
  };
  const ByteVector expected = expected_with(crc32_of(expected_with(0)));
  CHECK(expected.size() == 64);
  CHECK(hex(sample_header_bytes()) == hex(expected));
}

TEST_CASE("A log header is read as it was written", "[wal_format]") {
  CHECK(iqdb::read_log_version(sample_header_bytes()) == 2);
  CHECK(iqdb::read_log_header(sample_header_bytes()) == sample_header);
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
  for (const std::size_t at : {std::size_t{48}, std::size_t{63}}) {
    ByteVector bytes = sample_header_bytes();
    bytes[at] = std::byte{1};
    for (std::size_t each = 12; each < 16; ++each) {
      bytes[each] = std::byte{0};
    }
    const ByteVector crc32 = Bytes().u32(crc32_of(bytes));
    std::copy(crc32.begin(), crc32.end(), bytes.begin() + 12);
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
  for (const std::uint32_t version : {0U, 3U, ~0U}) {
    require_kind(PersistErrorKind::unsupported_version, [&] { return iqdb::read_log_version(with(magic, version)); });
  }
  require_kind(PersistErrorKind::bad_magic, [&] { return iqdb::read_log_version(with("IQDBWAL1", 2)); });
  require_kind(PersistErrorKind::bad_magic, [&] { return iqdb::read_log_version(with("IQDBPRST", 2)); });
}

// ---- Frames ---------------------------------------------------------------------------------------------------------

TEST_CASE("A frame is length and checksum and LSN and durable and body", "[wal_format]") {
  FrameEncoder encoder;
  iqdb::write_erase(encoder.begin(), 5);
  const auto frame = encoder.finish(0xA1A2A3A4A5A6A7A8, 77, 640);
  const ByteVector body = Bytes().u8(2).u8(0).u64(5);
  const ByteVector checked = Bytes().u64(0xA1A2A3A4A5A6A7A8).u32(10).u64(77).u64(640).append(body);
  CHECK(hex(frame) == hex(Bytes().u32(10).u32(crc32_of(checked)).u64(77).u64(640).append(body)));
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

TEST_CASE("A frame of every size around the encoder's buffer is whole", "[wal_format]") {
  FrameEncoder encoder;
  for (const std::size_t size : {1U, 4000U, 4095U, 4096U, 4097U, 8192U, 100000U, 17U}) {
    CAPTURE(size);
    const ByteVector body(size, std::byte{0xC3});
    encoder.begin().write(body);
    CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, body)));
  }
}

TEST_CASE("What is left of a body whose encoding failed is not in the next frame", "[wal_format]") {
  FrameEncoder encoder;
  iqdb::write_erase(encoder.begin(), 1);
  iqdb::write_erase(encoder.begin(), 2);
  CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, iqdb_test::erase_body(2))));
}

TEST_CASE("Encoding allocates nothing once a frame as large was encoded", "[wal_format]") {
  FrameEncoder encoder;
  const std::vector<float> vector(1000, 0.25F);
  const std::optional<Metadata> metadata = Metadata{{"key", std::string(3000, 'x')}};
  const iqdb::VectorId id = iqdb::VectorId::from_bytes(std::string(100, 'i'));
  const auto encode = [&] {
    iqdb::write_insert(encoder.begin(), id, vector, metadata);
    std::ignore = encoder.finish(1, 2, 3);
    iqdb::write_erase(encoder.begin(), id);
    std::ignore = encoder.finish(1, 3, 3);
  };
  encode();
  CHECK(iqdb_test::allocated_by([&] {
          for (int round = 0; round < 100; ++round) {
            encode();
          }
        }).count == 0);
}

TEST_CASE("A body of 256 MiB is a frame and one byte more is record_too_large", "[wal_format]") {
  FrameEncoder encoder;
  const ByteVector body(std::size_t{256} * 1024 * 1024);
  encoder.begin().write(body);
  CHECK(encoder.finish(1, 2, 3).size() == body.size() + 24);
  Writer& writer = encoder.begin();
  writer.write(body);
  writer.write_le(std::uint8_t{0});
  require_kind(PersistErrorKind::record_too_large, [&] { std::ignore = encoder.finish(1, 2, 3); });
  iqdb::write_close(encoder.begin());
  CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, iqdb_test::close_body())));
}

// ---- Bodies ---------------------------------------------------------------------------------------------------------

TEST_CASE("An insert is op 1 and identifier and vector and metadata", "[wal_format]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_insert(writer, 7, sample_vector, std::nullopt); })) ==
        "01 00 07 00 00 00 00 00 00 00 02 00 00 00 00 00 80 3f 00 00 20 c0 00");
  const Metadata metadata{{"b", true}, {"a", std::int64_t{-1}}, {"n", iqdb::Null{}}, {"f", 0.5}, {"s", "xy"}};
  const ByteVector expected = Bytes()
                                  .u8(1)
                                  .u8(1)
                                  .u64(3)
                                  .text(std::string_view("k\0\xFF", 3))
                                  .u32(0)
                                  .u8(1)
                                  .u32(5)
                                  .u32(1)
                                  .text("a")
                                  .u8(1)
                                  .i64(-1)
                                  .u32(1)
                                  .text("b")
                                  .u8(3)
                                  .u8(1)
                                  .u32(1)
                                  .text("f")
                                  .u8(2)
                                  .f64(0.5)
                                  .u32(1)
                                  .text("n")
                                  .u8(4)
                                  .u32(1)
                                  .text("s")
                                  .u8(0)
                                  .u32(2)
                                  .text("xy");
  CHECK(hex(body_of([&](Writer& writer) {
          iqdb::write_insert(writer, iqdb::VectorId::from_bytes(std::string_view("k\0\xFF", 3)), {}, metadata);
        })) == hex(expected));
}

TEST_CASE("An erase is op 2 and identifier", "[wal_format]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_erase(writer, ~std::uint64_t{0}); })) ==
        "02 00 ff ff ff ff ff ff ff ff");
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_erase(writer, iqdb::VectorId::from_bytes("ab")); })) ==
        "02 01 02 00 00 00 00 00 00 00 61 62");
}

TEST_CASE("A batch is op 3 and count and the bodies of its mutations", "[wal_format]") {
  const std::vector<Mutation> mutations{
      {.op = FrameOp::insert, .id = 7, .vector = sample_vector, .metadata = Metadata{{"t", "text"}}},
      {.op = FrameOp::erase, .id = 8, .vector = {}, .metadata = {}}};
  CHECK(hex(body_of([&](Writer& writer) { iqdb::write_batch(writer, mutations); })) ==
        hex(Bytes()
                .u8(3)
                .u32(2)
                .append(iqdb_test::insert_body(7, sample_vector, "text"))
                .append(iqdb_test::erase_body(8))));
}

TEST_CASE("An abort is op 4 and the LSN", "[wal_format]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_abort(writer, 0x0102); })) == "04 02 01 00 00 00 00 00 00");
}

TEST_CASE("A checkpoint is op 5 and the fingerprint", "[wal_format]") {
  CHECK(hex(body_of([](Writer& writer) {
          iqdb::write_checkpoint(writer, {.file_bytes = 0x47, .header_crc32 = 0x0A0B0C0D, .region_crc32 = 0x01020304});
        })) == "05 47 00 00 00 00 00 00 00 0d 0c 0b 0a 04 03 02 01");
}

TEST_CASE("A close is op 6 and nothing", "[wal_format]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_close(writer); })) == "06");
}

TEST_CASE("A body of each kind is read as what it is", "[wal_format]") {
  const auto bodies = one_body_of_each_kind();
  const std::vector<FrameOp> ops = {FrameOp::insert, FrameOp::erase,      FrameOp::batch,
                                    FrameOp::abort,  FrameOp::checkpoint, FrameOp::close};
  const std::vector<std::uint32_t> mutations = {1, 1, 3, 0, 0, 0};
  for (std::size_t kind = 0; kind < bodies.size(); ++kind) {
    CAPTURE(kind);
    const FrameBody body(bodies[kind], 2);
    CHECK(body.op() == ops[kind]);
    CHECK(body.mutations() == mutations[kind]);
    CHECK(read_body(bodies[kind]) == "ok");
  }
  CHECK(FrameBody(bodies[3], 2).aborted_lsn() == 9);
  CHECK(FrameBody(bodies[4], 2).fingerprint() ==
        iqdb::Fingerprint{.file_bytes = 0x5A5A5A5A5A5A5A5A, .header_crc32 = 0x5A5A5A5A, .region_crc32 = 0x5A5A5A5A});
}

TEST_CASE("The mutations of a batch are read in their order", "[wal_format]") {
  const ByteVector bytes = iqdb_test::batch_body(
      {iqdb_test::insert_body(1, sample_vector, "text"), iqdb_test::erase_body(2), iqdb_test::insert_body(3, {})});
  FrameBody body(bytes, 2);
  Mutation mutation;
  body.read_next(mutation);
  CHECK(mutation.op == FrameOp::insert);
  CHECK(mutation.id == iqdb::VectorId(1));
  CHECK(mutation.vector == sample_vector);
  CHECK(mutation.metadata == Metadata{{"t", "text"}});
  body.read_next(mutation);
  CHECK(mutation.op == FrameOp::erase);
  CHECK(mutation.id == iqdb::VectorId(2));
  body.read_next(mutation);
  CHECK(mutation.op == FrameOp::insert);
  CHECK(mutation.vector.empty());
  // Nothing of the first insert is left in the object that is used for all.
  CHECK_FALSE(mutation.metadata.has_value());
}

TEST_CASE("A body cut short anywhere is refused", "[wal_format]") {
  for (const ByteVector& whole : one_body_of_each_kind()) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(hex(whole), size);
      CHECK(is_refused(ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))));
    }
  }
}

TEST_CASE("A body with a byte too many is refused", "[wal_format]") {
  for (ByteVector bytes : one_body_of_each_kind()) {
    bytes.push_back(std::byte{0});
    CAPTURE(hex(bytes));
    CHECK(read_body(bytes) == "invalid_payload");
  }
}

TEST_CASE("An op that is none is refused", "[wal_format]") {
  for (const unsigned op : {0U, 7U, 8U, 255U}) {
    CHECK(read_body(Bytes().u8(op)) == "invalid_payload");
    CHECK(read_body(Bytes().u8(op).u64(0).u64(0).u64(0)) == "invalid_payload");
  }
}

TEST_CASE("Version 1 knows inserts and erases alone", "[wal_format]") {
  const auto bodies = one_body_of_each_kind();
  CHECK(read_body(bodies[0], 1) == "ok");
  CHECK(read_body(bodies[1], 1) == "ok");
  for (std::size_t kind = 2; kind < bodies.size(); ++kind) {
    CAPTURE(kind);
    CHECK(read_body(bodies[kind], 1) == "invalid_payload");
  }
}

TEST_CASE("A batch of nothing is refused", "[wal_format]") {
  CHECK(read_body(Bytes().u8(3).u32(0)) == "invalid_payload");
}

TEST_CASE("A batch that states more or fewer mutations than it has is refused", "[wal_format]") {
  const ByteVector erase = iqdb_test::erase_body(1);
  CHECK(is_refused(Bytes().u8(3).u32(3).append(erase).append(erase)));
  CHECK(is_refused(Bytes().u8(3).u32(1).append(erase).append(erase)));
  CHECK(is_refused(Bytes().u8(3).u32(~0U).append(erase).append(erase)));
}

TEST_CASE("A batch holds inserts and erases alone", "[wal_format]") {
  for (const ByteVector& inner : {ByteVector(iqdb_test::abort_body(1)), ByteVector(iqdb_test::close_body()),
                                  ByteVector(iqdb_test::checkpoint_body(ByteVector(16))),
                                  ByteVector(iqdb_test::batch_body({iqdb_test::erase_body(1)})),
                                  ByteVector(Bytes().u8(0)), ByteVector(Bytes().u8(7))}) {
    CAPTURE(hex(inner));
    CHECK(is_refused(iqdb_test::batch_body({iqdb_test::erase_body(1), inner})));
  }
  // What has the form of an erase, but for its first byte.
  for (unsigned op = 0; op < 256; ++op) {
    CAPTURE(op);
    ByteVector inner = iqdb_test::erase_body(2);
    inner[0] = static_cast<std::byte>(op);
    CHECK(is_refused(iqdb_test::batch_body({iqdb_test::erase_body(1), inner})) == (op != 2));
  }
}

TEST_CASE("An identifier of a kind that is none is refused", "[wal_format]") {
  CHECK(is_refused(Bytes().u8(2).u8(2).u64(1)));
  CHECK(is_refused(Bytes().u8(1).u8(255).u64(1).u32(0).u8(0)));
}

TEST_CASE("Lengths that the body cannot hold are refused before anything is allocated", "[wal_format]") {
  const std::vector<ByteVector> bodies = {
      Bytes().u8(2).u8(1).u64(~std::uint64_t{0}),
      Bytes().u8(2).u8(1).u64(std::uint64_t{1} << 40U).text("ab"),
      Bytes().u8(1).u8(0).u64(1).u32(~0U).u8(0),
      Bytes().u8(1).u8(0).u64(1).u32(0).u8(1).u32(~0U),
      Bytes().u8(1).u8(0).u64(1).u32(0).u8(1).u32(1).u32(~0U),
      Bytes().u8(1).u8(0).u64(1).u32(0).u8(1).u32(1).u32(1).text("k").u8(0).u32(~0U),
  };
  for (const ByteVector& bytes : bodies) {
    CAPTURE(hex(bytes));
    std::string kind;
    const auto seen = iqdb_test::allocated_by([&] { kind = read_body(bytes); });
    CHECK((kind == "invalid_payload" || kind == "truncated_payload"));
    CHECK(seen.largest < 4096);
  }
}

TEST_CASE("Metadata that no writer makes is refused", "[wal_format]") {
  const auto insert_with = [](const Bytes& metadata) {
    return Bytes().u8(1).u8(0).u64(1).u32(0).append(metadata).get();
  };
  CHECK(is_refused(insert_with(Bytes().u8(2))));                                      // a flag that is none
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).text("k").u8(3).u8(2))));  // a bool that is none
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).text("k").u8(5))));        // a type that is none
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).raw({0xFF}).u8(4))));      // a key not UTF-8
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).text("k").u8(0).u32(1).raw({0xC0}))));  // text not UTF-8
}
