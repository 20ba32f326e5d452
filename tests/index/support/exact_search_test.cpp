// Exact search, as FlatIndex and CoreIndex have it: filters, radius, many queries.
#include "iqdb/index/support/exact_search.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/index_model.hpp"

namespace {

using iqdb::IndexErrorKind;
using iqdb::SearchFilter;
using iqdb::SearchParams;
using iqdb::VectorId;
using iqdb_test::ids_of;
using iqdb_test::require_kind;

// In a template, Clang 14 takes a braced list behind == for arguments in parentheses.
std::vector<float> query_of(std::initializer_list<float> components) { return components; }
std::vector<VectorId> expected_ids(std::initializer_list<VectorId> ids) { return ids; }

template <class Index>
Index numbers_from_0(std::size_t count) {
  Index index(1, iqdb::DistanceMetric::euclidean);
  for (std::size_t number = 0; number < count; ++number) {
    index.insert(number, {static_cast<float>(number)}, {{"third", number % 3 == 0}});
  }
  return index;
}

}  // namespace

TEMPLATE_TEST_CASE("exact search: hits are the nearest of the vectors that a filter admits", "[index][search]",
                   iqdb::FlatIndex, iqdb::CoreIndex) {
  const auto index = numbers_from_0<TestType>(100);
  const auto is_third = [](const VectorId&, const std::optional<iqdb::Metadata>& metadata) {
    return std::get<bool>(metadata->at("third"));
  };
  const std::vector<float> query = {50.2F};
  CHECK(ids_of(index.search(query, {.k = 3, .filter = is_third})) == expected_ids({51, 48, 54}));
  CHECK(ids_of(index.search(query, {.k = 3}, is_third)) == expected_ids({51, 48, 54}));
  CHECK(ids_of(index.search(query, {.k = 2, .filter = SearchFilter::deny({50, 48})}, is_third)) ==
        expected_ids({51, 54}));
  CHECK(ids_of(index.search(query, {.filter = SearchFilter::allow({1, 2, 3, 1000})})) == expected_ids({3, 2, 1}));
}

TEMPLATE_TEST_CASE("exact search: a filter is asked only of what would be a hit", "[index][search]", iqdb::FlatIndex,
                   iqdb::CoreIndex) {
  const auto index = numbers_from_0<TestType>(100);
  std::size_t questions = 0;
  const auto counts = [&](const VectorId&) {
    ++questions;
    return true;
  };
  CHECK(ids_of(index.search(query_of({0.0F}), {.k = 2}, counts)) == expected_ids({0, 1}));
  CHECK(questions == 2);
}

TEMPLATE_TEST_CASE("exact search: of an allowed set only its vectors are compared with", "[index][search]",
                   iqdb::FlatIndex, iqdb::CoreIndex) {
  auto index = numbers_from_0<TestType>(100);
  index.erase(5);
  CHECK(ids_of(index.search({0.0F}, {.filter = SearchFilter::allow({7, 5, 6})})) == expected_ids({6, 7}));
}

TEMPLATE_TEST_CASE("exact search: hits lie within the radius, and k bounds their number", "[index][search]",
                   iqdb::FlatIndex, iqdb::CoreIndex) {
  const auto index = numbers_from_0<TestType>(100);
  CHECK(ids_of(index.search({10.0F}, {.radius = 1.0F})) == expected_ids({10, 9, 11}));
  CHECK(ids_of(index.search({10.0F}, {.k = 2, .radius = 1.0F})) == expected_ids({10, 9}));
  CHECK(index.search({10.0F}, {.k = SearchParams::no_limit, .radius = 40.0F}).size() == 51);
  CHECK(index.search({10.5F}, {.radius = 0.25F}).empty());
  require_kind(IndexErrorKind::invalid_config,
               [&] { return index.search({1.0F}, {.radius = std::numeric_limits<float>::quiet_NaN()}); });
}

TEMPLATE_TEST_CASE("exact search: hits come without metadata where the search asks for none", "[index][search]",
                   iqdb::FlatIndex, iqdb::CoreIndex) {
  const auto index = numbers_from_0<TestType>(2);
  CHECK(!index.search({0.0F}, {.with_metadata = false}).at(0).metadata);
  CHECK(index.search({0.0F}).at(0).metadata);
}

TEMPLATE_TEST_CASE("exact search: search_many finds for each query what search finds, in any number of threads",
                   "[index][search]", iqdb::FlatIndex, iqdb::CoreIndex) {
  auto index = numbers_from_0<TestType>(10'000);  // more than are compared with at once
  index.erase(3);
  std::vector<float> queries;
  for (int query = 0; query < 21; ++query) {
    queries.push_back(static_cast<float>(query * 500));
  }
  const SearchParams params{.k = 3, .radius = 400.0F, .filter = SearchFilter::deny({1000})};
  for (const std::size_t threads : {0U, 1U, 3U}) {
    CAPTURE(threads);
    const auto hits = index.search_many(queries, params, threads);
    REQUIRE(hits.size() == queries.size());
    for (std::size_t query = 0; query < queries.size(); ++query) {
      CHECK(ids_of(hits[query]) == ids_of(index.search(std::span(queries).subspan(query, 1), params)));
    }
  }
}

TEMPLATE_TEST_CASE("exact search: search_many refuses what search refuses, and a query that is not whole",
                   "[index][search]", iqdb::FlatIndex, iqdb::CoreIndex) {
  TestType index(2, iqdb::DistanceMetric::euclidean);
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search_many(query_of({1, 2, 3})); });
  CHECK(index.search_many(query_of({1, 2, 3, 4})).size() == 2);
  CHECK(index.search_many(std::vector<float>()).empty());
  index.insert(1, {1.0F, 2.0F});
  const auto throws = [](const VectorId&) -> bool { throw std::runtime_error("no"); };
  CHECK_THROWS_AS(index.search_many(std::vector<float>(40), {.filter = throws}, 2), std::runtime_error);
  TestType other = std::move(index);
  require_kind(IndexErrorKind::invalid_config, [&] { return index.search_many(query_of({1, 2})); });  // NOLINT
}

TEST_CASE("exact search: random mutations and searches of a FlatIndex end as in a map", "[index][search]") {
  for (std::uint8_t tag = 0; tag < 5; ++tag) {
    const auto metric = static_cast<iqdb::DistanceMetric>(tag);
    CAPTURE(to_string(metric));
    iqdb_test::require_as_a_map([&] { return iqdb::FlatIndex(5, metric); }, 400, tag, {.is_exact = true}, 100.0);
  }
}

TEST_CASE("exact search: long random lives of a FlatIndex end as in a map", "[.][long]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto metric = static_cast<iqdb::DistanceMetric>(seed % 5);
    iqdb_test::require_as_a_map([&] { return iqdb::FlatIndex(5, metric); }, 5000, seed, {.is_exact = true}, 100.0);
  }
}
