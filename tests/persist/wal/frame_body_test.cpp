// The bodies of frames, as docs/format.md has them: written out by hand.
#include "iqdb/persist/wal/frame_body.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
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
std::string read_body(const ByteVector& bytes, std::uint32_t version = 3) {
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

bool is_refused(const ByteVector& bytes, std::uint32_t version = 3) {
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
          iqdb_test::abort_body(9, 11),
          iqdb_test::checkpoint_body(ByteVector(16, std::byte{0x5A}), 8),
          iqdb_test::close_body(),
          iqdb_test::upsert_body(7, sample_vector, "text"),
          Bytes().u8(8).u8(0).u64(7).u8(1).u32(1).u32(1).text("t").u8(4),
          iqdb_test::time_body(-5),
          Bytes().u8(10).u8(1).u8(0).u64(7).u32(3).raw({1, 2, 3, 4, 5, 6}).u8(0),
          Bytes().u8(11).u8(5).u8(0).u64(7).u32(9).raw({0xFF, 0x01}).u8(0)};
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

TEST_CASE("An abort is op 4 and a count and ranges of LSNs", "[frame_body]") {
  const std::vector<iqdb::LsnRange> ranges = {{.first = 0x0102, .last = 0x0103}, {.first = 0x0105, .last = 0x0105}};
  CHECK(hex(body_of([&](Writer& writer) { iqdb::write_abort(writer, ranges); })) ==
        "04 02 00 00 00 02 01 00 00 00 00 00 00 03 01 00 00 00 00 00 00 05 01 00 00 00 00 00 00 05 01 00 00 00 00 00 "
        "00");
}

TEST_CASE("A checkpoint is op 5 and the fingerprint and an LSN", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) {
          iqdb::write_checkpoint(writer, {.file_bytes = 0x47, .header_crc32 = 0x0A0B0C0D, .region_crc32 = 0x01020304},
                                 0x0708);
        })) == "05 47 00 00 00 00 00 00 00 0d 0c 0b 0a 04 03 02 01 08 07 00 00 00 00 00 00");
}

TEST_CASE("An upsert is op 7 and what an insert has", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_upsert(writer, 7, sample_vector, std::nullopt); })) ==
        "07 00 07 00 00 00 00 00 00 00 02 00 00 00 00 00 80 3f 00 00 20 c0 00");
}

TEST_CASE("A change of metadata is op 8 and identifier and metadata", "[frame_body]") {
  const Mutation with{.op = FrameOp::metadata, .id = 7, .metadata = Metadata{{"t", std::int64_t{2}}}};
  CHECK(hex(body_of([&](Writer& writer) { iqdb::write_mutation(writer, with); })) ==
        "08 00 07 00 00 00 00 00 00 00 01 01 00 00 00 01 00 00 00 74 01 02 00 00 00 00 00 00 00");
  const Mutation without{.op = FrameOp::metadata, .id = 7};
  CHECK(hex(body_of([&](Writer& writer) { iqdb::write_mutation(writer, without); })) ==
        "08 00 07 00 00 00 00 00 00 00 00");
}

TEST_CASE("A change of metadata is read with its identifier and its metadata", "[frame_body]") {
  const ByteVector bytes = Bytes().u8(8).u8(1).u64(2).text("ab").u8(1).u32(1).u32(1).text("t").u8(4);
  FrameBody body(bytes, 3);
  CHECK(body.mutations() == 1);
  Mutation mutation;
  body.read_next(mutation);
  CHECK(mutation.op == FrameOp::metadata);
  CHECK(mutation.id == iqdb::VectorId::from_bytes("ab"));
  CHECK(mutation.metadata == Metadata{{"t", iqdb::Null{}}});
}

TEST_CASE("An insert of other elements is op 10 and element type and identifier and count and elements and metadata",
          "[frame_body]") {
  const auto written = [](iqdb::ElementType type, std::uint32_t count, const ByteVector& elements) {
    const Mutation mutation{.op = FrameOp::typed_insert,
                            .id = 7,
                            .metadata = Metadata{{"t", true}},
                            .element_type = type,
                            .element_count = count,
                            .elements = elements};
    return hex(body_of([&](Writer& writer) { iqdb::write_mutation(writer, mutation); }));
  };
  const std::string id = " 00 07 00 00 00 00 00 00 00";
  const std::string metadata = " 01 01 00 00 00 01 00 00 00 74 03 01";
  CHECK(written(iqdb::ElementType::f16, 2, Bytes().raw({0x00, 0x3C, 0x00, 0xC0})) ==
        "0a 01" + id + " 02 00 00 00 00 3c 00 c0" + metadata);
  CHECK(written(iqdb::ElementType::bf16, 1, Bytes().raw({0x80, 0x3F})) ==
        "0a 02" + id + " 01 00 00 00 80 3f" + metadata);
  CHECK(written(iqdb::ElementType::i8, 3, Bytes().raw({0xFF, 0x00, 0x80})) ==
        "0a 03" + id + " 03 00 00 00 ff 00 80" + metadata);
  CHECK(written(iqdb::ElementType::u8, 2, Bytes().raw({0xFF, 0x01})) == "0a 04" + id + " 02 00 00 00 ff 01" + metadata);
  CHECK(written(iqdb::ElementType::bits, 11, Bytes().raw({0x81, 0x05})) ==
        "0a 05" + id + " 0b 00 00 00 81 05" + metadata);
  CHECK(written(iqdb::ElementType::f64, 1, Bytes().f64(-0.5)) ==
        "0a 06" + id + " 01 00 00 00 00 00 00 00 00 00 e0 bf" + metadata);
}

TEST_CASE("An upsert of other elements is op 11 and what such an insert has", "[frame_body]") {
  const Mutation mutation{.op = FrameOp::typed_upsert,
                          .id = 7,
                          .element_type = iqdb::ElementType::u8,
                          .element_count = 2,
                          .elements = Bytes().raw({1, 2})};
  CHECK(hex(body_of([&](Writer& writer) { iqdb::write_mutation(writer, mutation); })) ==
        "0b 04 00 07 00 00 00 00 00 00 00 02 00 00 00 01 02 00");
}

TEST_CASE("Elements of every type are read with type and count and bytes", "[frame_body]") {
  const std::vector<std::pair<unsigned, std::size_t>> bytes_of_three = {{1, 6}, {2, 6}, {3, 3},
                                                                        {4, 3}, {5, 1}, {6, 24}};
  Mutation mutation;
  for (const unsigned op : {10U, 11U}) {
    for (const auto& [type, size] : bytes_of_three) {
      CAPTURE(op, type);
      const ByteVector elements(size, std::byte{0x05});
      const ByteVector bytes = Bytes().u8(op).u8(type).u8(0).u64(7).u32(3).append(elements).u8(0);
      FrameBody body(bytes, 3);
      CHECK(body.mutations() == 1);
      body.read_next(mutation);
      body.require_end();
      CHECK(mutation.op == static_cast<FrameOp>(op));
      CHECK(mutation.element_type == static_cast<iqdb::ElementType>(type));
      CHECK(mutation.id == iqdb::VectorId(7));
      CHECK(mutation.element_count == 3);
      CHECK(hex(mutation.elements) == hex(elements));
    }
  }
}

TEST_CASE("A batch holds mutations of every kind", "[frame_body]") {
  std::vector<Mutation> mutations;
  Bytes expected = Bytes().u8(3).u32(6);
  for (const ByteVector& bytes : one_body_of_each_kind()) {
    FrameBody body(bytes, 3);
    if (body.op() != FrameOp::batch && body.mutations() == 1) {
      body.read_next(mutations.emplace_back());
      expected.append(bytes);
    }
  }
  const ByteVector batch = body_of([&](Writer& writer) { iqdb::write_batch(writer, mutations); });
  CHECK(hex(batch) == hex(expected));
  FrameBody body(batch, 3);
  Mutation mutation;
  for (const Mutation& written : mutations) {
    body.read_next(mutation);
    CHECK(mutation.op == written.op);
  }
  body.require_end();
}

TEST_CASE("A time is op 9 and milliseconds", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_time(writer, -2); })) == "09 fe ff ff ff ff ff ff ff");
  CHECK(FrameBody(iqdb_test::time_body(-5), 3).time() == -5);
}

TEST_CASE("A mutation of each kind is written as it was read", "[frame_body]") {
  for (const ByteVector& bytes : one_body_of_each_kind()) {
    FrameBody body(bytes, 3);
    if (body.mutations() != 1) {
      continue;
    }
    CAPTURE(hex(bytes));
    Mutation mutation;
    body.read_next(mutation);
    CHECK(hex(body_of([&](Writer& writer) { iqdb::write_mutation(writer, mutation); })) == hex(bytes));
  }
}

TEST_CASE("Elements of each type have their size and others are refused", "[frame_body]") {
  const auto typed = [](unsigned type, std::uint32_t count, std::size_t bytes) {
    return Bytes().u8(10).u8(type).u8(0).u64(7).u32(count).append(ByteVector(bytes)).u8(0).get();
  };
  const std::vector<std::pair<unsigned, std::size_t>> bytes_of_nine = {{1, 18}, {2, 18}, {3, 9},
                                                                       {4, 9},  {5, 2},  {6, 72}};
  for (const auto& [type, bytes] : bytes_of_nine) {
    CAPTURE(type);
    CHECK(read_body(typed(type, 9, bytes)) == "ok");
    CHECK(is_refused(typed(type, 9, bytes - 1)));
    CHECK(is_refused(typed(type, 9, bytes + 1)));
  }
  for (const unsigned type : {0U, 7U, 255U}) {
    CHECK(read_body(typed(type, 0, 0)) == "invalid_payload");
  }
}

TEST_CASE("The bits behind the last element must be zero", "[frame_body]") {
  const auto nine_bits = [](unsigned last) {
    return Bytes().u8(10).u8(5).u8(0).u64(7).u32(9).u8(0xFF).u8(last).u8(0).get();
  };
  CHECK(read_body(nine_bits(0x01)) == "ok");
  CHECK(read_body(nine_bits(0x02)) == "invalid_payload");
  CHECK(read_body(nine_bits(0x81)) == "invalid_payload");
}

TEST_CASE("An abort whose ranges are none or do not ascend or touch is refused", "[frame_body]") {
  const auto abort = [](const std::vector<std::pair<std::uint64_t, std::uint64_t>>& ranges) {
    Bytes bytes = Bytes().u8(4).u32(static_cast<std::uint32_t>(ranges.size()));
    for (const auto& [first, last] : ranges) {
      bytes.u64(first).u64(last);
    }
    return bytes.get();
  };
  CHECK(read_body(abort({{3, 3}, {5, 6}, {8, 8}})) == "ok");
  for (const auto& ranges : std::vector<std::vector<std::pair<std::uint64_t, std::uint64_t>>>{
           {},
           {{4, 3}},
           {{3, 5}, {5, 6}},
           {{3, 5}, {4, 4}},
           {{3, 5}, {6, 6}},
           {{7, 7}, {3, 3}},
           {{3, 3}, {3, 3}},
           {{3, ~std::uint64_t{0}}},
           {{3, iqdb::largest_lsn + 1}},
       }) {
    CAPTURE(hex(abort(ranges)));
    CHECK(read_body(abort(ranges)) == "invalid_payload");
  }
}

TEST_CASE("An abort is one of mutations of the frame before it", "[frame_body]") {
  using Ranges = std::vector<iqdb::LsnRange>;
  const ByteVector bytes = iqdb_test::abort_body(5, 7);
  const FrameBody body(bytes, 3);
  CHECK(body.aborted_within(5, 3) == Ranges{{.first = 5, .last = 7}});
  CHECK(body.aborted_within(4, 9) == Ranges{{.first = 5, .last = 7}});
  CHECK(body.aborted_within(6, 9).empty());
  CHECK(body.aborted_within(4, 3).empty());
  CHECK(body.aborted_within(5, 0).empty());
  const ByteVector close = iqdb_test::close_body();
  CHECK(FrameBody(close, 3).aborted_within(1, 100).empty());
}

TEST_CASE("An abort of several ranges names exactly these mutations", "[frame_body]") {
  using Ranges = std::vector<iqdb::LsnRange>;
  const ByteVector bytes = Bytes().u8(4).u32(3).u64(3).u64(3).u64(5).u64(6).u64(9).u64(12);
  const FrameBody body(bytes, 3);
  const Ranges named{{.first = 3, .last = 3}, {.first = 5, .last = 6}, {.first = 9, .last = 12}};
  CHECK(body.mutations() == 0);
  CHECK(body.aborted_within(3, 10) == named);
  CHECK(body.aborted_within(1, 20) == named);
  // One of them is outside.
  CHECK(body.aborted_within(3, 9).empty());
  CHECK(body.aborted_within(4, 9).empty());
}

TEST_CASE("An abort of version 2 goes to the end of the frame before it", "[frame_body]") {
  using Ranges = std::vector<iqdb::LsnRange>;
  const ByteVector bytes = iqdb_test::abort_body_2(5);
  const FrameBody body(bytes, 2);
  CHECK(body.aborted_within(4, 4) == Ranges{{.first = 5, .last = 7}});
  CHECK(body.aborted_within(5, 1) == Ranges{{.first = 5, .last = 5}});
  CHECK(body.aborted_within(6, 4).empty());
  CHECK(body.aborted_within(1, 4).empty());
}

TEST_CASE("A checkpoint of version 2 has no LSN of its own", "[frame_body]") {
  const ByteVector fingerprint(16, std::byte{0x5A});
  const ByteVector old = iqdb_test::checkpoint_body_2(fingerprint);
  const ByteVector now = iqdb_test::checkpoint_body(fingerprint, 8);
  CHECK(FrameBody(old, 2).checkpoint_lsn() == std::nullopt);
  CHECK(FrameBody(now, 3).checkpoint_lsn() == 8U);
  CHECK(FrameBody(old, 2).fingerprint() == FrameBody(now, 3).fingerprint());
  CHECK(is_refused(old, 3));
  CHECK(is_refused(now, 2));
}

TEST_CASE("A close is op 6 and nothing", "[frame_body]") {
  CHECK(hex(body_of([](Writer& writer) { iqdb::write_close(writer); })) == "06");
}

TEST_CASE("A body of each kind is read as what it is", "[frame_body]") {
  const auto bodies = one_body_of_each_kind();
  const std::vector<FrameOp> ops = {FrameOp::insert,     FrameOp::erase,        FrameOp::batch,       FrameOp::abort,
                                    FrameOp::checkpoint, FrameOp::close,        FrameOp::upsert,      FrameOp::metadata,
                                    FrameOp::time,       FrameOp::typed_insert, FrameOp::typed_upsert};
  const std::vector<std::uint32_t> mutations = {1, 1, 3, 0, 0, 0, 1, 1, 0, 1, 1};
  for (std::size_t kind = 0; kind < bodies.size(); ++kind) {
    CAPTURE(kind);
    const FrameBody body(bodies[kind], 3);
    CHECK(body.op() == ops[kind]);
    CHECK(body.mutations() == mutations[kind]);
    CHECK(read_body(bodies[kind]) == "ok");
  }
  CHECK(FrameBody(bodies[4], 3).fingerprint() ==
        iqdb::Fingerprint{.file_bytes = 0x5A5A5A5A5A5A5A5A, .header_crc32 = 0x5A5A5A5A, .region_crc32 = 0x5A5A5A5A});
}

TEST_CASE("The mutations of a batch are read in their order", "[frame_body]") {
  const ByteVector bytes = iqdb_test::batch_body(
      {iqdb_test::insert_body(1, sample_vector, "text"), iqdb_test::erase_body(2), iqdb_test::insert_body(3, {})});
  FrameBody body(bytes, 3);
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
  for (const unsigned op : {0U, 12U, 13U, 255U}) {
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

TEST_CASE("Version 2 knows nothing that version 3 added", "[frame_body]") {
  const auto bodies = one_body_of_each_kind();
  for (const std::size_t kind : {0U, 1U, 2U, 5U}) {
    CHECK(read_body(bodies[kind], 2) == "ok");
  }
  for (std::size_t kind = 6; kind < bodies.size(); ++kind) {
    CAPTURE(kind);
    CHECK(read_body(bodies[kind], 2) == "invalid_payload");
    CHECK((read_body(iqdb_test::batch_body({bodies[kind]}), 2) != "ok"));
  }
}

TEST_CASE("A batch holds mutations alone", "[frame_body]") {
  for (const ByteVector& inner :
       {ByteVector(iqdb_test::abort_body(1)), ByteVector(iqdb_test::close_body()),
        ByteVector(iqdb_test::checkpoint_body(ByteVector(16), 0)), ByteVector(iqdb_test::time_body(1)),
        ByteVector(iqdb_test::batch_body({iqdb_test::erase_body(1)})), ByteVector(Bytes().u8(0)),
        ByteVector(Bytes().u8(12))}) {
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
  // What has the form of a change of metadata, as every op that is read like one would have.
  for (unsigned op = 0; op < 256; ++op) {
    CAPTURE(op);
    const ByteVector inner = Bytes().u8(static_cast<std::uint8_t>(op)).u8(0).u64(2).u8(0);
    CHECK(is_refused(iqdb_test::batch_body({iqdb_test::erase_body(1), inner})) == (op != 8));
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
      Bytes().u8(4).u32(~0U).u64(1).u64(1),
      Bytes().u8(7).u8(0).u64(1).u32(~0U).u8(0),
      Bytes().u8(8).u8(1).u64(~std::uint64_t{0}),
      Bytes().u8(10).u8(6).u8(0).u64(1).u32(~0U).u8(0),
      Bytes().u8(11).u8(5).u8(0).u64(1).u32(~0U).u8(0),
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
