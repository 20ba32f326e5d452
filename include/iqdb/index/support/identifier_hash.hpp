// The hash of an identifier under a secret key: SipHash with one round for each word and three at the end.
//
// Who chooses identifiers must not be able to choose which of them collide, and std::hash of an integer is the integer. Of
// a function without a key, colliding integers can be computed. SipHash is made for this, and its cost is small beside that
// of the memory that a look-up waits for.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "iqdb/index/support/drawn_number.hpp"
#include "iqdb/persist/native_process.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// The key of a hash.
struct HashKey {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

/// A key that nobody can predict. If the system gives no random bytes, it is made of addresses, which the system chooses
/// anew for each process. Several threads may call it at the same time.
[[nodiscard]] inline HashKey drawn_key() noexcept {
  HashKey key;
  if (!native_entropy::fill(&key, sizeof key)) {
    static const int somewhere = 0;
    key.first = drawn_bits(reinterpret_cast<std::uintptr_t>(&somewhere));
    key.second = drawn_bits(reinterpret_cast<std::uintptr_t>(&key));
  }
  return key;
}

/// SipHash with these numbers of rounds, of a message that is given word by word. The published test vectors are of 2 and 4.
template <int word_rounds, int last_rounds>
class SipHash {
 public:
  explicit constexpr SipHash(const HashKey& key) noexcept
      : a_(key.first ^ 0x736F6D6570736575U),
        b_(key.second ^ 0x646F72616E646F6DU),
        c_(key.first ^ 0x6C7967656E657261U),
        d_(key.second ^ 0x7465646279746573U) {}

  /// Takes the next eight bytes of the message, as a little-endian number.
  constexpr void take(std::uint64_t word) noexcept {
    d_ ^= word;
    rounds(word_rounds);
    a_ ^= word;
  }

  /// The hash. `rest` holds the last bytes of the message, at most seven, as a little-endian number; `bytes` is the length of
  /// the whole message.
  [[nodiscard]] constexpr std::uint64_t finished(std::uint64_t rest, std::size_t bytes) noexcept {
    take(rest | std::uint64_t{bytes} << 56U);
    c_ ^= 0xFFU;
    rounds(last_rounds);
    return a_ ^ b_ ^ c_ ^ d_;
  }

 private:
  constexpr void rounds(int count) noexcept {
    for (int round = 0; round < count; ++round) {
      a_ += b_;
      b_ = std::rotl(b_, 13) ^ a_;
      a_ = std::rotl(a_, 32);
      c_ += d_;
      d_ = std::rotl(d_, 16) ^ c_;
      a_ += d_;
      d_ = std::rotl(d_, 21) ^ a_;
      c_ += b_;
      b_ = std::rotl(b_, 17) ^ c_;
      c_ = std::rotl(c_, 32);
    }
  }

  std::uint64_t a_;
  std::uint64_t b_;
  std::uint64_t c_;
  std::uint64_t d_;
};

/// The hash of bytes. Where the machine is not little-endian it is another one, which is as good: no file holds it.
template <int word_rounds = 1, int last_rounds = 3>
[[nodiscard]] inline std::uint64_t hash_of(const HashKey& key, std::string_view bytes) noexcept {
  SipHash<word_rounds, last_rounds> hash(key);
  std::uint64_t word = 0;
  std::string_view rest = bytes;
  for (; rest.size() >= sizeof word; rest.remove_prefix(sizeof word)) {
    std::memcpy(&word, rest.data(), sizeof word);
    hash.take(word);
  }
  word = 0;
  if (!rest.empty()) {
    std::memcpy(&word, rest.data(), rest.size());
  }
  return hash.finished(word, bytes.size());
}

/// The hash of an integer. Eight integers that follow one another, from a multiple of eight on, have hashes that differ in
/// the bits 32 to 34 alone, and so a RowTable keeps them side by side: programs count identifiers up, and then an insertion
/// seldom waits for memory. More than eight are never led to one place on purpose, because the other bits are those of
/// SipHash.
[[nodiscard]] constexpr std::uint64_t hash_of(const HashKey& key, std::uint64_t integer) noexcept {
  constexpr std::uint64_t side_by_side = 7;
  SipHash<1, 3> hash(key);
  hash.take(integer / (side_by_side + 1));
  const std::uint64_t common = hash.finished(0, sizeof integer);
  return (common & ~(side_by_side << 32U)) | (integer & side_by_side) << 32U;
}

/// The hash of an identifier.
[[nodiscard]] inline std::uint64_t hash_of(const HashKey& key, const VectorId& id) noexcept {
  return id.is_integer() ? hash_of(key, id.integer()) : hash_of(key, id.bytes());
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
