// A file read by several threads: the same bytes and the same checksum as by one, and failures that reach the caller.
#include "iqdb/persist/storage/parallel_read.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::HelperThreads;
using iqdb::Progress;
using iqdb::ProgressMeter;
using ByteVector = std::vector<std::byte>;

constexpr std::size_t mebibyte = std::size_t{1024} * 1024;

ByteVector content_of(std::size_t size) {
  iqdb::testing::Random random(size);
  ByteVector bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random.next() >> 56U); });
  return bytes;
}

// Reads at most so many bytes at a time, and fails from some offset on.
struct AwkwardFile {
  ByteVector content;
  std::size_t most = mebibyte;
  std::optional<std::uint64_t> fails_from = {};

  [[nodiscard]] std::uint64_t size() const { return content.size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    if (fails_from && offset >= *fails_from) {
      throw std::runtime_error("the disk is broken");
    }
    const auto begin = static_cast<std::size_t>(offset);
    const std::size_t count = std::min({into.size(), content.size() - begin, most});
    std::ranges::copy(std::span(content).subspan(begin, count), into.begin());
    return count;
  }
};

std::uint32_t checksum_by(AwkwardFile& file, std::uint64_t begin, std::size_t piece_bytes, HelperThreads* helpers,
                          const std::function<void(const Progress&)>& callback = {}) {
  ProgressMeter progress(callback, Progress::Phase::verify, file.size() - begin);
  const std::uint32_t found = iqdb::checksum_of(file, begin, piece_bytes, helpers, progress);
  progress.finish();
  return found;
}

}  // namespace

TEST_CASE("The checksum of a file is that of its bytes whoever helps", "[parallel_read]") {
  const std::size_t size =
      GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{4095}, std::size_t{16384}, std::size_t{1'000'003});
  const std::uint64_t begin = GENERATE(std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{50});
  const unsigned threads = GENERATE(0U, 1U, 3U);
  CAPTURE(size, begin, threads);
  AwkwardFile file{.content = content_of(size + static_cast<std::size_t>(begin)), .most = 3000};
  iqdb::Crc32 expected;
  expected.update(std::span(file.content).subspan(static_cast<std::size_t>(begin)));
  HelperThreads helpers(threads);
  CHECK(checksum_by(file, begin, 4096, helpers.if_any()) == expected.value());
}

TEST_CASE("The checksums of pieces are those of the whole in whatever order they arrive", "[parallel_read]") {
  const ByteVector content = content_of(3000);
  const auto piece = [&](std::size_t number) { return iqdb::Crc32(std::span(content).subspan(number * 1000, 1000)); };
  std::vector<std::size_t> order{0, 1, 2};
  do {
    CAPTURE(order);
    iqdb::parallel_read::OrderedChecksum checksum;
    for (const std::size_t number : order) {
      checksum.add(number, piece(number));
    }
    CHECK(checksum.whole().value() == iqdb::Crc32(content).value());
  } while (std::ranges::next_permutation(order).found);
}

TEST_CASE("A file that cannot be read fails its checksum whichever thread finds out", "[parallel_read]") {
  const unsigned threads = GENERATE(0U, 2U);
  AwkwardFile file{.content = content_of(mebibyte), .fails_from = GENERATE(std::uint64_t{0}, std::uint64_t{900'000})};
  HelperThreads helpers(threads);
  CHECK_THROWS_WITH(checksum_by(file, 0, 4096, helpers.if_any()), "the disk is broken");
}

TEST_CASE("A checksum reports all its bytes as progress at its end", "[parallel_read]") {
  const unsigned threads = GENERATE(0U, 2U);
  AwkwardFile file{.content = content_of(3 * mebibyte + 5)};
  HelperThreads helpers(threads);
  std::vector<std::uint64_t> done;
  static_cast<void>(
      checksum_by(file, 5, 4096, helpers.if_any(), [&](const Progress& progress) { done.push_back(progress.done); }));
  REQUIRE_FALSE(done.empty());
  CHECK(std::ranges::is_sorted(done));
  CHECK(done.back() == 3 * mebibyte);
}

TEST_CASE("A checksum that is cancelled by its progress ends with what cancelled it", "[parallel_read]") {
  const unsigned threads = GENERATE(0U, 2U);
  AwkwardFile file{.content = ByteVector(40 * mebibyte)};
  HelperThreads helpers(threads);
  const auto cancel = [](const Progress&) { throw std::logic_error("enough"); };
  CHECK_THROWS_WITH(checksum_by(file, 0, 65536, helpers.if_any(), cancel), "enough");
}

TEST_CASE("A large read gives the bytes of the file whoever helps", "[parallel_read]") {
  const std::size_t size = GENERATE(std::size_t{10}, mebibyte - 1, mebibyte, 2 * mebibyte + 1, 5 * mebibyte - 4096);
  const unsigned threads = GENERATE(0U, 1U, 3U);
  CAPTURE(size, threads);
  AwkwardFile file{.content = content_of(size + 100), .most = 100'000};
  HelperThreads helpers(threads);
  ByteVector into(size);
  iqdb::read_shared(file, 33, into, helpers.if_any());
  CHECK(std::ranges::equal(into, std::span(file.content).subspan(33, size)));
}

TEST_CASE("A large read that fails tells the caller", "[parallel_read]") {
  AwkwardFile file{.content = content_of(4 * mebibyte), .fails_from = 3 * mebibyte};
  HelperThreads helpers(2);
  ByteVector into(4 * mebibyte);
  CHECK_THROWS_WITH(iqdb::read_shared(file, 0, into, helpers.if_any()), "the disk is broken");
}

TEST_CASE("A shared range gives the file from its beginning to the end and then nothing", "[parallel_read]") {
  const std::size_t step = GENERATE(std::size_t{1000}, 2 * mebibyte, 10 * mebibyte);
  AwkwardFile file{.content = content_of(5 * mebibyte)};
  HelperThreads helpers(2);
  iqdb::SharedFileRange range(file, 77, helpers.if_any());
  ByteVector all;
  ByteVector piece(step);
  while (const std::size_t count = range.read(piece)) {
    all.insert(all.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count));
  }
  CHECK(std::ranges::equal(all, std::span(file.content).subspan(77)));
}
