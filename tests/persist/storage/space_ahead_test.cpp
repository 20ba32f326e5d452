// How many zeros are written ahead of a log's end.
#include "iqdb/persist/storage/space_ahead.hpp"

#include <cstddef>
#include <cstdint>

#include "support/catch.hpp"

namespace {

using iqdb::SpaceAhead;

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;

}  // namespace

TEST_CASE("Without extents no space is wanted", "[space_ahead]") {
  const SpaceAhead space(0, 64);
  CHECK_FALSE(space.wanted(100, 36).has_value());
}

TEST_CASE("A small log wants 16 KiB and a large one as much as it has up to the extent", "[space_ahead]") {
  const SpaceAhead space(mebibyte, 64);
  CHECK(space.wanted(100, 36) == std::uint64_t{16 * kibibyte});
  CHECK(space.wanted(100'000, 36) == std::uint64_t{100'000});
  CHECK(space.wanted(5 * mebibyte, 36) == std::uint64_t{mebibyte});
}

TEST_CASE("Extents of less than 16 KiB are wanted whole", "[space_ahead]") {
  const SpaceAhead space(300, 64);
  CHECK(space.wanted(100, 36) == std::uint64_t{300});
}

TEST_CASE("No space is wanted where zeros stand up to the end of the write", "[space_ahead]") {
  SpaceAhead space(mebibyte, 64);
  space.prepared_up_to(1000);
  CHECK_FALSE(space.wanted(1000, 36).has_value());
  CHECK(space.wanted(1001, 36).has_value());
}

TEST_CASE("A write of more than a quarter of an extent wants no space", "[space_ahead]") {
  const SpaceAhead space(4 * kibibyte, 64);
  CHECK(space.wanted(2000, kibibyte).has_value());
  CHECK_FALSE(space.wanted(2000, kibibyte + 1).has_value());
}

TEST_CASE("After stop no space is wanted", "[space_ahead]") {
  SpaceAhead space(mebibyte, 64);
  space.stop();
  CHECK_FALSE(space.wanted(100, 36).has_value());
}
