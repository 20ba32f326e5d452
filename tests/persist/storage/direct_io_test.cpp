// Writing past the page cache: when it is done, that what is written so is what would be written otherwise, and that a
// file system which refuses it costs nothing.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::direct_block_bytes;
using iqdb::FileStorageOptions;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::PersistConfig;
using iqdb::PersistErrorKind;
using iqdb::WriteBatch;
using iqdb::testing::CrashStates;
using iqdb::testing::Fault;
using iqdb::testing::FaultPlan;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::SimulatedFileSystem;
using iqdb::testing::system_error;
using iqdb_test::ByteVector;
using iqdb_test::frames_of;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::insert_row;
using iqdb_test::Random;
using iqdb_test::require_kind;
using Storage = iqdb::BasicFileStorage<SimulatedFileSystem>;
using Db = iqdb::PersistedIndex<FlatIndex, Storage>;

const std::string log_path = "/index.iqdb.wal";

PersistConfig config_of(FsyncPolicy policy = FsyncPolicy::always(), std::size_t extent = 0) {
  return {.path = "/index.iqdb",
          .wal_enabled = true,
          .fsync_policy = policy,
          .buffer_bytes = 4096,
          .helper_threads = 0,
          .log_extent_bytes = extent};
}

// An index on a simulated machine, and the calls that it makes.
struct Opened {
  SimulatedFileSystem machine;
  std::vector<FileCallRecord> calls;
  Db db;

  explicit Opened(const PersistConfig& config = config_of(), FileStorageOptions options = {})
      : db(Db::open_with(iqdb_test::empty_index(), config, Storage(machine, options))) {
    watch({});
  }

  // Writes down each call from now on, and does to it what `plan` says.
  void watch(const FaultPlan& plan) {
    calls.clear();
    machine.plan([this, plan](const FileCallRecord& call) {
      calls.push_back(call);
      return plan ? plan(call) : Fault{};
    });
  }

  [[nodiscard]] std::vector<FileCallRecord> calls_of(FileCall which) const {
    std::vector<FileCallRecord> found;
    std::ranges::copy_if(calls, std::back_inserter(found), [&](const auto& call) { return call.call == which; });
    return found;
  }

  [[nodiscard]] ByteVector log() const { return *machine.visible().at(log_path); }

  // What a load finds after a power cut now.
  [[nodiscard]] Ids after_power_cut(std::uint64_t seed) const {
    Random random(seed);
    const SimulatedFileSystem after(CrashStates(machine, seed).any(random), seed);
    return ids_of(Db::load(config_of(), Storage(after)).index());
  }
};

bool is_of_blocks(const FileCallRecord& call) {
  return call.offset % direct_block_bytes == 0 && call.bytes % direct_block_bytes == 0;
}

FaultPlan refuse(FileCall which, int error) {
  return [which, error](const FileCallRecord& call) {
    return Fault{.error = system_error(call.call == which ? error : 0)};
  };
}

WriteBatch batch_of(const Ids& ids) {
  WriteBatch batch;
  for (const std::uint64_t id : ids) {
    insert_row(batch, id);
  }
  return batch;
}

}  // namespace

// ---- The log --------------------------------------------------------------------------------------------------------

TEST_CASE("A log that is synced with every write is written in whole blocks past the page cache", "[direct_io][log]") {
  Opened opened;
  for (std::uint64_t id = 1; id <= 200; ++id) {
    insert_row(opened.db, id);
  }
  CHECK(opened.calls_of(FileCall::set_direct).size() == 1);
  CHECK(std::ranges::all_of(opened.calls_of(FileCall::write), is_of_blocks));
}

TEST_CASE("A mutation past the page cache is one write and one sync", "[direct_io][log]") {
  Opened opened;
  insert_row(opened.db, 1);
  opened.watch({});
  insert_row(opened.db, 2);
  opened.db.apply(batch_of({3, 4, 5}));
  REQUIRE(opened.calls.size() == 4);
  CHECK(opened.calls[0].call == FileCall::write);
  CHECK(opened.calls[1].call == FileCall::sync_data);
  CHECK(opened.calls[2].call == FileCall::write);
  CHECK(opened.calls[3].call == FileCall::sync_data);
}

TEST_CASE("A log that is synced now and then goes through the page cache", "[direct_io][log]") {
  Opened opened(config_of(FsyncPolicy::never()));
  insert_row(opened.db, 1);
  CHECK(opened.calls_of(FileCall::set_direct).empty());
  CHECK_FALSE(is_of_blocks(opened.calls_of(FileCall::write).front()));
}

TEST_CASE("Without direct I/O a log goes through the page cache", "[direct_io][log]") {
  Opened opened(config_of(), {.direct_io = false});
  insert_row(opened.db, 1);
  CHECK(opened.calls_of(FileCall::set_direct).empty());
}

TEST_CASE("A log holds the same frames whichever way it was written", "[direct_io][log]") {
  const auto frames_written = [](FileStorageOptions options) {
    Opened opened(config_of(), options);
    for (std::uint64_t id = 1; id <= 300; ++id) {
      insert_row(opened.db, id);
    }
    opened.db.apply(batch_of({1001, 1002, 1003}));
    opened.db.erase(7);
    std::vector<ByteVector> bodies;
    for (const auto& frame : frames_of(opened.log())) {
      bodies.push_back(frame.body);
    }
    return bodies;
  };
  const auto direct = frames_written({});
  CHECK(direct.size() == 302);
  CHECK(direct == frames_written({.direct_io = false}));
}

TEST_CASE("Space is prepared in whole blocks", "[direct_io][log]") {
  Opened opened(config_of(FsyncPolicy::always(), 100'000));
  for (std::uint64_t id = 1; id <= 1000; ++id) {
    insert_row(opened.db, id);
  }
  CHECK(std::ranges::all_of(opened.calls_of(FileCall::write), is_of_blocks));
  const ByteVector log = opened.log();
  const std::size_t end = frames_of(log).back().end;
  CHECK(log.size() > end + 10'000);
  CHECK(std::ranges::all_of(std::span(log).subspan(end), [](std::byte each) { return each == std::byte{0}; }));
}

TEST_CASE("A log that was closed ends with its last frame", "[direct_io][log]") {
  Opened opened(config_of(FsyncPolicy::always(), 100'000));
  insert_row(opened.db, 1);
  opened.db.close();
  CHECK(opened.log().size() == frames_of(opened.log()).back().end);
}

TEST_CASE("A file system that refuses direct I/O is asked once and written to through the page cache",
          "[direct_io][log]") {
  const int error = GENERATE(EINVAL, ENOTSUP, EPERM);
  Opened opened;
  opened.watch(refuse(FileCall::set_direct, error));
  insert_row(opened.db, 1);
  insert_row(opened.db, 2);
  CHECK(opened.calls_of(FileCall::set_direct).size() == 1);
  CHECK(opened.calls_of(FileCall::write).size() == 2);
  CHECK(opened.after_power_cut(1) == Ids{1, 2});
}

TEST_CASE("A file system that refuses a direct write is written to through the page cache from then on",
          "[direct_io][log]") {
  bool refused = false;  // is asked for as long as files are written, also at the end
  Opened opened;
  insert_row(opened.db, 1);
  opened.watch([&refused](const FileCallRecord& call) {
    const bool refuses = call.call == FileCall::write && !refused;
    refused = refused || refuses;
    return Fault{.error = system_error(refuses ? EINVAL : 0)};
  });
  insert_row(opened.db, 2);
  insert_row(opened.db, 3);
  CHECK(opened.calls_of(FileCall::set_direct).size() == 1);  // off
  CHECK(opened.calls_of(FileCall::write).size() == 3);
  CHECK_FALSE(is_of_blocks(opened.calls_of(FileCall::write).back()));
  CHECK(opened.after_power_cut(1) == Ids{1, 2, 3});
}

TEST_CASE("A full disk costs the one mutation and nothing that was acknowledged", "[direct_io][log]") {
  Opened opened;
  insert_row(opened.db, 1);
  const std::size_t most = GENERATE(std::size_t{0}, std::size_t{512}, std::size_t{4096});
  CAPTURE(most);
  opened.watch([most, writes = 0](const FileCallRecord& call) mutable {
    if (call.call != FileCall::write) {
      return Fault{};
    }
    return ++writes == 1 && most > 0 ? Fault{.error = {}, .most_bytes = most} : Fault{.error = system_error(ENOSPC)};
  });
  WriteBatch large;
  for (std::uint64_t id = 100; id < 300; ++id) {
    insert_row(large, id);
  }
  require_kind(PersistErrorKind::io, [&] { opened.db.apply(large); });
  opened.watch({});
  insert_row(opened.db, 2);
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    CHECK(opened.after_power_cut(seed) == Ids{1, 2});
  }
}

TEST_CASE("A failed sync of a direct write poisons as any other does", "[direct_io][log]") {
  Opened opened;
  insert_row(opened.db, 1);
  opened.watch(refuse(FileCall::sync_data, EIO));
  require_kind(PersistErrorKind::io, [&] { insert_row(opened.db, 2); });
  opened.watch({});
  require_kind(PersistErrorKind::poisoned, [&] { insert_row(opened.db, 3); });
}

TEST_CASE("The last block of a log that recovery wrote is kept when the first mutation behind it is written",
          "[direct_io][log]") {
  Opened opened;
  for (std::uint64_t id = 1; id <= 90; ++id) {
    insert_row(opened.db, id);
  }
  opened.db.close();
  Db loaded = Db::load(config_of(), Storage(opened.machine));
  insert_row(loaded, 91);
  insert_row(loaded, 92);
  const Ids found = opened.after_power_cut(3);
  REQUIRE(found.size() == 92);
  CHECK(found.back() == 92);
}

TEST_CASE("A log that is opened to go through the page cache does so though its last piece went past it",
          "[direct_io][log]") {
  const SimulatedFileSystem machine;
  Storage storage(machine);
  const auto lock = storage.lock("/index.iqdb", std::chrono::milliseconds::zero());
  const iqdb::AlignedBuffer piece(std::size_t{128} * 1024);
  auto file = storage.replace(log_path, lock);
  file.append(piece.bytes());
  file.sync();
  file.rename();
  Storage::Log log = storage.open_log(std::move(file), {.synced = iqdb::LogSync::now_and_then, .extent_bytes = 0});
  log.append(ByteVector(10, std::byte{7}));
  const ByteVector found = *machine.visible().at(log_path);
  CHECK(found.size() == piece.size() + 10);
  CHECK(found.back() == std::byte{7});
}

// ---- Snapshots ------------------------------------------------------------------------------------------------------

namespace {

FlatIndex index_of_bytes(std::size_t bytes) {
  constexpr std::size_t dim = 1024;
  FlatIndex index(dim, iqdb::DistanceMetric::euclidean);
  Random random(bytes);
  for (std::uint64_t id = 0; id * dim * sizeof(float) < bytes; ++id) {
    index.insert(id, std::span<const float>(random.vector(dim)));
  }
  return index;
}

PersistConfig snapshot_config(const std::filesystem::path& path) {
  return {.path = path, .buffer_bytes = 65536, .helper_threads = 0};
}

constexpr std::size_t megabyte = 1'000'000;

}  // namespace

TEST_CASE("The full blocks of a large snapshot go past the page cache and its ends through it",
          "[direct_io][snapshot]") {
  SimulatedFileSystem machine;
  std::vector<FileCallRecord> calls;
  auto db = Db::open_with(index_of_bytes(2 * megabyte), snapshot_config("/index.iqdb"), Storage(machine));
  machine.plan([&calls](const FileCallRecord& call) {
    if (call.call == FileCall::write || call.call == FileCall::set_direct) {
      calls.push_back(call);
    }
    return Fault{};
  });
  db.save();
  machine.plan({});
  REQUIRE(calls.size() > 4);
  CHECK(calls.front().call == FileCall::set_direct);
  CHECK(is_of_blocks(calls[1]));
  CHECK(calls[1].bytes == 8 * 65536);
  // Direct writing is off again before the last, smaller piece and the header.
  CHECK(calls[calls.size() - 3].call == FileCall::set_direct);
  CHECK_FALSE(is_of_blocks(calls[calls.size() - 2]));
  CHECK(calls.back().offset == 0);
  const Db loaded = Db::load(snapshot_config("/index.iqdb"), Storage(machine));
  CHECK(iqdb_test::same_rows(loaded.index(), db.index()));
}

TEST_CASE("A small snapshot goes through the page cache", "[direct_io][snapshot]") {
  SimulatedFileSystem machine;
  auto db = Db::open_with(index_of_bytes(megabyte / 10), snapshot_config("/index.iqdb"), Storage(machine));
  machine.plan(refuse(FileCall::set_direct, EIO));
  CHECK_NOTHROW(db.save());
}

TEST_CASE("A snapshot is the same file whichever way it was written", "[direct_io][snapshot]") {
  const iqdb_test::TemporaryDirectory directory;
  const bool direct = GENERATE(true, false);
  const unsigned helpers = GENERATE(0U, 2U);
  CAPTURE(direct, helpers);
  const auto written = [&](FileStorageOptions options, unsigned threads) {
    PersistConfig config = snapshot_config(directory / "index.iqdb");
    config.helper_threads = threads;
    config.replace_existing = true;
    auto db =
        iqdb::PersistedIndex<FlatIndex>::open_with(index_of_bytes(3 * megabyte), config, iqdb::FileStorage(options));
    db.save();
    return iqdb_test::read_bytes(directory / "index.iqdb");
  };
  CHECK(written({.direct_io = direct}, helpers) == written({.direct_io = false}, 0));
}

TEST_CASE("A disk that refuses a direct write of a snapshot gets it through the page cache", "[direct_io][snapshot]") {
  SimulatedFileSystem machine;
  auto db = Db::open_with(index_of_bytes(2 * megabyte), snapshot_config("/index.iqdb"), Storage(machine));
  machine.plan([writes = 0](const FileCallRecord& call) mutable {
    return Fault{.error = system_error(call.call == FileCall::write && ++writes == 1 ? EINVAL : 0)};
  });
  db.save();
  machine.plan({});
  const Db loaded = Db::load(snapshot_config("/index.iqdb"), Storage(machine));
  CHECK(iqdb_test::same_rows(loaded.index(), db.index()));
}
