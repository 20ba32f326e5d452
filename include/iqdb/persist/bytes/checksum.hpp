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
  /// Of nothing yet.
  Crc32() = default;

  /// Of `bytes`.
  explicit Crc32(std::span<const std::byte> bytes) noexcept { update(bytes); }

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
  std::uint32_t value_ = 0;
  std::uint64_t length_ = 0;
};

/// Changes checksums of long bytes as if they had begun otherwise, without having the bytes: a CRC is linear, so that
/// what the beginning contributes can be taken out and put in. Fast where the bytes behind it are often as many as the
/// last time.
class Crc32Rebaser {
 public:
  /// What the checksum `whole` would be if the `behind` bytes at the end stood not behind those that `old_beginning`
  /// has taken, but behind those of `new_beginning`.
  [[nodiscard]] std::uint32_t rebased(std::uint32_t whole, const Crc32& old_beginning, const Crc32& new_beginning,
                                      std::uint64_t behind) noexcept {
    const std::uint32_t change = old_beginning.value() ^ new_beginning.value();
#if ZLIB_VERNUM >= 0x12c0
    if (behind != behind_) {
      operator_ = ::crc32_combine_gen(static_cast<z_off_t>(behind));
      behind_ = behind;
    }
    return static_cast<std::uint32_t>(::crc32_combine_op(change, whole, operator_));
#else
    return static_cast<std::uint32_t>(::crc32_combine(change, whole, static_cast<z_off_t>(behind)));
#endif
  }

#if ZLIB_VERNUM >= 0x12c0
 private:
  std::uint64_t behind_ = 0;
  uLong operator_ = ::crc32_combine_gen(0);
#endif
};

}  // namespace iqdb
