// How many zeros are written ahead of a log's end, so that a sync makes bytes durable and not the file's size as well.
//
// On a file system with a journal that is one flush of the device instead of two.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Decides when zeros are written ahead, and how many. A log takes as much space again as it has bytes, up to a limit:
/// a small log must not take a large file.
class SpaceAhead {
 public:
  /// At most `extent_bytes` are written ahead at a time; 0 for none. The file ends at `end`.
  SpaceAhead(std::size_t extent_bytes, std::uint64_t end) : extent_bytes_(extent_bytes), prepared_(end) {}

  /// How many zeros to write behind `needed`, where a write of `bytes` ends; nothing where there is enough space, or
  /// where the write fills much of an extent: most of its bytes would be written twice, which costs more than the flush.
  [[nodiscard]] std::optional<std::uint64_t> wanted(std::uint64_t needed, std::uint64_t bytes) const noexcept {
    constexpr std::uint64_t writes_in_extent = 4;
    if (needed <= prepared_ || bytes > extent_bytes_ / writes_in_extent) {
      return std::nullopt;
    }
    constexpr std::uint64_t smallest = std::uint64_t{16} * 1024;
    return std::clamp<std::uint64_t>(needed, std::min<std::uint64_t>(smallest, extent_bytes_), extent_bytes_);
  }

  /// Zeros stand up to `end`.
  void prepared_up_to(std::uint64_t end) noexcept { prepared_ = end; }

  /// No space ahead is wanted any more.
  void stop() noexcept { extent_bytes_ = 0; }

 private:
  std::uint64_t extent_bytes_;
  std::uint64_t prepared_;  // up to here the file holds what was appended, or zeros
};

}  // namespace iqdb
