// The check of a snapshot: it answers as a load does, and keeps no vectors.
#include "iqdb/persist/snapshot/verify.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/past_cache.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"

namespace of_verify {

namespace {

using iqdb::PersistConfig;
using Content = std::vector<std::byte>;

template <class I>
Content saved_by(const I& index, const PersistConfig& config) {
  iqdb_test::MemoryStorage storage;
  const std::filesystem::path path = "/memory/index.iqdb";
  const auto lock = storage.lock(path, std::chrono::milliseconds::zero());
  iqdb::save_snapshot(index, storage, lock, path, config);
  return storage.files().at(path);
}

template <class I>
I index_of_rows(std::uint64_t rows, std::size_t dim) {
  I index(dim, iqdb::DistanceMetric::manhattan);
  iqdb_test::Random random(rows);
  for (std::uint64_t id = 0; id < rows; ++id) {
    if (id % 3 == 1) {
      index.insert(iqdb::VectorId::from_bytes("id " + std::to_string(id)), random.vector(dim),
                   iqdb::Metadata{{"name", std::to_string(id)}});
    } else {
      index.insert(rows - id, random.vector(dim));
    }
  }
  return index;
}

// Counts what is read of it.
struct CountedFile {
  const Content* content = nullptr;
  std::uint64_t* bytes_read = nullptr;

  [[nodiscard]] std::uint64_t size() const { return content->size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    const auto rest = std::span(*content).subspan(static_cast<std::size_t>(offset));
    const std::size_t count = std::min(into.size(), rest.size());
    std::ranges::copy(rest.first(count), into.begin());
    *bytes_read += count;
    return count;
  }
};

// Counts what is read of it past the memory of the system.
struct FileReadOnce {
  [[nodiscard]] static bool open_past_cache() { return true; }
  [[nodiscard]] std::uint64_t size() const { return counted.size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    return counted.read_at(offset, into);
  }
  [[nodiscard]] std::optional<std::size_t> read_past_cache(std::uint64_t offset, std::span<std::byte> into) {
    const std::size_t count = counted.read_at(offset, into);
    *bytes_read_past += count;
    return count;
  }

  CountedFile counted;
  std::uint64_t* bytes_read_past = nullptr;
};

// How much of a file a check reads past the memory of the system.
template <class I>
std::uint64_t read_past_by_check(const Content& file) {
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_read_past = 0;
  FileReadOnce once{.counted = {.content = &file, .bytes_read = &bytes_read}, .bytes_read_past = &bytes_read_past};
  std::ignore = iqdb::snapshot::verified_as<I>(once, {.helper_threads = 0});
  return bytes_read_past;
}

template <class Call>
std::string answer_of(Call&& call) {
  try {
    static_cast<void>(call());
    return "fine";
  } catch (const iqdb::PersistError& error) {
    return std::string(to_string(error.kind())) + ": " + error.what();
  }
}

// Where the region begins: behind the header of the index's type.
template <class I>
std::size_t region_of() {
  return static_cast<std::size_t>(iqdb::header_bytes(I::index_type.size()));
}

template <class I>
Content with_checksum_that_fits(Content file) {
  const std::size_t region = region_of<I>();
  const auto sum = iqdb::to_little_endian(iqdb::Crc32(std::span(file).subspan(region)).value());
  std::ranges::copy(sum, file.begin() + static_cast<std::ptrdiff_t>(region - sum.size()));
  return file;
}

// Where a check and a load differ about a file; empty if they agree.
template <class I>
std::string difference_to_load(const Content& file, const PersistConfig& config) {
  const std::string loaded =
      answer_of([&] { return iqdb::load_snapshot<I>(iqdb_test::MemoryFile(file), config).fingerprint; });
  iqdb_test::MemoryFile checked(file);
  const std::string found = answer_of([&] { return iqdb::snapshot::verified_as<I>(checked, config).scheme; });
  return found == loaded ? std::string() : "a load says:\n" + loaded + "\na check says:\n" + found;
}

// Where they differ about a file that is damaged somehow; empty if nowhere.
template <class I>
std::string difference_to_load_in_damage(const PersistConfig& config) {
  const Content whole = saved_by(index_of_rows<I>(5, 3), config);
  std::string difference = difference_to_load<I>(whole, config);
  for (std::size_t at = 0; at < whole.size() && difference.empty(); ++at) {
    difference = difference_to_load<I>({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at)}, config);
    for (std::size_t bit = at % iqdb_test::bit_step; bit < 8 && difference.empty(); bit += iqdb_test::bit_step) {
      Content damaged = whole;
      damaged[at] ^= static_cast<std::byte>(1U << bit);
      difference = difference_to_load<I>(damaged, config);
      if (at >= region_of<I>() && difference.empty()) {
        difference = difference_to_load<I>(with_checksum_that_fits<I>(damaged), config);
      }
    }
  }
  return difference;
}

struct Enough : std::runtime_error {
  Enough() : std::runtime_error("enough") {}
};

}  // namespace

TEST_CASE("A check of a snapshot says of every damage what a load says", "[verify]") {
  const unsigned helpers = GENERATE(0U, 1U);
  const bool compressed = GENERATE(false, true);
  if (compressed && IQDB_PERSIST_HAS_ZSTD == 0) {
    return;
  }
  CAPTURE(helpers, compressed);
  const PersistConfig config{.compression = compressed ? iqdb::Compression::zstd() : iqdb::Compression::none(),
                             .buffer_bytes = 4096,
                             .helper_threads = helpers};
  CHECK(difference_to_load_in_damage<iqdb::FlatIndex>(config) == "");
  CHECK(difference_to_load_in_damage<iqdb::CoreIndex>(config) == "");
}

TEST_CASE("A check says of two vectors of one identifier what a load says", "[verify]") {
  const bool ascending = GENERATE(false, true);
  iqdb::FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  index.insert(ascending ? 1 : 9, {1.0F, 2.0F});
  index.insert(3, {1.0F, 2.0F});
  index.insert(4, {1.0F, 2.0F});
  const PersistConfig config{.helper_threads = 1};
  Content file = saved_by(index, config);
  constexpr std::size_t last_id =
      9 + 8 + 1 + 8 + 2 * 9 + 1;  // in the region: behind preamble, head and two identifiers
  std::byte& low = file[region_of<iqdb::FlatIndex>() + last_id];
  REQUIRE(low == std::byte{4});
  low = std::byte{3};
  file = with_checksum_that_fits<iqdb::FlatIndex>(file);
  iqdb_test::MemoryFile twice(file);
  CHECK_THROWS_WITH(iqdb::snapshot::verified_as<iqdb::FlatIndex>(twice, config),
                    Catch::Matchers::Contains("the flat index holds two vectors 3"));
  CHECK(difference_to_load<iqdb::FlatIndex>(file, config) == "");
}

TEST_CASE("A check reads the file once and beside that only what the vectors leave of it", "[verify]") {
  const PersistConfig config{.buffer_bytes = 4096, .helper_threads = 0};
  const Content file = saved_by(index_of_rows<iqdb::FlatIndex>(100, 2000), config);
  std::uint64_t bytes_read = 0;
  CountedFile counted{.content = &file, .bytes_read = &bytes_read};
  const iqdb::SnapshotReport report = iqdb::snapshot::verified_as<iqdb::FlatIndex>(counted, config);
  CHECK(report.header.vectors == 100);
  CHECK(bytes_read < file.size() + file.size() / 16);
  bytes_read = 0;
  iqdb::snapshot::verified(counted, config);
  CHECK(bytes_read < file.size() + file.size() / 16);
}

TEST_CASE("A snapshot of more metadata than vectors is read through the memory of the system", "[verify]") {
  iqdb::FlatIndex index(4, iqdb::DistanceMetric::euclidean);
  const std::vector<float> vector(4, 1.0F);
  index.insert(std::uint64_t{1}, vector, iqdb::Metadata{{"text", std::string(3'000'000, 'x')}});
  CHECK(read_past_by_check<iqdb::FlatIndex>(saved_by(index, {})) == 0);
}

TEST_CASE("Only a check that skips the vectors reads the file past the memory of the system", "[verify]") {
  const Content flat = saved_by(index_of_rows<iqdb::FlatIndex>(1000, 1024), {});
  const std::uint64_t pieces = flat.size() / iqdb::past_cache_piece_bytes;
  CHECK(pieces == 1);  // the first piece does not begin with a block
  CHECK(read_past_by_check<iqdb::FlatIndex>(flat) ==
        iqdb::block_begin(flat.size()) - pieces * iqdb::past_cache_piece_bytes);
  CHECK(read_past_by_check<iqdb::CoreIndex>(saved_by(index_of_rows<iqdb::CoreIndex>(1000, 1024), {})) == 0);
}

#if IQDB_PERSIST_HAS_ZSTD
TEST_CASE("A check of a compressed snapshot reads the file once", "[verify]") {
  const PersistConfig config{.compression = iqdb::Compression::zstd(), .buffer_bytes = 4096, .helper_threads = 0};
  const Content file = saved_by(index_of_rows<iqdb::FlatIndex>(100, 2000), config);
  std::uint64_t bytes_read = 0;
  CountedFile counted{.content = &file, .bytes_read = &bytes_read};
  iqdb::snapshot::verified_as<iqdb::FlatIndex>(counted, config);
  CHECK(bytes_read < file.size() + file.size() / 16);
}
#endif

TEST_CASE("A check needs no memory for the vectors", "[verify]") {
  const PersistConfig config{.buffer_bytes = 4096, .helper_threads = 0};
  const Content file = saved_by(index_of_rows<iqdb::FlatIndex>(100, 20'000), config);
  REQUIRE(file.size() > 7'000'000);
  std::uint64_t bytes_read = 0;
  CountedFile counted{.content = &file, .bytes_read = &bytes_read};
  const auto taken = iqdb_test::allocated_by([&] { iqdb::snapshot::verified_as<iqdb::FlatIndex>(counted, config); });
  CHECK(taken.total < 200'000);
}

TEST_CASE("An exception of on_progress ends a check and passes unchanged", "[verify]") {
  const unsigned helpers = GENERATE(0U, 1U);
  const Content file = saved_by(index_of_rows<iqdb::FlatIndex>(100, 200), {});
  iqdb_test::MemoryFile read(file);
  const PersistConfig config{.on_progress = [](const iqdb::Progress&) { throw Enough(); }, .helper_threads = helpers};
  CHECK_THROWS_AS(iqdb::snapshot::verified_as<iqdb::FlatIndex>(read, config), Enough);
}

TEST_CASE("A check reports its bytes in one phase to the end", "[verify]") {
  const unsigned helpers = GENERATE(0U, 1U);
  const Content file = saved_by(index_of_rows<iqdb::FlatIndex>(100, 200), {});
  iqdb_test::MemoryFile read(file);
  std::vector<iqdb::Progress> reports;
  const PersistConfig config{.on_progress = [&](const iqdb::Progress& progress) { reports.push_back(progress); },
                             .helper_threads = helpers};
  iqdb::snapshot::verified_as<iqdb::FlatIndex>(read, config);
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].phase == iqdb::Progress::Phase::verify);
  CHECK(reports[0].done == file.size() - region_of<iqdb::FlatIndex>());
  CHECK(reports[0].total == reports[0].done);
}

struct ChecksButTrusts {
  static iqdb::PayloadFacts check_payload(iqdb::Reader&);
};
struct ChecksAndSaysNothing {
  static constexpr bool trusts_nothing = true;
  static void check_payload(iqdb::Reader&);
};
static_assert(iqdb::ChecksPayload<iqdb::FlatIndex> && iqdb::ChecksPayload<iqdb::CoreIndex>);
static_assert(!iqdb::ChecksPayload<ChecksButTrusts> && !iqdb::ChecksPayload<ChecksAndSaysNothing>);

}  // namespace of_verify
