// Appending in whole blocks: the file holds what was appended, whatever the lengths, and every write is one that direct
// I/O takes.
#include "iqdb/persist/storage/block_appender.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::block_end;
using iqdb::BlockAppender;
using iqdb::direct_block_bytes;
using ByteVector = std::vector<std::byte>;

// A file in memory, which takes only what a device would.
class BlockFile {
 public:
  void append(BlockAppender& appender, std::uint64_t offset, std::span<const std::byte> bytes) {
    appender.write(
        offset, bytes, [this](std::uint64_t from, std::span<std::byte> into) { return read(from, into); },
        [this](std::uint64_t to, std::span<const std::byte> blocks) { write(to, blocks); });
  }

  [[nodiscard]] ByteVector first(std::uint64_t bytes) const {
    return {content.begin(), content.begin() + static_cast<std::ptrdiff_t>(bytes)};
  }

  ByteVector content;
  std::size_t reads = 0;
  std::vector<std::size_t> writes;  // the bytes of each
  std::size_t writes_that_work = static_cast<std::size_t>(-1);
  std::size_t most_read = static_cast<std::size_t>(-1);  // at a time

 private:
  std::size_t read(std::uint64_t from, std::span<std::byte> into) {
    ++reads;
    const auto begin = static_cast<std::size_t>(from);
    const std::size_t count = std::min({into.size(), content.size() - begin, most_read});
    std::ranges::copy(std::span(content).subspan(begin, count), into.begin());
    return count;
  }

  void write(std::uint64_t to, std::span<const std::byte> blocks) {
    CHECK(iqdb::is_block_aligned(to, blocks));
    if (writes.size() == writes_that_work) {
      throw std::runtime_error("the disk is full");
    }
    writes.push_back(blocks.size());
    const auto begin = static_cast<std::size_t>(to);
    content.resize(std::max(content.size(), begin + blocks.size()));
    std::ranges::copy(blocks, content.begin() + static_cast<std::ptrdiff_t>(begin));
  }
};

ByteVector some_bytes(std::size_t size, std::uint64_t seed) {
  iqdb::testing::Random random(seed);
  ByteVector bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random.below(255) + 1); });
  return bytes;
}

}  // namespace

TEST_CASE("A block's bounds are those of the 4096 bytes around an offset", "[block_appender]") {
  CHECK(iqdb::block_begin(0) == 0);
  CHECK(iqdb::block_begin(4095) == 0);
  CHECK(iqdb::block_begin(4096) == 4096);
  CHECK(block_end(0) == 0);
  CHECK(block_end(1) == 4096);
  CHECK(block_end(4096) == 4096);
}

TEST_CASE("An aligned buffer lies on a block", "[block_appender]") {
  const iqdb::AlignedBuffer buffer(3 * direct_block_bytes);
  CHECK(buffer.size() == 3 * direct_block_bytes);
  CHECK(iqdb::is_block_aligned(0, buffer.bytes()));
  CHECK_FALSE(iqdb::is_block_aligned(1, buffer.bytes()));
  CHECK_FALSE(iqdb::is_block_aligned(0, buffer.bytes().first(1)));
  CHECK_FALSE(iqdb::is_block_aligned(0, buffer.bytes().subspan(1, direct_block_bytes)));
}

TEST_CASE("A file holds what was appended in pieces of any length and zeros behind it", "[block_appender]") {
  const std::uint64_t seed = GENERATE(take(20, random(1ULL, 1ULL << 62U)));
  CAPTURE(seed);
  iqdb::testing::Random random(seed);
  BlockAppender appender;
  BlockFile file;
  ByteVector expected;
  for (int piece = 0; piece < 60; ++piece) {
    const std::size_t most = random.one_in(10) ? 3 * BlockAppender::largest_buffer_bytes / 2 : 9000;
    const ByteVector bytes = some_bytes(static_cast<std::size_t>(1 + random.below(most)), random.next());
    file.append(appender, expected.size(), bytes);
    expected.insert(expected.end(), bytes.begin(), bytes.end());
  }
  REQUIRE(file.content.size() == block_end(expected.size()));
  CHECK(file.first(expected.size()) == expected);
  CHECK(std::ranges::all_of(std::span(file.content).subspan(expected.size()),
                            [](std::byte each) { return each == std::byte{0}; }));
  CHECK(file.reads == 0);
}

TEST_CASE("A frame is one write of the blocks that it lies in", "[block_appender]") {
  BlockAppender appender;
  BlockFile file;
  file.append(appender, 0, some_bytes(100, 1));
  file.append(appender, 100, some_bytes(5000, 2));
  file.append(appender, 5100, some_bytes(3092, 3));  // to the very end of a block
  file.append(appender, 8192, some_bytes(1, 4));
  CHECK(file.writes == std::vector<std::size_t>{4096, 8192, 4096, 4096});
}

TEST_CASE("A frame larger than the buffer is as few writes as the buffer allows", "[block_appender]") {
  BlockAppender appender;
  BlockFile file;
  file.append(appender, 0, some_bytes(2 * BlockAppender::largest_buffer_bytes + 1, 1));
  CHECK(file.writes == std::vector<std::size_t>{BlockAppender::largest_buffer_bytes,
                                                BlockAppender::largest_buffer_bytes, direct_block_bytes});
}

TEST_CASE("The last block of a file that others wrote is read before it is written again", "[block_appender]") {
  const std::size_t end = GENERATE(std::size_t{1}, std::size_t{4095}, std::size_t{4097}, std::size_t{10'000});
  BlockAppender appender;
  BlockFile file;
  const ByteVector before = some_bytes(end, 1);
  file.content = before;
  const ByteVector bytes = some_bytes(300, 2);
  file.append(appender, end, bytes);
  CHECK(file.first(end) == before);
  CHECK(std::ranges::equal(std::span(file.content).subspan(end, bytes.size()), bytes));
  CHECK(file.reads == 1);
}

TEST_CASE("A block that is read in several pieces is read whole", "[block_appender]") {
  BlockAppender appender;
  BlockFile file;
  file.most_read = 7;
  const ByteVector before = some_bytes(100, 1);
  file.content = before;
  file.append(appender, 100, some_bytes(10, 2));
  CHECK(file.first(100) == before);
}

TEST_CASE("What stood behind the place where a frame is written is gone", "[block_appender]") {
  BlockAppender appender;
  BlockFile file;
  const ByteVector first = some_bytes(1000, 1);
  file.append(appender, 0, first);
  file.append(appender, 1000, some_bytes(1000, 2));
  const ByteVector other = some_bytes(10, 3);
  file.append(appender, 1000, other);
  CHECK(file.first(1000) == first);
  CHECK(std::ranges::equal(std::span(file.content).subspan(1000, 10), other));
  CHECK(
      std::ranges::all_of(std::span(file.content).subspan(1010), [](std::byte each) { return each == std::byte{0}; }));
}

TEST_CASE("After a write that failed half way the same place can be written", "[block_appender]") {
  BlockAppender appender;
  BlockFile file;
  const ByteVector first = some_bytes(5000, 1);
  file.append(appender, 0, first);
  file.writes_that_work = 2;
  const ByteVector large = some_bytes(BlockAppender::largest_buffer_bytes + 5000, 2);
  CHECK_THROWS_AS(file.append(appender, 5000, large), std::runtime_error);
  file.writes_that_work = static_cast<std::size_t>(-1);
  const ByteVector other = some_bytes(77, 3);
  file.append(appender, 5000, other);
  CHECK(file.first(5000) == first);
  CHECK(std::ranges::equal(std::span(file.content).subspan(5000, 77), other));
}
