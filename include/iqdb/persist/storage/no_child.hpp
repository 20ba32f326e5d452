// What stands for a forked process on a system where none is made. An index is held still by a copy there, or by waiting.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <system_error>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// In place of a forked process: there is none.
class NoChild {
 public:
  struct Report {
    void operator()(std::span<const std::byte> /*bytes*/) const noexcept {}
    [[nodiscard]] bool was_told() const noexcept { return false; }
  };

  /// Throws std::system_error.
  template <class Work>
  NoChild(int /*kept*/, Work&& /*work*/) {
    throw std::system_error(std::make_error_code(std::errc::function_not_supported), "fork");
  }

  [[nodiscard]] bool is_silent_for(std::chrono::milliseconds /*time*/) const noexcept { return false; }
  void tell() const noexcept {}
  [[nodiscard]] bool receive(std::span<std::byte> /*into*/, std::chrono::milliseconds /*patience*/) noexcept {
    return false;
  }
};

}  // namespace iqdb
