// Random numbers that a seed repeats exactly, on every machine and with every standard library.
#pragma once

#include <cstddef>
#include <cstdint>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A generator of 64-bit numbers: splitmix64, by Sebastiano Vigna (https://prng.di.unimi.it/splitmix64.c). Making one
/// costs nothing, and a simulation makes millions. std::mt19937_64 would begin with 312 words, and the distributions of
/// `<random>` differ between standard libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  /// Any number.
  std::uint64_t next() noexcept {
    std::uint64_t value = state_ += 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31U);
  }

  /// A number from 0 to `bound` - 1. Precondition: `bound` is not 0.
  std::uint64_t below(std::uint64_t bound) noexcept { return next() % bound; }

  /// True once in `of` times.
  bool one_in(std::uint64_t of) noexcept { return below(of) == 0; }

  /// A number from -1 to just below 1.
  float component() noexcept { return static_cast<float>(next() >> 40U) / 8388608.0F - 1.0F; }

 private:
  std::uint64_t state_;
};

}  // namespace testing
}  // namespace iqdb
