// FaissIndex: how a search goes about its work.
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

constexpr std::size_t searched_dim = 2;

// `lists` lists of about as many vectors each, of which a search looks into one.
iqdb::FaissIndex index_in_lists(std::size_t lists, std::size_t vectors,
                                iqdb::DistanceMetric metric = iqdb::DistanceMetric::euclidean) {
  const auto all = iqdb_test::random_vectors(vectors, searched_dim, 1);
  std::vector<float> training;
  for (const std::vector<float>& each : all) {
    training.insert(training.end(), each.begin(), each.end());
  }
  iqdb::FaissIndex index = iqdb::FaissIndex::ivf(searched_dim, metric, lists, training, 1);
  iqdb_test::insert_all(index, all);
  return index;
}

iqdb::FaissIndex index_in_graph(std::size_t vectors) {
  iqdb::FaissIndex index = iqdb::FaissIndex::hnsw(searched_dim, iqdb::DistanceMetric::euclidean, 8);
  iqdb_test::insert_all(index, iqdb_test::random_vectors(vectors, searched_dim, 1));
  return index;
}

}  // namespace

TEST_CASE("FaissIndex: a search whose lists hold too few looks into more lists and not at all vectors",
          "[faiss][search]") {
  constexpr std::size_t vectors = 4000;
  constexpr std::size_t k = 100;
  const iqdb::FaissIndex index = index_in_lists(100, vectors);
  const std::vector<float> query(searched_dim, 0.1F);
  std::size_t found = 0;
  const auto allocated = iqdb_test::allocated_by([&] { found = index.search(query, {.k = k, .ef = 1}).size(); });
  CHECK(found == k);
  // To compare with all takes a list of all.
  CHECK(allocated.largest < vectors * sizeof(iqdb::index_support::Found));
}

TEST_CASE("FaissIndex: a search that looks into more lists finds what is nearest", "[faiss][search]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::dot_product}) {
    CAPTURE(to_string(metric));
    const iqdb::FaissIndex index = index_in_lists(100, 2000, metric);
    iqdb::FlatIndex exact(searched_dim, metric);
    iqdb_test::insert_all(exact, iqdb_test::random_vectors(2000, searched_dim, 1));
    CHECK(iqdb_test::recall(index, exact, {.k = 300, .ef = 100}) == 100);
    CHECK(iqdb_test::recall(index, exact, {.k = 300, .ef = 1}) > 60);
  }
}

TEST_CASE("FaissIndex: what is nearest is found beside vectors whose distances are no numbers", "[faiss][search]") {
  constexpr auto metric = iqdb::DistanceMetric::dot_product;
  iqdb_test::require_nearest_beside_no_numbers(iqdb::FaissIndex::flat(2, metric));
  iqdb_test::require_nearest_beside_no_numbers(iqdb::FaissIndex::hnsw(2, metric));
  const std::vector<float> training = {1.0F, 2.0F, 2.0F, 1.0F};
  iqdb_test::require_nearest_beside_no_numbers(iqdb::FaissIndex::ivf(2, metric, 2, training, 2));
}

TEST_CASE("FaissIndex: a search leaves the statistics of faiss alone, which have no lock", "[faiss][search]") {
  const std::vector<float> query(searched_dim, 0.1F);
  const iqdb::FaissIndex lists = index_in_lists(4, 200);
  const iqdb::FaissIndex graph = index_in_graph(200);
  faiss::indexIVF_stats.reset();
  faiss::hnsw_stats.reset();
  CHECK(lists.search(query).size() == 10);
  CHECK(graph.search(query).size() == 10);
  CHECK(faiss::indexIVF_stats.nq == 0);
  CHECK(faiss::indexIVF_stats.ndis == 0);
  CHECK(faiss::hnsw_stats.n1 == 0);
  CHECK(faiss::hnsw_stats.ndis == 0);
}

TEST_CASE("FaissIndex: a search that finds no memory throws", "[faiss][search]") {
  const std::vector<float> query(searched_dim, 0.1F);
  iqdb::FaissIndex flat = iqdb::FaissIndex::flat(searched_dim, iqdb::DistanceMetric::euclidean);
  iqdb_test::insert_all(flat, iqdb_test::random_vectors(200, searched_dim, 1));
  const iqdb::FaissIndex graph = index_in_graph(200);
  const iqdb::FaissIndex lists = index_in_lists(4, 200);
  for (const iqdb::FaissIndex* const index : {static_cast<const iqdb::FaissIndex*>(&flat), &graph, &lists}) {
    bool has_thrown = true;
    std::uint64_t allocation = 1;
    for (; has_thrown; ++allocation) {
      CAPTURE(allocation);
      try {
        iqdb_test::refusing_allocation(allocation, [&] { static_cast<void>(index->search(query)); });
        has_thrown = false;
      } catch (const std::bad_alloc&) {
        has_thrown = true;
      }
      CHECK(index->search(query).size() == 10);
    }
    CHECK(allocation > 5);
  }
}
