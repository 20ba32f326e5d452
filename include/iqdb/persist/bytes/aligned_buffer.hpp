// Block-aligned memory for direct I/O: reads and writes that bypass the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The unit of direct I/O, in bytes: offsets, sizes and addresses are multiples of it. Devices have blocks of 512 or
/// 4096 bytes. A device with larger blocks refuses direct I/O (EINVAL) and is written through the page cache.
inline constexpr std::size_t direct_block_bytes = 4096;

/// `offset` rounded down to a multiple of direct_block_bytes.
[[nodiscard]] constexpr std::uint64_t block_begin(std::uint64_t offset) noexcept {
  return offset - offset % direct_block_bytes;
}

/// `offset` rounded up to a multiple of direct_block_bytes.
[[nodiscard]] constexpr std::uint64_t block_end(std::uint64_t offset) noexcept {
  return block_begin(offset + direct_block_bytes - 1);
}

/// Whether a direct write can write `bytes` at `offset` of a file.
[[nodiscard]] inline bool is_block_aligned(std::uint64_t offset, std::span<const std::byte> bytes) noexcept {
  return offset % direct_block_bytes == 0 && bytes.size() % direct_block_bytes == 0 &&
         reinterpret_cast<std::uintptr_t>(bytes.data()) % direct_block_bytes == 0;
}

/// A buffer at an address that is a multiple of direct_block_bytes. It is empty or of a fixed size. A large buffer asks
/// for huge pages, so that a device gets a few large pieces of memory and not hundreds of small ones. Movable, not
/// copyable.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  /// Allocates `size` uninitialised bytes. Throws std::bad_alloc.
  explicit AlignedBuffer(std::size_t size)
      : bytes_(static_cast<std::byte*>(::operator new(size, alignment_of(size))), Free{size}), size_(size) {
    advise_huge_pages(bytes());
  }

  /// All bytes of the buffer.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {bytes_.get(), size_}; }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static std::align_val_t alignment_of(std::size_t size) noexcept {
    return std::align_val_t{size >= huge_page_bytes ? huge_page_bytes : direct_block_bytes};
  }

  struct Free {
    std::size_t size;
    void operator()(std::byte* bytes) const noexcept { ::operator delete(bytes, alignment_of(size)); }
  };

  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_ = 0;
};

}  // namespace iqdb
