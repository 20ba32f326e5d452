// UsearchIndex: insertion of many vectors in one call.
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "iqdb/index/usearch.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/insert_many.hpp"
#include "support/lent_threads.hpp"
#include "support/operator_new.hpp"

namespace {

constexpr std::size_t many_dim = 6;

iqdb::UsearchIndex graph_with(std::size_t vectors, iqdb::DistanceMetric metric = iqdb::DistanceMetric::euclidean) {
  iqdb::UsearchIndex index(many_dim, metric, {.connectivity = 4, .connectivity_base = 8, .capacity = 1000});
  iqdb_test::insert_one_by_one(index, iqdb_test::SampleRows(0, vectors, many_dim));
  return index;
}

}  // namespace

TEST_CASE("UsearchIndex: rows inserted in one call make the index that insertions one by one make", "[usearch][many]") {
  for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::cosine}) {
    CAPTURE(to_string(metric));
    iqdb_test::require_as_one_by_one([metric] { return graph_with(0, metric); });
  }
}

TEST_CASE("UsearchIndex: rows inserted in one call leave the bytes that insertions one by one leave",
          "[usearch][many]") {
  const iqdb_test::SampleRows samples(100, 500, many_dim);
  iqdb::UsearchIndex expected = graph_with(10);
  iqdb_test::insert_one_by_one(expected, samples);
  iqdb::UsearchIndex index = graph_with(10);
  iqdb_test::Threads threads(3);
  index.insert_many(samples.rows(), threads);
  CHECK(iqdb_test::payload_of(index) == iqdb_test::payload_of(expected));
}

TEST_CASE("UsearchIndex: rows of which one is refused change nothing", "[usearch][many]") {
  iqdb_test::require_refusals_change_nothing(graph_with(0));
}

TEST_CASE("UsearchIndex: rows take the places of erased vectors", "[usearch][many]") {
  for (const std::size_t kept : {0U, 1U, 20U}) {
    CAPTURE(kept);
    iqdb_test::require_places_are_taken([] { return graph_with(0); }, 60, 60 - kept);
  }
}

TEST_CASE("UsearchIndex: rows for which memory is short behind others change nothing", "[usearch][many]") {
  // The last allocations are for what is kept of each row. Where usearch finds no memory, it ends the process.
  constexpr std::size_t rows = 8;
  const iqdb_test::SampleRows samples(100, rows, many_dim);
  iqdb_test::Threads one(1);
  iqdb::UsearchIndex twin = graph_with(100);
  const std::uint64_t all = iqdb_test::allocated_by([&] { twin.insert_many(samples.rows(), one); }).count;
  for (std::uint64_t allocation = all - rows + 1; allocation <= all; ++allocation) {
    CAPTURE(all, allocation);
    iqdb::UsearchIndex index = graph_with(100);
    const std::string before = iqdb_test::contents_of(index);
    REQUIRE_THROWS_AS(iqdb_test::refusing_allocation(allocation, [&] { index.insert_many(samples.rows(), one); }),
                      std::bad_alloc);
    REQUIRE(iqdb_test::contents_of(index) == before);
    CHECK(index.search(samples.vector(0), {.k = 200}).size() == 100);
    const auto again = iqdb_test::loaded<iqdb::UsearchIndex>(iqdb_test::payload_of(index));
    CHECK(iqdb_test::contents_of(again) == before);
    index.insert_many(samples.rows(), one);
    CHECK(iqdb_test::contents_of(index) == iqdb_test::contents_of(twin));
    iqdb_test::require_found(index, samples);
  }
}
