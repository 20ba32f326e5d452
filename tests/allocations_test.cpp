// The operator new of the test program, and whether it counts and refuses as support/allocations.hpp says.
#include <cstddef>
#include <new>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"

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

TEST_CASE("refusing_allocations_from: refuses all from the one that was named", "[support]") {
  std::vector<char> a;
  std::vector<char> b;
  CHECK_NOTHROW(iqdb_test::refusing_allocations_from(2, [&] {
    a.reserve(1000);
    for (int attempt = 0; attempt < 3; ++attempt) {
      try {
        b.reserve(2000);
      } catch (const std::bad_alloc&) {
      }
    }
  }));
  CHECK(iqdb_test::last_allocations().count == 4);
  CHECK(iqdb_test::last_allocations().refused == 3);
  CHECK(a.capacity() == 1000);
  CHECK(b.capacity() == 0);
}

TEST_CASE("refusing_allocation: the forms of operator new that do not throw give null, aligned ones are refused too",
          "[support]") {
  constexpr auto alignment = std::align_val_t{64};
  void* plain = nullptr;
  void* aligned = nullptr;
  CHECK_THROWS_AS(iqdb_test::refusing_allocations_from(1,
                                                       [&] {
                                                         plain = ::operator new(1, std::nothrow);
                                                         aligned = ::operator new(1, alignment, std::nothrow);
                                                         ::operator delete(::operator new(1, alignment), alignment);
                                                       }),
                  std::bad_alloc);
  CHECK(iqdb_test::last_allocations().refused == 3);
  CHECK(plain == nullptr);
  CHECK(aligned == nullptr);
}

TEST_CASE("live_allocations: counts what was not given back, and live_bytes its bytes", "[support]") {
  constexpr auto alignment = std::align_val_t{64};
  const auto before = iqdb_test::live_allocations();
  const auto bytes_before = iqdb_test::live_bytes();
  void* const plain = ::operator new(1000);
  void* const aligned = ::operator new(1, alignment);
  const auto between = iqdb_test::live_allocations();
  const auto bytes_between = iqdb_test::live_bytes();
  ::operator delete(plain);
  ::operator delete(aligned, alignment);
  const auto after = iqdb_test::live_allocations();
  CHECK(bytes_between - bytes_before > 1000);
  CHECK(bytes_between - bytes_before < 2000);
  CHECK(iqdb_test::live_bytes() == bytes_before);
  CHECK(between - before == 2);
  CHECK(after == before);
}
