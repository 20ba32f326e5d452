// UsearchIndex: searches with filters, and what it gives back.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "iqdb/index/usearch.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/index_model.hpp"
#include "support/sanitized.hpp"

namespace {

constexpr std::size_t steps_of_life = iqdb_test::sanitized ? 400 : 1500;

}  // namespace

TEST_CASE("UsearchIndex: random mutations and searches end as in a map", "[usearch][search]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::dot_product}) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      iqdb_test::require_as_a_map([&] { return iqdb::UsearchIndex(6, metric); }, steps_of_life, seed);
    }
  }
}

TEST_CASE("UsearchIndex: random mutations and searches of other scalars end as in a map", "[usearch][search]") {
  const auto make = [] {
    return iqdb::UsearchIndex(6, iqdb::DistanceMetric::euclidean, {.scalar = iqdb::UsearchScalar::f16});
  };
  iqdb_test::require_as_a_map(make, steps_of_life, 3);
}

TEST_CASE("UsearchIndex: usearch's object is there while there are vectors", "[usearch]") {
  iqdb::UsearchIndex index(2, iqdb::DistanceMetric::euclidean);
  CHECK(index.native() == nullptr);
  index.insert(1, {1.0F, 2.0F});
  REQUIRE(index.native() != nullptr);
  CHECK(index.native()->size() == 1);
}

TEST_CASE("UsearchIndex: room is made ahead, and an empty index saves and loads", "[usearch]") {
  iqdb::UsearchIndex index(2, iqdb::DistanceMetric::euclidean);
  index.reserve(1000);
  CHECK(index.native()->capacity() >= 1000);
  CHECK(iqdb_test::loaded<iqdb::UsearchIndex>(iqdb_test::payload_of(index)).size() == 0);
  index.insert(0, {0.0F, 0.0F});
  index.reserve(10);
  CHECK(index.native()->capacity() >= 1000);
  CHECK(index.search({0.0F, 0.0F}, {.k = 1}).at(0).id == 0);
}
