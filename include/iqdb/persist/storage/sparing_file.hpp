// A new file that is written while others need the disk.
//
// A log that is synced waits for whatever the disk does at that moment. Large pieces, written without a pause, make each
// sync several times as long.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Appends to a file in pieces, and calls a function behind each, which may pause. Used by one thread.
template <FileReplacement R, class Behind>
class SparingFile {
 public:
  static constexpr std::size_t piece_bytes = std::size_t{1} << 18U;  ///< the largest piece

  /// Calls `behind(took)` behind each piece: how long it took, in nanoseconds. `file` must outlive this.
  SparingFile(R& file, Behind behind) : file_(&file), behind_(std::move(behind)) {}

  /// As the members of the file.
  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), piece_bytes);
      const auto began = std::chrono::steady_clock::now();
      file_->append(bytes.first(count));
      behind_(std::chrono::nanoseconds(std::chrono::steady_clock::now() - began));
      bytes = bytes.subspan(count);
    }
  }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) { file_->overwrite(offset, bytes); }
  void sync() { file_->sync(); }
  void rename() { file_->rename(); }
  [[nodiscard]] bool in_doubt() const noexcept { return file_->in_doubt(); }
  void sync_directory() { file_->sync_directory(); }

 private:
  R* file_;
  Behind behind_;
};

/// How long to leave the disk to others behind a piece that took `took`: six times as long, so that they have it for most
/// of the time, but no longer than a file may stand still.
[[nodiscard]] constexpr std::chrono::nanoseconds pause_behind(std::chrono::nanoseconds took) noexcept {
  constexpr std::chrono::milliseconds longest{50};
  constexpr int share = 6;
  return std::min<std::chrono::nanoseconds>(took * share, longest);
}

}  // namespace iqdb
