// Appending to a file in whole blocks: what direct I/O asks for, of frames of any length.
//
// The block in which the file ends is written again with every frame, its earlier bytes as they were: a write that is
// torn changes none of them.
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

/// Turns writes at the end of a file into writes of whole blocks. Behind the end they hold zeros.
class BlockAppender {
 public:
  /// The largest buffer that is kept, in bytes: a longer frame is several writes.
  static constexpr std::size_t largest_buffer_bytes = std::size_t{1024} * 1024;

  /// Writes `bytes` at `offset`, the end of the file or some place before it, behind which nothing is kept.
  ///
  /// `write_blocks(offset, span)` writes all of some blocks; `read(offset, span)` fills the beginning of a span from
  /// the file and says how many bytes it has read, at least 1. Throws what they throw, and std::bad_alloc.
  template <class Read, class WriteBlocks>
  void write(std::uint64_t offset, std::span<const std::byte> bytes, Read&& read, WriteBlocks&& write_blocks) {
    const std::uint64_t begin = block_begin(offset);
    reserve(static_cast<std::size_t>(
        std::min<std::uint64_t>(block_end(offset + bytes.size()) - begin, largest_buffer_bytes)));
    if (end_ != offset) {
      load(offset, read);
    }
    end_.reset();  // until all is written, the buffer and the file may differ
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
      // More than is needed, so that frames that grow slowly do not allocate each.
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
  std::optional<std::uint64_t> end_;  // of the file, where the buffer is known to hold its last block
};

}  // namespace iqdb
