// Bytes that grow without ever being moved, for data of which nobody knows how much it will be.
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

/// Bytes in chunks, each as large as all before it up to a limit: where a vector holds the old and the new memory at
/// once while it grows, this takes at most twice the bytes, and of many bytes hardly more than they are.
class ChunkedBuffer {
 public:
  /// Throws std::bad_alloc; what was appended before, and a part of `bytes`, is then there.
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

  /// Calls `take` with the bytes, from the first to the last, in as many spans as there are chunks.
  template <class Take>
  void for_each(Take&& take) const {
    for (const Chunk& chunk : chunks_) {
      take(std::span<const std::byte>(chunk.memory.bytes().first(chunk.used)));
    }
  }

  /// How many bytes there are.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Gives all memory back.
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
