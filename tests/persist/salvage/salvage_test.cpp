// Salvage: what comes back of damaged files, and what the report says of it.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/salvage/flipped_bit.hpp"
#include "iqdb/persist/salvage/older_state.hpp"
#include "iqdb/persist/salvage/salvaged_index.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::SalvagedLogUse;
using iqdb::SalvagedSnapshot;
using iqdb::SalvageOptions;
using iqdb::SalvageReport;
using iqdb::salvage::HeaderState;
using iqdb::salvage::SalvagedLog;
using iqdb::salvage::SnapshotBytes;
using DamagedBytes = std::vector<std::byte>;

struct DamagedPair {
  DamagedBytes snapshot;
  DamagedBytes log;
};

// A snapshot of the vectors 1 and 2, and a log: 3, 4, not 4 again, 5.
DamagedPair undamaged_pair() {
  const iqdb_test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "index";
  FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  index.insert(1, {1.0F, 1.5F});
  index.insert(2, {2.0F, 2.5F}, iqdb::Metadata{{"name", "two"}});
  auto db = iqdb::PersistedIndex<FlatIndex>::open_with(std::move(index), {.path = path, .wal_enabled = true});
  db.insert(3, {3.0F, 3.5F});
  iqdb::WriteBatch batch;
  batch.insert(4, {4.0F, 4.5F});
  batch.insert(4, {4.0F, 9.0F});
  CHECK_THROWS(db.apply(batch));
  db.insert(5, {5.0F, 5.5F});
  db.close();
  return {iqdb_test::read_bytes(path), iqdb_test::read_bytes(iqdb::log_path(path))};
}

struct SalvagedPair {
  std::optional<FlatIndex> index;
  SalvageReport report;

  [[nodiscard]] bool has(std::uint64_t id) const { return index && index->contains(id); }
};

SalvagedPair salvaged_pair(const DamagedBytes* snapshot, const DamagedBytes* log, const SalvageOptions& options = {}) {
  static const std::vector<std::string_view> types{"flat"};
  SalvagedPair result;
  std::optional<SalvagedLog> frames;
  if (log != nullptr) {
    frames.emplace(*log);
  }
  std::optional<SnapshotBytes> bytes;
  if (snapshot != nullptr) {
    bytes.emplace(*snapshot, frames ? frames->fingerprints() : std::vector<iqdb::Fingerprint>(), types);
  }
  result.index = iqdb::salvage_index<FlatIndex>(
      bytes ? &*bytes : nullptr, frames ? &*frames : nullptr,
      [](const iqdb::SalvageBasis& basis) {
        return FlatIndex(static_cast<std::size_t>(basis.dim), basis.metric.value_or(iqdb::DistanceMetric::euclidean));
      },
      options, result.report);
  return result;
}

void scramble(DamagedBytes& bytes, std::uint64_t begin, std::uint64_t count) {
  for (std::uint64_t at = begin; at < begin + count; ++at) {
    bytes[static_cast<std::size_t>(at)] ^= std::byte{0x5A};
  }
}

}  // namespace

TEST_CASE("The change of a checksum names the bit that was flipped") {
  DamagedBytes message(300, std::byte{7});
  const std::uint32_t right = iqdb::Crc32(message).value();
  for (std::uint64_t bit = 0; bit < 8 * message.size(); ++bit) {
    const iqdb::salvage::BitPosition at{.offset = bit / 8, .bit = static_cast<unsigned>(bit % 8)};
    iqdb::salvage::flip(message, at);
    CHECK(iqdb::salvage::flipped_bit(iqdb::Crc32(message).value() ^ right, message.size()) == at);
    iqdb::salvage::flip(message, at);
  }
  CHECK_FALSE(iqdb::salvage::flipped_bit(right, iqdb::salvage::most_correctable_bytes + 1));
}

TEST_CASE("Two files that are whole are salvaged whole") {
  const DamagedPair pair = undamaged_pair();
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(found.index->size() == 5);
  CHECK(found.report.is_whole());
  CHECK(found.report.snapshot == SalvagedSnapshot::whole);
  CHECK(found.report.aborted == 1);
  CHECK(found.report.log_closed);
}

TEST_CASE("Every flipped bit of a snapshot is corrected and told") {
  const DamagedPair pair = undamaged_pair();
  for (std::uint64_t bit = 0; bit < 8 * pair.snapshot.size(); ++bit) {
    DamagedBytes damaged = pair.snapshot;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const SalvagedPair found = salvaged_pair(&damaged, &pair.log);
    INFO("bit " << bit % 8 << " of byte " << bit / 8);
    CHECK(found.report.is_whole());
    CHECK(found.report.snapshot == SalvagedSnapshot::corrected);
    CHECK(found.index->size() == 5);
    CHECK((found.report.snapshot_corrections ==
               std::vector{iqdb::salvage::BitPosition{.offset = bit / 8, .bit = static_cast<unsigned>(bit % 8)}} ||
           found.report.header_rebuilt));
  }
}

TEST_CASE("Every flipped bit of a log is corrected and told") {
  const DamagedPair pair = undamaged_pair();
  for (std::uint64_t bit = 0; bit < 8 * pair.log.size(); ++bit) {
    DamagedBytes damaged = pair.log;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const SalvagedPair found = salvaged_pair(&pair.snapshot, &damaged);
    INFO("bit " << bit % 8 << " of byte " << bit / 8);
    CHECK(found.report.is_whole());
    CHECK(found.report.log_corrections.size() == 1);
    CHECK(found.index->size() == 5);
  }
}

TEST_CASE("A damaged record costs its own mutations and those behind it are made on request") {
  DamagedPair pair = undamaged_pair();
  const std::uint64_t begin = SalvagedLog(pair.log).frames().front().offset;
  scramble(pair.log, begin + 26, 9);
  const SalvagedPair before = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(before.index->size() == 2);
  REQUIRE(before.report.damages.size() == 1);
  CHECK(before.report.damages[0].first_lsn == 1);
  CHECK(before.report.damages[0].last_lsn == 1);
  CHECK(before.report.damages[0].has_frame_behind);
  CHECK(before.report.left_out == std::vector<iqdb::LsnRange>{{.first = 2, .last = 4}});
  CHECK_FALSE(before.report.is_whole());
  const SalvagedPair behind = salvaged_pair(&pair.snapshot, &pair.log, {.also_behind = true});
  CHECK_FALSE(behind.has(3));
  CHECK(behind.has(4));
  CHECK(behind.has(5));
  CHECK(behind.report.applied_behind == 2);
}

TEST_CASE("A mutation whose abort is damaged is told of") {
  DamagedPair pair = undamaged_pair();
  const SalvagedLog log(pair.log);
  REQUIRE(log.frames()[2].op == iqdb::FrameOp::abort);
  scramble(pair.log, log.frames()[2].offset + 26, 9);
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(found.report.unsettled == std::vector<iqdb::LsnRange>{{.first = 2, .last = 3}});
  CHECK(found.report.refused.size() == 1);
  CHECK_FALSE(found.report.is_whole());
}

TEST_CASE("Bytes at the end that are no record are told of") {
  const DamagedPair pair = undamaged_pair();
  const std::uint64_t end = SalvagedLog(pair.log).frames()[3].offset + 30;
  const DamagedBytes cut(pair.log.begin(), pair.log.begin() + static_cast<std::ptrdiff_t>(end));
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &cut);
  CHECK(found.index->size() == 4);
  REQUIRE(found.report.damages.size() == 1);
  CHECK_FALSE(found.report.damages[0].last_lsn.has_value());
  CHECK_FALSE(found.report.damages[0].has_frame_behind);
  CHECK_FALSE(found.report.log_closed);
}

TEST_CASE("A header of a log that is lost is made again from two records and the link is called assumed") {
  DamagedPair pair = undamaged_pair();
  scramble(pair.log, 0, 64);
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(found.report.log_header == HeaderState::rebuilt);
  CHECK(found.report.log_assumed_to_fit);
  CHECK(found.index->size() == 5);
  CHECK_FALSE(found.report.is_whole());
}

TEST_CASE("A header of a snapshot that is lost is made again if the log names its checksum") {
  DamagedPair pair = undamaged_pair();
  scramble(pair.snapshot, 0, 45);
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(found.report.header_rebuilt);
  CHECK(found.index->size() == 5);
  CHECK_FALSE(salvaged_pair(&pair.snapshot, nullptr).index.has_value());
}

TEST_CASE("Rows that no checksum vouches for are in the index on request alone") {
  DamagedPair pair = undamaged_pair();
  const std::uint64_t vectors = pair.snapshot.size() - 16 - 1 - (1 + 4 + 4 + 4 + 1 + 4 + 3);
  scramble(pair.snapshot, vectors, 3);
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(found.report.snapshot == SalvagedSnapshot::lost);
  CHECK_FALSE(found.has(2));
  CHECK(found.has(5));
  const SalvagedPair unchecked = salvaged_pair(&pair.snapshot, &pair.log, {.unchecked_rows = true});
  CHECK(unchecked.report.snapshot == SalvagedSnapshot::rows);
  CHECK(unchecked.report.vectors_taken == 2);
  CHECK(unchecked.has(2));
  CHECK_FALSE(unchecked.report.is_whole());
}

TEST_CASE("A vector whose end is cut off is lost by its identifier") {
  const DamagedPair pair = undamaged_pair();
  const DamagedBytes cut(pair.snapshot.begin(), pair.snapshot.end() - 24);
  const SalvagedPair found = salvaged_pair(&cut, nullptr, {.unchecked_rows = true});
  CHECK(found.has(1));
  CHECK(found.report.vectors_lost == std::vector<iqdb::VectorId>{2});
  CHECK(found.report.metadata_lost == std::vector<iqdb::VectorId>{1});
}

TEST_CASE("The metric of a header that nothing vouches for is not taken") {
  DamagedPair pair = undamaged_pair();
  constexpr std::size_t metric = 28 + 4;
  pair.snapshot[metric] = std::byte{0};
  scramble(pair.snapshot, pair.snapshot.size() - 9, 9);
  const SalvagedPair found = salvaged_pair(&pair.snapshot, &pair.log);
  CHECK(found.report.snapshot == SalvagedSnapshot::lost);
  CHECK(found.index->metric() == iqdb::DistanceMetric::euclidean);
}

TEST_CASE("A log of another snapshot is not mixed in") {
  const DamagedPair pair = undamaged_pair();
  const DamagedPair other = [] {
    DamagedPair made = undamaged_pair();
    const iqdb_test::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "other";
    auto db = iqdb::PersistedIndex<FlatIndex>::open_with(FlatIndex(2, iqdb::DistanceMetric::euclidean), {.path = path});
    db.save();
    made.snapshot = iqdb_test::read_bytes(path);
    return made;
  }();
  const SalvagedPair found = salvaged_pair(&other.snapshot, &pair.log);
  CHECK(found.report.log == SalvagedLogUse::foreign);
  CHECK(found.index->size() == 0);
}

TEST_CASE("Of a log alone an erase of an unknown vector is no error") {
  const DamagedPair pair = undamaged_pair();
  const iqdb_test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "index";
  iqdb_test::write_bytes(path, pair.snapshot);
  iqdb_test::write_bytes(iqdb::log_path(path), pair.log);
  auto db = iqdb::PersistedIndex<FlatIndex>::load({.path = path, .wal_enabled = true});
  db.erase(1);
  db.close();
  const DamagedBytes log = iqdb_test::read_bytes(iqdb::log_path(path));
  const SalvagedPair found = salvaged_pair(nullptr, &log);
  CHECK(found.index->size() == 3);
  CHECK(found.report.unknown_erased == 1);
  CHECK(found.report.refused.empty());
  CHECK(found.report.snapshot == SalvagedSnapshot::missing);
}

TEST_CASE("A snapshot of version 1 whose header is lost is made again as one of version 1") {
  // Without its preamble, a snapshot of version 2 that is not compressed is one of version 1.
  const DamagedPair pair = undamaged_pair();
  constexpr std::size_t header = 41 + 4;
  constexpr std::size_t preamble = 1 + 8;
  DamagedBytes first(pair.snapshot.begin(), pair.snapshot.begin() + header);
  first.insert(first.end(), pair.snapshot.begin() + header + preamble, pair.snapshot.end());
  const std::vector<std::string_view> types{"flat"};
  const iqdb::Fingerprint named{.file_bytes = first.size(),
                                .header_crc32 = 0,
                                .region_crc32 = iqdb::Crc32(std::span(first).subspan(header)).value()};
  scramble(first, 0, header);
  SnapshotBytes bytes(first, std::vector{named}, types);
  std::string why;
  const auto index = bytes.decoded<FlatIndex>(why);
  REQUIRE(index.has_value());
  CHECK(index->size() == 2);
  CHECK(bytes.header()->version == 1);
}

namespace {

// An index whose history keeps its states: 1 is inserted, then 2, then 3, then 4, with a checkpoint before each but the first.
class IndexWithHistory {
 public:
  IndexWithHistory() {
    auto db = iqdb::PersistedIndex<FlatIndex>::open_with(
        FlatIndex(2, iqdb::DistanceMetric::euclidean),
        {.path = path(), .wal_enabled = true, .history = iqdb::HistoryPolicy::keep_last(5)});
    for (std::uint64_t id = 1; id <= 4; ++id) {
      if (id > 1) {
        db.checkpoint();
      }
      const auto component = static_cast<float>(id);
      db.insert(id, {component, component});
    }
    db.close();
  }

  [[nodiscard]] std::filesystem::path path() const { return directory_ / "index"; }

  // The snapshots of the history, oldest first.
  [[nodiscard]] std::vector<std::filesystem::path> older() const {
    iqdb::FileStorage storage;
    std::vector<std::filesystem::path> paths;
    for (const iqdb::HistoryEntry& entry : iqdb::history::entries(storage, path())) {
      paths.push_back(entry.path);
    }
    return paths;
  }

  [[nodiscard]] SalvagedPair salvaged() const {
    iqdb::FileStorage storage;
    const SalvagedLog log(iqdb_test::read_bytes(iqdb::log_path(path())));
    const std::vector<iqdb::Fingerprint> named = log.fingerprints();
    const std::vector<std::string_view> types{"flat"};
    SnapshotBytes snapshot(iqdb_test::read_bytes(path()), named, types);
    SalvagedPair result;
    result.index = iqdb::salvage_index<FlatIndex>(
        &snapshot, &log,
        [](const iqdb::SalvageBasis& basis) {
          return FlatIndex(static_cast<std::size_t>(basis.dim), iqdb::DistanceMetric::euclidean);
        },
        {}, result.report, {}, [&] { return iqdb::salvage::newest_older_state<FlatIndex>(storage, path(), &log, {}); });
    return result;
  }

 private:
  iqdb_test::TemporaryDirectory directory_;
};

// Makes a file one of which nothing can be corrected.
void lose(const std::filesystem::path& path, std::uint64_t begin) {
  DamagedBytes bytes = iqdb_test::read_bytes(path);
  scramble(bytes, begin, bytes.size() - begin);
  iqdb_test::write_bytes(path, bytes);
}

constexpr std::uint64_t behind_header = 60;

}  // namespace

TEST_CASE("A snapshot that is lost is made of an older state and the logs that lead from it") {
  const IndexWithHistory files;
  lose(files.path(), behind_header);
  const SalvagedPair saved = files.salvaged();
  CHECK(saved.report.snapshot == SalvagedSnapshot::older);
  CHECK(saved.report.older_state == files.older().back().filename().string());
  CHECK(saved.report.vectors_taken == 2);
  CHECK(saved.report.applied == 2);
  CHECK(saved.report.is_whole());
  for (std::uint64_t id = 1; id <= 4; ++id) {
    CHECK(saved.has(id));
  }
}

TEST_CASE("Where newer states are lost too an older one and the logs of all lead to the present") {
  const IndexWithHistory files;
  lose(files.path(), behind_header);
  lose(files.older().at(2), behind_header);
  lose(files.older().at(1), behind_header);
  const SalvagedPair saved = files.salvaged();
  CHECK(saved.report.snapshot == SalvagedSnapshot::older);
  CHECK(saved.report.older_state == files.older().front().filename().string());
  CHECK(saved.report.applied == 4);
  CHECK(saved.report.is_whole());
  CHECK(saved.index->size() == 4);
}

TEST_CASE("No older state is taken where a log between it and the present has lost a mutation") {
  const IndexWithHistory files;
  lose(files.path(), behind_header);
  lose(files.older().at(2), behind_header);
  const std::filesystem::path log = iqdb::log_path(files.older().at(2));
  DamagedBytes bytes = iqdb_test::read_bytes(log);
  scramble(bytes, iqdb::log_header_bytes + 40, 30);
  iqdb_test::write_bytes(log, bytes);
  CHECK(files.salvaged().report.snapshot == SalvagedSnapshot::lost);
}

TEST_CASE("No older state is taken whose log leads to another snapshot than the present log continues") {
  const IndexWithHistory files;
  lose(files.path(), behind_header);
  iqdb_test::write_bytes(iqdb::log_path(files.older().at(2)),
                         iqdb_test::read_bytes(iqdb::log_path(files.older().at(1))));
  CHECK(files.salvaged().report.snapshot == SalvagedSnapshot::lost);
}

TEST_CASE("What a crash left of an older state is passed over") {
  const IndexWithHistory files;
  lose(files.path(), behind_header);
  std::filesystem::copy_file(files.path(), iqdb::history_paths::entry(files.path(), 900'000'000'000'000));
  CHECK(files.salvaged().report.snapshot == SalvagedSnapshot::older);
}
