// Appends frames of any length to a file in whole blocks, as direct I/O requires.
//
// Invariant: every frame rewrites the block in which the file ends, with its earlier bytes unchanged, so a torn write
// changes none of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Turns writes at the end of a file into writes of whole blocks, padded with zeros. Used by one thread.
class BlockAppender {
 public:
  /// The largest size of the buffer, in bytes. A longer frame takes several writes.
  static constexpr std::size_t largest_buffer_bytes = std::size_t{1024} * 1024;

  /// Writes `bytes` at `offset`, at most the end of the file. Does not preserve the file's bytes from `offset` on.
  ///
  /// `write_blocks(offset, span)` writes all of the span, which is whole blocks. `read(offset, span)` reads from the
  /// file into the beginning of the span and returns how many bytes, at least 1. Throws what they throw, and
  /// std::bad_alloc.
  template <class Read, class WriteBlocks>
  void write(std::uint64_t offset, std::span<const std::byte> bytes, Read&& read, WriteBlocks&& write_blocks) {
    const std::uint64_t begin = block_begin(offset);
    reserve(static_cast<std::size_t>(
        std::min<std::uint64_t>(block_end(offset + bytes.size()) - begin, largest_buffer_bytes)));
    if (end_ != offset) {
      load(offset, read);
    }
    end_.reset();  // the buffer and the file may differ until everything is written
    std::span<std::byte> room = buffer_.bytes().subspan(static_cast<std::size_t>(offset - begin));
    for (std::uint64_t at = begin;;) {
      const std::size_t count = std::min(room.size(), bytes.size());
      std::memcpy(room.data(), bytes.data(), count);
      bytes = bytes.subspan(count);
      const std::size_t filled = buffer_.size() - room.size() + count;
      const auto padded = static_cast<std::size_t>(block_end(filled));
      std::memset(buffer_.bytes().data() + filled, 0, padded - filled);
      write_blocks(at, std::span<const std::byte>(buffer_.bytes().first(padded)));
      if (bytes.empty()) {
        const auto last = static_cast<std::size_t>(block_begin(filled));
        std::memmove(buffer_.bytes().data(), buffer_.bytes().data() + last, padded - last);
        end_ = at + filled;
        return;
      }
      at += padded;
      room = buffer_.bytes();
    }
  }

 private:
  static constexpr std::size_t smallest_buffer_bytes = std::size_t{16} * 1024;

  void reserve(std::size_t size) {
    if (buffer_.size() < size) {
      // At least doubled, so that slowly growing frames do not allocate every time.
      AlignedBuffer larger(std::min(std::max({size, 2 * buffer_.size(), smallest_buffer_bytes}), largest_buffer_bytes));
      if (buffer_.size() > 0) {
        std::memcpy(larger.bytes().data(), buffer_.bytes().data(), std::min(buffer_.size(), direct_block_bytes));
      }
      buffer_ = std::move(larger);
    }
  }

  template <class Read>
  void load(std::uint64_t offset, Read&& read) {
    const auto kept = static_cast<std::size_t>(offset - block_begin(offset));
    for (std::size_t have = 0; have < kept;) {
      have += read(block_begin(offset) + have, buffer_.bytes().first(direct_block_bytes).subspan(have));
    }
  }

  AlignedBuffer buffer_;              // begins with the block in which the file ends
  std::optional<std::uint64_t> end_;  // the end of the file, if the buffer is known to hold its last block
};

}  // namespace iqdb
