// Content: what an index says of the vectors that it holds.
#include "iqdb/index/support/content.hpp"

#include <concepts>
#include <initializer_list>
#include <optional>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/list_index.hpp"

namespace {

using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::VectorId;
using iqdb_test::require_kind;

// In a template, Clang 14 takes a braced list behind == for arguments in parentheses.
std::vector<VectorId> ids_in(std::initializer_list<VectorId> ids) { return ids; }
std::vector<float> numbers_in(std::initializer_list<float> numbers) { return numbers; }

template <class Index>
Index empty_index_of_one_dimension() {
  if constexpr (std::same_as<Index, iqdb_test::ListIndex>) {
    return Index();
  } else {
    return Index(1, iqdb::DistanceMetric::euclidean);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("Content: an index gives back what it holds under an identifier", "[index]", iqdb::FlatIndex,
                   iqdb::CoreIndex, iqdb_test::ListIndex) {
  STATIC_REQUIRE(iqdb::GivesContent<TestType>);
  auto index = empty_index_of_one_dimension<TestType>();
  const auto name = VectorId::from_bytes("name");
  index.insert(name, {2.0F}, {{"page", 5}});
  index.insert(1, {3.0F});
  CHECK(index.get(name).vector == numbers_in({2.0F}));
  CHECK(index.get(name).metadata == Metadata{{"page", 5}});
  CHECK(index.find(1)->vector == numbers_in({3.0F}));
  CHECK(!index.find(1)->metadata);
  CHECK(index.metadata(name) == Metadata{{"page", 5}});
  CHECK(!index.metadata(1));
  CHECK(index.ids() == ids_in({name, 1}));
}

TEMPLATE_TEST_CASE("Content: an identifier that is not held is not found", "[index]", iqdb::FlatIndex, iqdb::CoreIndex,
                   iqdb_test::ListIndex) {
  auto index = empty_index_of_one_dimension<TestType>();
  index.insert(1, {3.0F});
  index.insert(2, {4.0F});
  index.erase(1);
  CHECK(!index.find(1));
  require_kind(IndexErrorKind::not_found, [&] { return index.get(1); });
  require_kind(IndexErrorKind::not_found, [&] { return index.metadata(1); });
  CHECK(index.ids() == ids_in({2}));
}

TEMPLATE_TEST_CASE("Content: an update of metadata leaves the vector, and its place, as they are", "[index]",
                   iqdb::FlatIndex, iqdb::CoreIndex, iqdb_test::ListIndex) {
  STATIC_REQUIRE(iqdb::UpdatesMetadata<TestType>);
  STATIC_REQUIRE(iqdb::ChecksUpdateMetadata<TestType>);
  auto index = empty_index_of_one_dimension<TestType>();
  index.insert(1, {3.0F}, {{"page", 5}});
  index.insert(2, {4.0F});
  index.update_metadata(1, Metadata{{"page", 6}});
  index.update_metadata(2, Metadata{{"page", 7}});
  CHECK(index.get(1).metadata == Metadata{{"page", 6}});
  CHECK(index.get(1).vector == numbers_in({3.0F}));
  CHECK(index.get(2).metadata == Metadata{{"page", 7}});
  index.update_metadata(1, std::nullopt);
  CHECK(!index.metadata(1));
  CHECK(index.ids() == ids_in({1, 2}));
}

TEMPLATE_TEST_CASE("Content: an update of metadata that is refused changes nothing", "[index]", iqdb::FlatIndex,
                   iqdb::CoreIndex, iqdb_test::ListIndex) {
  auto index = empty_index_of_one_dimension<TestType>();
  index.insert(1, {3.0F}, {{"page", 5}});
  const auto refuse = [&](IndexErrorKind kind, const VectorId& id, const Metadata& metadata) {
    require_kind(kind, [&] { index.check_update_metadata(id, metadata); });
    require_kind(kind, [&] { index.update_metadata(id, metadata); });
  };
  refuse(IndexErrorKind::not_found, 2, {{"page", 6}});
  refuse(IndexErrorKind::invalid_config, 1, {{"\xFF", 6}});
  CHECK(index.metadata(1) == Metadata{{"page", 5}});
  CHECK(index.size() == 1);
}

TEMPLATE_TEST_CASE("Content: room that is made ahead is no content", "[index]", iqdb::FlatIndex, iqdb::CoreIndex,
                   iqdb_test::ListIndex) {
  auto index = empty_index_of_one_dimension<TestType>();
  index.reserve(6);
  CHECK(index.size() == 0);
  index.insert(1, {3.0F});
  index.reserve(0);
  CHECK(index.get(1).vector == numbers_in({3.0F}));
  CHECK(index.ids().size() == 1);
}
