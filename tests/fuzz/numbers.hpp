// Little-endian numbers within an input.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "fuzz/fuzz_target.hpp"
#include "iqdb/persist/bytes/stream.hpp"

namespace iqdb_fuzz {

/// The number at `offset`, where all of it is within `bytes`.
template <class T>
[[nodiscard]] T number_at(Input bytes, std::size_t offset) {
  std::array<std::byte, sizeof(T)> raw{};
  std::ranges::copy(bytes.subspan(offset, sizeof(T)), raw.begin());
  return iqdb::from_little_endian<T>(raw);
}

/// Writes `value` at `offset`, where there is room for it.
template <class T>
void put_at(std::span<std::byte> bytes, std::size_t offset, T value) {
  std::ranges::copy(iqdb::to_little_endian(value), bytes.subspan(offset).begin());
}

/// A number that is small, or near one at which something overflows, or any.
[[nodiscard]] inline std::uint64_t awkward_number(Random& random) {
  switch (random.below(4)) {
    case 0:
      return random.below(8);
    case 1:
      return (std::uint64_t{1} << random.below(64)) - random.below(2);
    case 2:
      return ~random.below(256);
    default:
      return random.next();
  }
}

/// Changes a few bytes, or how many there are.
inline void disturb(Bytes& bytes, Random& random) {
  const std::size_t at = bytes.empty() ? 0 : static_cast<std::size_t>(random.below(bytes.size()));
  const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random.below(4)) {
    case 0:
      bytes.insert(place, static_cast<std::size_t>(1 + random.below(8)), static_cast<std::byte>(random.below(256)));
      break;
    case 1:
      bytes.erase(place,
                  place + static_cast<std::ptrdiff_t>(random.below(std::min<std::size_t>(9, bytes.size() - at + 1))));
      break;
    case 2:
      if (bytes.size() - at >= sizeof(std::uint32_t)) {
        put_at(std::span(bytes), at, static_cast<std::uint32_t>(awkward_number(random)));
      }
      break;
    default:
      if (!bytes.empty()) {
        *place ^= static_cast<std::byte>(1U << random.below(8));
      }
  }
}

}  // namespace iqdb_fuzz
