// SearchFilter: which vectors it admits.
#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace {

using iqdb::SearchFilter;
using iqdb::VectorId;

const std::optional<iqdb::Metadata> nothing_stored;

}  // namespace

TEST_CASE("SearchFilter: one that was not given admits every vector without a question", "[search]") {
  const SearchFilter filter;
  CHECK(filter.admits_all());
  CHECK(filter.admits(1, nothing_stored));
  CHECK(filter.allowed() == nullptr);
  CHECK(iqdb::SearchParams().filter.admits_all());
}

TEST_CASE("SearchFilter: a function decides by the identifier", "[search]") {
  const SearchFilter filter = [](const VectorId& id) { return id.integer() > 5; };
  CHECK(!filter.admits_all());
  CHECK(filter.admits(6, nothing_stored));
  CHECK(!filter.admits(5, nothing_stored));
}

TEST_CASE("SearchFilter: a function decides by the metadata", "[search]") {
  const SearchFilter filter = [](const VectorId&, const std::optional<iqdb::Metadata>& metadata) {
    return metadata && metadata->contains("page");
  };
  CHECK(filter.admits(1, iqdb::Metadata{{"page", 5}}));
  CHECK(!filter.admits(1, iqdb::Metadata{{"line", 5}}));
  CHECK(!filter.admits(1, nothing_stored));
}

TEST_CASE("SearchFilter: what the function throws passes", "[search]") {
  const SearchFilter filter = [](const VectorId&) -> bool { throw std::runtime_error("no"); };
  CHECK_THROWS_AS(filter.admits(1, nothing_stored), std::runtime_error);
}

TEST_CASE("SearchFilter: allow admits the given identifiers alone, and says which", "[search]") {
  const auto name = VectorId::from_bytes("name");
  const SearchFilter filter = SearchFilter::allow({1, name});
  CHECK(filter.admits(1, nothing_stored));
  CHECK(filter.admits(name, nothing_stored));
  CHECK(!filter.admits(2, nothing_stored));
  REQUIRE(filter.allowed() != nullptr);
  CHECK(*filter.allowed() == std::unordered_set<VectorId>{1, name});
}

TEST_CASE("SearchFilter: deny admits all but the given identifiers", "[search]") {
  const SearchFilter filter = SearchFilter::deny({1});
  CHECK(!filter.admits(1, nothing_stored));
  CHECK(filter.admits(2, nothing_stored));
  CHECK(filter.allowed() == nullptr);
}

TEST_CASE("SearchFilter: identifiers come from any range of them or of integers", "[search]") {
  CHECK(SearchFilter::allow(std::vector<VectorId>{1, 2}).allowed()->size() == 2);
  CHECK(SearchFilter::allow(std::set<int>{1, 2, 3}).allowed()->size() == 3);
  CHECK(!SearchFilter::deny(std::vector<std::uint64_t>{7}).admits(7, nothing_stored));
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_config,
                          [] { return SearchFilter::allow(std::vector<int>{-1}); });
}

TEST_CASE("SearchFilter: an empty set allows nothing and denies nothing", "[search]") {
  CHECK(!SearchFilter::allow(std::vector<int>()).admits(1, nothing_stored));
  CHECK(SearchFilter::deny(std::vector<int>()).admits(1, nothing_stored));
}

TEST_CASE("SearchFilter: a copy admits what the original does, and outlives it", "[search]") {
  std::optional<SearchFilter> original = SearchFilter::allow({1});
  const SearchFilter copy = *original;  // NOLINT(performance-unnecessary-copy-initialization)
  original.reset();
  CHECK(copy.admits(1, nothing_stored));
  CHECK(!copy.admits(2, nothing_stored));
}

TEST_CASE("SearchFilter: what is no predicate of an identifier makes none", "[search]") {
  STATIC_REQUIRE(std::is_constructible_v<SearchFilter, bool (*)(const VectorId&)>);
  STATIC_REQUIRE(!std::is_constructible_v<SearchFilter, int>);
  STATIC_REQUIRE(!std::is_constructible_v<SearchFilter, void (*)(const VectorId&)>);
  STATIC_REQUIRE(!std::is_constructible_v<SearchFilter, bool (*)(const char*)>);
}
