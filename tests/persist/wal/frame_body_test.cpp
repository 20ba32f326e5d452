// The bodies of frames, as docs/format.md has them: written out by hand.
#include "iqdb/persist/wal/frame_body.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::FrameBody;
using iqdb::FrameOp;
using iqdb::Metadata;
using iqdb::Mutation;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::hex;

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

ByteVector body_of(const std::function<void(Writer&)>& write) { return iqdb::bytes_of(write); }

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

TEST_CASE("An insert is op 1 and identifier and vector and metadata", "[frame_body]") {
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

TEST_CASE("An erase is op 2 and identifier", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_erase(writer, ~std::uint64_t{0}); })) ==
        "02 00 ff ff ff ff ff ff ff ff");
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_erase(writer, iqdb::VectorId::from_bytes("ab")); })) ==
        "02 01 02 00 00 00 00 00 00 00 61 62");
}

TEST_CASE("A batch is op 3 and count and the bodies of its mutations", "[frame_body]") {
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

TEST_CASE("An abort is op 4 and the LSN", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_abort(writer, 0x0102); })) == "04 02 01 00 00 00 00 00 00");
}

TEST_CASE("A checkpoint is op 5 and the fingerprint", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) {
          iqdb::write_checkpoint(writer, {.file_bytes = 0x47, .header_crc32 = 0x0A0B0C0D, .region_crc32 = 0x01020304});
        })) == "05 47 00 00 00 00 00 00 00 0d 0c 0b 0a 04 03 02 01");
}

TEST_CASE("A close is op 6 and nothing", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_close(writer); })) == "06");
}

TEST_CASE("A body of each kind is read as what it is", "[frame_body]") {
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

TEST_CASE("The mutations of a batch are read in their order", "[frame_body]") {
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

TEST_CASE("A body cut short anywhere is refused", "[frame_body]") {
  for (const ByteVector& whole : one_body_of_each_kind()) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(hex(whole), size);
      CHECK(is_refused(ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))));
    }
  }
}

TEST_CASE("A body with a byte too many is refused", "[frame_body]") {
  for (ByteVector bytes : one_body_of_each_kind()) {
    bytes.push_back(std::byte{0});
    CAPTURE(hex(bytes));
    CHECK(read_body(bytes) == "invalid_payload");
  }
}

TEST_CASE("An op that is none is refused", "[frame_body]") {
  for (const unsigned op : {0U, 7U, 8U, 255U}) {
    CHECK(read_body(Bytes().u8(op)) == "invalid_payload");
    CHECK(read_body(Bytes().u8(op).u64(0).u64(0).u64(0)) == "invalid_payload");
  }
}

TEST_CASE("Version 1 knows inserts and erases alone", "[frame_body]") {
  const auto bodies = one_body_of_each_kind();
  CHECK(read_body(bodies[0], 1) == "ok");
  CHECK(read_body(bodies[1], 1) == "ok");
  for (std::size_t kind = 2; kind < bodies.size(); ++kind) {
    CAPTURE(kind);
    CHECK(read_body(bodies[kind], 1) == "invalid_payload");
  }
}

TEST_CASE("A batch of nothing is refused", "[frame_body]") {
  CHECK(read_body(Bytes().u8(3).u32(0)) == "invalid_payload");
}

TEST_CASE("A batch that states more or fewer mutations than it has is refused", "[frame_body]") {
  const ByteVector erase = iqdb_test::erase_body(1);
  CHECK(is_refused(Bytes().u8(3).u32(3).append(erase).append(erase)));
  CHECK(is_refused(Bytes().u8(3).u32(1).append(erase).append(erase)));
  CHECK(is_refused(Bytes().u8(3).u32(~0U).append(erase).append(erase)));
}

TEST_CASE("A batch holds inserts and erases alone", "[frame_body]") {
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

TEST_CASE("An identifier of a kind that is none is refused", "[frame_body]") {
  CHECK(is_refused(Bytes().u8(2).u8(2).u64(1)));
  CHECK(is_refused(Bytes().u8(1).u8(255).u64(1).u32(0).u8(0)));
}

TEST_CASE("Lengths that the body cannot hold are refused before anything is allocated", "[frame_body]") {
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

TEST_CASE("Metadata that no writer makes is refused", "[frame_body]") {
  const auto insert_with = [](const Bytes& metadata) {
    return Bytes().u8(1).u8(0).u64(1).u32(0).append(metadata).get();
  };
  CHECK(is_refused(insert_with(Bytes().u8(2))));                                      // a flag that is none
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).text("k").u8(3).u8(2))));  // a bool that is none
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).text("k").u8(5))));        // a type that is none
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).raw({0xFF}).u8(4))));      // a key not UTF-8
  CHECK(is_refused(insert_with(Bytes().u8(1).u32(1).u32(1).text("k").u8(0).u32(1).raw({0xC0}))));  // text not UTF-8
}
