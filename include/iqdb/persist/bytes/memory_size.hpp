// Sizes of memory, of numbers that a file holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A number of bytes, which a file counts in 64 bits, as the size of an array in memory. Throws std::bad_alloc if no array may be as
/// large: where memory is addressed with 32 bits, a file may have more bytes than an array. Cut off to 32 bits, its size would be
/// that of a small array, which is then read beyond its end.
[[nodiscard]] constexpr std::size_t memory_size(std::uint64_t bytes) {
  if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw std::bad_alloc();
  }
  return static_cast<std::size_t>(bytes);
}

}  // namespace iqdb::inline IQDB_PERSIST_ABI
