// HnswIndex: searches with filters, and what it gives back.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "iqdb/index/hnswlib.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/index_model.hpp"
#include "support/sanitized.hpp"

namespace {

constexpr std::size_t steps_of_a_life = iqdb_test::sanitized ? 400 : 1500;

constexpr std::size_t hnsw_dim = 6;

void require_hnsw_as_a_map(iqdb::DistanceMetric metric, std::size_t steps, std::uint64_t seed) {
  const auto make = [metric] { return iqdb::HnswIndex(hnsw_dim, metric); };
  iqdb_test::require_as_a_map(make, steps, seed);
  iqdb_test::require_as_a_map(make, steps, seed, {}, 95.0,
                              [metric](const iqdb::HnswIndex& index, const std::filesystem::path& file) {
                                iqdb::hnswlib_export(index, file);
                                return iqdb::hnswlib_import(file, hnsw_dim, metric);
                              });
}

}  // namespace

TEST_CASE("HnswIndex: random mutations and searches end as in a map", "[hnsw][search]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::dot_product}) {
    require_hnsw_as_a_map(metric, steps_of_a_life, 1);
  }
}

TEST_CASE("HnswIndex: long random lives end as in a map", "[.][long]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    require_hnsw_as_a_map(static_cast<iqdb::DistanceMetric>(seed % 3), 5000, seed);
  }
}

TEST_CASE("HnswIndex: hnswlib's object is there while there are vectors", "[hnsw]") {
  iqdb::HnswIndex index(2, iqdb::DistanceMetric::euclidean);
  CHECK(index.native() == nullptr);
  index.insert(1, {1.0F, 2.0F});
  REQUIRE(index.native() != nullptr);
  CHECK(index.native()->cur_element_count == 1);
}

TEST_CASE("HnswIndex: with room made ahead, insertions move no graph, and an empty index saves and loads", "[hnsw]") {
  iqdb::HnswIndex index(2, iqdb::DistanceMetric::euclidean);
  index.reserve(1000);
  CHECK(iqdb_test::loaded<iqdb::HnswIndex>(iqdb_test::payload_of(index)).size() == 0);
  index.insert(0, {0.0F, 0.0F});
  const auto* const memory = index.native()->data_level0_memory_;
  for (int id = 1; id < 1000; ++id) {
    index.insert(id, {static_cast<float>(id), 0.0F});
  }
  CHECK(index.native()->data_level0_memory_ == memory);
  index.reserve(10);
  CHECK(index.search({500.0F, 0.0F}, {.k = 1}).at(0).id == 500);
}
