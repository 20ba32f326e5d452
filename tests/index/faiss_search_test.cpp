// FaissIndex: how a search goes about its work.
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/faiss_codes.hpp"
#include "support/index_model.hpp"
#include "support/sanitized.hpp"

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

void require_faiss_as_a_map(iqdb::DistanceMetric metric, std::size_t steps, std::uint64_t seed,
                            const iqdb_test::ThroughOwnFile<iqdb::FaissIndex>& through_own_file) {
  constexpr std::size_t dim = 6;
  std::vector<float> training;
  for (const std::vector<float>& each : iqdb_test::random_vectors(300, dim, 1)) {
    training.insert(training.end(), each.begin(), each.end());
  }
  CAPTURE(to_string(metric));
  const auto require = [&](const auto& make, iqdb_test::IndexAbilities abilities, double least_recall = 95.0) {
    iqdb_test::require_as_a_map(make, steps, ++seed, std::move(abilities), least_recall, through_own_file);
  };
  require([&] { return iqdb::FaissIndex::flat(dim, metric); }, {.is_exact = true});
  require([&] { return iqdb::FaissIndex::hnsw(dim, metric); }, {.erases = false});
  require([&] { return iqdb::FaissIndex::ivf(dim, metric, 8, training, 8); }, {.is_exact = true});
  require([&] { return iqdb::FaissIndex::ivf(dim, metric, 8, training, 1); }, {.params = {.probes = 4}}, 60.0);
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

TEST_CASE("FaissIndex: random mutations and searches end as in a map", "[faiss][search]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::dot_product}) {
    require_faiss_as_a_map(metric, iqdb_test::sanitized ? 400 : 1500, 1, {});
  }
}

TEST_CASE("FaissIndex: long random lives end as in a map", "[.][long]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto metric = seed % 2 == 0 ? iqdb::DistanceMetric::euclidean : iqdb::DistanceMetric::dot_product;
    require_faiss_as_a_map(
        metric, 5000, seed,
        seed % 4 < 2 ? iqdb_test::through_faiss_file(metric) : iqdb_test::ThroughOwnFile<iqdb::FaissIndex>());
  }
}

TEST_CASE("FaissIndex: probes say how many lists a search looks into, and go before ef", "[faiss][search]") {
  const iqdb::FaissIndex index = index_in_lists(50, 2000);
  iqdb::FlatIndex exact(searched_dim, iqdb::DistanceMetric::euclidean);
  iqdb_test::insert_all(exact, iqdb_test::random_vectors(2000, searched_dim, 1));
  const double few = iqdb_test::recall(index, exact);
  CHECK(iqdb_test::recall(index, exact, {.ef = 50}) > few);
  CHECK(iqdb_test::recall(index, exact, {.probes = 50}) == 100.0);
  CHECK(iqdb_test::recall(index, exact, {.ef = 50, .probes = 1}) == few);
}

TEST_CASE("FaissIndex: search_many, where faiss compares many queries in one call, finds what search finds",
          "[faiss][search]") {
  iqdb::FaissIndex flat = iqdb::FaissIndex::flat(searched_dim, iqdb::DistanceMetric::euclidean);
  iqdb_test::insert_all(flat, iqdb_test::random_vectors(2000, searched_dim, 1));
  const iqdb::FaissIndex lists = index_in_lists(50, 2000);
  const iqdb::FaissIndex graph = index_in_graph(2000);
  std::vector<float> queries;
  for (const std::vector<float>& each : iqdb_test::random_vectors(130, searched_dim, 2)) {
    queries.insert(queries.end(), each.begin(), each.end());
  }
  for (const iqdb::FaissIndex* index : std::initializer_list<const iqdb::FaissIndex*>{&flat, &lists, &graph}) {
    CAPTURE(static_cast<int>(index->kind()));
    for (const std::size_t threads : {1U, 3U}) {
      const auto hits = index->search_many(queries, {.k = 7}, threads);
      REQUIRE(hits.size() == 130);
      std::size_t differences = 0;
      for (std::size_t query = 0; query < 130; ++query) {
        const auto own = std::span<const float>(queries).subspan(query * searched_dim, searched_dim);
        differences +=
            static_cast<std::size_t>(iqdb_test::ids_of(hits[query]) != iqdb_test::ids_of(index->search(own, {.k = 7})));
      }
      // A product of matrices rounds otherwise, so that a query may get into another list.
      CHECK(differences <= (index->kind() == iqdb::FaissKind::ivf ? 2 : 0));
    }
  }
}

TEST_CASE("FaissIndex: room made ahead is no content", "[faiss]") {
  for (const bool in_lists : {false, true}) {
    iqdb::FaissIndex index = in_lists ? index_in_lists(10, 100) : index_in_graph(100);
    index.reserve(1000);
    index.reserve(10);
    CHECK(index.size() == 100);
    index.insert(1000, {9.0F, 9.0F});
    CHECK(index.search({9.0F, 9.0F}, {.k = 1}).at(0).id == 1000);
  }
}
