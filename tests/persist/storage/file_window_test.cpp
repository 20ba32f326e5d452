// A part of a file in memory, which moves on.
#include "iqdb/persist/storage/file_window.hpp"

#include <algorithm>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"

using iqdb_test::Bytes;
using iqdb_test::MemoryFile;

TEST_CASE("A window holds what was read last and says so", "[file_window]") {
  MemoryFile file(Bytes().text("0123456789"));
  iqdb::FileWindow window(file, 4);
  CHECK(window.held_from(0).empty());
  CHECK(window.at(2, 1).size() == 1);
  CHECK(std::ranges::equal(window.held_from(2), Bytes().text("2345").get()));
  CHECK(std::ranges::equal(window.held_from(5), Bytes().text("5").get()));
  CHECK(window.held_from(1).empty());
  CHECK(window.held_from(6).empty());
}
