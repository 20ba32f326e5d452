// The CRC32 of the formats: IEEE 802.3 polynomial, as in zlib and gzip. The only header that includes <zlib.h> and
// ISA-L.
//
// ISA-L computes the same values several times as fast, with the processor's carry-less multiplication. zlib combines
// checksums in either case.
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
    value_ = static_cast<std::uint32_t>(::crc32_combine(value_, next.value_, static_cast<z_off_t>(next.length_)));
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
