// Random numbers that belong to a slot. A generator with a state would have to be saved: started anew by each load, it
// would draw the same first numbers again and again.
#pragma once

#include <cstdint>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// 64 bits that look random and depend on `number` alone (the generator SplitMix64).
[[nodiscard]] constexpr std::uint64_t drawn_bits(std::uint64_t number) noexcept {
  std::uint64_t bits = number + 0x9E3779B97F4A7C15U;
  bits = (bits ^ bits >> 30U) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ bits >> 27U) * 0x94D049BB133111EBU;
  return bits ^ bits >> 31U;
}

/// A number from 0 to less than 1, made of the bits of drawn_bits.
[[nodiscard]] constexpr double drawn_number(std::uint64_t number) noexcept {
  return static_cast<double>(drawn_bits(number) >> 11U) * 0x1p-53;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
