// Subject: what is assumed of an index where nothing is said.
#include "iqdb/persist/testing/subject.hpp"

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"

namespace of_subject {

namespace {

using iqdb::FlatIndex;
using iqdb::testing::payload_of;
using iqdb::testing::Subject;

const Subject<FlatIndex> subject{.make = [] { return FlatIndex(2, iqdb::DistanceMetric::euclidean); }};

}  // namespace

TEST_CASE("Subject: contents are the bytes that the index saves", "[testing]") {
  FlatIndex index = subject.make();
  const std::vector<std::byte> saved = iqdb::bytes_of([&](iqdb::Writer& writer) { index.save_to(writer); });
  const std::string contents = subject.contents(index);
  REQUIRE(contents.size() == saved.size());
  for (std::size_t at = 0; at < saved.size(); ++at) {
    CHECK(static_cast<std::byte>(contents[at]) == saved[at]);
  }
  CHECK(contents == payload_of(index));
}

TEST_CASE("Subject: indexes with other vectors have other contents", "[testing]") {
  FlatIndex index = subject.make();
  const std::string empty = subject.contents(index);
  const std::vector<float> vector = subject.vector(1, 2);
  index.insert(1, std::span<const float>(vector));
  const std::string filled = subject.contents(index);
  CHECK(filled != empty);
  index.erase(1);
  CHECK(subject.contents(index) == empty);
}

TEST_CASE("Subject: a vector follows from its number and has the dimension that was asked for", "[testing]") {
  std::set<std::vector<float>> vectors;
  for (std::uint64_t number = 0; number < 100; ++number) {
    const std::vector<float> vector = subject.vector(number, 5);
    CHECK(vector.size() == 5);
    CHECK(vector == subject.vector(number, 5));
    vectors.insert(vector);
  }
  CHECK(vectors.size() == 100);
  CHECK(subject.vector(1, 0).empty());
}

}  // namespace of_subject
