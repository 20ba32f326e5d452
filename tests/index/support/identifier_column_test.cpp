// What a column holds of integers and of bytes, and that it loses and leaks none.
#include "iqdb/index/support/identifier_column.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/types.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::VectorId;
using iqdb::index_support::IdentifierColumn;

const VectorId long_bytes = VectorId::from_bytes("bytes that are too many to lie in the string itself");

void push(IdentifierColumn& column, VectorId id) {
  column.make_room(1);
  column.push(IdentifierColumn::Cell(std::move(id)));
}

// An integer, a row without an identifier, and bytes.
IdentifierColumn three_rows() {
  IdentifierColumn column;
  push(column, 5);
  column.make_room(1);
  column.push_none();
  push(column, long_bytes);
  return column;
}

void require_three_rows(const IdentifierColumn& column) {
  REQUIRE(column.size() == 3);
  CHECK(column.id(0) == VectorId(5));
  CHECK(column.is_none(1));
  CHECK(column.id(2) == long_bytes);
}

}  // namespace

TEST_CASE("IdentifierColumn: holds integers, bytes, and rows that have none", "[identifier_column]") {
  const IdentifierColumn column = three_rows();
  require_three_rows(column);
  CHECK(column.holds(0, 5));
  CHECK_FALSE(column.holds(0, 6));
  CHECK_FALSE(column.holds(0, long_bytes));
  CHECK(column.holds(2, long_bytes));
  CHECK_FALSE(column.holds(2, VectorId::from_bytes("other bytes")));
}

TEST_CASE("IdentifierColumn: no integer is taken for bytes, whatever stands in the column for them",
          "[identifier_column]") {
  const IdentifierColumn column = three_rows();
  const VectorId* bytes = nullptr;
  column.with_id(2, [&](const VectorId& id) { bytes = &id; });
  CHECK_FALSE(column.holds(2, VectorId(reinterpret_cast<std::uintptr_t>(bytes))));
}

TEST_CASE("IdentifierColumn: an identifier is seen without an allocation", "[identifier_column]") {
  const IdentifierColumn column = three_rows();
  bool same = false;
  const auto seen = iqdb_test::allocated_by([&] {
    same = column.with_id(2, [](const VectorId& id) { return id == long_bytes; }) &&
           column.with_id(0, [](const VectorId& id) { return id.integer() == 5; });
  });
  CHECK(same);
  CHECK(seen.count == 0);
}

TEST_CASE("IdentifierColumn: with room, rows change without an allocation", "[identifier_column]") {
  IdentifierColumn column = three_rows();
  IdentifierColumn::Cell bytes(long_bytes);
  column.make_room(1);
  const auto seen = iqdb_test::allocated_by([&] {
    column.put(1, std::move(bytes));
    column.erase(0);
    column.move(2, 0);
    column.push_none();
    column.truncate(2);
  });
  CHECK(seen.count == 0);
  CHECK(column.size() == 2);
  CHECK(column.id(0) == long_bytes);
  CHECK(column.id(1) == long_bytes);
}

TEST_CASE("IdentifierColumn: bytes go with the rows, with the column and with a cell that is not put into one",
          "[identifier_column]") {
  const auto before = iqdb_test::live_allocations();
  {
    IdentifierColumn column = three_rows();
    column.truncate(1);
    column.truncate(0);
  }
  {
    IdentifierColumn column = three_rows();
    column.erase(2);
    column.erase(2);
  }
  {
    IdentifierColumn column = three_rows();
    column = three_rows();
    const IdentifierColumn moved = std::move(column);
  }
  { const IdentifierColumn::Cell cell(long_bytes); }
  CHECK(iqdb_test::live_allocations() == before);
}

TEST_CASE("IdentifierColumn: a copy is one of its own, and one for which memory is short leaks nothing",
          "[identifier_column]") {
  const IdentifierColumn column = three_rows();
  std::uint64_t number = 1;
  for (bool done = false; !done; ++number) {
    CAPTURE(number);
    const auto before = iqdb_test::live_allocations();
    try {
      iqdb_test::refusing_allocation(number, [&] {
        IdentifierColumn copy = column;
        copy.erase(0);
        done = true;
      });
    } catch (const std::bad_alloc&) {
    }
    const auto after = iqdb_test::live_allocations();
    REQUIRE(after == before);
  }
  CHECK(number > 4);
  require_three_rows(column);
  require_three_rows(IdentifierColumn(column));
}

TEST_CASE("IdentifierColumn: room that cannot be had changes nothing", "[identifier_column]") {
  for (const std::uint64_t number : {1U, 2U}) {
    IdentifierColumn column = three_rows();
    CHECK_THROWS_AS(iqdb_test::refusing_allocation(number, [&] { column.make_room(1000); }), std::bad_alloc);
    require_three_rows(column);
    column.make_room(1000);
    const auto seen = iqdb_test::allocated_by([&] {
      for (std::uint64_t row = 0; row < 1000; ++row) {
        column.push(IdentifierColumn::Cell(row));
      }
    });
    CHECK(seen.count == 0);
  }
}
