// A part of a file in memory, which moves on.
#include "iqdb/persist/storage/file_window.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

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

namespace {

// A file of zeros that notes where it is read.
struct NotingFile {
  std::vector<std::uint64_t> offsets = {};

  [[nodiscard]] static std::uint64_t size() noexcept { return 100; }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    offsets.push_back(offset);
    std::ranges::fill(into, std::byte{0});
    return into.size();
  }
};

// A file of more bytes than an array has where memory is addressed with 32 bits.
struct HugeFile {
  [[nodiscard]] static std::uint64_t size() noexcept { return std::uint64_t{1} << 40U; }
  [[nodiscard]] static std::size_t read_at(std::uint64_t /*offset*/, std::span<std::byte> into) { return into.size(); }
};

}  // namespace

TEST_CASE("A window that memory cannot hold is std::bad_alloc, and no smaller one", "[file_window]") {
  if (sizeof(void*) > 4) {
    return;  // the system may have so much
  }
  HugeFile file;
  iqdb::FileWindow window(file, 4);
  CHECK_THROWS_AS(window.at(10, (std::uint64_t{1} << 32U) + 24), std::bad_alloc);
}

TEST_CASE("A window that grows at its beginning reads only what it lacks", "[file_window]") {
  NotingFile file;
  iqdb::FileWindow window(file, 4);
  CHECK(window.at(10, 4).size() == 4);
  CHECK(window.at(10, 8).size() == 8);
  CHECK(file.offsets == std::vector<std::uint64_t>{10, 14});
}
