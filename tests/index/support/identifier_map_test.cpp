// That a map and a std::unordered_map find the same rows, though memory runs out again and again, and what a row costs.
#include "iqdb/index/support/identifier_map.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "iqdb/types.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::VectorId;
using iqdb::index_support::IdentifierColumn;
using iqdb::index_support::IdentifierMap;
using iqdb_test::Random;

// Integers one behind the other and far from one another, and bytes, few and many.
VectorId mixed_id(std::uint64_t number) {
  switch (number % 4) {
    case 0:
      return number / 4;
    case 1:
      return number << 40U;
    case 2:
      return VectorId::from_bytes(std::to_string(number));
    default:
      return VectorId::from_bytes("an identifier of bytes that are many, with the number " + std::to_string(number));
  }
}

void append(IdentifierMap& map, const VectorId& id) {
  map.make_room(1);
  map.push(IdentifierColumn::Cell(id));
  map.enter(map.ids().size() - 1);
}

void remove_by_last(IdentifierMap& map, std::size_t row) {
  map.leave(row);
  map.erase(row);
  const std::size_t last = map.ids().size() - 1;
  if (row < last) {
    map.move(last, row);
  }
  map.truncate(last);
}

IdentifierColumn column_of(const std::vector<VectorId>& ids) {
  IdentifierColumn column;
  column.make_room(ids.size());
  for (const VectorId& id : ids) {
    column.push(IdentifierColumn::Cell(id));
  }
  return column;
}

// The most bytes a row while so many rows come one by one, once they are more than a few.
std::int64_t most_bytes_a_row(std::int64_t rows) {
  const std::int64_t before = iqdb_test::live_bytes();
  std::int64_t most = 0;
  IdentifierMap map;
  for (std::int64_t row = 0; row < rows; ++row) {
    append(map, row);
    if (row >= 1000) {
      most = std::max(most, (iqdb_test::live_bytes() - before + row) / (row + 1));
    }
  }
  return most;
}

}  // namespace

TEST_CASE("IdentifierMap: finds what a std::unordered_map finds, though memory runs out now and then",
          "[identifier_map]") {
  const auto seed = GENERATE(1U, 2U, 3U);
  CAPTURE(seed);
  constexpr std::uint64_t most_ids = 800;
  Random random(seed);
  IdentifierMap map;
  std::unordered_map<VectorId, std::size_t> model;
  std::vector<VectorId> by_row;
  std::size_t refused = 0;
  for (int step = 0; step < 6'000; ++step) {
    const VectorId id = mixed_id(random.below(most_ids));
    const auto known = model.find(id);
    const auto row = map.find(id);
    CAPTURE(step, id);
    if (row != (known == model.end() ? std::nullopt : std::optional(known->second))) {
      FAIL("the map differs from the model");
    }
    if (!row) {
      try {
        iqdb_test::refusing_allocation(random.below(4) + 1, [&] { append(map, id); });
        model.emplace(id, by_row.size());
        by_row.push_back(id);
      } catch (const std::bad_alloc&) {
        ++refused;
      }
    } else if (random.one_in(3)) {
      remove_by_last(map, *row);
      model.erase(id);
      if (*row + 1 < by_row.size()) {
        by_row[*row] = by_row.back();
        model[by_row[*row]] = *row;
      }
      by_row.pop_back();
    }
    if (map.ids().size() != by_row.size() || map.entered() != by_row.size()) {
      FAIL("the map has other rows than the model");
    }
  }
  CHECK(refused > 100);
  bool same = true;
  for (std::size_t row = 0; row < by_row.size(); ++row) {
    same = same && map.ids().id(row) == by_row[row] && map.find(by_row[row]) == row;
  }
  CHECK(same);
  const IdentifierMap copy = map;
  for (std::size_t row = 0; row < by_row.size(); ++row) {
    same = same && copy.find(by_row[row]) == row;
  }
  CHECK(same);
}

TEST_CASE("IdentifierMap: rows that were read are all found, and are entered with one allocation", "[identifier_map]") {
  std::vector<VectorId> ids;
  for (std::uint64_t number = 0; number < 1000; ++number) {
    ids.push_back(mixed_id(number * 4 + number % 3));
  }
  IdentifierMap map(column_of(ids));
  std::optional<std::size_t> twice;
  const auto seen = iqdb_test::allocated_by([&] { twice = map.enter_all(); });
  CHECK(twice == std::nullopt);
  CHECK(seen.count == 1);
  bool all = true;
  for (std::size_t row = 0; row < ids.size(); ++row) {
    all = all && map.find(ids[row]) == row;
  }
  CHECK(all);
  CHECK(map.entered() == 1000);
}

TEST_CASE("IdentifierMap: of rows that were read, the first with a known identifier is named, near or far",
          "[identifier_map]") {
  for (const std::size_t first : {0U, 1U, 30U, 31U, 32U, 98U}) {
    for (const bool bytes : {false, true}) {
      std::vector<VectorId> ids;
      for (std::uint64_t number = 0; number < 101; ++number) {
        ids.push_back(bytes ? VectorId::from_bytes(std::to_string(number)) : VectorId(number));
      }
      ids[99] = ids[first];
      ids[100] = ids[first];
      IdentifierMap map(column_of(ids));
      CAPTURE(first, bytes);
      CHECK(map.enter_all() == std::size_t{99});
    }
  }
}

TEST_CASE("IdentifierMap: the row that is entered instead of another is found, and the other can go",
          "[identifier_map]") {
  IdentifierMap map;
  append(map, 5);
  append(map, 6);
  map.make_room(1);
  map.push(IdentifierColumn::Cell(5));
  CHECK(map.find(5) == std::size_t{0});
  map.enter_instead(2);
  CHECK(map.find(5) == std::size_t{2});
  CHECK(map.entered() == 2);
  map.leave(0);
  CHECK(map.find(5) == std::size_t{2});
  CHECK(map.entered() == 2);
  map.erase(0);
  map.leave(2);
  CHECK(map.find(5) == std::nullopt);
  CHECK(map.find(6) == std::size_t{1});
}

TEST_CASE("IdentifierMap: integers cost at most 32 bytes a row at any time, and with the table 25 where they were read",
          "[identifier_map]") {
  CHECK(most_bytes_a_row(100'000) <= 32);
  constexpr std::size_t rows = 100'000;
  const std::int64_t before = iqdb_test::live_bytes();
  std::vector<VectorId> ids;
  IdentifierColumn column;
  column.make_room(rows);
  for (std::uint64_t row = 0; row < rows; ++row) {
    column.push(IdentifierColumn::Cell(row));
  }
  IdentifierMap map(std::move(column));
  CHECK(map.enter_all() == std::nullopt);
  CHECK(iqdb_test::live_bytes() - before <= std::int64_t{25 * rows});
}

TEST_CASE("IdentifierMap: every map has a key of its own, which goes with it", "[identifier_map]") {
  IdentifierMap map;
  append(map, 5);
  IdentifierMap moved = std::move(map);
  CHECK(moved.find(5) == std::size_t{0});
  CHECK(map.find(5) == std::nullopt);  // NOLINT(bugprone-use-after-move): what is left of it is the point
  CHECK(map.ids().size() == 0);
  map = moved;
  CHECK(map.find(5) == std::size_t{0});
}
