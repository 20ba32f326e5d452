#include "iqdb/persist/bytes/memory_size.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

#include "support/catch.hpp"

TEST_CASE("memory_size: takes what an array may have and refuses one byte more", "[memory_size]") {
  const std::uint64_t most = std::numeric_limits<std::ptrdiff_t>::max();
  CHECK(iqdb::memory_size(0) == 0);
  CHECK(iqdb::memory_size(most) == most);
  CHECK_THROWS_AS(iqdb::memory_size(most + 1), std::bad_alloc);
  CHECK_THROWS_AS(iqdb::memory_size((std::uint64_t{1} << 63U) + 4), std::bad_alloc);
}
