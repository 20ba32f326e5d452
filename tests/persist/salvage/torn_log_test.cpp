// What comes back of a log that a load had replaced because its end was torn.
#include "iqdb/persist/salvage/torn_log.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/salvage/salvaged_index.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

namespace of_torn_log {

namespace {

using iqdb::FlatIndex;
using iqdb::LsnRange;
using iqdb::SalvagedLogUse;
using iqdb::SalvagedSnapshot;
using iqdb::SalvagedTornUse;
using iqdb::SalvageOptions;
using iqdb::salvage::SalvagedLog;
using Database = iqdb::PersistedIndex<FlatIndex>;
using RawBytes = std::vector<std::byte>;

const SalvageOptions also_behind{.also_behind = true};

struct TornFiles {
  RawBytes snapshot;
  RawBytes log;
  RawBytes torn;
};

iqdb::PersistConfig unsynced(const std::filesystem::path& path) {
  return {.path = path, .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never()};
}

// A snapshot of the vector 1, and a log of 2 to 5 with the numbers 1 to 4, in whose second record `tear` does something. A load
// drops what is behind the first, and `then` goes on.
TornFiles files_behind_a_tear(const std::function<void(RawBytes& log, std::uint64_t second, std::uint64_t third)>& tear,
                              const std::function<void(Database&)>& then) {
  const iqdb_test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "index";
  RawBytes log;
  {
    FlatIndex index(2, iqdb::DistanceMetric::euclidean);
    index.insert(1, {1.0F, 1.5F});
    Database db = Database::open_with(std::move(index), unsynced(path));
    for (std::uint64_t id = 2; id <= 5; ++id) {
      db.insert(id, {static_cast<float>(id), 0.5F});
    }
    log = iqdb_test::read_bytes(iqdb::log_path(path));
  }
  const auto frames = SalvagedLog(log).frames();
  REQUIRE(frames.size() >= 4);
  tear(log, frames[1].offset, frames[2].offset);
  iqdb_test::write_bytes(iqdb::log_path(path), log);
  {
    Database db = Database::load(unsynced(path));
    REQUIRE(db.index().size() == 2);
    REQUIRE(db.recovery().torn_log == iqdb::torn_log_path(path));
    then(db);
  }
  return {.snapshot = iqdb_test::read_bytes(path),
          .log = iqdb_test::read_bytes(iqdb::log_path(path)),
          .torn = iqdb_test::read_bytes(iqdb::torn_log_path(path))};
}

void scramble_record(RawBytes& log, std::uint64_t second, std::uint64_t third) {
  for (std::uint64_t at = second + 26; at < third; ++at) {
    log[static_cast<std::size_t>(at)] ^= std::byte{0x5A};
  }
}

void flip_in_record(RawBytes& log, std::uint64_t second, std::uint64_t /*third*/) {
  log[static_cast<std::size_t>(second + 30)] ^= std::byte{1};
}

struct Recovered {
  std::optional<FlatIndex> index;
  iqdb::SalvageReport report;

  [[nodiscard]] std::vector<std::uint64_t> ids() const {
    std::vector<std::uint64_t> all;
    if (index) {
      index->for_each([&](const iqdb::VectorId& id, auto, const auto&) { all.push_back(id.integer()); });
    }
    std::ranges::sort(all);
    return all;
  }
};

Recovered recovered_from(const TornFiles& files, const SalvageOptions& options = {}, bool with_log = true) {
  static const std::vector<std::string_view> types{"flat"};
  Recovered result;
  const SalvagedLog log(files.log);
  const SalvagedLog torn(files.torn);
  iqdb::salvage::SnapshotBytes snapshot(files.snapshot, log.fingerprints(), types);
  result.index = iqdb::salvage_index<FlatIndex>(
      &snapshot, with_log ? &log : nullptr,
      [](const iqdb::SalvageBasis& basis) {
        return FlatIndex(static_cast<std::size_t>(basis.dim), iqdb::DistanceMetric::euclidean);
      },
      options, result.report, {}, {}, &torn);
  return result;
}

using Ids = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("What a torn log holds behind the torn place is told and made on request", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) { db.insert(9, {9.0F, 9.0F}); });
  const Recovered told = recovered_from(files);
  CHECK(told.ids() == Ids{1, 2, 9});
  CHECK(told.report.is_whole());
  CHECK(told.report.torn.use == SalvagedTornUse::left_out);
  CHECK(told.report.torn.tail == std::vector{LsnRange{.first = 3, .last = 4}});

  const Recovered made = recovered_from(files, also_behind);
  CHECK(made.ids() == Ids{1, 2, 4, 5, 9});
  CHECK(made.report.torn.use == SalvagedTornUse::taken);
  CHECK(made.report.torn.applied == 2);
  CHECK(made.report.applied == 2);
  CHECK_FALSE(made.report.is_whole());
}

TEST_CASE("A record of a torn log with one flipped bit is behind the torn place", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(flip_in_record, [](Database&) {});
  CHECK(recovered_from(files).ids() == Ids{1, 2});
  const Recovered made = recovered_from(files, also_behind);
  CHECK(made.ids() == Ids{1, 2, 3, 4, 5});
  CHECK(made.report.torn.tail == std::vector{LsnRange{.first = 2, .last = 4}});
}

TEST_CASE("A vector that was changed since the tear stays as it is", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) {
    db.insert(4, {40.0F, 40.0F});
    db.insert(5, {50.0F, 50.0F});
    db.erase(5);
  });
  const Recovered made = recovered_from(files, also_behind);
  CHECK(made.ids() == Ids{1, 2, 4});
  CHECK(made.report.torn.applied == 0);
  CHECK(made.report.torn.superseded == 2);
  CHECK(made.report.torn.refused.empty());
  made.index->for_each([](const iqdb::VectorId& id, std::span<const float> vector, const auto&) {
    CHECK((id != iqdb::VectorId(4) || vector[0] == 40.0F));
  });
}

TEST_CASE("A mutation that was taken back since the tear has changed nothing", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) {
    iqdb::WriteBatch batch;
    batch.insert(4, {40.0F, 40.0F});
    batch.insert(2, {0.0F, 0.0F});
    CHECK_THROWS(db.apply(batch));
  });
  const Recovered made = recovered_from(files, also_behind);
  CHECK(made.report.torn.applied + made.report.torn.superseded == 2);
  CHECK(made.ids() == Ids{1, 2, 4, 5});
}

TEST_CASE("Nothing is taken of a torn log that is older than the snapshot", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) {
    db.insert(9, {9.0F, 9.0F});
    db.checkpoint();
  });
  const Recovered found = recovered_from(files, also_behind);
  CHECK(found.ids() == Ids{1, 2, 9});
  CHECK(found.report.is_whole());
  CHECK(found.report.torn.use == SalvagedTornUse::foreign);
}

TEST_CASE("Nothing is taken of a torn log that differs from the log before the tear", "[torn_log]") {
  TornFiles files = files_behind_a_tear(scramble_record, [](Database&) {});
  // Another log of the same snapshot, whose first mutation is another one.
  const iqdb_test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "index";
  iqdb_test::write_bytes(path, files.snapshot);
  {
    Database db = Database::load(unsynced(path));
    db.insert(7, {7.0F, 7.0F});
  }
  files.log = iqdb_test::read_bytes(iqdb::log_path(path));
  const Recovered found = recovered_from(files, also_behind);
  CHECK(found.ids() == Ids{1, 7});
  CHECK(found.report.torn.use == SalvagedTornUse::foreign);
}

TEST_CASE("A torn log takes the place of a log that is missing", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) { db.insert(9, {9.0F, 9.0F}); });
  const Recovered found = recovered_from(files, {}, false);
  CHECK(found.ids() == Ids{1, 2});
  CHECK(found.report.torn.use == SalvagedTornUse::instead);
  CHECK(found.report.log == SalvagedLogUse::taken);
  CHECK_FALSE(found.report.is_whole());
  CHECK(recovered_from(files, also_behind, false).ids() == Ids{1, 2, 4, 5});
}

TEST_CASE("A torn log of another snapshot takes the place of no log", "[torn_log]") {
  const TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) { db.checkpoint(); });
  const SalvagedLog torn(files.torn);
  iqdb_test::TemporaryDirectory directory;
  iqdb::SalvageReport report;
  iqdb::FileStorage storage;
  iqdb_test::write_bytes(directory / "index", files.snapshot);
  auto file = storage.open(directory / "index");
  const auto index = iqdb::salvage_index<FlatIndex>(
      nullptr, nullptr, [](const iqdb::SalvageBasis&) { return FlatIndex(2, iqdb::DistanceMetric::euclidean); },
      also_behind, report, iqdb::load_snapshot<FlatIndex>(*file, {}), {}, &torn);
  CHECK(index->size() == 2);
  CHECK(report.is_whole());
  CHECK(report.log == SalvagedLogUse::missing);
}

TEST_CASE("A torn log belongs to the log beside it though the snapshot is lost", "[torn_log]") {
  TornFiles files = files_behind_a_tear(scramble_record, [](Database& db) { db.insert(9, {9.0F, 9.0F}); });
  std::fill(files.snapshot.begin(), files.snapshot.end(), std::byte{0});
  const Recovered found = recovered_from(files, also_behind);
  CHECK(found.report.snapshot == SalvagedSnapshot::lost);
  CHECK(found.ids() == Ids{2, 4, 5, 9});
}

}  // namespace of_torn_log
