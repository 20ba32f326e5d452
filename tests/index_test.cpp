#include "iqdb/index.hpp"

#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/index_error.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::Hit;
using iqdb::IndexError;
using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::SearchParams;
using iqdb::VectorId;

// The parts of an index, to be put together with one left out.
struct Insert {
  void insert(VectorId, std::span<const float>, std::optional<Metadata>);
};
struct Erase {
  void erase(const VectorId&);
};
struct Size {
  [[nodiscard]] std::size_t size() const;
};
struct Dim {
  [[nodiscard]] std::size_t dim() const;
};
struct Metric {
  [[nodiscard]] DistanceMetric metric() const;
};
struct Search {
  [[nodiscard]] std::vector<Hit> search(std::span<const float>, const SearchParams&) const;
};

template <class... Parts>
struct Of : Parts... {};

using Whole = Of<Insert, Erase, Size, Dim, Metric, Search>;
static_assert(iqdb::Insertable<Whole>);
static_assert(iqdb::Erasable<Whole>);
static_assert(iqdb::HasSize<Whole>);
static_assert(iqdb::HasDim<Whole>);
static_assert(iqdb::HasMetric<Whole>);
static_assert(iqdb::Searchable<Whole>);
static_assert(iqdb::Index<Whole>);
static_assert(iqdb::SearchableIndex<Whole>);

// Each atom is missing without its member, and Index with it.
using WithoutInsert = Of<Erase, Size, Dim, Metric, Search>;
static_assert(!iqdb::Insertable<WithoutInsert> && !iqdb::Index<WithoutInsert>);
static_assert(!iqdb::SearchableIndex<WithoutInsert>);
using WithoutErase = Of<Insert, Size, Dim, Metric, Search>;
static_assert(!iqdb::Erasable<WithoutErase> && !iqdb::Index<WithoutErase>);
using WithoutSize = Of<Insert, Erase, Dim, Metric, Search>;
static_assert(!iqdb::HasSize<WithoutSize> && !iqdb::Index<WithoutSize>);
using WithoutDim = Of<Insert, Erase, Size, Metric, Search>;
static_assert(!iqdb::HasDim<WithoutDim> && !iqdb::Index<WithoutDim>);
using WithoutMetric = Of<Insert, Erase, Size, Dim, Search>;
static_assert(!iqdb::HasMetric<WithoutMetric> && !iqdb::Index<WithoutMetric>);
using WithoutSearch = Of<Insert, Erase, Size, Dim, Metric>;
static_assert(!iqdb::Searchable<WithoutSearch> && iqdb::Index<WithoutSearch>);
static_assert(!iqdb::SearchableIndex<WithoutSearch>);

// What has the name but cannot be called as it has to be.
struct SizeThatIsNotConst {
  std::size_t size();
};
static_assert(!iqdb::HasSize<SizeThatIsNotConst>);
struct DimThatIsText {
  [[nodiscard]] std::string dim() const;
};
static_assert(!iqdb::HasDim<DimThatIsText>);
struct MetricThatIsANumber {
  [[nodiscard]] int metric() const;
};
static_assert(!iqdb::HasMetric<MetricThatIsANumber>);
struct InsertWithoutMetadata {
  void insert(VectorId, std::span<const float>);
};
static_assert(!iqdb::Insertable<InsertWithoutMetadata>);
struct InsertOfDoubles {
  void insert(VectorId, std::span<const double>, std::optional<Metadata>);
};
static_assert(!iqdb::Insertable<InsertOfDoubles>);
struct EraseOfNumbersOnly {
  void erase(std::uint64_t);
};
static_assert(!iqdb::Erasable<EraseOfNumbersOnly>);
struct SearchThatIsNotConst {
  std::vector<Hit> search(std::span<const float>, const SearchParams&);
};
static_assert(!iqdb::Searchable<SearchThatIsNotConst>);
struct SearchForIds {
  [[nodiscard]] std::vector<VectorId> search(std::span<const float>, const SearchParams&) const;
};
static_assert(!iqdb::Searchable<SearchForIds>);

// What any type of the right shape may leave out or do otherwise.
struct InsertThatReturns {
  bool insert(const VectorId&, std::span<const float>, const std::optional<Metadata>&);
};
static_assert(iqdb::Insertable<InsertThatReturns>);
struct SizeOfInt {
  [[nodiscard]] int size() const;
};
static_assert(iqdb::HasSize<SizeOfInt>);

static_assert(!iqdb::Index<int>);
static_assert(!iqdb::Searchable<int>);
static_assert(!iqdb::Index<std::vector<float>>);
static_assert(iqdb::SearchableIndex<iqdb::FlatIndex>);

static_assert(std::is_base_of_v<std::runtime_error, IndexError>);
static_assert(std::is_nothrow_copy_constructible_v<IndexError>);

}  // namespace

TEST_CASE("Index: the concepts hold for exactly the types that have each part", "[index]") {
  // All of it stands in the static_asserts above: that this compiles is the test.
  SUCCEED();
}

TEST_CASE("IndexError: keeps its kind and its message", "[index]") {
  const IndexError error(IndexErrorKind::not_found, "the index holds no vector 7");
  CHECK(error.kind() == IndexErrorKind::not_found);
  CHECK(std::string(error.what()) == "the index holds no vector 7");
}

TEST_CASE("IndexErrorKind: to_string gives the name in the source and unknown for what is none", "[index]") {
  CHECK(to_string(IndexErrorKind::dimension_mismatch) == "dimension_mismatch");
  CHECK(to_string(IndexErrorKind::invalid_vector) == "invalid_vector");
  CHECK(to_string(IndexErrorKind::invalid_config) == "invalid_config");
  CHECK(to_string(IndexErrorKind::not_found) == "not_found");
  CHECK(to_string(IndexErrorKind::duplicate) == "duplicate");
  CHECK(to_string(IndexErrorKind::invalid_metric) == "invalid_metric");
  CHECK(to_string(IndexErrorKind::resource_limit) == "resource_limit");
  CHECK(to_string(static_cast<IndexErrorKind>(7)) == "unknown");
}
