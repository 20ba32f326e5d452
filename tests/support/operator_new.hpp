// The operator new of a test program, which support/allocations.hpp watches. Exactly one source file of the program
// includes this.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "support/allocations.hpp"

#ifndef _WIN32
#include <malloc.h>
#endif

namespace iqdb_test::detail {

#ifdef _WIN32
// In front of each piece: free() takes no aligned memory there, and no function says how large a piece is.
struct Piece {
  void* begin;
  std::size_t size;
};

inline void* aligned_piece(std::size_t size, std::size_t alignment) noexcept {
  alignment = std::max(alignment, alignof(std::max_align_t));
  void* const begin = std::malloc(sizeof(Piece) + alignment + size);
  if (begin == nullptr) {
    return nullptr;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(begin) + sizeof(Piece) + alignment - 1;
  void* const memory = reinterpret_cast<void*>(address - address % alignment);
  static_cast<Piece*>(memory)[-1] = {.begin = begin, .size = size};
  return memory;
}
inline std::size_t usable_bytes(void* memory) noexcept { return static_cast<Piece*>(memory)[-1].size; }
inline void free_piece(void* memory) noexcept { std::free(static_cast<Piece*>(memory)[-1].begin); }
#else
inline void* aligned_piece(std::size_t size, std::size_t alignment) noexcept {
  return alignment <= alignof(std::max_align_t) ? std::malloc(std::max<std::size_t>(size, 1))
                                                : std::aligned_alloc(alignment, (size / alignment + 1) * alignment);
}
inline std::size_t usable_bytes(void* memory) noexcept { return ::malloc_usable_size(memory); }
inline void free_piece(void* memory) noexcept { std::free(memory); }
#endif

// Memory for operator new; null where there is none, or none is to be given.
inline void* allocate(std::size_t size, std::size_t alignment) noexcept {
  auto& watch = allocation_watch;
  if (watch.watching) {
    ++watch.seen.count;
    watch.seen.total += size;
    watch.seen.largest = std::max<std::uint64_t>(watch.seen.largest, size);
    if (watch.first_refused <= watch.seen.count && watch.seen.count <= watch.last_refused) {
      ++watch.seen.refused;
      return nullptr;
    }
  }
  void* const memory = aligned_piece(size, alignment);
  if (memory != nullptr) {
    ++live_allocations;
    live_bytes += static_cast<std::int64_t>(usable_bytes(memory));
  }
  return memory;
}

inline void* allocate_or_throw(std::size_t size, std::size_t alignment = 1) {
  if (void* const memory = allocate(size, alignment)) {
    return memory;
  }
  throw std::bad_alloc();
}

inline void release(void* memory) noexcept {
  if (memory != nullptr) {
    --live_allocations;
    live_bytes -= static_cast<std::int64_t>(usable_bytes(memory));
    free_piece(memory);
  }
}

}  // namespace iqdb_test::detail

// Every form, since a sanitizer brings its own of each that is not replaced.
// Not inlined: GCC takes a visible free of what a call of operator new returned for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) { return iqdb_test::detail::allocate_or_throw(size); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return iqdb_test::detail::allocate_or_throw(size); }
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return iqdb_test::detail::allocate(size, 1);
}
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return iqdb_test::detail::allocate(size, 1);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return iqdb_test::detail::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment) {
  return iqdb_test::detail::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return iqdb_test::detail::allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return iqdb_test::detail::allocate(size, static_cast<std::size_t>(alignment));
}

[[gnu::noinline]] void operator delete(void* memory) noexcept { iqdb_test::detail::release(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { iqdb_test::detail::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { iqdb_test::detail::release(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { iqdb_test::detail::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  iqdb_test::detail::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  iqdb_test::detail::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { iqdb_test::detail::release(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
  iqdb_test::detail::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  iqdb_test::detail::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  iqdb_test::detail::release(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  iqdb_test::detail::release(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  iqdb_test::detail::release(memory);
}
