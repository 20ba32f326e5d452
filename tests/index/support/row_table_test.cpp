// That a table finds the rows that are in it and no others, whatever was added and removed before.
#include "iqdb/index/support/row_table.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "iqdb/index/support/drawn_number.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::index_support::drawn_bits;
using iqdb::index_support::RowTable;
using iqdb_test::Random;

// Hashes of which some are alike in their leading bits, and some altogether.
std::uint64_t crowded_hash(std::uint64_t key) {
  return key % 3 == 0 ? drawn_bits(key / 9) : drawn_bits(key) >> (key % 3 == 1 ? 20U : 0U);
}

// A table of the rows of keys, where the key of a row is looked up in a list, and the same by std::unordered_map.
template <class Place>
struct ModelledTable {
  RowTable<Place> table;
  std::vector<std::uint64_t> keys;
  std::unordered_map<std::uint64_t, std::size_t> model;

  std::optional<std::size_t> found(std::uint64_t key) const {
    return table.find(crowded_hash(key), [&](std::size_t row) { return keys[row] == key; });
  }

  std::optional<std::size_t> expected(std::uint64_t key) const {
    const auto place = model.find(key);
    return place == model.end() ? std::nullopt : std::optional(place->second);
  }

  // Adds a key in the next row.
  void add(std::uint64_t key) {
    table.make_room(table.size() + 1);
    table.insert(crowded_hash(key), keys.size());
    model.emplace(key, keys.size());
    keys.push_back(key);
  }

  // Removes a key; the last row takes its row.
  void remove(std::uint64_t key) {
    const std::size_t row = model.at(key);
    REQUIRE(table.erase(crowded_hash(key), row));
    REQUIRE_FALSE(table.erase(crowded_hash(key), row));
    model.erase(key);
    if (row + 1 < keys.size()) {
      REQUIRE(table.renumber(crowded_hash(keys.back()), keys.size() - 1, row));
      keys[row] = keys.back();
      model[keys[row]] = row;
    }
    keys.pop_back();
  }
};

template <class Place>
void live_as_the_model(std::uint64_t seed, std::uint64_t most_keys, int steps) {
  CAPTURE(seed, most_keys);
  Random random(seed);
  ModelledTable<Place> both;
  bool same = true;
  for (int step = 0; step < steps; ++step) {
    const std::uint64_t key = random.below(most_keys);
    if (const auto row = both.found(key); row != both.expected(key)) {
      same = false;
    } else if (!row) {
      both.add(key);
    } else if (random.one_in(2)) {
      both.remove(key);
    }
    if (!same || both.table.size() != both.model.size()) {
      CAPTURE(step, key);
      FAIL("the table differs from the model");
    }
  }
  for (std::uint64_t key = 0; key < most_keys; ++key) {
    same = same && both.found(key) == both.expected(key);
  }
  CHECK(same);
}

}  // namespace

TEST_CASE("RowTable: finds what a std::unordered_map finds, in random lives", "[row_table]") {
  const auto seed = GENERATE(1U, 2U, 3U, 4U);
  live_as_the_model<std::uint64_t>(seed, 40, 2'000);
  live_as_the_model<std::uint64_t>(seed, 3'000, 20'000);
}

TEST_CASE("RowTable: a row takes bits of the hash where the rows are many for a place", "[row_table]") {
  // Places of 16 bits, of which a row has 8 at first: more than 255 rows take more.
  const auto seed = GENERATE(1U, 2U, 3U);
  live_as_the_model<std::uint16_t>(seed, 3'000, 20'000);
}

TEST_CASE("RowTable: a table without rows finds nothing and removes nothing", "[row_table]") {
  RowTable<> table;
  const auto any = [](std::size_t) { return true; };
  CHECK(table.find(5, any) == std::nullopt);
  CHECK_FALSE(table.erase(5, 0));
  CHECK_FALSE(table.renumber(5, 0, 1));
  CHECK_NOTHROW(table.prefetch(5));
  table.make_room(1);
  CHECK(table.find(5, any) == std::nullopt);
  table.insert(5, 0);
  CHECK(table.find(5, any) == std::size_t{0});
  CHECK(table.find(std::uint64_t{5} << 40U, any) == std::nullopt);
}

TEST_CASE("RowTable: the hashes lead to the last place and on to the first", "[row_table]") {
  RowTable<> table;
  constexpr std::uint64_t last = ~std::uint64_t{0};
  table.make_room(5);
  for (std::size_t row = 0; row < 5; ++row) {
    table.insert(last, row);
  }
  for (const std::size_t gone : {0U, 3U}) {
    CHECK(table.erase(last, gone));
  }
  std::vector<std::size_t> seen;
  CHECK(table.find(last, [&](std::size_t row) {
    seen.push_back(row);
    return false;
  }) == std::nullopt);
  CHECK(seen == std::vector<std::size_t>{1, 2, 4});
}

TEST_CASE("RowTable: a table that was moved from is empty", "[row_table]") {
  RowTable<> table;
  table.make_room(1);
  table.insert(5, 0);
  RowTable<> other = std::move(table);
  CHECK(other.size() == 1);
  CHECK(table.size() == 0);  // NOLINT(bugprone-use-after-move): what is left of it is the point
  table = std::move(other);
  CHECK(table.size() == 1);
  CHECK(other.size() == 0);  // NOLINT(bugprone-use-after-move)
  CHECK(table.find(5, [](std::size_t row) { return row == 0; }));
}

TEST_CASE("RowTable: room that cannot be had changes nothing, and with room nothing is allocated", "[row_table]") {
  RowTable<> table;
  table.make_room(100);
  const auto seen = iqdb_test::allocated_by([&] {
    for (std::size_t row = 0; row < 100; ++row) {
      table.insert(drawn_bits(row), row);
    }
    table.erase(drawn_bits(7), 7);
    table.renumber(drawn_bits(99), 99, 7);
  });
  CHECK(seen.count == 0);
  CHECK_THROWS_AS(iqdb_test::refusing_allocation(1, [&] { table.make_room(10'000); }), std::bad_alloc);
  CHECK(table.size() == 99);
  for (std::size_t row = 0; row < 99; ++row) {
    const std::size_t key = row == 7 ? 99 : row;
    CHECK(table.find(drawn_bits(key), [&](std::size_t other) { return other == row; }));
  }
}
