// What rows cost beside their vectors, and that rows for which memory is short change nothing.
#include "iqdb/index/support/rows.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/types.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::Metadata;
using iqdb::VectorId;
using iqdb::index_support::Rows;

const std::vector<float> pair_of_floats = {1, 2};

VectorId many_bytes(std::size_t number) {
  return VectorId::from_bytes("an identifier that is too long to lie in the string itself " + std::to_string(number));
}

// What the rows hold, in their order.
std::string described(const Rows& rows) {
  std::string all;
  rows.for_each([&](const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) {
    all +=
        to_string(id) + "=" + std::to_string(vector[0]) + "/" + std::to_string(metadata ? metadata->size() : 0) + " ";
  });
  return all;
}

// Calls `mutate(rows)` again and again; each time a later allocation fails, until none does. Each failure leaves the rows as
// they were. Returns how many failed.
template <class Mutate>
std::uint64_t mutated_with_failures(const Rows& original, Mutate mutate) {
  for (std::uint64_t number = 1;; ++number) {
    Rows rows = original;
    try {
      iqdb_test::refusing_allocation(number, [&] { mutate(rows); });
      return number - 1;
    } catch (const std::bad_alloc&) {
      CAPTURE(number);
      REQUIRE(described(rows) == described(original));
      REQUIRE(rows.size() == original.size());
      REQUIRE_FALSE(rows.contains(many_bytes(1000)));
      rows.append(many_bytes(1000), pair_of_floats, Metadata{{"k", true}});
      REQUIRE(rows.contains(many_bytes(1000)));
    }
  }
}

}  // namespace

TEST_CASE("Rows: a row for which memory is short at any point changes nothing", "[rows]") {
  // Sizes at which one or another of the columns has to grow.
  for (const std::size_t count : {0U, 1U, 11U, 16U, 22U, 24U, 36U}) {
    CAPTURE(count);
    Rows rows(2);
    for (std::size_t row = 0; row < count; ++row) {
      rows.append(row % 2 == 0 ? VectorId(row) : many_bytes(row), pair_of_floats,
                  row % 3 == 0 ? std::optional(Metadata{{"k", true}}) : std::nullopt);
    }
    const VectorId id = many_bytes(1000);
    const std::optional<Metadata> metadata = Metadata{{"a", 1}, {"b", 2}};
    CHECK(mutated_with_failures(rows, [&](Rows& into) { into.append(id, pair_of_floats, iqdb::copied(metadata)); }) >
          5);
    const std::vector<float> other = {3, 4};
    if (count > 1) {
      CHECK(mutated_with_failures(rows, [&](Rows& into) { into.put(many_bytes(1), other, iqdb::copied(metadata)); }) >
            1);
    }
  }
}

TEST_CASE("Rows: an erasure allocates nothing", "[rows]") {
  Rows rows(2);
  for (std::size_t row = 0; row < 100; ++row) {
    rows.append(row, pair_of_floats, Metadata{{"k", true}});
  }
  Rows others = rows;
  const auto seen = iqdb_test::allocated_by([&] {
    for (std::size_t row = 0; row < 100; ++row) {
      rows.erase_in_order((row * 37) % 100);
      others.erase_by_last((row * 37) % 100);
    }
  });
  CHECK(seen.count == 0);
  CHECK(rows.size() == 0);
  CHECK(others.size() == 0);
}

TEST_CASE(
    "FlatIndex: a row of an integer identifier without metadata takes at most 32 bytes beside its vector, inserted or "
    "loaded",
    "[rows]") {
  // So many that the vectors fill their memory, which doubles.
  constexpr std::int64_t rows = std::int64_t{1} << 17U;
  constexpr auto bytes_of_vectors = static_cast<std::int64_t>(rows * 2 * sizeof(float));
  const std::int64_t before = iqdb_test::live_bytes();
  FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  for (std::int64_t row = 0; row < rows; ++row) {
    index.insert(row, std::span<const float>(pair_of_floats));
  }
  const std::int64_t inserted = iqdb_test::live_bytes() - before - bytes_of_vectors;
  CHECK(inserted > 0);
  CHECK(inserted <= 32 * rows);

  const auto payload = iqdb_test::written_by([&](iqdb::Writer& writer) { index.save_to(writer); });
  const std::int64_t before_load = iqdb_test::live_bytes();
  iqdb::Reader reader(payload);
  const FlatIndex loaded = FlatIndex::load_from(reader);
  CHECK(loaded.size() == static_cast<std::size_t>(rows));
  CHECK(iqdb_test::live_bytes() - before_load - bytes_of_vectors <= 25 * rows);
}
