// A buffer for data of unknown size. It grows in chunks and never moves its bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Holds bytes in chunks. Each chunk is as large as all chunks before it, up to a limit. While a vector grows, it holds
/// the old and the new memory at once; this buffer takes at most twice its bytes, and little more than its bytes if
/// they are many. Used by one thread.
class ChunkedBuffer {
 public:
  /// Appends `bytes`. Throws std::bad_alloc; the buffer then holds what was appended before, and a part of `bytes`.
  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (chunks_.empty() || chunks_.back().used == chunks_.back().memory.size()) {
        add_chunk();
      }
      Chunk& chunk = chunks_.back();
      const std::size_t count = std::min(bytes.size(), chunk.memory.size() - chunk.used);
      std::memcpy(chunk.memory.bytes().data() + chunk.used, bytes.data(), count);
      chunk.used += count;
      size_ += count;
      bytes = bytes.subspan(count);
    }
  }

  /// Calls `take` with the bytes, from the first to the last, in one span for each chunk.
  template <class Take>
  void for_each(Take&& take) const {
    for (const Chunk& chunk : chunks_) {
      take(std::span<const std::byte>(chunk.memory.bytes().first(chunk.used)));
    }
  }

  /// The number of bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Frees all memory.
  void clear() noexcept {
    chunks_.clear();
    size_ = 0;
  }

 private:
  struct Chunk {
    AlignedBuffer memory;
    std::size_t used = 0;
  };

  static constexpr std::uint64_t smallest_chunk = std::uint64_t{16} * 1024;
  static constexpr std::uint64_t largest_chunk = 2 * huge_page_bytes;

  void add_chunk() {
    AlignedBuffer memory(static_cast<std::size_t>(std::clamp(size_, smallest_chunk, largest_chunk)));
    chunks_.push_back({.memory = std::move(memory)});
  }

  std::vector<Chunk> chunks_;
  std::uint64_t size_ = 0;
};

}  // namespace iqdb
