// A new file that is written, and other work that is done, while others need the disk.
//
// A log that is synced waits for whatever the disk does at that moment. Large pieces, written without a pause, make each
// sync several times as long.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <utility>

#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Who shares a disk with others works in pieces of this many bytes: the others wait for one of them at most.
inline constexpr std::size_t sparing_piece_bytes = std::size_t{1} << 18U;

/// Appends to a file in pieces, and calls a function behind each, which may pause. Used by one thread.
template <FileReplacement R, class Behind>
class SparingFile {
 public:
  static constexpr std::size_t piece_bytes = sparing_piece_bytes;  ///< the largest piece

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

/// Pauses work that takes disk and processor from the writers of a log, for as long as that log is synced. Used by one thread.
class Pace {
 public:
  using Sleep = std::function<void(std::chrono::nanoseconds)>;

  static constexpr std::uint64_t piece_bytes = sparing_piece_bytes;  ///< behind so many bytes it may pause

  /// `syncs()` says how often the log was synced so far. `sleep(duration)` pauses.
  explicit Pace(
      std::function<std::uint64_t()> syncs,
      Sleep sleep = [](std::chrono::nanoseconds duration) { std::this_thread::sleep_for(duration); })
      : syncs_(std::move(syncs)), sleep_(std::move(sleep)), syncs_seen_(syncs_()) {}

  /// So many bytes were appended to `file` since the last call. Behind each piece, if the log was synced meanwhile, syncs `file`
  /// and pauses in proportion to what the piece took. Throws what `file` and `syncs` throw.
  template <class File>
  void advance(File& file, std::uint64_t bytes) {
    bytes_ += bytes;
    if (bytes_ < piece_bytes) {
      return;
    }
    bytes_ = 0;
    const std::uint64_t syncs = syncs_();
    if (std::exchange(syncs_seen_, syncs) != syncs) {
      // Nothing would be lost without this sync. But the device would write the piece with the next sync of the log, which would
      // wait for it; and how long that takes would be known to nobody.
      file.sync();
      sleep_(pause_behind(Clock::now() - began_));
    }
    began_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;

  std::function<std::uint64_t()> syncs_;
  Sleep sleep_;
  std::uint64_t syncs_seen_;
  std::uint64_t bytes_ = 0;  // of the piece
  Clock::time_point began_ = Clock::now();
};

}  // namespace iqdb
