// How much memory a call takes from the heap. Counted only where something tells it of every block, as fuzzer.cpp has
// the sanitizer do: elsewhere every peak is 0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "fuzz/fuzz_target.hpp"

namespace iqdb_fuzz {

/// The bytes of the heap that the program uses.
class HeapMeter {
 public:
  /// That so many were given out.
  static void took(std::uint64_t bytes) noexcept {
    held += bytes;
    peak = std::max(peak, held);
  }

  /// That so many came back.
  static void gave(std::uint64_t bytes) noexcept { held -= std::min(held, bytes); }

  /// That a block came back whose bytes were not counted when it was given out, since few of them may ever be written:
  /// a codec may ask for a window of 128 MiB. Of so many bytes it took memory.
  static void gave_large(std::uint64_t bytes_written) noexcept { large += bytes_written; }

  /// How many more than when it was made are used, at most. Large blocks count as if all had been used at once, and
  /// once they have come back.
  class Peak {
   public:
    Peak() noexcept : held_before_(held), large_before_(large) { peak = held; }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return peak - held_before_ + large - large_before_; }

   private:
    std::uint64_t held_before_;
    std::uint64_t large_before_;
  };

 private:
  static inline std::uint64_t held = 0;
  static inline std::uint64_t peak = 0;
  static inline std::uint64_t large = 0;
};

/// What a load may take beside fixed buffers, for each byte of the files and of what they decode to.
inline constexpr std::uint64_t most_heap_per_byte = 2;

/// What it may take whatever their size.
inline constexpr std::uint64_t most_fixed_heap = std::uint64_t{64} * 1024 * 1024;

/// Throws Violation where more was taken than `bytes` of input, and decoded from it, allow.
inline void require_little_heap(const HeapMeter::Peak& peak, std::uint64_t bytes) {
  const std::uint64_t most = most_heap_per_byte * bytes + most_fixed_heap;
  if (peak.bytes() > most) {
    throw Violation("it took " + std::to_string(peak.bytes()) + " bytes of memory, which may be " +
                    std::to_string(most));
  }
}

}  // namespace iqdb_fuzz
