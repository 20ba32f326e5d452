// HnswIndex: insertion of many vectors in one call, in several threads.
#include <cstddef>
#include <cstdint>
#include <functional>

#include "iqdb/index/flat.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/hnsw_graph_bytes.hpp"
#include "support/insert_many.hpp"
#include "support/lent_threads.hpp"
#include "support/operator_new.hpp"
#include "support/sanitized.hpp"

namespace {

constexpr std::size_t many_dim = 6;

// The fewer links, the more levels a graph of few nodes has.
iqdb::HnswIndex graph_with(std::size_t links, std::size_t vectors = 0,
                           iqdb::DistanceMetric metric = iqdb::DistanceMetric::euclidean) {
  iqdb::HnswIndex index(many_dim, metric, {.links = links, .ef_construction = 60});
  iqdb_test::insert_one_by_one(index, iqdb_test::SampleRows(0, vectors, many_dim));
  return index;
}

// The calling thread, which takes the last row first. One of its allocations at a row is refused.
class Backwards final : public iqdb::LentThreads {
 public:
  Backwards(std::size_t row, std::uint64_t allocation) : row_(row), allocation_(allocation) {}
  [[nodiscard]] std::size_t count() const noexcept override { return 1; }
  void each(std::size_t numbers, const std::function<void(std::size_t)>& work) override {
    for (std::size_t number = numbers; number-- > 0;) {
      if (number == row_) {
        iqdb_test::refusing_allocation(allocation_, [&] { work(number); });
      } else {
        work(number);
      }
    }
  }

 private:
  std::size_t row_;
  std::uint64_t allocation_;
};

}  // namespace

TEST_CASE("HnswIndex: rows inserted in one call make the index that insertions one by one make", "[hnswlib][many]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::cosine}) {
    CAPTURE(to_string(metric));
    iqdb_test::require_as_one_by_one([metric] { return graph_with(16, 0, metric); });
  }
}

TEST_CASE("HnswIndex: rows inserted in one thread make the graph that insertions one by one make", "[hnswlib][many]") {
  for (const std::size_t links : {2U, 16U}) {
    CAPTURE(links);
    iqdb::HnswIndex expected = graph_with(links, 1);
    const iqdb_test::SampleRows samples(100, 500, many_dim);
    iqdb_test::insert_one_by_one(expected, samples);
    iqdb::HnswIndex index = graph_with(links, 0);
    iqdb_test::Threads one(1);
    index.insert_many(iqdb_test::SampleRows(0, 1, many_dim).rows(), one);
    index.insert_many(samples.rows(), one);
    CHECK(iqdb_test::graph_bytes_of(index) == iqdb_test::graph_bytes_of(expected));
  }
}

TEST_CASE("HnswIndex: rows of which one is refused change nothing", "[hnswlib][many]") {
  iqdb_test::require_refusals_change_nothing(graph_with(4));
}

TEST_CASE("HnswIndex: rows take the places of erased vectors", "[hnswlib][many]") {
  for (const std::size_t kept : {0U, 1U, 20U}) {
    CAPTURE(kept);
    iqdb_test::require_places_are_taken([] { return graph_with(16); }, 60, 60 - kept);
  }
}

TEST_CASE("HnswIndex: rows inserted in several threads are found as well as those inserted one by one",
          "[hnswlib][many][recall]") {
  constexpr std::size_t count = iqdb_test::sanitized ? 1'000 : 4'000;
  const iqdb_test::SampleRows samples(0, count, many_dim);
  iqdb::FlatIndex exact(many_dim, iqdb::DistanceMetric::euclidean);
  iqdb_test::insert_one_by_one(exact, samples);
  iqdb::HnswIndex alone = graph_with(8);
  iqdb_test::insert_one_by_one(alone, samples);
  for (const std::size_t threads : {2U, 4U}) {
    CAPTURE(threads);
    iqdb::HnswIndex index = graph_with(8);
    iqdb_test::Threads lent(threads);
    for (std::size_t first = 0; first < count; first += 250) {
      index.insert_many(iqdb_test::SampleRows(samples, first, 250).rows(), lent);
    }
    CHECK(iqdb_test::recall(index, exact) > iqdb_test::recall(alone, exact) - 1);
  }
}

TEST_CASE("HnswIndex: rows for which memory is short change nothing", "[hnswlib][many]") {
  for (const std::size_t vectors : {0U, 1U, 12U}) {
    if (iqdb_test::sanitized && vectors == 0) {
      continue;  // a constructor of hnswlib's that finds no memory forgets what it has, which a sanitizer calls a leak
    }
    CAPTURE(vectors);
    iqdb_test::require_nothing_without_memory([vectors] { return graph_with(4, vectors); }, 8);
  }
}

TEST_CASE("HnswIndex: rows for which memory is short while the graph grows change nothing", "[hnswlib][many]") {
  iqdb_test::require_nothing_without_memory([] { return graph_with(4, 60); }, 8);
}

TEST_CASE("HnswIndex: rows for which memory is short behind those that take erased places change nothing",
          "[hnswlib][many]") {
  iqdb_test::require_nothing_without_memory(
      [] {
        iqdb::HnswIndex index = graph_with(4, 12);
        for (std::uint64_t number = 3; number < 7; ++number) {
          index.erase(iqdb_test::sample_id(number));
        }
        return index;
      },
      8);
}

TEST_CASE("HnswIndex: rows for which memory is short in one of several threads change nothing", "[hnswlib][many]") {
  for (const std::size_t number : {0U, 5U}) {
    CAPTURE(number);
    iqdb_test::require_nothing_without_memory([] { return graph_with(4, 12); }, 8,
                                              [number](auto& index, const auto& rows, std::uint64_t allocation) {
                                                iqdb_test::RefusingThreads threads(3, number, allocation);
                                                index.insert_many(rows, threads);
                                              });
  }
}

TEST_CASE("HnswIndex: a node for which memory is short between two levels is no dead end for other rows",
          "[hnswlib][many]") {
  for (std::size_t row = 0; row < 16; ++row) {
    CAPTURE(row);
    iqdb_test::require_nothing_without_memory([] { return graph_with(4, 3); }, 16,
                                              [row](auto& index, const auto& rows, std::uint64_t allocation) {
                                                Backwards thread(row, allocation);
                                                index.insert_many(rows, thread);
                                              });
  }
}
