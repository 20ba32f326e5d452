#include "iqdb/persist/bytes/checksum.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::Crc32;
using iqdb_test::Bytes;
using iqdb_test::Random;

std::uint32_t crc_of(std::span<const std::byte> bytes) {
  Crc32 crc;
  crc.update(bytes);
  return crc.value();
}

std::uint32_t crc_of(std::string_view text) { return crc_of(Bytes().text(text).get()); }

// By the definition, one bit after the other: takes `byte` into `crc`.
std::uint32_t crc_by_definition(std::uint32_t crc, std::byte byte) {
  constexpr std::uint32_t polynomial = 0xEDB88320;
  crc = ~crc ^ std::to_integer<std::uint32_t>(byte);
  for (int bit = 0; bit < 8; ++bit) {
    crc = (crc & 1U) != 0 ? crc >> 1U ^ polynomial : crc >> 1U;
  }
  return ~crc;
}

// The checksum of this many zero bytes, put together from halves: none of them are there.
Crc32 crc_of_zeros(std::uint64_t bytes) {
  Crc32 all;
  Crc32 power(std::vector<std::byte>(1));
  for (; bytes != 0; bytes >>= 1U) {
    if ((bytes & 1U) != 0) {
      all.append(power);
    }
    const Crc32 half = power;
    power.append(half);
  }
  return all;
}

// Numbers of bytes that a signed number of 32 bits does not hold, and the checksum of so many zeros, alone and behind
// "123456789". Computed by Python's zlib.crc32 from the bytes themselves.
struct ManyZeros {
  std::uint64_t bytes;
  std::uint32_t alone;
  std::uint32_t behind_digits;
};
constexpr ManyZeros many_zeros[] = {{std::uint64_t{3} << 30U, 0x480BBE37, 0xB5F075A5},
                                    {(std::uint64_t{5} << 30U) + 7, 0x34F034FA, 0x46A5770F}};

// What is computed in blocks has its ends treated apart: lengths and alignments enough to meet every such case.
constexpr std::size_t longest = 300;
constexpr std::size_t alignments = 64;

}  // namespace

TEST_CASE("Crc32: known values of the IEEE polynomial", "[checksum]") {
  CHECK(crc_of("") == 0);
  CHECK(crc_of("a") == 0xE8B7BE43);
  CHECK(crc_of("123456789") == 0xCBF43926);
  CHECK(crc_of("The quick brown fox jumps over the lazy dog") == 0x414FA339);
  CHECK(crc_of(std::vector<std::byte>(32, std::byte{0x00})) == 0x190A55AD);
  CHECK(crc_of(std::vector<std::byte>(32, std::byte{0xFF})) == 0xFF6CAB0B);
}

TEST_CASE("Crc32: every length at every alignment gives what the definition gives", "[checksum]") {
  const auto bytes = Random(11).bytes(alignments + longest + 1);
  for (std::size_t begin = 0; begin < alignments; ++begin) {
    std::uint32_t expected = 0;
    for (std::size_t length = 0; length <= longest; ++length) {
      CAPTURE(begin, length);
      REQUIRE(crc_of(std::span(bytes).subspan(begin, length)) == expected);
      expected = crc_by_definition(expected, bytes[begin + length]);
    }
  }
}

TEST_CASE("Crc32: two updates give what one gives wherever the bytes are split", "[checksum]") {
  const auto bytes = Random(12).bytes(longest);
  for (std::size_t length = 0; length <= longest; ++length) {
    const auto all = std::span(bytes).first(length);
    const std::uint32_t whole = crc_of(all);
    for (std::size_t first = 0; first <= length; ++first) {
      Crc32 crc;
      crc.update(all.first(first));
      crc.update(all.subspan(first));
      CAPTURE(length, first);
      REQUIRE(crc.value() == whole);
    }
  }
}

TEST_CASE("Crc32: many bytes at once give what the definition gives", "[checksum]") {
  const auto bytes = Random(13).bytes(1'000'003);
  std::uint32_t expected = 0;
  for (const std::byte byte : bytes) {
    expected = crc_by_definition(expected, byte);
  }
  CHECK(crc_of(bytes) == expected);
}

TEST_CASE("Crc32: an empty update in the middle changes nothing", "[checksum]") {
  Crc32 crc;
  crc.update(Bytes().text("12345"));
  crc.update({});
  crc.update(Bytes().text("6789"));
  CHECK(crc.value() == 0xCBF43926);
}

TEST_CASE("Crc32: pieces give what the whole gives", "[checksum]") {
  const auto seed = GENERATE(1U, 2U, 3U);
  CAPTURE(seed);
  Random random(seed);
  const auto bytes = random.bytes(5000);
  const std::uint32_t whole = crc_of(bytes);
  for (int round = 0; round < 50; ++round) {
    Crc32 crc;
    for (std::span<const std::byte> left(bytes); !left.empty();) {
      const auto piece = left.first(random.below(left.size()) + 1);
      crc.update(piece);
      left = left.subspan(piece.size());
    }
    CHECK(crc.value() == whole);
  }
}

TEST_CASE("Crc32: append is as if the bytes had stood behind", "[checksum]") {
  const auto seed = GENERATE(1U, 2U, 3U);
  CAPTURE(seed);
  Random random(seed);
  for (int round = 0; round < 100; ++round) {
    const auto bytes = random.bytes(random.below(3000));
    const auto first = random.below(bytes.size() + 1);
    const auto second = first + random.below(bytes.size() - first + 1);
    CAPTURE(bytes.size(), first, second);
    const std::span<const std::byte> all(bytes);
    Crc32 a;
    Crc32 b;
    Crc32 c;
    a.update(all.first(first));
    b.update(all.subspan(first, second - first));
    c.update(all.subspan(second));
    // Also the lengths have to add up: b is appended to after it was appended.
    Crc32 left = a;
    left.append(b);
    left.append(c);
    CHECK(left.value() == crc_of(bytes));
    b.append(c);
    a.append(b);
    CHECK(a.value() == crc_of(bytes));
  }
}

TEST_CASE("Crc32: append of nothing changes nothing and to nothing gives the other", "[checksum]") {
  Crc32 crc;
  crc.update(Bytes().text("123456789"));
  crc.append(Crc32());
  CHECK(crc.value() == 0xCBF43926);
  Crc32 empty;
  empty.append(crc);
  CHECK(empty.value() == 0xCBF43926);
}

TEST_CASE("Crc32: updates after an append go on behind both", "[checksum]") {
  Crc32 a;
  Crc32 b;
  a.update(Bytes().text("12"));
  b.update(Bytes().text("345"));
  a.append(b);
  a.update(Bytes().text("6789"));
  CHECK(a.value() == 0xCBF43926);
}

TEST_CASE("Crc32: append knows lengths of more than 31 and of more than 32 bits", "[checksum]") {
  for (const ManyZeros& each : many_zeros) {
    CAPTURE(each.bytes);
    const Crc32 zeros = crc_of_zeros(each.bytes);
    CHECK(zeros.value() == each.alone);
    Crc32 crc;
    crc.update(Bytes().text("123456789"));
    crc.append(zeros);
    CHECK(crc.value() == each.behind_digits);
  }
}

TEST_CASE("Crc32Rebaser: more bytes may follow than 31 and than 32 bits count", "[checksum]") {
  const Crc32 digits(Bytes().text("123456789").get());
  for (const ManyZeros& each : many_zeros) {
    CAPTURE(each.bytes);
    CHECK(iqdb::Crc32Rebaser().rebased(each.alone, Crc32(), digits, each.bytes) == each.behind_digits);
    CHECK(iqdb::Crc32Rebaser().rebased(each.behind_digits, digits, Crc32(), each.bytes) == each.alone);
  }
}

TEST_CASE("Crc32Rebaser: a checksum with another beginning is that of the bytes with the other beginning",
          "[checksum]") {
  const auto seed = GENERATE(1U, 2U, 3U);
  CAPTURE(seed);
  Random random(seed);
  iqdb::Crc32Rebaser rebaser;
  for (int round = 0; round < 100; ++round) {
    const auto old_beginning = random.bytes(random.below(40));
    const auto new_beginning = random.bytes(random.below(40));
    // Often the same length twice: what was computed for it is used again.
    const auto rest = random.bytes(round % 4 == 0 ? random.below(3000) : 540);
    CAPTURE(old_beginning.size(), new_beginning.size(), rest.size());
    const auto behind = [&rest](const auto& beginning) {
      Crc32 whole(beginning);
      whole.update(rest);
      return whole.value();
    };
    CHECK(rebaser.rebased(behind(old_beginning), Crc32(old_beginning), Crc32(new_beginning), rest.size()) ==
          behind(new_beginning));
  }
}

TEST_CASE("Crc32Rebaser: a checksum of damaged bytes does not become right", "[checksum]") {
  auto bytes = Random(7).bytes(100);
  const auto old_beginning = Random(8).bytes(28);
  const auto new_beginning = Random(9).bytes(28);
  Crc32 whole(old_beginning);
  whole.update(bytes);
  bytes[50] ^= std::byte{1};
  Crc32 damaged(new_beginning);
  damaged.update(bytes);
  CHECK(iqdb::Crc32Rebaser().rebased(whole.value(), Crc32(old_beginning), Crc32(new_beginning), bytes.size()) !=
        damaged.value());
}

TEST_CASE("Crc32: every single-bit flip shows", "[checksum]") {
  auto bytes = Random(7).bytes(100);
  const std::uint32_t right = crc_of(bytes);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    CAPTURE(bit);
    CHECK(crc_of(bytes) != right);
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  }
}
