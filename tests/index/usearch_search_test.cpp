// UsearchIndex: searches with filters, and what it gives back.
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "iqdb/index/usearch.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/index_model.hpp"
#include "support/sanitized.hpp"

namespace {

constexpr std::size_t steps_of_life = iqdb_test::sanitized ? 400 : 1500;

// Not i8, which fits the cosine alone.
constexpr std::array scalars_of_lives = {iqdb::UsearchScalar::f16, iqdb::UsearchScalar::bf16, iqdb::UsearchScalar::f64,
                                         iqdb::UsearchScalar::f32};

void require_usearch_as_a_map(iqdb::DistanceMetric metric, iqdb::UsearchScalar scalar, std::size_t steps,
                              std::uint64_t seed) {
  const auto make = [=] { return iqdb::UsearchIndex(6, metric, {.scalar = scalar}); };
  iqdb_test::require_as_a_map(make, steps, seed);
  iqdb_test::require_as_a_map(make, steps, seed, {}, 95.0,
                              [](const iqdb::UsearchIndex& index, const std::filesystem::path& file) {
                                iqdb::usearch_export(index, file);
                                return iqdb::usearch_import(file);
                              });
}

}  // namespace

TEST_CASE("UsearchIndex: random mutations and searches end as in a map", "[usearch][search]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::dot_product}) {
    require_usearch_as_a_map(metric, iqdb::UsearchScalar::f32, steps_of_life, 1);
  }
}

TEST_CASE("UsearchIndex: random mutations and searches of other scalars end as in a map", "[usearch][search]") {
  for (const auto scalar : scalars_of_lives) {
    require_usearch_as_a_map(iqdb::DistanceMetric::euclidean, scalar, steps_of_life / 2, 3);
  }
}

TEST_CASE("UsearchIndex: long random lives end as in a map", "[.][long]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    require_usearch_as_a_map(seed % 2 == 0 ? iqdb::DistanceMetric::euclidean : iqdb::DistanceMetric::dot_product,
                             scalars_of_lives.at(seed % scalars_of_lives.size()), 5000, seed);
  }
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
