// Which rows have metadata, and what it costs where none has.
#include "iqdb/index/support/metadata_column.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "iqdb/types.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::Metadata;
using iqdb::index_support::MetadataColumn;

const Metadata page{{"page", 5}};

}  // namespace

TEST_CASE("MetadataColumn: rows without metadata cost nothing", "[metadata_column]") {
  MetadataColumn column;
  const auto seen = iqdb_test::allocated_by([&] {
    for (std::size_t row = 0; row < 1000; ++row) {
      column.set(row, std::nullopt);
    }
    column.move(3, 4);
    column.truncate(10);
  });
  CHECK(seen.count == 0);
  CHECK(column.at(5) == std::nullopt);
}

TEST_CASE("MetadataColumn: a row has what it was given last, and no other row has it", "[metadata_column]") {
  MetadataColumn column;
  column.set(7, page);
  CHECK(column.at(7) == page);
  CHECK(column.at(6) == std::nullopt);
  CHECK(column.at(8) == std::nullopt);
  column.set(3, Metadata{});
  CHECK(column.at(3) == Metadata{});
  column.set(7, Metadata{{"page", 6}});
  CHECK(column.at(7) == Metadata{{"page", 6}});
  column.move(7, 2);
  CHECK(column.at(2) == Metadata{{"page", 6}});
  CHECK(column.at(7) == std::nullopt);
  column.set(2, std::nullopt);
  CHECK(column.at(2) == std::nullopt);
  column.truncate(3);
  CHECK(column.at(3) == std::nullopt);
}

TEST_CASE("MetadataColumn: a row that has metadata takes other metadata without memory", "[metadata_column]") {
  MetadataColumn column;
  column.set(0, page);
  std::optional<Metadata> other = Metadata{{"other", true}};
  const auto seen = iqdb_test::allocated_by([&] { column.set(0, std::move(other)); });
  CHECK(seen.count == 0);
  CHECK(column.at(0) == Metadata{{"other", true}});
}

TEST_CASE("MetadataColumn: metadata for which memory is short changes nothing", "[metadata_column]") {
  for (const std::uint64_t number : {1U, 2U}) {
    MetadataColumn column;
    column.set(0, page);
    std::optional<Metadata> other = Metadata{{"other", true}};
    CHECK_THROWS_AS(iqdb_test::refusing_allocation(number, [&] { column.set(1000, std::move(other)); }),
                    std::bad_alloc);
    CHECK(column.at(0) == page);
    CHECK(column.at(1000) == std::nullopt);
  }
}

TEST_CASE("MetadataColumn: a copy is one of its own", "[metadata_column]") {
  MetadataColumn column;
  column.set(2, page);
  MetadataColumn copy = column;
  copy.set(2, std::nullopt);
  CHECK(column.at(2) == page);
  copy = column;
  column.set(2, std::nullopt);
  CHECK(copy.at(2) == page);
  CHECK(copy.at(1) == std::nullopt);
}
