// The CRC32 of the formats: IEEE 802.3 polynomial, as in zlib and gzip. The only header that includes <zlib.h> and
// ISA-L.
//
// ISA-L computes the same values several times as fast, with the processor's carry-less multiplication. Checksums are combined
// here in either case: zlib takes the number of bytes as a z_off_t, which has 32 bits on 64-bit Windows and on most 32-bit
// systems, and does not return for a number that is negative there.
#pragma once

#include <zlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "iqdb/persist/version.hpp"

#if IQDB_PERSIST_HAS_ISAL
#include <isa-l/crc.h>
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

// The polynomials over GF(2) of which a CRC32 is one, modulo that of the CRC. As in a CRC, the highest bit of a number is the
// coefficient of 1 and the lowest one that of x^31.
//
// Bytes that follow multiply the contribution of what is before them by x for each bit. So does zlib (`crc32_combine`, with
// `multmodp` and `x2nmodp` of its crc32.c, Mark Adler); the number of bytes has 64 bits here on every system.
namespace crc32_polynomials {

inline constexpr std::uint32_t polynomial = 0xEDB88320U;  // of IEEE 802.3, without x^32
inline constexpr std::uint32_t one = 0x80000000U;

[[nodiscard]] constexpr std::uint32_t product(std::uint32_t a, std::uint32_t b) noexcept {
  std::uint32_t sum = 0;
  for (; a != 0; a <<= 1U) {
    sum ^= (a & one) != 0 ? b : 0;
    b = (b >> 1U) ^ ((b & 1U) != 0 ? polynomial : 0);  // times x
  }
  return sum;
}

// x^8, x^16, x^32 and so on: what 2^n bytes multiply by, for each bit n of a number of bytes.
inline constexpr std::array<std::uint32_t, 64> powers = [] {
  std::array<std::uint32_t, 64> made{};
  std::uint32_t power = one >> 8U;
  for (std::uint32_t& each : made) {
    each = power;
    power = product(power, power);
  }
  return made;
}();

// What this many bytes multiply by.
[[nodiscard]] constexpr std::uint32_t power_of(std::uint64_t bytes) noexcept {
  std::uint32_t power = one;
  for (std::size_t bit = 0; bytes != 0; ++bit, bytes >>= 1U) {
    if ((bytes & 1U) != 0) {
      power = product(power, powers[bit]);
    }
  }
  return power;
}

}  // namespace crc32_polynomials

/// A running CRC32, and the number of bytes that it covers.
class Crc32 {
 public:
  /// The checksum of no bytes.
  Crc32() = default;

  /// The checksum of `bytes`.
  explicit Crc32(std::span<const std::byte> bytes) noexcept { update(bytes); }

  /// Adds `bytes` to the checksum.
  void update(std::span<const std::byte> bytes) noexcept {
    // An empty span may have a null pointer, which zlib takes as a request for the initial value.
    if (!bytes.empty()) {
      const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
#if IQDB_PERSIST_HAS_ISAL
      value_ = ::crc32_gzip_refl(value_, data, bytes.size());
#else
      value_ = static_cast<std::uint32_t>(::crc32_z(value_, data, bytes.size()));
#endif
    }
    length_ += bytes.size();
  }

  /// Adds the bytes that `next` covers, as if update() had been called with them.
  void append(const Crc32& next) noexcept {
    value_ = crc32_polynomials::product(crc32_polynomials::power_of(next.length_), value_) ^ next.value_;
    length_ += next.length_;
  }

  /// The checksum of all bytes added; 0 for none.
  [[nodiscard]] std::uint32_t value() const noexcept { return value_; }

 private:
  std::uint32_t value_ = 0;
  std::uint64_t length_ = 0;
};

/// Computes what the checksum of a long sequence of bytes would be if its beginning were different, without the bytes:
/// a CRC is linear, so the contribution of the beginning can be taken out and another put in. A call is fast if as many
/// bytes follow the beginning as in the call before. Used by one thread.
class Crc32Rebaser {
 public:
  /// Returns the checksum of the bytes of `new_beginning` followed by `behind` bytes. `whole` is the checksum of the
  /// bytes of `old_beginning` followed by the same `behind` bytes.
  [[nodiscard]] std::uint32_t rebased(std::uint32_t whole, const Crc32& old_beginning, const Crc32& new_beginning,
                                      std::uint64_t behind) noexcept {
    if (behind != behind_) {
      power_ = crc32_polynomials::power_of(behind);
      behind_ = behind;
    }
    return crc32_polynomials::product(power_, old_beginning.value() ^ new_beginning.value()) ^ whole;
  }

 private:
  std::uint64_t behind_ = 0;
  std::uint32_t power_ = crc32_polynomials::one;  // of behind_ bytes
};

}  // namespace iqdb
