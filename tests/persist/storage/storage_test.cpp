// The seam below PersistedIndex: a Storage without files is enough for everything it does.
#include "iqdb/persist/storage/storage.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/memory_storage.hpp"
#include "support/sample_index.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FileReplacement;
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb::ReadableFile;
using iqdb::Storage;
using iqdb_test::difference;
using iqdb_test::MemoryFile;
using iqdb_test::MemoryStorage;
using iqdb_test::require_kind;
using MemoryDb = iqdb::PersistedIndex<FlatIndex, MemoryStorage>;

// ---- What a Storage is, and what is none ----------------------------------------------------------------------------

static_assert(Storage<MemoryStorage>);
static_assert(Storage<iqdb::FileStorage>);
static_assert(Storage<iqdb_test::FaultyStorage>);
static_assert(!Storage<int>);
static_assert(ReadableFile<MemoryFile>);
static_assert(ReadableFile<iqdb::FileStorage::File>);
static_assert(FileReplacement<MemoryStorage::Replacement>);
static_assert(FileReplacement<iqdb::FileStorage::Replacement>);
static_assert(!ReadableFile<MemoryStorage::Replacement>);
static_assert(!FileReplacement<MemoryFile>);

struct FileWithoutSize {
  std::size_t read_at(std::uint64_t, std::span<std::byte>);
};
static_assert(!ReadableFile<FileWithoutSize>);

struct FileThatReadsNothing : MemoryFile {
  void read_at(std::uint64_t, std::span<std::byte>);
};
static_assert(!ReadableFile<FileThatReadsNothing>);

struct ReplacementWithoutCommit {
  void append(std::span<const std::byte>);
  void overwrite(std::uint64_t, std::span<const std::byte>);
};
static_assert(!FileReplacement<ReplacementWithoutCommit>);

struct StorageWithoutLock : MemoryStorage {
  void lock(const fs::path&) = delete;
};
static_assert(!Storage<StorageWithoutLock>);

struct StorageWithoutRemove : MemoryStorage {
  void remove(const fs::path&, const Lock&) = delete;
};
static_assert(!Storage<StorageWithoutRemove>);

struct StorageThatCannotMove : MemoryStorage {
  StorageThatCannotMove(StorageThatCannotMove&&) = delete;
};
static_assert(!Storage<StorageThatCannotMove>);

// A handle or a lock that could be copied would be closed twice.
static_assert(!std::copyable<iqdb::FileStorage::File>);
static_assert(!std::copyable<iqdb::FileStorage::Lock>);
static_assert(!std::copy_constructible<iqdb::FileStorage::Replacement>);

FlatIndex sample(std::size_t rows) { return iqdb_test::make_sample_index(3, iqdb::DistanceMetric::cosine, rows); }

// Nothing of this name is on any disk, nor could it be made there.
const fs::path path = "/no/such/directory/index.iqdb";

}  // namespace

TEST_CASE("An index is saved to and loaded from a storage that has no files", "[storage]") {
  MemoryStorage storage;
  MemoryDb db = MemoryDb::open_with(sample(5), {.path = path}, storage);
  CHECK(storage.files().empty());
  const iqdb::SnapshotInfo info = db.save();
  REQUIRE(storage.files().size() == 1);
  CHECK(storage.files().at(path).size() == info.file_bytes);
  CHECK(difference(MemoryDb::load({.path = path}, storage).index(), sample(5)).empty());
}

TEST_CASE("A storage without the file gives the error of a missing file", "[storage]") {
  const iqdb::PersistError error =
      require_kind(PersistErrorKind::io, [] { return MemoryDb::load({.path = path}, MemoryStorage()); });
  CHECK(error.code() == std::errc::no_such_file_or_directory);
  CHECK(error.path() == path);
}

TEST_CASE("load_or_create creates in a storage without the file and loads from one that has it", "[storage]") {
  MemoryStorage storage;
  MemoryDb::load_or_create(
      {.path = path}, [] { return sample(4); }, storage)
      .save();
  const MemoryDb again = MemoryDb::load_or_create(
      {.path = path}, [] { return sample(9); }, storage);
  CHECK(again.index().size() == 4);
}

TEST_CASE("A save refuses a storage in which another holds the lock and changes nothing", "[storage]") {
  MemoryStorage storage;
  MemoryDb db = MemoryDb::open_with(sample(2), {.path = path}, storage);
  db.save();
  db.insert(1000, {1.0F, 2.0F, 3.0F});
  const auto before = storage.files();
  {
    const auto held = storage.lock(path, std::chrono::milliseconds::zero());
    require_kind(PersistErrorKind::locked, [&] { return db.save(); });
  }
  CHECK(storage.files() == before);
  db.save();
  CHECK(MemoryDb::load({.path = path}, storage).index().size() == 3);
}

TEST_CASE("A save gives the lock of its storage back also when it fails", "[storage]") {
  MemoryStorage storage;
  MemoryDb db = MemoryDb::open_with(sample(2), {.path = path}, storage);
  storage.files()[path.string() + ".wal"] = std::vector<std::byte>(1000);
  require_kind(PersistErrorKind::bad_magic, [&] { return db.save(); });
  const auto lock = storage.lock(path, std::chrono::milliseconds::zero());  // throws where it is held
  CHECK(storage.files().size() == 1);
}

TEST_CASE("Damage in a storage without files is found as in one with", "[storage]") {
  MemoryStorage storage;
  MemoryDb::open_with(sample(2), {.path = path}, storage).save();
  storage.files().at(path).back() ^= std::byte{1};
  const iqdb::PersistError error =
      require_kind(PersistErrorKind::checksum_mismatch, [&] { return MemoryDb::load({.path = path}, storage); });
  CHECK(error.path() == path);
}
