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
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

#ifdef __linux__
#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/storage/posix_file_system.hpp"
#endif

namespace {

using iqdb::AlignedBuffer;
using iqdb::PastCache;
using iqdb_test::numbered_bytes;
using ByteVector = std::vector<std::byte>;
using Read = std::pair<std::uint64_t, std::size_t>;

constexpr std::size_t one_block = iqdb::direct_block_bytes;

// Notes what is read in which way.
struct FileOfTwoWays {
  bool open_past_cache() { return is_open = !is_cached; }
  [[nodiscard]] std::uint64_t size() const { return content.size(); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    through.emplace_back(offset, into.size());
    return read(offset, into);
  }
  std::optional<std::size_t> read_past_cache(std::uint64_t offset, std::span<std::byte> into) {
    REQUIRE(is_open);
    if (refuses) {
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
  bool is_cached = false;
  bool is_open = false;
  std::vector<Read> through = {};
  std::vector<Read> past = {};
};

static_assert(iqdb::ReadablePastCache<FileOfTwoWays>);

}  // namespace

TEST_CASE("Whole blocks are read past the memory of the system and the end that is none is not", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(3 * one_block + 5)};
  PastCache past_cache(file);
  CHECK(past_cache.size() == file.content.size());
  const AlignedBuffer buffer(4 * one_block);
  CHECK(past_cache.read_at(one_block, buffer.bytes()) == 2 * one_block);
  CHECK(past_cache.read_at(3 * one_block, buffer.bytes().subspan(2 * one_block)) == 5);
  CHECK(file.past == std::vector<Read>{{one_block, 2 * one_block}});
  CHECK(file.through == std::vector<Read>{{3 * one_block, 2 * one_block}});
  CHECK(
      std::equal(buffer.bytes().begin(), buffer.bytes().begin() + 2 * one_block + 5, file.content.begin() + one_block));
}

TEST_CASE("What does not lie as the device wants it is read through the memory of the system", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(3 * one_block)};
  PastCache past_cache(file);
  const AlignedBuffer buffer(3 * one_block);
  CHECK(past_cache.read_at(1, buffer.bytes().first(one_block)) == one_block);
  CHECK(past_cache.read_at(one_block, buffer.bytes().subspan(8, one_block)) == one_block);
  CHECK(past_cache.read_at(one_block, buffer.bytes().first(100)) == 100);
  CHECK(file.past.empty());
  CHECK(file.through.size() == 3);
}

TEST_CASE("What cannot be read past the memory of the system is read through it", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(2 * one_block), .refuses = true};
  PastCache past_cache(file);
  const AlignedBuffer buffer(2 * one_block);
  CHECK(past_cache.read_at(0, buffer.bytes()) == 2 * one_block);
  CHECK(file.through == std::vector<Read>{{0, 2 * one_block}});
}

TEST_CASE("A file that is not worth it is read through the memory of the system alone", "[past_cache]") {
  FileOfTwoWays file{.content = numbered_bytes(2 * one_block), .is_cached = true};
  PastCache past_cache(file);
  CHECK(!past_cache.is_open());
  const AlignedBuffer buffer(2 * one_block);
  CHECK(past_cache.read_at(0, buffer.bytes()) == 2 * one_block);
  CHECK(file.past.empty());
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
  const ByteVector content = numbered_bytes(256 * one_block);
  iqdb_test::write_bytes(directory / "file", content);
  plan.file_bytes = content.size();
  PlannedCache system(plan);
  const auto opened = system.open(directory / "file", iqdb::OpenMode::read, 0);
  REQUIRE(!opened.error);
  iqdb::StoredFile file(iqdb::FileHandle(system, opened.value), directory / "file", content.size());
  const bool is_open = file.open_past_cache();
  CHECK(is_open == (plan.past_cache != -1));
  const AlignedBuffer buffer(one_block);
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

namespace {

// The real file system, whose page cache holds nothing as far as it says.
class ColdFileSystem : public iqdb::PosixFileSystem {
 public:
  [[nodiscard]] bool is_cached(Handle /*file*/, std::uint64_t /*offset*/, std::size_t /*count*/) const { return false; }
};

// A directory on a disk, as far as the one for temporary files lies on one.
class DiskFile {
 public:
  explicit DiskFile(std::size_t bytes) : content(numbered_bytes(bytes)) {
    iqdb_test::write_bytes(path, content);
    const auto opened = system_.open(path, iqdb::OpenMode::read, 0);
    REQUIRE(!opened.error);
    handle_.emplace(system_, opened.value);
  }

  [[nodiscard]] iqdb::FileHandle<ColdFileSystem>& handle() { return *handle_; }

 private:
  iqdb_test::TemporaryDirectory directory_;
  ColdFileSystem system_;
  std::optional<iqdb::FileHandle<ColdFileSystem>> handle_;

 public:
  std::filesystem::path path = directory_ / "file";
  ByteVector content;
};

}  // namespace

TEST_CASE("A file has the same bytes past the page cache", "[past_cache]") {
  DiskFile disk(3 * iqdb::huge_page_bytes + 77);
  iqdb::StoredFile file(std::move(disk.handle()), disk.path, disk.content.size());
  PastCache past_cache(file);
  const AlignedBuffer buffer(4 * iqdb::huge_page_bytes);
  std::size_t have = 0;
  while (have < disk.content.size()) {
    const std::size_t count = past_cache.read_at(have, buffer.bytes().subspan(have));
    REQUIRE(count > 0);
    have += count;
  }
  CHECK(std::equal(disk.content.begin(), disk.content.end(), buffer.bytes().begin()));
}

TEST_CASE("A file that is opened past the page cache is the same one and bypasses it", "[past_cache]") {
  DiskFile disk(one_block);
  ColdFileSystem system;
  const auto opened = system.open_past_cache(disk.handle().get());
  if (opened.error) {
    WARN("this file system reads nothing past the page cache: " << opened.error.message());
    return;
  }
  const iqdb::FileHandle past_cache(system, opened.value);
  CHECK((::fcntl(past_cache.get(), F_GETFL) & O_DIRECT) != 0);
  CHECK((::fcntl(past_cache.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(system.status(past_cache.get()).value.identity == system.status(disk.handle().get()).value.identity);
}

TEST_CASE("The page cache holds what was just written and nothing after it gave that up", "[past_cache]") {
  DiskFile disk(100 * one_block);
  const iqdb::PosixFileSystem system;
  const int file = disk.handle().get();
  CHECK(system.is_cached(file, 0, 100 * one_block));
  CHECK(system.is_cached(file, 4 * one_block + 5, one_block));
  struct ::statfs where {};
  REQUIRE(::fstatfs(file, &where) == 0);
  constexpr auto of_memory = 0x01021994;  // tmpfs, which is in memory alone
  if (where.f_type == of_memory) {
    WARN("the directory for temporary files is in memory: nobody gives that up");
    return;
  }
  REQUIRE(::fsync(file) == 0);
  REQUIRE(::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0);
  CHECK(!system.is_cached(file, 0, 100 * one_block));
}

#endif
