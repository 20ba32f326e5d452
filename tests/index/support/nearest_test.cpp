// In which order hits stand, and what is in them.
#include "iqdb/index/support/nearest.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::Metadata;
using iqdb::SlotTable;
using iqdb::index_support::Found;
using iqdb::index_support::hits_of;
using iqdb::index_support::nearer;
using iqdb::index_support::rank;

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::vector<std::size_t> slots_of(const std::vector<Found>& found) {
  std::vector<std::size_t> slots;
  for (const Found& each : found) {
    slots.push_back(each.slot);
  }
  return slots;
}

}  // namespace

TEST_CASE("nearer: the smaller distance stands first", "[adapters]") {
  CHECK(nearer({.slot = 2, .distance = 1.0F}, {.slot = 1, .distance = 2.0F}));
  CHECK(!nearer({.slot = 1, .distance = 2.0F}, {.slot = 2, .distance = 1.0F}));
}

TEST_CASE("nearer: of two equally near the lower slot stands first", "[adapters]") {
  CHECK(nearer({.slot = 1, .distance = 1.0F}, {.slot = 2, .distance = 1.0F}));
  CHECK(!nearer({.slot = 2, .distance = 1.0F}, {.slot = 1, .distance = 1.0F}));
  CHECK(!nearer({.slot = 1, .distance = 1.0F}, {.slot = 1, .distance = 1.0F}));
}

TEST_CASE("nearer: what is not a number stands last, by slot", "[adapters]") {
  CHECK(nearer({.slot = 2, .distance = std::numeric_limits<float>::infinity()}, {.slot = 1, .distance = not_a_number}));
  CHECK(!nearer({.slot = 1, .distance = not_a_number}, {.slot = 2, .distance = 1.0F}));
  CHECK(nearer({.slot = 1, .distance = not_a_number}, {.slot = 2, .distance = not_a_number}));
}

TEST_CASE("rank: orders by the distances of the metric whatever was measured before", "[adapters]") {
  const std::array vectors = {5.0F, 1.0F, -2.0F};
  std::vector<Found> found = {
      {.slot = 0, .distance = 0.0F}, {.slot = 1, .distance = 7.0F}, {.slot = 2, .distance = 3.0F}};
  rank(found, 3, DistanceMetric::euclidean, std::array{0.0F},
       [&](std::size_t slot) { return std::span(vectors).subspan(slot, 1); });
  CHECK(slots_of(found) == std::vector<std::size_t>{1, 2, 0});
  CHECK(found.at(2).distance == 5.0F);
}

TEST_CASE("rank: keeps the nearest and no more", "[adapters]") {
  const std::array vectors = {5.0F, 1.0F, -2.0F, 4.0F};
  std::vector<Found> found = {{.slot = 0}, {.slot = 1}, {.slot = 2}, {.slot = 3}};
  rank(found, 2, DistanceMetric::euclidean, std::array{0.0F},
       [&](std::size_t slot) { return std::span(vectors).subspan(slot, 1); });
  CHECK(slots_of(found) == std::vector<std::size_t>{1, 2});
}

TEST_CASE("hits_of: each hit has the identifier and the metadata of its slot", "[adapters]") {
  SlotTable table;
  table.append(10, Metadata{{"page", 5}});
  table.append(11, {});
  const auto hits = hits_of({{.slot = 1, .distance = 0.5F}, {.slot = 0, .distance = 2.0F}}, table, {});
  REQUIRE(hits.size() == 2);
  CHECK(hits[0].id == 11);
  CHECK(hits[0].distance == 0.5F);
  CHECK(!hits[0].metadata);
  CHECK(hits[1].id == 10);
  CHECK(hits[1].metadata == Metadata{{"page", 5}});
}

TEST_CASE("hits_of: hits have no metadata where the search asks for none", "[adapters]") {
  SlotTable table;
  table.append(10, Metadata{{"page", 5}});
  const auto hits = hits_of({{.slot = 0, .distance = 0.5F}}, table, {.with_metadata = false});
  REQUIRE(hits.size() == 1);
  CHECK(hits[0].id == 10);
  CHECK(!hits[0].metadata);
}

TEST_CASE("is_within: a radius admits what is as far away as it is, and no distance that is not a number",
          "[adapters]") {
  using iqdb::index_support::is_within;
  CHECK(is_within(2.0F, 2.0F));
  CHECK(!is_within(2.0F, 2.5F));
  CHECK(!is_within(2.0F, not_a_number));
  CHECK(is_within(std::nullopt, not_a_number));
}
