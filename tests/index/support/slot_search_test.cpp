// SlotSearch: the search of an adapter around that of its library, shown by a library that returns what it meets first.
#include "iqdb/index/support/slot_search.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/list_index.hpp"

namespace {

using iqdb::SearchFilter;
using iqdb::SearchParams;
using iqdb::VectorId;
using iqdb_test::ids_of;
using iqdb_test::list_index_of;
using iqdb_test::ListIndex;
using Ids = std::vector<VectorId>;

bool is_even(const VectorId& id) { return id.integer() % 2 == 0; }

}  // namespace

TEST_CASE("SlotSearch: hits are the nearest of the vectors that the filter admits", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  CHECK(ids_of(index.search({5.0F}, {.k = 2, .filter = is_even})) == Ids{4, 2});
  CHECK(ids_of(index.search({5.0F}, {.filter = SearchFilter::deny({5, 4})})) == Ids{3, 2, 1, 0});
}

TEST_CASE("SlotSearch: a predicate needs no filter, and joins one", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  const std::vector<float> query = {5.0F};
  CHECK(ids_of(index.search(query, {.k = 2}, is_even)) == Ids{4, 2});
  CHECK(ids_of(index.search(query, {.filter = SearchFilter::deny({4})}, is_even)) == Ids{2, 0});
  CHECK(ids_of(index.search(query, {.filter = SearchFilter::allow({3, 4})}, is_even)) == Ids{4});
}

TEST_CASE("SlotSearch: a filter that admits fewer than k leaves all of them", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F});
  CHECK(ids_of(index.search({0.0F}, {.filter = [](const VectorId& id) { return id.integer() == 3; }})) == Ids{3});
  CHECK(index.search({0.0F}, {.filter = [](const VectorId&) { return false; }}).empty());
}

TEST_CASE("SlotSearch: a search that would ask too often is given up for a comparison with each admitted vector",
          "[adapters][search]") {
  // One of six wanted: the library may ask 1 + 6 / 16 times.
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  std::multiset<VectorId> questions;
  const auto last = [&](const VectorId& id) {
    questions.insert(id);
    return id.integer() >= 4;
  };
  CHECK(ids_of(index.search(std::vector<float>{5.0F}, {.k = 1}, last)) == Ids{5});
  CHECK(questions == std::multiset<VectorId>{0, 0, 1, 2, 3, 4, 5});
}

TEST_CASE("SlotSearch: what a filter throws passes, though the library must not meet it", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F});
  const auto throws = [](const VectorId&) -> bool { throw std::runtime_error("no"); };
  CHECK_THROWS_AS(index.search({0.0F}, {.filter = throws}), std::runtime_error);
  CHECK_THROWS_AS(index.search(std::vector<float>{0.0F}, {}, throws), std::runtime_error);
  CHECK_THROWS_AS(index.search_many(std::vector<float>{0.0F, 1.0F}, {.filter = throws}), std::runtime_error);
  int questions = 0;
  const auto throws_once = [&](const VectorId&) -> bool {
    if (questions++ == 0) {
      throw std::runtime_error("no");
    }
    return true;
  };
  CHECK_THROWS_AS(index.search(std::vector<float>{0.0F}, {}, throws_once), std::runtime_error);
}

TEST_CASE("SlotSearch: a small allowed set is compared with, without the library", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  CHECK(ids_of(index.search({5.0F}, {.filter = SearchFilter::allow({1, 3, 99})})) == Ids{3, 1});
  CHECK(index.searches == 0);
}

TEST_CASE("SlotSearch: an allowed set that is large is asked by the library", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  std::set<int> most = {0, 1, 2, 3, 4};
  for (int absent = 100; absent < 200; ++absent) {
    most.insert(absent);
  }
  CHECK(ids_of(index.search({5.0F}, {.k = 2, .filter = SearchFilter::allow(most)})) == Ids{1, 0});  // what it met first
  CHECK(index.searches == 1);
}

TEST_CASE("SlotSearch: hits lie within the radius, which belongs to it", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  CHECK(ids_of(index.search({0.0F}, {.radius = 2.0F})) == Ids{0, 1, 2});
  CHECK(ids_of(index.search({0.0F}, {.k = 2, .radius = 2.0F})) == Ids{0, 1});
  CHECK(ids_of(index.search({0.0F}, {.k = SearchParams::no_limit, .radius = 2.0F, .filter = is_even})) == Ids{0, 2});
  CHECK(index.search({9.0F}, {.radius = 1.0F}).empty());
  CHECK(index.search({0.0F}, {.radius = -1.0F}).empty());
}

TEST_CASE("SlotSearch: a radius that is not a number is refused", "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F});
  const float not_a_number = std::numeric_limits<float>::quiet_NaN();
  const auto kind = iqdb::IndexErrorKind::invalid_config;
  iqdb_test::require_kind(kind, [&] { return index.search({0.0F}, {.radius = not_a_number}); });
  iqdb_test::require_kind(kind, [&] { return index.search_many(std::vector<float>{0.0F}, {.radius = not_a_number}); });
}

TEST_CASE("SlotSearch: hits come without metadata where the search asks for none", "[adapters][search]") {
  ListIndex index;
  index.insert(1, {0.0F}, {{"page", 5}});
  CHECK(!index.search({0.0F}, {.with_metadata = false}).at(0).metadata);
  CHECK(index.search({0.0F}).at(0).metadata == iqdb::Metadata{{"page", 5}});
}

TEST_CASE("SlotSearch: search_many finds for each query what search finds, in any number of threads",
          "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  const std::vector<float> queries = {5.0F, 0.0F, 2.2F};
  for (const std::size_t threads : {0U, 1U, 2U, 9U}) {
    CAPTURE(threads);
    const auto hits = index.search_many(queries, {.k = 2, .filter = is_even}, threads);
    REQUIRE(hits.size() == 3);
    CHECK(ids_of(hits[0]) == Ids{4, 2});
    CHECK(ids_of(hits[1]) == Ids{0, 2});
    CHECK(ids_of(hits[2]) == Ids{2, 4});
  }
}

TEST_CASE("SlotSearch: search_many of no queries finds nothing, and of an incomplete one refuses",
          "[adapters][search]") {
  const ListIndex index = list_index_of({0.0F});
  CHECK(index.search_many(std::vector<float>()).empty());
  ListIndex empty;
  CHECK(empty.search_many(std::vector<float>{1.0F, 2.0F}).size() == 2);
  const float not_a_number = std::nanf("");
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector, [&] {
    return index.search_many(std::vector<float>{1.0F, not_a_number});
  });
}
