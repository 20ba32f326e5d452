// Memory for large arrays in huge pages.
//
// The first touch of memory in ordinary pages costs several times as much as reading the bytes that go there: it enters
// the system once for each 4 KiB. In huge pages it enters the system once for each 2 MiB.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The size and the alignment of a huge page, in bytes.
inline constexpr std::size_t huge_page_bytes = std::size_t{2} * 1024 * 1024;

/// Allocations of this many bytes or more ask for huge pages. At any address they contain at least one whole huge page,
/// and their alignment takes at most half as much address space again.
inline constexpr std::size_t smallest_huge_allocation = 2 * huge_page_bytes;

/// Asks the system for huge pages in the part of `memory` that whole huge pages fill. Does nothing on a system without
/// them. The memory should not have been touched yet. Its content does not change.
inline void advise_huge_pages([[maybe_unused]] std::span<std::byte> memory) noexcept {
#ifdef MADV_HUGEPAGE
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::size_t before = (huge_page_bytes - begin % huge_page_bytes) % huge_page_bytes;
  if (memory.size() < before + huge_page_bytes) {
    return;
  }
  const std::size_t whole = (memory.size() - before) / huge_page_bytes * huge_page_bytes;
  // Only a hint: a system that ignores it, e.g. one built without huge pages, uses ordinary pages.
  static_cast<void>(::madvise(memory.data() + before, whole, MADV_HUGEPAGE));
#endif
}

/// An allocator with which `vector::resize(n)` leaves new elements uninitialised, so that memory which a read will fill
/// is not zeroed first. It has a static member `default_initialises` that is true.
template <class Allocator>
concept DefaultInitialising = requires {
  requires Allocator::default_initialises;
};

/// A standard allocator for large arrays of numbers: `std::vector<float, HugePageAllocator<float>>`.
///
/// Allocations of smallest_huge_allocation bytes or more are aligned to huge_page_bytes and ask for huge pages. Smaller
/// ones come from std::allocator. Any object of the class frees what another object allocated. Several threads may use
/// it at the same time.
///
/// Elements of a trivially default constructible type that are made without a value stay UNINITIALISED: those of `vector(n)`
/// and `resize(n)` must be written before they are read. `vector(n, value)` and `resize(n, value)` initialise as usual.
template <class T>
class HugePageAllocator {
 public:
  /// The elements, under the name that containers ask for.
  using value_type = T;  // NOLINT(readability-identifier-naming): the standard's name
  /// See DefaultInitialising.
  static constexpr bool default_initialises = true;

  HugePageAllocator() = default;

  /// Converts from the allocator of another type, as containers do.
  template <class U>
  HugePageAllocator(const HugePageAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor,hicpp-explicit-*)

  /// Allocates memory for `count` objects. Throws std::bad_array_new_length if they exceed the address space, and
  /// std::bad_alloc if memory does not suffice.
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

  /// Frees what `allocate(count)` returned.
  void deallocate(T* memory, std::size_t count) noexcept {
    if (count * sizeof(T) < smallest_huge_allocation) {
      std::allocator<T>().deallocate(memory, count);
    } else {
      ::operator delete(memory, huge_alignment);
    }
  }

  /// Begins the lifetime of an object at `place` without a value. (For a type that is not trivially default
  /// constructible, and for a value of another type, a container does the same as with std::allocator.)
  template <class U>
    requires std::is_trivially_default_constructible_v<U>
  void construct(U* place) noexcept { ::new (static_cast<void*>(place)) U; }

  /// Begins the lifetime of a copy of `value` at `place`, which has the same bits: where an x87 copies floats (32-bit x86), a
  /// signalling NaN would become a quiet one.
  template <std::floating_point U>
  void construct(U* place, const U& value) noexcept {
    std::memcpy(place, &value, sizeof(U));
  }

  template <class U>
  friend bool operator==(const HugePageAllocator&, const HugePageAllocator<U>&) noexcept {
    return true;
  }

 private:
  static constexpr std::align_val_t huge_alignment{std::max(alignof(T), huge_page_bytes)};
};

}  // namespace iqdb
