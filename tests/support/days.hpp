// Which day it is: for tests that do a part of their work each day, and another one the next.
#pragma once

#include <chrono>
#include <cstdint>

namespace iqdb_test {

/// The days since 1970, in UTC.
[[nodiscard]] inline std::uint64_t days_since_1970() {
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  return static_cast<std::uint64_t>(today.time_since_epoch().count());
}

}  // namespace iqdb_test
