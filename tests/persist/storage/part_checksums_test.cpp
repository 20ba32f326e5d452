// Checksums of parts of a file, compared with those of the same bytes.
#include "iqdb/persist/storage/part_checksums.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"
#include "support/sample_index.hpp"

using iqdb::Crc32;
using iqdb_test::MemoryFile;

TEST_CASE("The checksum of a part up to the end is that of its bytes whatever the length of the file",
          "[part_checksums]") {
  // Marks are 256 bytes apart: the end of the file is before, at and behind one.
  for (const std::size_t begin : {std::size_t{0}, std::size_t{1}, std::size_t{256}}) {
    for (const std::size_t length : {1U, 255U, 256U, 257U, 511U, 512U, 513U, 2048U}) {
      CAPTURE(begin, length);
      const std::vector<std::byte> bytes = iqdb_test::Random(length).bytes(begin + length);
      MemoryFile file(bytes);
      iqdb::PartChecksums parts(file, begin, 1000);
      for (const std::size_t from : {begin, begin + length / 2, begin + length}) {
        const Crc32 beginning(std::span<const std::byte>(bytes).first(begin));
        Crc32 expected = beginning;
        expected.update(std::span(bytes).subspan(from));
        CHECK(parts.continued(beginning, from, bytes.size()) == expected.value());
      }
    }
  }
}

TEST_CASE("The checksum of a part within the file is that of its bytes", "[part_checksums]") {
  const std::vector<std::byte> bytes = iqdb_test::Random(1).bytes(1500);
  MemoryFile file(bytes);
  constexpr std::size_t begin = 10;
  iqdb::PartChecksums parts(file, begin, 300);
  const Crc32 beginning(std::span<const std::byte>(bytes).first(7));
  for (std::size_t from = begin; from < bytes.size(); from += 61) {
    for (std::size_t to = from; to <= bytes.size(); to += 83) {
      Crc32 expected = beginning;
      expected.update(std::span(bytes).subspan(from, to - from));
      REQUIRE(parts.continued(beginning, from, to) == expected.value());
    }
  }
}
