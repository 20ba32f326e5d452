// HnswIndex: what becomes of an index, and of memory, where memory is short.
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "iqdb/index/hnswlib.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/insert_many.hpp"
#include "support/sample_index.hpp"

namespace {

constexpr std::size_t short_dim = 6;
constexpr std::size_t first_capacity = 64;  // the next insertion makes the graph grow

iqdb::HnswIndex full_graph(std::size_t vectors) {
  iqdb::HnswIndex index(short_dim, iqdb::DistanceMetric::euclidean, {.links = 4, .ef_construction = 20});
  iqdb_test::insert_one_by_one(index, iqdb_test::SampleRows(0, vectors, short_dim));
  return index;
}

// The same with erased places.
iqdb::HnswIndex graph_with_gaps() {
  iqdb::HnswIndex index = full_graph(20);
  for (std::uint64_t number = 3; number < 7; ++number) {
    index.erase(iqdb_test::sample_id(number));
  }
  return index;
}

// Requires that an index of `make()` leaves no memory behind, whichever allocation of `attempt(index, allocation)`, which
// refuses the one of that number, is in vain.
template <class Make, class Attempt>
void require_no_memory_left_behind(const Make& make, const Attempt& attempt) {
  bool has_thrown = true;
  for (std::uint64_t allocation = 1; has_thrown; ++allocation) {
    CAPTURE(allocation);
    const std::int64_t before = iqdb_test::live_allocations();
    try {
      iqdb::HnswIndex index = make();
      attempt(index, allocation);
      has_thrown = false;
    } catch (const std::bad_alloc&) {
      has_thrown = true;
    }
    REQUIRE(iqdb_test::live_allocations() == before);
  }
}

void insert_one(iqdb::HnswIndex& index, const iqdb_test::SampleRows& one, std::uint64_t allocation) {
  iqdb_test::refusing_allocation(allocation, [&] { iqdb_test::insert_one_by_one(index, one); });
}

}  // namespace

TEST_CASE("HnswIndex: an insertion for which memory is short while the graph grows changes nothing",
          "[hnswlib][memory]") {
  const iqdb_test::SampleRows one(100, 1, short_dim);
  bool has_thrown = true;
  for (std::uint64_t allocation = 1; has_thrown; ++allocation) {
    CAPTURE(allocation);
    iqdb::HnswIndex index = full_graph(first_capacity);
    const std::string before = iqdb_test::contents_of(index);
    try {
      insert_one(index, one, allocation);
      has_thrown = false;
    } catch (const std::bad_alloc&) {
      has_thrown = true;
      REQUIRE(iqdb_test::contents_of(index) == before);
      iqdb_test::insert_one_by_one(index, one);
    }
    const iqdb_test::SampleRows more(200, 100, short_dim);
    iqdb_test::insert_one_by_one(index, more);
    iqdb_test::require_found(index, one);
    iqdb_test::require_found(index, more);
  }
}

TEST_CASE("HnswIndex: an insertion for which memory is short leaves no memory behind", "[hnswlib][memory]") {
  const iqdb_test::SampleRows one(100, 1, short_dim);
  for (const std::size_t vectors : {std::size_t{12}, first_capacity}) {
    CAPTURE(vectors);
    require_no_memory_left_behind([vectors] { return full_graph(vectors); },
                                  [&](auto& index, std::uint64_t allocation) { insert_one(index, one, allocation); });
  }
}

TEST_CASE("HnswIndex: an insertion into an erased place for which memory is short leaves no memory behind",
          "[hnswlib][memory]") {
  const iqdb_test::SampleRows one(100, 1, short_dim);
  require_no_memory_left_behind(graph_with_gaps,
                                [&](auto& index, std::uint64_t allocation) { insert_one(index, one, allocation); });
}

TEST_CASE("HnswIndex: rows for which memory is short in one of several threads leave no memory behind",
          "[hnswlib][memory]") {
  const iqdb_test::SampleRows rows(100, 8, short_dim);
  for (const std::size_t number : {0U, 5U}) {
    CAPTURE(number);
    require_no_memory_left_behind([] { return full_graph(12); },
                                  [&](auto& index, std::uint64_t allocation) {
                                    iqdb_test::RefusingThreads threads(3, number, allocation);
                                    index.insert_many(rows.rows(), threads);
                                  });
  }
}

TEST_CASE("HnswIndex: a search for which memory is short leaves no memory behind", "[hnswlib][memory]") {
  const std::vector<float> query(short_dim, 0.5F);
  require_no_memory_left_behind(graph_with_gaps, [&](auto& index, std::uint64_t allocation) {
    iqdb_test::refusing_allocation(allocation, [&] { static_cast<void>(index.search(query, {.k = 3})); });
  });
}
