// The CRC32 of the formats: zlib's, IEEE 802.3 polynomial. The only header that includes <zlib.h>.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A running CRC32.
class Crc32 {
 public:
  /// Takes `bytes` into the checksum.
  void update(std::span<const std::byte> bytes) noexcept {
    // zlib takes a null pointer, which an empty span may have, as a request for the initial value.
    if (!bytes.empty()) {
      value_ = static_cast<std::uint32_t>(
          ::crc32_z(value_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
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

}  // namespace iqdb
