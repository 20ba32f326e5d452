// Finds a single flipped bit by what it does to a CRC32.
//
// A CRC is linear: a flipped bit changes the checksum in a way that depends on nothing but its distance from the end of
// the message, and no two bits of a message of less than 512 MiB do the same. So the change names the bit.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// A bit of a file or a message.
struct BitPosition {
  std::uint64_t offset = 0;  ///< of its byte
  unsigned bit = 0;          ///< 0 is the lowest bit of the byte

  friend bool operator==(const BitPosition&, const BitPosition&) = default;
};

/// The longest message in which a flipped bit is corrected. Damage of another kind looks like a flipped bit with a chance
/// of 8 times the bytes of the message in 2^32: of this length, once in 8192 times.
inline constexpr std::uint64_t most_correctable_bytes = std::uint64_t{64} * 1024;

/// Turns a bit around.
inline void flip(std::span<std::byte> bytes, const BitPosition& at) noexcept {
  bytes[static_cast<std::size_t>(at.offset)] ^= static_cast<std::byte>(1U << at.bit);
}

/// The polynomial, lowest power in the highest bit: what the last bit of a message changes in its checksum.
inline constexpr std::uint32_t crc32_polynomial = 0xEDB88320U;

/// One step of the checksum's register, for a bit that is zero.
[[nodiscard]] constexpr std::uint32_t stepped(std::uint32_t value) noexcept {
  return (value >> 1U) ^ ((value & 1U) != 0 ? crc32_polynomial : 0);
}

/// The value whose step is `value`.
[[nodiscard]] constexpr std::uint32_t stepped_back(std::uint32_t value) noexcept {
  constexpr std::uint32_t highest = 0x80000000U;
  return (value & highest) != 0 ? ((value ^ crc32_polynomial) << 1U) | 1U : value << 1U;
}

/// The bit of a message of `bytes` bytes that, flipped, changes the checksum by `change`: the checksum that was computed,
/// XOR the one that is stored. Nothing if no bit does, or if the message is longer than most_correctable_bytes. Takes a
/// time in proportion to `bytes`.
[[nodiscard]] inline std::optional<BitPosition> flipped_bit(std::uint32_t change, std::uint64_t bytes) noexcept {
  if (bytes > most_correctable_bytes) {
    return std::nullopt;
  }
  std::uint32_t of_bit = crc32_polynomial;
  for (std::uint64_t byte = bytes; byte > 0; --byte) {
    for (unsigned bit = 8; bit > 0; --bit) {
      if (of_bit == change) {
        return BitPosition{.offset = byte - 1, .bit = bit - 1};
      }
      of_bit = stepped(of_bit);
    }
  }
  return std::nullopt;
}

/// The bit of a stored checksum, four bytes with the lowest first, that is flipped if the message itself is whole.
/// Nothing if more than one bit differs.
[[nodiscard]] inline std::optional<BitPosition> flipped_bit_of_checksum(std::uint32_t change) noexcept {
  if (!std::has_single_bit(change)) {
    return std::nullopt;
  }
  const auto bit = static_cast<unsigned>(std::countr_zero(change));
  return BitPosition{.offset = bit / 8, .bit = bit % 8};
}

}  // namespace salvage

}  // namespace iqdb
