// The CRC32 of the formats: IEEE 802.3 polynomial, as zlib and gzip have it. The only header that includes <zlib.h> and
// ISA-L.
//
// ISA-L computes the same values several times as fast, by the processor's carry-less multiplication. Two checksums are
// put together by zlib in either case.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "iqdb/persist/version.hpp"

#if IQDB_PERSIST_HAS_ISAL
#include <isa-l/crc.h>
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A running CRC32.
class Crc32 {
 public:
  /// Takes `bytes` into the checksum.
  void update(std::span<const std::byte> bytes) noexcept {
    // zlib takes a null pointer, which an empty span may have, as a request for the initial value.
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

  /// Takes what `next` has taken, as if it had stood behind what this has taken.
  void append(const Crc32& next) noexcept {
    value_ = static_cast<std::uint32_t>(::crc32_combine(value_, next.value_, static_cast<z_off_t>(next.length_)));
    length_ += next.length_;
  }

  /// The checksum of all bytes taken; 0 for none.
  [[nodiscard]] std::uint32_t value() const noexcept { return value_; }

 private:
  friend class Crc32Joiner;

  std::uint32_t value_ = 0;
  std::uint64_t length_ = 0;
};

/// Puts checksums together, faster than Crc32::append where second parts are often as long as the one before.
class Crc32Joiner {
 public:
  /// The checksum of what `first` has taken and, behind it, what `second` has taken.
  [[nodiscard]] std::uint32_t joined(const Crc32& first, const Crc32& second) noexcept {
#if ZLIB_VERNUM >= 0x12c0
    if (second.length_ != length_) {
      operator_ = ::crc32_combine_gen(static_cast<z_off_t>(second.length_));
      length_ = second.length_;
    }
    return static_cast<std::uint32_t>(::crc32_combine_op(first.value_, second.value_, operator_));
#else
    Crc32 both = first;
    both.append(second);
    return both.value();
#endif
  }

 private:
#if ZLIB_VERNUM >= 0x12c0
  std::uint64_t length_ = 0;
  uLong operator_ = ::crc32_combine_gen(0);
#endif
};

}  // namespace iqdb
