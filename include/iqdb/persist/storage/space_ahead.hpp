// Decides how many zeros a log writes ahead of its end. An append over zeros leaves the file's size unchanged, so a
// sync makes only bytes durable.
//
// On a file system with a journal this takes one flush of the device instead of two.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Decides when zeros are written ahead, and how many. A log gets as much space ahead as it has bytes, up to a limit,
/// so that a small log does not take a large file. Used by one thread.
class SpaceAhead {
 public:
  /// At most `extent_bytes` are written ahead at a time; 0 for none. The file ends at `end`.
  SpaceAhead(std::size_t extent_bytes, std::uint64_t end) : extent_bytes_(extent_bytes), prepared_(end) {}

  /// Returns how many zeros to write behind `needed`, the end of a write of `bytes`. Returns nothing if the space
  /// suffices, or if the write fills much of an extent: most of its bytes would then be written twice, which costs more
  /// than the flush.
  [[nodiscard]] std::optional<std::uint64_t> wanted(std::uint64_t needed, std::uint64_t bytes) const noexcept {
    constexpr std::uint64_t writes_in_extent = 4;
    if (needed <= prepared_ || bytes > extent_bytes_ / writes_in_extent) {
      return std::nullopt;
    }
    constexpr std::uint64_t smallest = std::uint64_t{16} * 1024;
    return std::clamp<std::uint64_t>(needed, std::min<std::uint64_t>(smallest, extent_bytes_), extent_bytes_);
  }

  /// Records that the file holds zeros up to `end`.
  void prepared_up_to(std::uint64_t end) noexcept { prepared_ = end; }

  /// Wants no more zeros from now on.
  void stop() noexcept { extent_bytes_ = 0; }

 private:
  std::uint64_t extent_bytes_;
  std::uint64_t prepared_;  // up to here the file holds appended bytes or zeros
};

}  // namespace iqdb
