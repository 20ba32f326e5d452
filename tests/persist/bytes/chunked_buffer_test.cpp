#include "iqdb/persist/bytes/chunked_buffer.hpp"

#include <cstddef>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::ChunkedBuffer;

[[nodiscard]] std::vector<std::byte> contents_of(const ChunkedBuffer& buffer) {
  std::vector<std::byte> contents;
  buffer.for_each(
      [&](std::span<const std::byte> bytes) { contents.insert(contents.end(), bytes.begin(), bytes.end()); });
  return contents;
}

}  // namespace

TEST_CASE("ChunkedBuffer: holds what was appended whatever the pieces", "[chunked_buffer]") {
  const std::uint64_t seed = 4;
  iqdb_test::Random random(seed);
  CAPTURE(seed);
  ChunkedBuffer buffer;
  std::vector<std::byte> expected;
  while (expected.size() < 20'000'000) {
    const std::vector<std::byte> piece = random.bytes(random.below(random.below(10) == 0 ? 6'000'000 : 20'000));
    buffer.append(piece);
    expected.insert(expected.end(), piece.begin(), piece.end());
    REQUIRE(buffer.size() == expected.size());
  }
  CHECK((contents_of(buffer) == expected));
}

TEST_CASE("ChunkedBuffer: what lies in it is never moved", "[chunked_buffer]") {
  ChunkedBuffer buffer;
  std::vector<const std::byte*> places;
  for (int times = 0; times < 100; ++times) {
    buffer.append(std::vector<std::byte>(100'000));
    std::vector<const std::byte*> now;
    buffer.for_each([&](std::span<const std::byte> bytes) { now.push_back(bytes.data()); });
    REQUIRE(now.size() >= places.size());
    now.resize(places.size());
    REQUIRE(now == places);
    places.clear();
    buffer.for_each([&](std::span<const std::byte> bytes) { places.push_back(bytes.data()); });
  }
}

TEST_CASE("ChunkedBuffer: is empty at first and after clear and can be filled again", "[chunked_buffer]") {
  ChunkedBuffer buffer;
  CHECK(contents_of(buffer).empty());
  const std::vector<std::byte> bytes(50'000, std::byte{7});
  buffer.append(bytes);
  buffer.clear();
  CHECK(buffer.size() == 0);
  CHECK(contents_of(buffer).empty());
  buffer.append(bytes);
  CHECK((contents_of(buffer) == bytes));
}
