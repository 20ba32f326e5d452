// Files so large that helper threads share the work: what comes of them is what one thread alone would make.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::PersistConfig;
using iqdb_test::Random;
using iqdb_test::same_rows;
using iqdb_test::TemporaryDirectory;
using Db = iqdb::PersistedIndex<FlatIndex>;

constexpr std::size_t dim = 200;

template <class I>
void insert_rows(I& index, std::uint64_t begin, std::uint64_t end) {
  Random random(begin);
  for (std::uint64_t id = begin; id < end; ++id) {
    const std::vector<float> vector = random.vector(dim);
    index.insert(id, std::span<const float>(vector));
  }
}

FlatIndex index_of_rows(std::uint64_t rows) {
  FlatIndex index(dim, iqdb::DistanceMetric::euclidean);
  insert_rows(index, 0, rows);
  return index;
}

PersistConfig config_of(const fs::path& path, unsigned helpers) {
  return {.path = path,
          .wal_enabled = true,
          .fsync_policy = iqdb::FsyncPolicy::never(),
          .buffer_bytes = std::size_t{128} * 1024,
          .helper_threads = helpers};
}

void flip_a_bit(const fs::path& path, std::streamoff at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const int byte = file.get();
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 0x10));
}

}  // namespace

TEST_CASE("A snapshot saved and loaded with helpers is the index", "[helpers]") {
  const unsigned helpers = GENERATE(1U, 2U, 4U);
  const TemporaryDirectory directory;
  const FlatIndex index = index_of_rows(10'000);
  PersistConfig config = config_of(directory / "index.iqdb", helpers);
  config.wal_enabled = false;
  Db::open_with(index, config).save();
  CHECK(same_rows(Db::load(config).index(), index));
  config.helper_threads = 0;
  CHECK(same_rows(Db::load(config).index(), index));
}

TEST_CASE("A flipped bit anywhere in a large snapshot is found with helpers too", "[helpers]") {
  const TemporaryDirectory directory;
  PersistConfig config = config_of(directory / "index.iqdb", 2);
  config.wal_enabled = false;
  Db::open_with(index_of_rows(5000), config).save();
  const auto size = static_cast<std::streamoff>(fs::file_size(config.path));
  for (const std::streamoff at : {std::streamoff{100}, size / 3, size / 2, size - 1}) {
    flip_a_bit(config.path, at);
    iqdb_test::require_kind(iqdb::PersistErrorKind::checksum_mismatch, [&] { Db::load(config); });
    flip_a_bit(config.path, at);
  }
  CHECK(Db::load(config).index().size() == 5000);
}

TEST_CASE("A log of many records is replayed with helpers as without", "[helpers]") {
  const TemporaryDirectory directory;
  const PersistConfig config = config_of(directory / "index.iqdb", 2);
  {
    Db db = Db::open_with(FlatIndex(dim, iqdb::DistanceMetric::euclidean), config);
    insert_rows(db, 0, 4000);
    db.erase(17);
    insert_rows(db, 4000, 6000);
    iqdb::WriteBatch twice;
    const std::vector<float> vector(dim, 1.0F);
    twice.insert(7000, std::span<const float>(vector));
    twice.insert(7000, std::span<const float>(vector));
    CHECK_THROWS_AS(db.apply(twice), iqdb::IndexError);
  }
  const std::vector<std::byte> log = iqdb_test::read_bytes(directory / "index.iqdb.wal");
  const Db helped = Db::load(config);
  CHECK(helped.recovery().replayed == 6002);
  CHECK(helped.recovery().aborted == 1);

  const TemporaryDirectory other;
  fs::copy(config.path, other / "index.iqdb");
  iqdb_test::write_bytes(other / "index.iqdb.wal", log);
  const Db alone = Db::load(config_of(other / "index.iqdb", 0));
  CHECK(same_rows(alone.index(), helped.index()));
  CHECK(alone.lsn() == helped.lsn());
}

TEST_CASE("A damaged record in the middle of a large log is named with helpers too", "[helpers]") {
  const TemporaryDirectory directory;
  const PersistConfig config = config_of(directory / "index.iqdb", 2);
  {
    Db db = Db::open_with(FlatIndex(dim, iqdb::DistanceMetric::euclidean), config);
    insert_rows(db, 0, 5000);
  }
  // Header, then records of one size: 24 bytes before a body of 1 + 9 + 4 + 4 * dim + 1.
  constexpr std::uint64_t record = 24 + 15 + 4 * dim;
  const std::uint64_t damaged = GENERATE(std::uint64_t{1}, std::uint64_t{2000}, std::uint64_t{4998});
  const std::uint64_t begin = 64 + damaged * record;
  flip_a_bit(directory / "index.iqdb.wal", static_cast<std::streamoff>(begin + 60));
  const auto error = iqdb_test::require_kind(iqdb::PersistErrorKind::log_corrupted, [&] { Db::load(config); });
  CHECK(error.offset() == begin);
}
