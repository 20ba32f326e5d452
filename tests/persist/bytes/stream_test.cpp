#include "iqdb/persist/bytes/stream.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/bytes/huge_pages.hpp"
#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::LengthEvidence;
using iqdb::LittleEndianValue;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::Writer;
using iqdb_test::allocated_by;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::MemorySource;
using iqdb_test::Random;
using iqdb_test::require_kind;
using iqdb_test::WatchedSink;
using iqdb_test::written_by;

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

std::vector<std::byte> counting_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t at = 0; at < count; ++at) {
    bytes[at] = static_cast<std::byte>(at * 7 + at / 256);
  }
  return bytes;
}

std::vector<std::byte> bytes_of_numbers(std::span<const std::uint32_t> numbers) {
  Bytes bytes;
  for (const std::uint32_t number : numbers) {
    bytes.u32(number);
  }
  return bytes;
}

// Fills whatever it is asked to fill, and keeps how much that was and whether it was zeros before.
struct SpanSource final : iqdb::ByteSource {
  std::vector<std::size_t> sizes;
  bool only_zeros = true;
  std::size_t read(std::span<std::byte> into) override {
    sizes.push_back(into.size());
    only_zeros = only_zeros && std::ranges::count(into, std::byte{0}) == std::ssize(into);
    std::ranges::fill(into, std::byte{1});
    return into.size();
  }
};

static_assert(LittleEndianValue<char> && LittleEndianValue<std::uint8_t> && LittleEndianValue<std::int64_t>);
static_assert(LittleEndianValue<float> && LittleEndianValue<double> && LittleEndianValue<const std::uint32_t>);
static_assert(!LittleEndianValue<bool> && !LittleEndianValue<const bool>);
static_assert(!LittleEndianValue<long double>);
static_assert(!LittleEndianValue<void*> && !LittleEndianValue<std::byte> && !LittleEndianValue<std::string>);

template <class T>
concept CanBeWritten = requires(Writer& writer, T value) {
  writer.write_le(value);
};
static_assert(CanBeWritten<std::uint64_t> && CanBeWritten<double>);
static_assert(!CanBeWritten<bool> && !CanBeWritten<iqdb::LengthEvidence> && !CanBeWritten<const char*>);

}  // namespace

TEST_CASE("Writer: numbers are little-endian", "[stream]") {
  const auto bytes = written_by([](Writer& writer) {
    writer.write_le(std::uint8_t{0x01});
    writer.write_le(std::int8_t{-2});
    writer.write_le(std::uint16_t{0x0102});
    writer.write_le(std::int16_t{-2});
    writer.write_le(std::uint32_t{0x01020304});
    writer.write_le(std::int32_t{-2});
    writer.write_le(std::uint64_t{0x0102030405060708});
    writer.write_le(std::int64_t{-2});
    writer.write_le(1.0F);
    writer.write_le(-2.5);
    writer.write_le('A');
  });
  CHECK(hex(bytes) ==
        "01 fe 02 01 fe ff 04 03 02 01 fe ff ff ff 08 07 06 05 04 03 02 01 fe ff ff ff ff ff ff ff "
        "00 00 80 3f 00 00 00 00 00 00 04 c0 41");
}

TEST_CASE("Writer: a NaN keeps its bits", "[stream]") {
  // Not returned by a function: in a register of an x87 they would become quiet ones.
  constexpr std::uint32_t single_bits = 0x7FA12345U;
  constexpr std::uint64_t double_bits = 0xFFF123456789ABCDU;
  float single_value = 0;
  double double_value = 0;
  std::memcpy(&single_value, &single_bits, sizeof single_value);
  std::memcpy(&double_value, &double_bits, sizeof double_value);
  const auto bytes = written_by([&](Writer& writer) {
    writer.write_le(single_value);
    writer.write_le(double_value);
  });
  CHECK(hex(bytes) == "45 23 a1 7f cd ab 89 67 45 23 f1 ff");
}

TEST_CASE("Writer: arrays are written one number behind the other without a count", "[stream]") {
  const auto bytes = written_by([](Writer& writer) {
    const std::vector<std::uint16_t> vector = {0x0102, 0x0304};
    const std::array<float, 2> array = {1.0F, -2.0F};
    const double plain[] = {0.5};
    writer.write_array(vector);
    writer.write_array(array);
    writer.write_array(plain);
    writer.write_array(std::string_view("ab"));
    writer.write_array(std::span<const std::uint16_t>(vector).last(1));
    writer.write_array(std::vector<float>());
  });
  CHECK(hex(bytes) == "02 01 04 03 00 00 80 3f 00 00 00 c0 00 00 00 00 00 00 e0 3f 61 62 04 03");
}

TEST_CASE("Writer: what is written arrives in order whatever the buffer and the pieces", "[stream]") {
  const auto expected = counting_bytes(300);
  for (std::size_t buffer = 1; buffer <= 20; ++buffer) {
    for (std::size_t piece = 1; piece <= 41; ++piece) {
      CAPTURE(buffer, piece);
      WatchedSink sink;
      Writer writer(sink, buffer);
      for (std::span<const std::byte> left(expected); !left.empty();) {
        const auto next = left.first(std::min(piece, left.size()));
        writer.write(next);
        left = left.subspan(next.size());
      }
      writer.flush();
      REQUIRE(sink.bytes() == expected);
    }
  }
}

TEST_CASE("Writer: what is written arrives in order for random pieces", "[stream]") {
  const auto seed = GENERATE(1U, 2U, 3U, 4U);
  Random random(seed);
  for (int round = 0; round < 200; ++round) {
    const auto buffer = static_cast<std::size_t>(random.below(64) + 1);
    CAPTURE(seed, round, buffer);
    const auto expected = random.bytes(random.below(1000));
    WatchedSink sink;
    Writer writer(sink, buffer);
    for (std::span<const std::byte> left(expected); !left.empty();) {
      const auto next = left.first(random.below(std::min<std::size_t>(left.size(), 2 * buffer + 1) + 1));
      writer.write(next);
      left = left.subspan(next.size());
      REQUIRE(writer.position() == expected.size() - left.size());
    }
    writer.flush();
    REQUIRE(sink.bytes() == expected);
    REQUIRE(writer.position() == expected.size());
  }
}

TEST_CASE("Writer: position counts what is written whether buffered or not", "[stream]") {
  WatchedSink sink;
  Writer writer(sink, 8);
  CHECK(writer.position() == 0);
  writer.write_le(std::uint32_t{1});
  CHECK(writer.position() == 4);
  writer.write(counting_bytes(100));
  CHECK(writer.position() == 104);
  writer.write_le(std::uint8_t{1});
  CHECK(writer.position() == 105);
  writer.flush();
  CHECK(writer.position() == 105);
}

TEST_CASE("Writer: small writes are gathered until the buffer is full", "[stream]") {
  WatchedSink sink;
  Writer writer(sink, 4);
  for (int count = 0; count < 10; ++count) {
    writer.write_le(std::uint8_t{1});
  }
  CHECK(sink.bytes().size() == 8);
  writer.flush();
  REQUIRE(sink.calls().size() == 3);
  CHECK(sink.calls()[0].size() == 4);
  CHECK(sink.calls()[1].size() == 4);
  CHECK(sink.calls()[2].size() == 2);
}

TEST_CASE("Writer: a span larger than the buffer goes to the sink uncopied", "[stream]") {
  const auto large = counting_bytes(65);
  WatchedSink sink;
  Writer writer(sink, 64);
  writer.write_le(std::uint8_t{1});
  writer.write(large);
  REQUIRE(sink.calls().size() == 2);
  CHECK(sink.calls()[0].size() == 1);
  CHECK(sink.calls()[1].data() == large.data());
  CHECK(sink.calls()[1].size() == large.size());
}

TEST_CASE("Writer: a span that fills the buffer exactly goes to the sink uncopied behind what is buffered",
          "[stream]") {
  const auto large = counting_bytes(64);
  WatchedSink sink;
  Writer writer(sink, 64);
  writer.write_le(std::uint8_t{1});
  writer.write(large);
  REQUIRE(sink.calls().size() == 2);
  CHECK(sink.calls()[1].data() == large.data());
}

TEST_CASE("Writer: a large array of numbers goes to the sink uncopied where the machine is little-endian", "[stream]") {
  if (std::endian::native == std::endian::big) {
    return;  // each number is turned round on its way
  }
  const std::vector<float> vectors(1000, 1.5F);
  WatchedSink sink;
  Writer writer(sink, 256);
  writer.write_array(vectors);
  REQUIRE(sink.calls().size() == 1);
  CHECK(sink.calls()[0].data() == std::as_bytes(std::span(vectors)).data());
}

TEST_CASE("Writer: the sink is never given an empty span", "[stream]") {
  WatchedSink sink;
  Writer writer(sink, 4);
  writer.flush();
  writer.write({});
  writer.write(counting_bytes(4));
  writer.write({});
  writer.write(counting_bytes(9));
  writer.flush();
  writer.flush();
  CHECK(sink.bytes().size() == 13);
  for (const auto call : sink.calls()) {
    CHECK_FALSE(call.empty());
  }
}

TEST_CASE("Writer: what the sink throws passes through", "[stream]") {
  struct FullSink final : iqdb::ByteSink {
    void write(std::span<const std::byte>) override { iqdb::throw_persist_error(PersistErrorKind::io, "full"); }
  };
  FullSink sink;
  Writer writer(sink, 4);
  writer.write_le(std::uint32_t{1});
  require_kind(PersistErrorKind::io, [&] { writer.flush(); });
  require_kind(PersistErrorKind::io, [&] { writer.write_le(std::uint8_t{1}); });
}

TEST_CASE("MemorySink: keeps what is written", "[stream]") {
  iqdb::MemorySink sink;
  sink.write(Bytes().text("ab"));
  sink.write({});
  sink.write(Bytes().text("c"));
  CHECK(hex(sink.bytes()) == "61 62 63");
}

TEST_CASE("Reader: numbers are little-endian", "[stream]") {
  const auto bytes = Bytes()
                         .raw({0x01, 0xFE, 0x02, 0x01, 0xFE, 0xFF, 0x04, 0x03, 0x02, 0x01, 0xFE, 0xFF, 0xFF, 0xFF})
                         .raw({0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01})
                         .raw({0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
                         .raw({0x00, 0x00, 0x80, 0x3F})
                         .raw({0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xC0})
                         .get();
  Reader reader(bytes);
  CHECK(reader.read_le<std::uint8_t>() == 1);
  CHECK(reader.read_le<std::int8_t>() == -2);
  CHECK(reader.read_le<std::uint16_t>() == 0x0102);
  CHECK(reader.read_le<std::int16_t>() == -2);
  CHECK(reader.read_le<std::uint32_t>() == 0x01020304);
  CHECK(reader.read_le<std::int32_t>() == -2);
  CHECK(reader.read_le<std::uint64_t>() == 0x0102030405060708);
  CHECK(reader.read_le<std::int64_t>() == -2);
  CHECK(reader.read_le<float>() == 1.0F);
  CHECK(reader.read_le<double>() == -2.5);
  CHECK(reader.remaining() == 0);
}

TEST_CASE("Reader: arrays of numbers are little-endian", "[stream]") {
  const auto bytes = Bytes().u32(0x01020304).u32(0xFFFFFFFE).f32(1.5F).get();
  Reader reader(bytes);
  std::array<std::int32_t, 2> integers{};
  reader.read_array(std::span<std::int32_t>(integers));
  CHECK(integers == std::array<std::int32_t, 2>{0x01020304, -2});
  std::array<float, 1> floats{};
  reader.read_array(std::span<float>(floats));
  CHECK(floats[0] == 1.5F);
}

TEST_CASE("Reader: gives the bytes in order whatever the buffer and the source's short reads and the pieces",
          "[stream]") {
  const auto seed = GENERATE(1U, 2U, 3U, 4U);
  Random random(seed);
  for (int round = 0; round < 300; ++round) {
    const auto payload = random.bytes(random.below(600));
    const auto buffer = static_cast<std::size_t>(random.below(70) + 1);
    const auto most = static_cast<std::size_t>(random.below(70) + 1);
    CAPTURE(seed, round, payload.size(), buffer, most);
    MemorySource source(payload, most);
    Reader reader(source, payload.size(), LengthEvidence::stored, buffer);
    std::vector<std::byte> got;
    while (reader.remaining() > 0) {
      std::vector<std::byte> piece(random.below(std::min<std::uint64_t>(reader.remaining(), 2 * buffer + 1) + 1));
      reader.read(piece);
      got.insert(got.end(), piece.begin(), piece.end());
      REQUIRE(reader.position() == got.size());
      REQUIRE(reader.remaining() == payload.size() - got.size());
    }
    REQUIRE(got == payload);
    REQUIRE_FALSE(source.asked_for_none());
  }
}

TEST_CASE("Reader: takes nothing from the source beyond the payload", "[stream]") {
  const auto bytes = counting_bytes(100);
  for (const std::size_t buffer : {1U, 7U, 60U, 61U, 1000U}) {
    CAPTURE(buffer);
    MemorySource source(bytes);
    Reader reader(source, 60, LengthEvidence::stored, buffer);
    std::vector<std::byte> first(5);
    std::vector<std::byte> second(55);
    reader.read(first);
    reader.read(second);
    CHECK(source.left() == 40);
    require_kind(PersistErrorKind::truncated_payload, [&] { return reader.read_le<std::uint8_t>(); });
    CHECK(source.left() == 40);
  }
}

TEST_CASE("Reader: a large read goes from the source to its place uncopied", "[stream]") {
  struct WatchedSource final : iqdb::ByteSource {
    std::vector<std::byte*> asked;
    std::size_t read(std::span<std::byte> into) override {
      asked.push_back(into.data());
      std::ranges::fill(into, std::byte{1});
      return into.size();
    }
  };
  WatchedSource source;
  Reader reader(source, 1000, LengthEvidence::stored, 64);
  std::vector<std::byte> large(64);
  reader.read(large);
  REQUIRE(source.asked.size() == 1);
  CHECK(source.asked[0] == large.data());
}

TEST_CASE("Reader: past the end it throws truncated_payload and has read nothing", "[stream]") {
  const auto bytes = counting_bytes(10);
  MemorySource source(bytes);
  Reader from_source(source, bytes.size(), LengthEvidence::stored, 4);
  Reader from_memory(bytes);
  for (Reader* reader : {&from_source, &from_memory}) {
    std::vector<std::byte> into(11, std::byte{0x77});
    require_kind(PersistErrorKind::truncated_payload, [&] { reader->read(into); });
    CHECK(into == std::vector<std::byte>(11, std::byte{0x77}));
    CHECK(reader->position() == 0);
    CHECK(reader->remaining() == 10);
    static_cast<void>(reader->read_le<std::uint64_t>());
    const auto error =
        require_kind(PersistErrorKind::truncated_payload, [&] { static_cast<void>(reader->read_le<std::uint32_t>()); });
    CHECK(error.offset() == 8);
    CHECK(reader->read_le<std::uint16_t>() ==
          std::to_integer<unsigned>(bytes[8]) + 256 * std::to_integer<unsigned>(bytes[9]));
  }
}

TEST_CASE("Reader: an array that does not fit throws truncated_payload and has read nothing", "[stream]") {
  const auto bytes = counting_bytes(10);
  Reader reader(bytes);
  std::array<float, 3> into{};
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.read_array(std::span<float>(into)); });
  CHECK(reader.remaining() == 10);
}

TEST_CASE("Reader: reading nothing is possible at the end", "[stream]") {
  Reader reader(std::span<const std::byte>{});
  CHECK(reader.remaining() == 0);
  reader.read({});
  CHECK(reader.read_vector<double>(0).empty());
  CHECK(reader.read_string(0).empty());
}

TEST_CASE("Reader: a source that ends before the stated length is truncated_payload", "[stream]") {
  const auto bytes = counting_bytes(10);
  for (const std::size_t buffer : {1U, 8U, 64U}) {
    MemorySource source(bytes, 3);
    Reader reader(source, 11, LengthEvidence::stated, buffer);
    static_cast<void>(reader.read_le<std::uint64_t>());
    require_kind(PersistErrorKind::truncated_payload, [&] {
      std::array<std::byte, 3> rest{};
      reader.read(rest);
    });
  }
}

TEST_CASE("Reader: goes on behind what it skips whatever is buffered", "[stream]") {
  const std::size_t first = GENERATE(0U, 1U, 10U);
  const std::size_t skipped = GENERATE(0U, 1U, 5U, 6U, 200U, 289U);
  const std::vector<std::byte> bytes = counting_bytes(300);
  MemorySource source(bytes, 7);
  Reader reader(source, bytes.size(), LengthEvidence::stored, 16);
  std::vector<std::byte> read(first);
  reader.read(read);
  reader.skip(skipped);
  CHECK(reader.position() == first + skipped);
  std::byte next{};
  reader.read(std::span(&next, 1));
  CHECK(next == bytes[first + skipped]);
  Reader of_memory{std::span<const std::byte>(bytes)};
  of_memory.skip(299);
  of_memory.read(std::span(&next, 1));
  CHECK(next == bytes[299]);
}

TEST_CASE("Reader: a skip beyond the end throws truncated_payload and has skipped nothing", "[stream]") {
  const std::vector<std::byte> bytes = counting_bytes(30);
  MemorySource source(bytes, 7);
  Reader reader(source, bytes.size(), LengthEvidence::stored, 16);
  reader.skip(10);
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.skip(21); });
  CHECK(reader.position() == 10);
  reader.skip(20);
  CHECK(reader.remaining() == 0);
}

TEST_CASE("Reader: a source that ends within a skip is truncated_payload", "[stream]") {
  const std::vector<std::byte> bytes = counting_bytes(30);
  MemorySource source(bytes, 7);
  Reader reader(source, 40, LengthEvidence::stated, 16);
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.skip(40); });
}

TEST_CASE("Reader: read_vector gives the numbers", "[stream]") {
  const auto bytes = Bytes().u32(7).u32(8).u32(9).u8(1).get();
  Reader reader(bytes);
  CHECK(reader.read_vector<std::uint32_t>(3) == std::vector<std::uint32_t>{7, 8, 9});
  CHECK(reader.remaining() == 1);
}

TEST_CASE("Reader: read_vector gives all numbers of a vector of many pieces", "[stream][megabytes]") {
  std::vector<std::uint32_t> numbers(3 * mebibyte / 4 + 5);
  std::iota(numbers.begin(), numbers.end(), 1U);
  const auto bytes = bytes_of_numbers(numbers);
  const auto evidence = GENERATE(LengthEvidence::stored, LengthEvidence::stated);
  MemorySource source(bytes, 100'000);
  Reader reader(source, bytes.size(), evidence, 4096);
  CHECK(reader.read_vector<std::uint32_t>(numbers.size()) == numbers);
}

TEST_CASE("Reader: read_vector gives a vector with the allocator it is asked for", "[stream][megabytes]") {
  std::vector<std::uint32_t> numbers(5 * mebibyte / 4 + 5);
  std::iota(numbers.begin(), numbers.end(), 1U);
  const auto bytes = bytes_of_numbers(numbers);
  const auto evidence = GENERATE(LengthEvidence::stored, LengthEvidence::stated);
  MemorySource source(bytes, 100'000);
  Reader reader(source, bytes.size(), evidence, 4096);
  const auto values = reader.read_vector<std::uint32_t, iqdb::HugePageAllocator<std::uint32_t>>(numbers.size());
  static_assert(
      std::same_as<decltype(values), const std::vector<std::uint32_t, iqdb::HugePageAllocator<std::uint32_t>>>);
  CHECK(std::ranges::equal(values, numbers));
}

TEST_CASE("Reader: read_vector fills a vector in pieces of 4 MiB, which are zeroed first", "[stream][megabytes]") {
  SpanSource source;
  constexpr std::size_t total = 9 * mebibyte;
  Reader reader(source, total, LengthEvidence::stored, 4096);
  static_cast<void>(reader.read_vector<float>(total / sizeof(float)));
  CHECK(source.sizes == std::vector<std::size_t>{4 * mebibyte, 4 * mebibyte, mebibyte});
  CHECK(source.only_zeros);
}

TEST_CASE("Reader: read_vector fills a vector that leaves its elements uninitialised at once", "[stream][megabytes]") {
  SpanSource source;
  constexpr std::size_t total = 9 * mebibyte;
  Reader reader(source, total, LengthEvidence::stored, 4096);
  static_cast<void>(reader.read_vector<float, iqdb::HugePageAllocator<float>>(total / sizeof(float)));
  CHECK(source.sizes == std::vector<std::size_t>{total});
}

TEST_CASE("Reader: a stated length that is a lie costs little memory with any allocator", "[stream]") {
  const auto bytes = counting_bytes(100);
  MemorySource source(bytes);
  Reader reader(source, std::uint64_t{1} << 60U, LengthEvidence::stated);
  const auto allocated = allocated_by([&] {
    CHECK_THROWS_AS((reader.read_vector<float, iqdb::HugePageAllocator<float>>(std::uint64_t{1} << 58U)),
                    iqdb::PersistError);
  });
  CHECK(allocated.total < 5 * mebibyte);
}

TEST_CASE("Reader: a count that the payload cannot hold is refused without reading or allocating", "[stream]") {
  const auto bytes = counting_bytes(64);
  Reader reader(bytes);
  const auto refuses = [&](auto kind_of_number, std::uint64_t count) {
    using T = decltype(kind_of_number);
    CAPTURE(sizeof(T), count);
    const auto allocated = allocated_by([&] {
      try {
        static_cast<void>(reader.read_vector<T>(count));
      } catch (const iqdb::PersistError& error) {
        CHECK(error.kind() == PersistErrorKind::truncated_payload);
        return;
      }
      FAIL("it was taken");
    });
    // What the error itself and the test's reporting need.
    CHECK(allocated.largest < 10'000);
    CHECK(reader.position() == 0);
  };
  for (unsigned shift = 7; shift < 64; ++shift) {
    const std::uint64_t count = std::uint64_t{1} << shift;
    refuses(std::uint8_t{}, count);
    refuses(float{}, count);
    refuses(double{}, count);
    refuses(double{}, count + 1);
    refuses(float{}, count - 1);
  }
  refuses(std::uint8_t{}, 65);
  refuses(float{}, 17);
  refuses(double{}, 9);
  refuses(std::uint8_t{}, ~std::uint64_t{0});
  refuses(float{}, ~std::uint64_t{0});
  CHECK(reader.read_vector<double>(8).size() == 8);
}

TEST_CASE("Reader: read_string gives the bytes whatever their number", "[stream]") {
  const auto bytes = counting_bytes(10'000);
  for (const std::size_t length : {0U, 1U, 15U, 16U, 4095U, 4096U, 4097U, 9000U}) {
    CAPTURE(length);
    MemorySource source(bytes, 1000);
    Reader reader(source, bytes.size(), LengthEvidence::stored, 64);
    const std::string text = reader.read_string(length);
    CHECK(std::ranges::equal(std::as_bytes(std::span(text)), std::span(bytes).first(length)));
    CHECK(reader.position() == length);
  }
}

TEST_CASE("Reader: read_string of a short string allocates nothing but the string", "[stream]") {
  const auto bytes = counting_bytes(10'000);
  for (const std::size_t length : {0U, 8U, 100U, 4096U}) {
    CAPTURE(length);
    Reader reader(bytes);
    const auto of_reading = allocated_by([&] { static_cast<void>(reader.read_string(length)); });
    std::string model;
    const auto of_string = allocated_by([&] { model = std::string(length, ' '); });
    REQUIRE(model.size() == length);
    CHECK(of_reading.count == of_string.count);
    CHECK(of_reading.total == of_string.total);
  }
}

TEST_CASE("Reader: a string whose stated length is a lie costs little memory", "[stream]") {
  const auto bytes = counting_bytes(100);
  for (const std::uint64_t length : {std::uint64_t{4096}, std::uint64_t{4097}, std::uint64_t{1} << 59U}) {
    MemorySource source(bytes);
    Reader reader(source, std::uint64_t{1} << 60U, LengthEvidence::stated);
    const auto allocated = allocated_by([&] { CHECK_THROWS_AS(reader.read_string(length), iqdb::PersistError); });
    CHECK(allocated.total < 5 * mebibyte);
  }
}

TEST_CASE("Reader: a string that the payload cannot hold is refused without allocating it", "[stream]") {
  const auto bytes = counting_bytes(64);
  Reader reader(bytes);
  for (const std::uint64_t length :
       {std::uint64_t{65}, std::uint64_t{4096}, std::uint64_t{4097}, std::uint64_t{1} << 40U, ~std::uint64_t{0}}) {
    const auto allocated = allocated_by([&] { CHECK_THROWS_AS(reader.read_string(length), iqdb::PersistError); });
    CHECK(allocated.largest < 4000);  // what the error itself and the test's reporting need
    require_kind(PersistErrorKind::truncated_payload, [&] { return reader.read_string(length); });
  }
  CHECK(reader.read_string(64).size() == 64);
}

TEST_CASE("Reader: a stated length that is a lie costs little memory", "[stream]") {
  const auto bytes = counting_bytes(100);
  MemorySource source(bytes);
  Reader reader(source, std::uint64_t{1} << 60U, LengthEvidence::stated);
  const auto allocated =
      allocated_by([&] { CHECK_THROWS_AS(reader.read_vector<float>(std::uint64_t{1} << 58U), iqdb::PersistError); });
  CHECK(allocated.total < 5 * mebibyte);
}

TEST_CASE("Reader: a stated length that is a lie costs memory in proportion to what was decoded", "[stream]") {
  constexpr std::uint64_t decoded = mebibyte;
  iqdb_test::ZeroSource source(decoded);
  Reader reader(source, std::uint64_t{1} << 60U, LengthEvidence::stated);
  static_cast<void>(reader.read_vector<std::uint8_t>(decoded / 2));
  const auto allocated = allocated_by(
      [&] { CHECK_THROWS_AS(reader.read_vector<std::uint8_t>(std::uint64_t{1} << 59U), iqdb::PersistError); });
  CHECK(allocated.largest <= 256 * decoded);
}

TEST_CASE("Reader: a stated length that is true costs less than two times the memory", "[stream]") {
  constexpr std::uint64_t count = 5 * mebibyte;
  iqdb_test::ZeroSource source(count * sizeof(float));
  Reader reader(source, count * sizeof(float), LengthEvidence::stated);
  std::vector<float> values;
  const auto allocated = allocated_by([&] { values = reader.read_vector<float>(count); });
  CHECK(values.size() == count);
  CHECK(allocated.total < 2 * count * sizeof(float));
}

TEST_CASE("Reader: a stored length is allocated once and exactly", "[stream]") {
  constexpr std::uint64_t count = 5 * mebibyte;
  iqdb_test::ZeroSource source(count * sizeof(float));
  Reader reader(source, count * sizeof(float), LengthEvidence::stored);
  std::vector<float> values;
  const auto allocated = allocated_by([&] { values = reader.read_vector<float>(count); });
  CHECK(values.capacity() == count);
  CHECK(allocated.total == count * sizeof(float));
}

TEST_CASE("Reader: make_room makes room for all items of a stored payload at once", "[stream]") {
  const auto bytes = counting_bytes(1000);
  const Reader reader(bytes);
  std::vector<std::uint64_t> items;
  reader.make_room(items, 100, 10);
  CHECK(items.capacity() == 100);
}

TEST_CASE("Reader: make_room makes no more room than the payload left can fill", "[stream]") {
  const auto bytes = counting_bytes(1000);
  const Reader reader(bytes);
  std::vector<std::uint64_t> items;
  reader.make_room(items, ~std::uint64_t{0}, 10);
  CHECK(items.capacity() == 100);
}

TEST_CASE("Reader: make_room makes room for at least one more where some are wanted and none is there", "[stream]") {
  const Reader reader(std::span<const std::byte>{});
  std::vector<int> items;
  for (int count = 0; count < 100; ++count) {
    reader.make_room(items, 100, 10);
    REQUIRE(items.capacity() > items.size());
    items.push_back(count);
  }
  reader.make_room(items, 100, 10);
  CHECK(items.size() == 100);
}

TEST_CASE("Reader: make_room takes items that need no bytes for items of one byte", "[stream]") {
  const auto bytes = counting_bytes(1000);
  const Reader reader(bytes);
  std::vector<std::uint64_t> items;
  reader.make_room(items, ~std::uint64_t{0}, 0);
  CHECK(items.capacity() == 1000);
}

TEST_CASE("Reader: make_room finds no memory for more items than a vector may have", "[stream]") {
  SpanSource source;
  const Reader reader(source, ~std::uint64_t{0}, LengthEvidence::stored, 4096);
  std::vector<std::uint64_t> items;
  CHECK_THROWS_AS(reader.make_room(items, std::uint64_t{1} << 62U, 1), std::bad_alloc);
  CHECK(items.capacity() == 0);
}

TEST_CASE("Reader: make_room leaves room that is there as it is", "[stream]") {
  const auto bytes = counting_bytes(1000);
  const Reader reader(bytes);
  std::vector<int> items;
  items.reserve(3);
  const auto capacity = items.capacity();
  reader.make_room(items, 1000, 1);
  CHECK(items.capacity() == capacity);
}

TEST_CASE("Reader: make_room takes a vector of bool, which is no array", "[stream]") {
  const auto bytes = counting_bytes(1000);
  const Reader reader(bytes);
  std::vector<bool> items;
  reader.make_room(items, 1000, 1);
  CHECK(items.capacity() >= 1000);
}

TEST_CASE("Reader: require takes what is left and refuses a byte more", "[stream]") {
  const auto bytes = counting_bytes(10);
  Reader reader(bytes);
  CHECK_NOTHROW(reader.require(10));
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.require(11); });
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.require(~std::uint64_t{0}); });
  static_cast<void>(reader.read_le<std::uint32_t>());
  CHECK_NOTHROW(reader.require(6));
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.require(7); });
}

TEST_CASE("Reader: require_items takes as many as are left and refuses one more", "[stream]") {
  const auto bytes = counting_bytes(10);
  const Reader reader(bytes);
  CHECK_NOTHROW(reader.require_items(3, 3));
  CHECK_NOTHROW(reader.require_items(10, 1));
  CHECK_NOTHROW(reader.require_items(0, 100));
  CHECK_NOTHROW(reader.require_items(~std::uint64_t{0}, 0));
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.require_items(4, 3); });
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.require_items(1, 11); });
  require_kind(PersistErrorKind::truncated_payload, [&] { reader.require_items(std::uint64_t{1} << 62U, 4); });
  require_kind(PersistErrorKind::truncated_payload,
               [&] { reader.require_items(std::uint64_t{1} << 32U, std::uint64_t{1} << 32U); });
}

TEST_CASE("Reader: fail throws the kind it is given and names the position", "[stream]") {
  const auto bytes = counting_bytes(10);
  Reader reader(bytes);
  static_cast<void>(reader.read_le<std::uint32_t>());
  const auto error =
      require_kind(PersistErrorKind::invalid_payload, [&] { reader.fail(PersistErrorKind::invalid_payload, "odd"); });
  CHECK(error.offset() == 4);
  CHECK(iqdb_test::mentions(error, "odd"));
}

TEST_CASE("Reader: truncated_payload says how many bytes were wanted and are left", "[stream]") {
  const auto bytes = counting_bytes(10);
  Reader reader(bytes);
  static_cast<void>(reader.read_le<std::uint32_t>());
  const auto error = require_kind(PersistErrorKind::truncated_payload, [&] { reader.require(12345); });
  CHECK(iqdb_test::mentions(error, "12345"));
  CHECK(iqdb_test::mentions(error, "6 of 10"));
}
