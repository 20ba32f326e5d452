// The operator new of the test program, which support/allocations.hpp watches.
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"

// All forms but the aligned ones, since a sanitizer brings its own of each that is not replaced.
// Not inlined: GCC takes a visible free of what a call of operator new returned for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) {
  auto& watch = iqdb_test::detail::allocation_watch;
  if (watch.watching) {
    ++watch.seen.count;
    watch.seen.total += size;
    watch.seen.largest = std::max<std::uint64_t>(watch.seen.largest, size);
    if (watch.seen.count == watch.first_refused) {
      throw std::bad_alloc();
    }
  }
  if (void* const memory = std::malloc(std::max<std::size_t>(size, 1))) {
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return operator new(size, std::nothrow);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

TEST_CASE("allocated_by: counts what is allocated", "[support]") {
  void* a = nullptr;
  void* b = nullptr;
  // Calls of the operator, and not expressions with new: those a compiler may leave out.
  const auto seen = iqdb_test::allocated_by([&] {
    a = ::operator new(1000);
    b = ::operator new[](3000);
  });
  ::operator delete(a);
  ::operator delete[](b);
  CHECK(seen.count == 2);
  CHECK(seen.total == 4000);
  CHECK(seen.largest == 3000);
}

TEST_CASE("refusing_allocation: refuses the one that was named", "[support]") {
  std::vector<char> a;
  std::vector<char> b;
  CHECK_THROWS_AS(iqdb_test::refusing_allocation(2,
                                                 [&] {
                                                   a.reserve(1000);
                                                   b.reserve(2000);
                                                 }),
                  std::bad_alloc);
  CHECK(a.capacity() == 1000);
  CHECK(b.capacity() == 0);
}
