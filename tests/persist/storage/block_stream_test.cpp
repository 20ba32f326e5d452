// A stream of blocks: what reaches the file, in which order, checksummed as it was written; and what becomes of
// failures.
#include "iqdb/persist/storage/block_stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::BlockStream;
using ByteVector = std::vector<std::byte>;

// A file in memory that fails, where a test wants it, with the piece that holds a certain byte.
struct File {
  void append(std::span<const std::byte> bytes) {
    if (fails_at && *fails_at < content.size() + bytes.size()) {
      throw std::runtime_error("the disk is full");
    }
    if (slow) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    aligned = aligned && iqdb::is_block_aligned(content.size(), bytes.first(bytes.size() / 4096 * 4096));
    pieces.push_back(bytes.size());
    content.insert(content.end(), bytes.begin(), bytes.end());
  }
  void overwrite(std::uint64_t /*offset*/, std::span<const std::byte> /*bytes*/) {}
  void sync() {}
  void rename() {}
  bool in_doubt() const { return false; }
  void sync_directory() {}

  ByteVector content = {};
  std::vector<std::size_t> pieces = {};  // their sizes
  bool aligned = true;                   // whether each lay on a block, in memory and in the file
  bool slow = false;
  std::optional<std::size_t> fails_at = {};
};

constexpr std::size_t block = 8192;

ByteVector any_bytes(std::size_t size) {
  iqdb::testing::Random random(size);
  ByteVector bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random.next() >> 56U); });
  return bytes;
}

std::uint32_t checksum_of(std::span<const std::byte> bytes) {
  iqdb::Crc32 checksum;
  checksum.update(bytes);
  return checksum.value();
}

// Writes `bytes` in pieces of any size.
void write_in_pieces(BlockStream<File>& stream, std::span<const std::byte> bytes, std::size_t most) {
  iqdb::testing::Random random(most);
  while (!bytes.empty()) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), 1 + random.below(most)));
    stream.write(bytes.first(count));
    bytes = bytes.subspan(count);
  }
}

}  // namespace

TEST_CASE("What is written reaches the file in its order whoever helps", "[block_stream]") {
  const unsigned helpers = GENERATE(0U, 1U, 2U, 5U);
  const std::size_t size = GENERATE(std::size_t{1}, block - 1, block, block + 1, std::size_t{50} * block + 123);
  const std::size_t most = GENERATE(std::size_t{1000}, std::size_t{1'000'000});
  CAPTURE(helpers, size, most);
  const ByteVector bytes = any_bytes(size);
  File file;
  BlockStream stream(file, 0, block, helpers);
  write_in_pieces(stream, bytes, most);
  CHECK(stream.bytes() == size);
  stream.finish();
  CHECK(file.content == bytes);
  CHECK(stream.checksum().value() == checksum_of(bytes));
  CHECK(stream.bytes() == size);
}

TEST_CASE("Blocks reach the file whole and aligned and only the last one is smaller", "[block_stream]") {
  const unsigned helpers = GENERATE(0U, 1U, 2U);
  constexpr std::size_t blocks = 50;
  File file{.slow = true};
  BlockStream stream(file, 0, block - 100, helpers);
  stream.write(any_bytes(blocks * block + 7));
  stream.finish();
  CHECK(file.content.size() == blocks * block + 7);
  CHECK(file.aligned);
  REQUIRE(file.pieces.back() == 7);
  file.pieces.pop_back();
  CHECK(std::ranges::all_of(file.pieces, [](std::size_t bytes) { return bytes % block == 0; }));
}

TEST_CASE("Blocks that are there go to a slow file several at a time", "[block_stream]") {
  constexpr std::size_t blocks = 50;
  File alone{.slow = true};
  File helped{.slow = true};
  for (auto [file, helpers] : {std::pair(&alone, 0U), std::pair(&helped, 2U)}) {
    BlockStream stream(*file, 0, block, helpers);
    stream.write(any_bytes(blocks * block));
    stream.finish();
  }
  CHECK(alone.pieces.size() == blocks);
  CHECK(helped.pieces.size() < blocks);
  CHECK(std::ranges::max(helped.pieces) == 3 * block);  // the others are filled and checksummed meanwhile
}

TEST_CASE("The bytes at the beginning that are not to be checksummed are not", "[block_stream]") {
  const std::uint64_t unchecked = GENERATE(std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{block - 1},
                                           std::uint64_t{block}, std::uint64_t{block + 1}, std::uint64_t{3 * block});
  const unsigned helpers = GENERATE(0U, 1U, 2U);
  CAPTURE(unchecked, helpers);
  const ByteVector bytes = any_bytes(2 * block + 500);
  File file;
  BlockStream stream(file, unchecked, block, helpers);
  stream.write(bytes);
  stream.finish();
  CHECK(file.content == bytes);
  const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(unchecked, bytes.size()));
  CHECK(stream.checksum().value() == checksum_of(std::span(bytes).subspan(skipped)));
}

TEST_CASE("A file that is slower than the caller gets every block all the same", "[block_stream]") {
  const ByteVector bytes = any_bytes(40 * block + 1);
  File file{.slow = true};
  BlockStream stream(file, 0, block, 2);
  write_in_pieces(stream, bytes, 3 * block);
  stream.finish();
  CHECK(file.content == bytes);
  CHECK(stream.checksum().value() == checksum_of(bytes));
}

TEST_CASE("What the file throws reaches whoever writes or finishes", "[block_stream]") {
  const unsigned helpers = GENERATE(0U, 1U, 2U);
  const std::size_t fails_at = GENERATE(std::size_t{0}, block, 9 * block);
  CAPTURE(helpers, fails_at);
  const ByteVector bytes = any_bytes(9 * block + 1);
  File file{.fails_at = fails_at};
  const auto write_all = [&] {
    BlockStream stream(file, 0, block, helpers);
    stream.write(bytes);
    stream.finish();
  };
  CHECK_THROWS_WITH(write_all(), "the disk is full");
  CHECK(file.content.size() <= fails_at);
  CHECK((helpers > 0 || file.content.size() == fails_at));
}

TEST_CASE("A writer whose file has failed is told before it has written for ever", "[block_stream]") {
  File file{.fails_at = 0};
  BlockStream stream(file, 0, block, 2);
  const ByteVector bytes = any_bytes(block);
  const auto write_much = [&] {
    for (int piece = 0; piece < 1000; ++piece) {
      stream.write(bytes);
    }
  };
  CHECK_THROWS_WITH(write_much(), "the disk is full");
}

TEST_CASE("A stream that is abandoned in the middle lets its threads end", "[block_stream]") {
  File file{.slow = true};
  {
    BlockStream stream(file, 0, block, 2);
    stream.write(any_bytes(5 * block));
  }
  CHECK(file.content.size() <= 5 * block);
}

TEST_CASE("Of a stream that was never written to nothing reaches the file", "[block_stream]") {
  File file;
  BlockStream stream(file, 0, block, 2);
  stream.finish();
  CHECK(file.pieces.empty());
  CHECK(stream.checksum().value() == 0);
}
