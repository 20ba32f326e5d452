#include "iqdb/insert_overloads.hpp"

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::Metadata;
using iqdb::Value;
using iqdb_test::rows_of;
using iqdb_test::SampleRow;

FlatIndex empty_index() { return {2, iqdb::DistanceMetric::euclidean}; }

SampleRow only_row(const FlatIndex& index) {
  const auto rows = rows_of(index);
  REQUIRE(rows.size() == 1);
  return rows.front();
}

}  // namespace

TEST_CASE("insert: takes a vector as a braced list of floats", "[insert]") {
  FlatIndex index = empty_index();
  index.insert(1, {.25F, .5F});
  const SampleRow row = only_row(index);
  CHECK(row.id == 1);
  CHECK(row.vector == std::vector<float>{.25F, .5F});
  CHECK_FALSE(row.metadata.has_value());
}

TEST_CASE("insert: takes any contiguous floats", "[insert]") {
  FlatIndex index = empty_index();
  const std::vector<float> vector = {1, 2};
  const std::array<float, 2> array = {3, 4};
  const float plain[] = {5, 6};
  std::vector<float> changeable = {7, 8};
  index.insert(1, vector);
  index.insert(2, array);
  index.insert(3, plain);
  index.insert(4, std::span(changeable));
  const auto rows = rows_of(index);
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].vector == vector);
  CHECK(rows[1].vector == std::vector<float>{3, 4});
  CHECK(rows[2].vector == std::vector<float>{5, 6});
  CHECK(rows[3].vector == changeable);
}

TEST_CASE("insert: takes metadata as a braced list of entries", "[insert]") {
  FlatIndex index = empty_index();
  index.insert(1, {1.F, 2.F}, {{"page", 5}, {"title", "One"}, {"score", 1.5}, {"draft", true}, {"next", iqdb::Null{}}});
  const Metadata expected = {{"page", 5}, {"title", "One"}, {"score", 1.5}, {"draft", true}, {"next", iqdb::Null{}}};
  CHECK(only_row(index).metadata == expected);
}

TEST_CASE("insert: a braced pair of texts is one entry and not a range of characters", "[insert]") {
  FlatIndex index = empty_index();
  const std::vector<float> vector = {1, 2};
  index.insert(1, {1.F, 2.F}, {{"k", "v"}});
  index.insert(2, vector, {{"k", "v"}});
  for (const SampleRow& row : rows_of(index)) {
    CHECK(row.metadata == Metadata{{"k", Value("v")}});
  }
}

TEST_CASE("insert: an empty braced list of entries means no metadata", "[insert]") {
  FlatIndex index = empty_index();
  const std::vector<float> vector = {1, 2};
  index.insert(1, {1.F, 2.F}, {});
  index.insert(2, vector, {});
  for (const SampleRow& row : rows_of(index)) {
    CHECK_FALSE(row.metadata.has_value());
  }
}

TEST_CASE("insert: metadata without entries is kept as metadata", "[insert]") {
  FlatIndex index = empty_index();
  index.insert(1, {1.F, 2.F}, Metadata{});
  const auto metadata = only_row(index).metadata;
  REQUIRE(metadata.has_value());
  CHECK(metadata->empty());
}

TEST_CASE("insert: takes metadata as an object or an optional or nullopt", "[insert]") {
  FlatIndex index = empty_index();
  const Metadata metadata = {{"k", 1}};
  const std::vector<float> vector = {1, 2};
  index.insert(1, vector, metadata);
  index.insert(2, {1.F, 2.F}, std::optional<Metadata>(metadata));
  index.insert(3, {1.F, 2.F}, std::nullopt);
  const auto rows = rows_of(index);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].metadata == metadata);
  CHECK(rows[1].metadata == metadata);
  CHECK_FALSE(rows[2].metadata.has_value());
}

TEST_CASE("insert: of two braced entries with the same key the first stays", "[insert]") {
  FlatIndex index = empty_index();
  index.insert(1, {1.F, 2.F}, {{"k", 1}, {"k", 2}});
  CHECK(only_row(index).metadata == Metadata{{"k", 1}});
}

TEST_CASE("insert: an empty braced vector is refused like any vector of the wrong dimension", "[insert]") {
  FlatIndex index = empty_index();
  iqdb_test::require_kind(iqdb::IndexErrorKind::dimension_mismatch, [&] { index.insert(1, {}); });
  iqdb_test::require_kind(iqdb::IndexErrorKind::dimension_mismatch, [&] { index.insert(1, {}, {}); });
  CHECK(index.size() == 0);
}

TEST_CASE("insert: takes an identifier of bytes", "[insert]") {
  FlatIndex index = empty_index();
  index.insert(iqdb::VectorId::from_bytes("a"), {1.F, 2.F}, {{"k", "v"}});
  CHECK(only_row(index).id == iqdb::VectorId::from_bytes("a"));
}

TEST_CASE("upsert: takes what insert takes in all its forms", "[insert]") {
  FlatIndex index = empty_index();
  const std::vector<float> vector = {7, 8};
  const Metadata expected = {{"k", "v"}};
  index.upsert(1, {1.F, 2.F});
  CHECK_FALSE(only_row(index).metadata.has_value());
  index.upsert(1, {1.F, 2.F}, {{"k", "v"}});
  CHECK(only_row(index).metadata == expected);
  index.upsert(1, vector);
  CHECK(only_row(index).vector == vector);
  CHECK_FALSE(only_row(index).metadata.has_value());
  index.upsert(1, vector, {{"k", "v"}});
  CHECK(only_row(index).metadata == expected);
  index.upsert(1, vector, std::nullopt);
  CHECK_FALSE(only_row(index).metadata.has_value());
  index.upsert(1, {1.F, 2.F}, std::optional<Metadata>(expected));
  CHECK(only_row(index).metadata == expected);
  index.upsert(1, {1.F, 2.F}, {});
  CHECK_FALSE(only_row(index).metadata.has_value());
  index.upsert(iqdb::VectorId::from_bytes("a"), vector, expected);
  CHECK(index.size() == 2);
}
