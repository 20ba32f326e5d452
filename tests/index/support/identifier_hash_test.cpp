// That the hash is SipHash, and that neither chosen nor counted integers crowd.
#include "iqdb/index/support/identifier_hash.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "iqdb/types.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::VectorId;
using iqdb::index_support::drawn_key;
using iqdb::index_support::hash_of;
using iqdb::index_support::HashKey;

// The key of the published vectors.
constexpr HashKey published_key{.first = 0x0706050403020100U, .second = 0x0F0E0D0C0B0A0908U};

// How many of these integers have the same 16 leading bits, at most.
std::size_t largest_crowd(const std::vector<std::uint64_t>& integers) {
  std::vector<std::size_t> crowds(std::size_t{1} << 16U);
  for (const std::uint64_t integer : integers) {
    ++crowds[hash_of(published_key, integer) >> 48U];
  }
  return *std::max_element(crowds.begin(), crowds.end());
}

}  // namespace

TEST_CASE("hash_of: with two and four rounds it gives the published hashes of SipHash", "[identifier_hash]") {
  if constexpr (std::endian::native != std::endian::little) {
    SUCCEED("there the hashes are others, as hash_of says");
    return;
  }
  std::string message;
  const std::vector<std::uint64_t> published = {0x726FDB47DD0E0E31U, 0x74F839C593DC67FDU, 0x0D6C8009D9A94F5AU,
                                                0x85676696D7FB7E2DU, 0xCF2794E0277187B7U, 0x18765564CD99A68DU,
                                                0xCBC9466E58FEE3CEU, 0xAB0200F58B01D137U, 0x93F5F5799A932462U};
  for (const std::uint64_t expected : published) {
    CAPTURE(message.size());
    CHECK(hash_of<2, 4>(published_key, message) == expected);
    message.push_back(static_cast<char>(message.size()));
  }
}

TEST_CASE("hash_of: an identifier has the hash of its integer or its bytes, and another under another key",
          "[identifier_hash]") {
  CHECK(hash_of(published_key, VectorId(77)) == hash_of(published_key, std::uint64_t{77}));
  CHECK(hash_of(published_key, VectorId::from_bytes("abc")) == hash_of(published_key, std::string_view("abc")));
  const HashKey other{.first = 1, .second = published_key.second};
  CHECK(hash_of(other, VectorId(77)) != hash_of(published_key, VectorId(77)));
  CHECK(hash_of(other, VectorId::from_bytes("abc")) != hash_of(published_key, VectorId::from_bytes("abc")));
}

TEST_CASE("hash_of: eight integers side by side differ in three bits alone, in each of its eight ways",
          "[identifier_hash]") {
  const std::uint64_t first = hash_of(published_key, std::uint64_t{800});
  CHECK((first >> 32U) % 8 == 0);
  for (std::uint64_t more = 0; more < 8; ++more) {
    CHECK(hash_of(published_key, 800 + more) == (first | more << 32U));
  }
  CHECK(hash_of(published_key, std::uint64_t{808}) >> 35U != first >> 35U);
}

TEST_CASE("hash_of: integers that std::hash would crowd are spread", "[identifier_hash]") {
  // 65536 each, so that a place has one on average, or eight beside one another in one place of eight.
  for (const unsigned shift : {3U, 16U, 32U, 40U, 48U}) {
    std::vector<std::uint64_t> multiples;
    for (std::uint64_t number = 0; number < 65536; ++number) {
      multiples.push_back(number << shift);
    }
    CAPTURE(shift);
    CHECK(largest_crowd(multiples) < 16);
  }
}

TEST_CASE("drawn_key: no two are the same", "[identifier_hash]") {
  const HashKey one = drawn_key();
  const HashKey other = drawn_key();
  CHECK(one.first != other.first);
  CHECK(one.second != other.second);
}
