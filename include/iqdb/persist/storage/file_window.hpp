// A window that moves forward through a file and holds a part of it in memory.
//
// Invariants: the window is at most as large as a piece, or as the largest part that was requested and exists. Calls
// with ascending offsets read no byte of the file twice.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/memory_size.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Holds a part of a file in memory and moves forward through the file. Used by one thread.
template <ReadableFile F>
class FileWindow {
 public:
  /// Reads at least `piece_bytes` at a time. `file` must outlive this, and so must `helpers` unless it is null.
  FileWindow(F& file, std::size_t piece_bytes, HelperThreads* helpers = nullptr)
      : file_(&file), piece_bytes_(piece_bytes), helpers_(helpers) {}

  /// Returns the `bytes` bytes at `offset`, or as many as the file has. The span is valid until the next call. Calls
  /// with ascending offsets read nothing twice. Throws what the file throws, and std::bad_alloc.
  [[nodiscard]] std::span<const std::byte> at(std::uint64_t offset, std::uint64_t bytes) {
    const std::uint64_t end = offset + std::min(bytes, file_->size() - std::min(offset, file_->size()));
    if (offset < begin_ || end > begin_ + window_.size()) {
      move_to(offset, end);
    }
    return std::span<const std::byte>(window_).subspan(static_cast<std::size_t>(offset - begin_),
                                                       static_cast<std::size_t>(end - offset));
  }

  /// Returns the bytes from `offset` on that are already in memory. The span is valid until the next call of at().
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
    window_.resize(memory_size(std::max(wanted, offset + kept) - offset));
    read_shared(*file_, offset + kept, std::span<std::byte>(window_).subspan(kept), helpers_);
  }

  F* file_;
  std::size_t piece_bytes_;
  HelperThreads* helpers_;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> window_;
};

}  // namespace iqdb
