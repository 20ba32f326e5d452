// Which slot a vector gets, what is left where its library refuses it, and the bytes of the table.
#include "iqdb/index/support/slot_table.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::PersistErrorKind;
using iqdb::SlotTable;
using iqdb::VectorId;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::require_kind;

// Adds a vector that the library takes; gives its slot.
std::size_t add(SlotTable& table, VectorId id, std::optional<Metadata> metadata = {}) {
  auto addition = table.add(std::move(id), std::move(metadata));
  addition.keep();
  return addition.slot();
}

// The identifiers 0 to count - 1, each in the slot of its number.
SlotTable filled(std::uint64_t count) {
  SlotTable table;
  for (std::uint64_t id = 0; id < count; ++id) {
    add(table, id);
  }
  return table;
}

std::vector<std::byte> saved(const SlotTable& table) {
  return iqdb_test::written_by([&](Writer& writer) { table.save_to(writer); });
}

SlotTable load(std::span<const std::byte> bytes) {
  iqdb::Reader reader(bytes);
  SlotTable table = SlotTable::load_from(reader);
  CHECK(reader.remaining() == 0);
  return table;
}

// A table of a taken slot, a free one, and a taken one with metadata.
Bytes bytes_of_three() {
  return Bytes().u64(3).u8(1).u8(0).u64(5).u8(0).u8(0).u8(1).u8(0).u64(7).u8(1).u32(1).u32(1).text("k").u8(4);
}

}  // namespace

TEST_CASE("SlotTable: slots count up and the lowest free one is taken first", "[slot_table]") {
  SlotTable table = filled(20);
  table.remove(11);
  table.remove(3);
  table.remove(7);
  CHECK(table.is_free(3));
  CHECK(table.size() == 17);
  CHECK(table.slots() == 20);
  CHECK(add(table, 100) == 3);
  CHECK(add(table, 101) == 7);
  CHECK(add(table, 102) == 11);
  CHECK(add(table, 103) == 20);
  CHECK_FALSE(table.is_free(3));
  CHECK(table.id(3) == iqdb::VectorId(100));
}

TEST_CASE("SlotTable: finds the slot of a vector and knows what is stored with it", "[slot_table]") {
  SlotTable table = filled(2);
  add(table, 9, Metadata{{"k", true}});
  CHECK(table.find(9) == std::size_t{2});
  CHECK(table.at(9) == 2);
  CHECK(table.metadata(2) == Metadata{{"k", true}});
  CHECK(table.metadata(1) == std::nullopt);
  CHECK(table.find(10) == std::nullopt);
  require_kind(IndexErrorKind::not_found, [&] { return table.at(10); });
}

TEST_CASE("SlotTable: a known identifier is refused and changes nothing", "[slot_table]") {
  SlotTable table = filled(2);
  const auto before = saved(table);
  require_kind(IndexErrorKind::duplicate, [&] { add(table, 1); });
  require_kind(IndexErrorKind::duplicate, [&] { table.append(1, std::nullopt); });
  require_kind(IndexErrorKind::duplicate, [&] { table.require_absent(1); });
  CHECK_NOTHROW(table.require_absent(2));
  CHECK(saved(table) == before);
}

TEST_CASE("SlotTable: rows take the slots that insertions one by one take", "[slot_table]") {
  SlotTable table = filled(4);
  table.remove(2);
  table.remove(0);
  SlotTable::Additions additions(table, std::vector<VectorId>{10, 11, 12, 13},
                                 std::vector<std::optional<Metadata>>{{}, Metadata{{"k", true}}, {}, {}});
  CHECK(additions.size() == 4);
  CHECK(additions.reused() == 2);
  CHECK(additions.slot(0) == 0);
  CHECK(additions.slot(1) == 2);
  CHECK(additions.slot(2) == 4);
  CHECK(additions.slot(3) == 5);
  additions.keep();
  CHECK(table.size() == 6);
  CHECK(table.at(11) == 2);
  CHECK(table.metadata(2) == Metadata{{"k", true}});
  CHECK(table.at(13) == 5);
}

TEST_CASE("SlotTable: rows that are not kept leave nothing", "[slot_table]") {
  SlotTable table = filled(4);
  table.remove(2);
  table.remove(0);
  const auto before = saved(table);
  const std::vector<VectorId> ids = {10, 11, 12, 13};
  const std::vector<std::optional<Metadata>> metadata(4);
  { const SlotTable::Additions additions(table, ids, metadata); }
  CHECK(saved(table) == before);
  CHECK(table.find(10) == std::nullopt);
  CHECK(table.find(13) == std::nullopt);
  CHECK(table.next_slot() == 0);
}

TEST_CASE("SlotTable: rows that are not kept leave their new slots free where the library has made them",
          "[slot_table]") {
  SlotTable table = filled(4);
  table.remove(2);
  {
    SlotTable::Additions additions(table, std::vector<VectorId>{10, 11, 12}, std::vector<std::optional<Metadata>>(3));
    additions.keep_slots();
  }
  CHECK(table.size() == 3);
  CHECK(table.slots() == 6);
  CHECK(table.find(12) == std::nullopt);
  CHECK(add(table, 20) == 2);
  CHECK(add(table, 21) == 4);
  CHECK(add(table, 22) == 5);
}

TEST_CASE("SlotTable: an identifier that is known or stands in two rows is refused and changes nothing",
          "[slot_table]") {
  SlotTable table = filled(4);
  table.remove(2);
  const auto before = saved(table);
  const std::vector<std::optional<Metadata>> metadata(4);
  for (const std::uint64_t taken : {3U, 11U}) {
    const std::vector<VectorId> ids = {10, 11, 12, taken};
    require_kind(IndexErrorKind::duplicate, [&] { const SlotTable::Additions additions(table, ids, metadata); });
    CHECK(saved(table) == before);
    CHECK(table.find(10) == std::nullopt);
    CHECK(table.at(3) == 3);
  }
}

TEST_CASE("SlotTable: rows for which memory is short change nothing", "[slot_table]") {
  const VectorId long_id = VectorId::from_bytes("an identifier that is too long to lie in the string itself");
  const std::vector<VectorId> ids = {100, long_id, 102};
  const std::vector<std::optional<Metadata>> metadata = {{}, Metadata{{"k", true}}, Metadata{{"k", true}}};
  std::uint64_t number = 1;
  for (bool done = false; !done; ++number) {
    CAPTURE(number);
    SlotTable table = filled(16);  // the list of rows is full
    table.remove(2);
    const auto before = saved(table);
    try {
      iqdb_test::refusing_allocation(number, [&] { const SlotTable::Additions additions(table, ids, metadata); });
      done = true;
    } catch (const std::bad_alloc&) {
    }
    REQUIRE(saved(table) == before);
    REQUIRE(table.find(long_id) == std::nullopt);
    REQUIRE(add(table, 200) == 2);
  }
  CHECK(number > 5);
}

TEST_CASE("SlotTable: a replacement has the next slot when it is kept and the old slot is removed", "[slot_table]") {
  SlotTable table = filled(3);
  table.remove(1);
  CHECK(table.next_slot() == 1);
  auto addition = table.replace(2, Metadata{{"k", true}});
  CHECK(addition.slot() == 1);
  CHECK(addition.reused());
  CHECK(table.find(2) == std::size_t{2});
  addition.keep();
  CHECK(table.find(2) == std::size_t{1});
  CHECK(table.size() == 3);  // the old slot is still taken
  table.remove(2);
  CHECK(table.find(2) == std::size_t{1});
  CHECK(table.metadata(1) == Metadata{{"k", true}});
  CHECK(table.size() == 2);
  CHECK(table.next_slot() == 2);
}

TEST_CASE("SlotTable: a replacement that is not kept leaves the vector in its slot", "[slot_table]") {
  SlotTable table = filled(3);
  const auto before = saved(table);
  { const auto addition = table.replace(2, Metadata{{"k", true}}); }
  CHECK(table.find(2) == std::size_t{2});
  CHECK(saved(table) == before);
  table.remove(0);
  const auto with_gap = saved(table);
  { const auto addition = table.replace(2, Metadata{{"k", true}}); }
  CHECK(table.find(2) == std::size_t{2});
  CHECK(saved(table) == with_gap);
}

TEST_CASE("SlotTable: a replacement moves into the old slot where the last one fills the gap", "[slot_table]") {
  SlotTable table = filled(3);
  auto addition = table.replace(1, Metadata{{"k", true}});
  CHECK(addition.slot() == 3);
  addition.keep();
  table.remove_by_last(1);
  CHECK(table.find(1) == std::size_t{1});
  CHECK(table.metadata(1) == Metadata{{"k", true}});
  CHECK(table.size() == 3);
  CHECK(table.slots() == 3);
}

TEST_CASE("SlotTable: an addition that is not kept leaves neither vector nor slot", "[slot_table]") {
  SlotTable table = filled(2);
  {
    const auto addition = table.add(5, std::nullopt);
    CHECK(addition.slot() == 2);
    CHECK_FALSE(addition.reused());
    CHECK(table.find(5));
  }
  CHECK_FALSE(table.find(5));
  CHECK(table.slots() == 2);
}

TEST_CASE("SlotTable: an addition to a used slot that is not kept leaves the slot free", "[slot_table]") {
  SlotTable table = filled(2);
  table.remove(0);
  {
    const auto addition = table.add(5, std::nullopt);
    CHECK(addition.slot() == 0);
    CHECK(addition.reused());
  }
  CHECK_FALSE(table.find(5));
  CHECK(table.is_free(0));
  CHECK(table.slots() == 2);
  CHECK(add(table, 6) == 0);
}

TEST_CASE("SlotTable: a slot that the library made stays though the vector does not", "[slot_table]") {
  SlotTable table = filled(2);
  {
    auto addition = table.add(5, std::nullopt);
    addition.keep_slot();
  }
  CHECK_FALSE(table.find(5));
  CHECK(table.slots() == 3);
  CHECK(table.is_free(2));
}

TEST_CASE("SlotTable: a vector for which memory is short changes nothing, whether it is new or replaces another",
          "[slot_table]") {
  const VectorId long_id = VectorId::from_bytes("an identifier that is too long to lie in the string itself");
  for (const bool replaces : {false, true}) {
    std::uint64_t number = 1;
    for (bool done = false; !done; ++number) {
      CAPTURE(replaces, number);
      SlotTable table = filled(15);
      add(table, replaces ? long_id : VectorId(15), Metadata{{"k", true}});  // the list of rows is full
      const auto before = saved(table);
      std::optional<Metadata> metadata = Metadata{{"other", true}};
      VectorId id = long_id;
      try {
        iqdb_test::refusing_allocation(number, [&] {
          auto addition = replaces ? table.replace(std::move(id), std::move(metadata))
                                   : table.add(std::move(id), std::move(metadata));
          addition.keep();
          done = true;
        });
        CHECK(table.find(long_id) == std::size_t{16});
      } catch (const std::bad_alloc&) {
        REQUIRE(saved(table) == before);
        REQUIRE(table.find(long_id).has_value() == replaces);
        REQUIRE(add(table, 200) == 16);
      }
    }
    CHECK(number > 5);
  }
}

TEST_CASE("SlotTable: a slot of an integer identifier without metadata takes at most 48 bytes, added or loaded",
          "[slot_table]") {
  constexpr std::int64_t slots = 100'000;
  const std::int64_t before = iqdb_test::live_bytes();
  SlotTable table;
  std::int64_t most = 0;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    add(table, static_cast<std::uint64_t>(slot));
    if (slot >= 1000) {
      most = std::max(most, (iqdb_test::live_bytes() - before + slot) / (slot + 1));
    }
  }
  CHECK(most > 0);
  CHECK(most <= 48);

  const auto bytes = saved(table);
  const std::int64_t before_load = iqdb_test::live_bytes();
  const SlotTable loaded = load(bytes);
  CHECK(loaded.size() == 100'000);
  CHECK(iqdb_test::live_bytes() - before_load <= 48 * slots);
}

TEST_CASE("SlotTable: an identifier of bytes is seen without an allocation", "[slot_table]") {
  const VectorId long_id = VectorId::from_bytes("an identifier that is too long to lie in the string itself");
  SlotTable table;
  table.append(long_id, std::nullopt);
  bool same = false;
  const auto seen =
      iqdb_test::allocated_by([&] { same = table.with_id(0, [&](const VectorId& id) { return id == long_id; }); });
  CHECK(same);
  CHECK(seen.count == 0);
  CHECK(table.id(0) == long_id);
}

TEST_CASE("SlotTable: freeing slots allocates nothing", "[slot_table]") {
  SlotTable table = filled(100);
  const auto seen = iqdb_test::allocated_by([&] {
    for (std::size_t slot = 0; slot < 100; ++slot) {
      table.remove(slot);
    }
  });
  CHECK(seen.count == 0);
  CHECK(table.size() == 0);
}

TEST_CASE("SlotTable: a slot freed by the last one holds what was there and leaves no gap", "[slot_table]") {
  SlotTable table = filled(4);
  table.remove_by_last(1);
  CHECK(table.slots() == 3);
  CHECK(table.find(3) == std::size_t{1});
  CHECK(table.id(1) == iqdb::VectorId(3));
  CHECK_FALSE(table.find(1));
  table.remove_by_last(2);
  CHECK(table.slots() == 2);
  CHECK_FALSE(table.find(2));
  CHECK(table.find(0) == std::size_t{0});
}

TEST_CASE("SlotTable: the bytes of a table with a free slot", "[slot_table]") {
  SlotTable table;
  table.append(5, std::nullopt);
  table.append_free();
  table.append(7, Metadata{{"k", iqdb::Null{}}});
  CHECK(hex(saved(table)) == hex(bytes_of_three()));
}

TEST_CASE("SlotTable: reads what it wrote and goes on with the same slots", "[slot_table]") {
  SlotTable table = load(bytes_of_three());
  CHECK(table.size() == 2);
  CHECK(table.slots() == 3);
  CHECK(hex(saved(table)) == hex(bytes_of_three()));
  CHECK(table.find(7) == std::size_t{2});
  CHECK(add(table, 8) == 1);
  CHECK(add(table, 9) == 3);
}

TEST_CASE("SlotTable: two vectors of the same identifier are invalid_payload", "[slot_table]") {
  const Bytes twice = Bytes().u64(2).u8(1).u8(0).u64(5).u8(0).u8(1).u8(0).u64(5).u8(0);
  require_kind(PersistErrorKind::invalid_payload, [&] { return load(twice); });
}

TEST_CASE("SlotTable: a slot that is neither free nor taken is invalid_payload", "[slot_table]") {
  require_kind(PersistErrorKind::invalid_payload, [] { return load(Bytes().u64(1).u8(2)); });
}

TEST_CASE("SlotTable: cut at any byte it is truncated_payload", "[slot_table]") {
  const std::vector<std::byte> whole = bytes_of_three();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    require_kind(PersistErrorKind::truncated_payload, [&] { return load(std::span(whole).first(size)); });
  }
}
