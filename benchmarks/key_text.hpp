// A record's key as bytes that sort as the number does, for stores whose keys are strings.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "workload.hpp"

namespace iqdb_benchmarks {

class KeyText {
 public:
  explicit KeyText(std::uint64_t key) noexcept {
    for (std::size_t at = bytes_.size(); at > 0; key >>= 8U) {
      bytes_[--at] = static_cast<char>(key & 0xFFU);
    }
  }
  [[nodiscard]] const char* data() const noexcept { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

 private:
  std::array<char, Records::key_bytes> bytes_{};
};

/// A record's value as characters.
[[nodiscard]] inline const char* characters(std::span<const std::byte> bytes) noexcept {
  return reinterpret_cast<const char*>(bytes.data());  // NOLINT(*-reinterpret-cast)
}

}  // namespace iqdb_benchmarks
