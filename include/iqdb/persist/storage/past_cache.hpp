// A file that is read once: past the memory of the system, unless that holds it.
//
// So a check of large files does not push out of that memory what other programs have there, and the device has pieces of several
// megabytes to read.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A file of which whole blocks can be read past the memory of the system.
template <class F>
concept ReadablePastCache = ReadableFile<F> && requires(F& file, std::uint64_t offset, std::span<std::byte> into) {
  // Prepares it, before the first call of the other, and before other threads read it. Returns whether that is worth it: not where
  // the store cannot do that, nor where the memory of the system holds most of the file.
  { file.open_past_cache() } -> std::same_as<bool>;
  // As read_at(), for offsets, sizes and addresses that are multiples of direct_block_bytes. Nothing if they cannot
  // be read in this way: then read_at() reads them. Several threads may call it at the same time.
  { file.read_past_cache(offset, into) } -> std::same_as<std::optional<std::size_t>>;
};

/// Pieces of this many bytes are large enough for a device at its fastest.
inline constexpr std::size_t past_cache_piece_bytes = std::size_t{2} << 20U;

/// Reads another file past the memory of the system, unless that holds most of it. Several threads may read it at the
/// same time.
template <ReadableFile F>
class PastCache {
 public:
  /// Reads `file`, which must outlive this. Throws what the file throws.
  // A template, so that nobody asks whether a PastCache becomes an F: an F that is made of any file would ask in turn.
  template <std::same_as<F> Source>
  explicit PastCache(Source& file) : file_(&file) {
    if constexpr (ReadablePastCache<F>) {
      is_open_ = file.open_past_cache();
    }
  }

  /// Whether it bypasses anything.
  [[nodiscard]] bool is_open() const noexcept { return is_open_; }

  [[nodiscard]] std::uint64_t size() const { return file_->size(); }

  /// As the file's. What bypasses the memory of the system are whole blocks: `offset` and the address of `into` are multiples of
  /// direct_block_bytes.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    if constexpr (ReadablePastCache<F>) {
      const std::uint64_t there = file_->size() - std::min(offset, file_->size());
      const auto blocks =
          into.first(static_cast<std::size_t>(block_begin(std::min<std::uint64_t>(into.size(), there))));
      if (is_open_ && !blocks.empty() && is_block_aligned(offset, blocks)) {
        if (const std::optional<std::size_t> count = file_->read_past_cache(offset, blocks)) {
          return *count;
        }
      }
    }
    return file_->read_at(offset, into);
  }

 private:
  F* file_;
  bool is_open_ = false;
};

template <class F>
PastCache(F&) -> PastCache<F>;

}  // namespace iqdb
