// A file that is read past the memory of the system: what is asked of it, and that the bytes are the same.
#include "iqdb/persist/storage/past_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/stored_file.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

#ifdef __linux__
#include <unistd.h>

#include "iqdb/persist/storage/posix_file_system.hpp"
#endif

namespace {

using iqdb::AlignedBuffer;
using iqdb::PastCache;
using ByteVector = std::vector<std::byte>;
using Read = std::pair<std::uint64_t, std::size_t>;

constexpr std::size_t block = iqdb::direct_block_bytes;

ByteVector numbered_bytes(std::size_t count) {
  ByteVector bytes(count);
  for (std::size_t at = 0; at < count; ++at) {
    bytes[at] = static_cast<std::byte>(at * 7 + at / 251);
  }
  return bytes;
}

// Notes what is read in which way.
struct FileOfTwoWays {
  void open_past_cache() { is_open = true; }
  [[nodiscard]] std::uint64_t size() const { return content.size(); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    through.emplace_back(offset, into.size());
    return read(offset, into);
  }
  std::optional<std::size_t> read_past_cache(std::uint64_t offset, std::span<std::byte> into) {
    if (!is_open || refuses) {
      return std::nullopt;
    }
    past.emplace_back(offset, into.size());
    return read(offset, into);
  }
  [[nodiscard]] std::size_t read(std::uint64_t offset, std::span<std::byte> into) const {
    const auto begin = static_cast<std::size_t>(offset);
    const std::size_t count = std::min(into.size(), content.size() - begin);
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(begin), count, into.begin());
    return count;
  }

  ByteVector content;
  bool refuses = false;
  bool is_open = false;
  std::vector<Read> through = {};
  std::vector<Read> past = {};
};

static_assert(iqdb::ReadablePastCache<FileOfTwoWays>);

}  // namespace

TEST_CASE("Whole blocks are read past the memory of the system and the end that is none is not", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(3 * block + 5)};
  PastCache past_cache(file);
  CHECK(past_cache.size() == file.content.size());
  const AlignedBuffer buffer(4 * block);
  CHECK(past_cache.read_at(block, buffer.bytes()) == 2 * block);
  CHECK(past_cache.read_at(3 * block, buffer.bytes().subspan(2 * block)) == 5);
  CHECK(file.past == std::vector<Read>{{block, 2 * block}});
  CHECK(file.through == std::vector<Read>{{3 * block, 2 * block}});
  CHECK(std::equal(buffer.bytes().begin(), buffer.bytes().begin() + 2 * block + 5, file.content.begin() + block));
}

TEST_CASE("What does not lie as the device wants it is read through the memory of the system", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(3 * block)};
  PastCache past_cache(file);
  const AlignedBuffer buffer(3 * block);
  CHECK(past_cache.read_at(1, buffer.bytes().first(block)) == block);
  CHECK(past_cache.read_at(block, buffer.bytes().subspan(8, block)) == block);
  CHECK(past_cache.read_at(block, buffer.bytes().first(100)) == 100);
  CHECK(file.past.empty());
  CHECK(file.through.size() == 3);
}

TEST_CASE("What cannot be read past the memory of the system is read through it", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(2 * block), .refuses = true};
  PastCache past_cache(file);
  const AlignedBuffer buffer(2 * block);
  CHECK(past_cache.read_at(0, buffer.bytes()) == 2 * block);
  CHECK(file.through == std::vector<Read>{{0, 2 * block}});
}

TEST_CASE("A file has the same bytes past the memory of the system", "[past_cache]") {
  const iqdb_test::TemporaryDirectory directory;
  const ByteVector content = numbered_bytes(5 * block + 77);
  iqdb_test::write_bytes(directory / "file", content);
  iqdb::FileStorage storage;
  std::optional<iqdb::FileStorage::File> file = storage.open(directory / "file");
  REQUIRE(file);
  PastCache past_cache(*file);
  const AlignedBuffer buffer(8 * block);
  std::size_t have = 0;
  while (have < content.size()) {
    const std::size_t count = past_cache.read_at(have, buffer.bytes().subspan(have));
    REQUIRE(count > 0);
    have += count;
  }
  CHECK(std::equal(content.begin(), content.end(), buffer.bytes().begin()));
}

#ifdef __linux__

namespace {

// The real file system, of which a test says what the page cache holds and whether it reads past it.
class PlannedCache : public iqdb::PosixFileSystem {
 public:
  struct Plan {
    bool holds_first_half = false;
    bool holds_second_half = false;
    bool refuses = false;
    std::uint64_t file_bytes = 0;
    Handle past_cache = -1;
  };

  explicit PlannedCache(Plan& plan) : plan_(&plan) {}

  [[nodiscard]] iqdb::SystemResult<Handle> open_past_cache(Handle file) const {
    plan_->past_cache = ::dup(file);
    return {plan_->past_cache, {}};
  }
  [[nodiscard]] bool is_cached(Handle /*file*/, std::uint64_t offset, std::size_t /*count*/) const {
    return offset < plan_->file_bytes / 2 ? plan_->holds_first_half : plan_->holds_second_half;
  }
  [[nodiscard]] iqdb::SystemResult<std::size_t> read_at(Handle file, std::uint64_t offset,
                                                        std::span<std::byte> into) const {
    if (file == plan_->past_cache && plan_->refuses) {
      return {0, std::make_error_code(std::errc::invalid_argument)};
    }
    return iqdb::PosixFileSystem::read_at(file, offset, into);
  }

 private:
  Plan* plan_;
};

// What read_past_cache() answers for the first block of a file.
std::optional<std::size_t> first_block_of(PlannedCache::Plan& plan) {
  const iqdb_test::TemporaryDirectory directory;
  const ByteVector content = numbered_bytes(256 * block);
  iqdb_test::write_bytes(directory / "file", content);
  plan.file_bytes = content.size();
  PlannedCache system(plan);
  const auto opened = system.open(directory / "file", iqdb::OpenMode::read, 0);
  REQUIRE(!opened.error);
  iqdb::StoredFile file(iqdb::FileHandle(system, opened.value), directory / "file", content.size());
  file.open_past_cache();
  const AlignedBuffer buffer(block);
  const std::optional<std::size_t> count = file.read_past_cache(0, buffer.bytes());
  if (count) {
    CHECK(std::equal(buffer.bytes().begin(), buffer.bytes().end(), content.begin()));
  }
  return count;
}

}  // namespace

TEST_CASE("A file is read past the page cache unless that holds half of it", "[past_cache]") {
  PlannedCache::Plan plan{.holds_first_half = GENERATE(false, true), .holds_second_half = GENERATE(false, true)};
  CAPTURE(plan.holds_first_half, plan.holds_second_half);
  const bool is_read_past = !plan.holds_first_half && !plan.holds_second_half;
  CHECK(first_block_of(plan).has_value() == is_read_past);
  CHECK((plan.past_cache != -1) == is_read_past);
}

TEST_CASE("A file system that refuses to read past the page cache is asked to read through it", "[past_cache]") {
  PlannedCache::Plan plan{.refuses = true};
  CHECK(!first_block_of(plan));
  CHECK(plan.past_cache != -1);
}

TEST_CASE("The page cache holds what was just read", "[past_cache]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  iqdb_test::write_bytes(directory / "file", numbered_bytes(100 * block));
  iqdb::PosixFileSystem system;
  const auto opened = system.open(directory / "file", iqdb::OpenMode::read, 0);
  REQUIRE(!opened.error);
  const iqdb::FileHandle handle(system, opened.value);
  CHECK(system.is_cached(handle.get(), 0, 100 * block));
  CHECK(system.is_cached(handle.get(), 4 * block + 5, block));
}

#endif
