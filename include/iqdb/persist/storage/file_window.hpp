// A part of a file in memory, which moves on through the file.
//
// Invariants: the window grows only to the largest part that was asked for and is there. Of calls with ascending offsets
// none reads a byte twice.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A part of a file in memory, which moves on through the file. Used by one thread.
template <ReadableFile F>
class FileWindow {
 public:
  /// `file` and `helpers`, if there are any, must outlive this; `piece_bytes` are read at a time.
  FileWindow(F& file, std::size_t piece_bytes, HelperThreads* helpers = nullptr)
      : file_(&file), piece_bytes_(piece_bytes), helpers_(helpers) {}

  /// What stands at `offset`: `bytes` of it, or as many as the file has. Valid until the next call; of calls with
  /// ascending offsets none reads anything twice.
  [[nodiscard]] std::span<const std::byte> at(std::uint64_t offset, std::uint64_t bytes) {
    const std::uint64_t end = offset + std::min(bytes, file_->size() - std::min(offset, file_->size()));
    if (offset < begin_ || end > begin_ + window_.size()) {
      move_to(offset, end);
    }
    return std::span<const std::byte>(window_).subspan(static_cast<std::size_t>(offset - begin_),
                                                       static_cast<std::size_t>(end - offset));
  }

  /// What stands from `offset` on, as far as it is in memory already. Valid until the next call of at().
  [[nodiscard]] std::span<const std::byte> held_from(std::uint64_t offset) const noexcept {
    const bool is_held = offset >= begin_ && offset - begin_ < window_.size();
    return is_held ? std::span(window_).subspan(static_cast<std::size_t>(offset - begin_))
                   : std::span(window_).first(0);
  }

  /// The size of the file, in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return file_->size(); }

 private:
  void move_to(std::uint64_t offset, std::uint64_t end) {
    std::size_t kept = 0;
    if (offset >= begin_ && offset < begin_ + window_.size()) {
      kept = static_cast<std::size_t>(begin_ + window_.size() - offset);
      std::copy(window_.end() - static_cast<std::ptrdiff_t>(kept), window_.end(), window_.begin());
    }
    begin_ = offset;
    const std::uint64_t wanted = std::min(std::max(end, offset + piece_bytes_), file_->size());
    window_.resize(static_cast<std::size_t>(std::max(wanted, offset + kept) - offset));
    read_shared(*file_, offset + kept, std::span<std::byte>(window_).subspan(kept), helpers_);
  }

  F* file_;
  std::size_t piece_bytes_;
  HelperThreads* helpers_;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> window_;
};

}  // namespace iqdb
