// What is checked of every index that is taken over from another library or given away to it.
#include "iqdb/index/support/foreign_index.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/memory_storage.hpp"

namespace {

using iqdb::IndexErrorKind;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::SlotTable;
using iqdb::VectorId;
using iqdb_test::Bytes;
using iqdb_test::MemoryFile;
using iqdb_test::mentions;
using iqdb_test::require_kind;
namespace index_support = iqdb::index_support;

// A table of a taken slot, a free one, and a taken one.
SlotTable table_of(VectorId first, VectorId third) {
  SlotTable table;
  table.append(std::move(first), {});
  table.append_free();
  table.append(std::move(third), {});
  return table;
}

void require_directions(const std::array<std::array<float, 2>, 3>& vectors) {
  const Reader reader(std::span<const std::byte>{});
  index_support::require_directions(reader, table_of(10, 11), "quicklib",
                                    [&](std::size_t slot) { return std::span<const float>(vectors.at(slot)); });
}

}  // namespace

TEST_CASE("read_whole: gives what the decoder makes of the file", "[adapters]") {
  MemoryFile file(Bytes().u64(7));
  const auto read = [](Reader& reader) { return reader.read_le<std::uint64_t>(); };
  CHECK(index_support::read_whole(file, "quicklib", read) == 7);
}

TEST_CASE("read_whole: bytes that are left are refused", "[adapters]") {
  MemoryFile file(Bytes().u64(7).u8(0).u8(0));
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] {
    return index_support::read_whole(file, "quicklib", [](Reader& reader) { return reader.read_le<std::uint64_t>(); });
  });
  CHECK(mentions(error, "2 bytes stand behind the quicklib index"));
}

TEST_CASE("read_whole: a file that ends early is truncated_payload", "[adapters]") {
  MemoryFile file(Bytes().u32(7));
  require_kind(PersistErrorKind::truncated_payload, [&] {
    return index_support::read_whole(file, "quicklib", [](Reader& reader) { return reader.read_le<std::uint64_t>(); });
  });
}

TEST_CASE("require_directions: takes vectors of length 1 and looks at no free slot", "[adapters]") {
  CHECK_NOTHROW(require_directions({{{0.6F, 0.8F}, {5.0F, 5.0F}, {0.0F, 0.0F}}}));
}

TEST_CASE("require_directions: refuses a vector of another length and says which", "[adapters]") {
  const auto error = require_kind(PersistErrorKind::invalid_payload, [] {
    require_directions({{{0.6F, 0.8F}, {5.0F, 5.0F}, {3.0F, 4.0F}}});
  });
  CHECK(mentions(error, "the vector 11 has the length 5.0"));
  CHECK(mentions(error, "quicklib"));
}

TEST_CASE("check_exportable: takes integers up to the largest that the library has", "[adapters]") {
  CHECK_NOTHROW(index_support::check_exportable(table_of(0, 100), 100, "quicklib", "labels"));
}

TEST_CASE("check_exportable: refuses a larger integer and an identifier of bytes", "[adapters]") {
  for (const VectorId& id : {VectorId(101), VectorId::from_bytes("name")}) {
    const auto error = require_kind(IndexErrorKind::invalid_config, [&] {
      index_support::check_exportable(table_of(0, id), 100, "quicklib", "labels");
    });
    CHECK(mentions(error, to_string(id)));
    CHECK(mentions(error, "the labels of quicklib are integers from 0 to 100"));
  }
}
