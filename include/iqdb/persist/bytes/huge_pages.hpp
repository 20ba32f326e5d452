// Memory for large arrays in huge pages.
//
// The first touch of memory in ordinary pages costs several times what it costs to read the bytes that go there: the
// system is entered once for each 4 KiB. In huge pages it is entered once for each 2 MiB.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The size of a huge page, in bytes, and what it is aligned to.
inline constexpr std::size_t huge_page_bytes = std::size_t{2} * 1024 * 1024;

/// Memory of this many bytes or more is worth huge pages. Wherever it lies, at least one whole huge page is in it; and
/// to align it takes at most half as much address space again.
inline constexpr std::size_t smallest_huge_allocation = 2 * huge_page_bytes;

/// Asks the system for huge pages for those of `memory` that it fills whole; does nothing where there are none to ask
/// for. For memory that was not touched yet. What lies in it stays as it is.
inline void advise_huge_pages([[maybe_unused]] std::span<std::byte> memory) noexcept {
#ifdef MADV_HUGEPAGE
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::size_t before = (huge_page_bytes - begin % huge_page_bytes) % huge_page_bytes;
  if (memory.size() < before + huge_page_bytes) {
    return;
  }
  const std::size_t whole = (memory.size() - before) / huge_page_bytes * huge_page_bytes;
  // A hint: a system that does not take it, say since it was built without huge pages, gives ordinary ones, which hold
  // the same bytes.
  static_cast<void>(::madvise(memory.data() + before, whole, MADV_HUGEPAGE));
#endif
}

/// An allocator by which `vector::resize(n)` leaves new elements uninitialised, so that what is to be read over them is
/// not written with zeros before: one that says so by a static member `default_initialises` that is true.
template <class Allocator>
concept DefaultInitialising = requires {
  requires Allocator::default_initialises;
};

/// A standard allocator for large arrays of numbers: `std::vector<float, HugePageAllocator<float>>`.
///
/// Allocations of smallest_huge_allocation bytes or more are aligned to huge_page_bytes, and huge pages are asked for;
/// smaller ones are those of std::allocator. Any object of it frees what another one allocated.
///
/// Elements that are made of nothing are left UNINITIALISED where their type is trivially default constructible: those
/// of `vector(n)` and `resize(n)` must be written before they are read. `vector(n, value)` and `resize(n, value)`
/// initialise as ever.
template <class T>
class HugePageAllocator {
 public:
  using value_type = T;  // NOLINT(readability-identifier-naming): what every allocator calls it
  /// See DefaultInitialising.
  static constexpr bool default_initialises = true;

  HugePageAllocator() = default;

  /// As a container makes one for another type.
  template <class U>
  HugePageAllocator(const HugePageAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor,hicpp-explicit-*)

  /// Memory for `count` objects. Throws std::bad_array_new_length if they are more than memory has addresses for,
  /// std::bad_alloc if there is not so much.
  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      throw std::bad_array_new_length();
    }
    const std::size_t bytes = count * sizeof(T);
    if (bytes < smallest_huge_allocation) {
      return std::allocator<T>().allocate(count);
    }
    void* const memory = ::operator new(bytes, huge_alignment);
    advise_huge_pages({static_cast<std::byte*>(memory), bytes});
    return static_cast<T*>(memory);
  }

  /// Gives back what `allocate(count)` gave.
  void deallocate(T* memory, std::size_t count) noexcept {
    if (count * sizeof(T) < smallest_huge_allocation) {
      std::allocator<T>().deallocate(memory, count);
    } else {
      ::operator delete(memory, huge_alignment);
    }
  }

  /// Begins the life of an object at `place` without giving it a value. (For a type that is not trivially default
  /// constructible, and for one that is made of something, a container does what it does with std::allocator.)
  template <class U>
    requires std::is_trivially_default_constructible_v<U>
  void construct(U* place) noexcept { ::new (static_cast<void*>(place)) U; }

  template <class U>
  friend bool operator==(const HugePageAllocator&, const HugePageAllocator<U>&) noexcept {
    return true;
  }

 private:
  static constexpr std::align_val_t huge_alignment{std::max(alignof(T), huge_page_bytes)};
};

}  // namespace iqdb
