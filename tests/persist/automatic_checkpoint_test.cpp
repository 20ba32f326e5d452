// Checkpoints that an index makes by itself, and what a program is told of an index.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <mutex>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"

namespace {

using iqdb::CheckpointPolicy;
using iqdb::Event;
using iqdb::FlatIndex;
using iqdb::PersistConfig;
using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::empty_index;
using iqdb_test::insert_row;
using iqdb_test::require_kind;

constexpr std::uint64_t small_log = 4096;

// The events of an index, of all its threads.
class Heard {
 public:
  void listen(PersistConfig& config) {
    config.on_event = [this](const Event& event) {
      const std::lock_guard guard(mutex_);
      kinds_.push_back(event.kind);
      messages_.emplace_back(event.message);
    };
  }
  [[nodiscard]] std::vector<Event::Kind> kinds() const {
    const std::lock_guard guard(mutex_);
    return kinds_;
  }
  [[nodiscard]] std::size_t count(Event::Kind kind) const {
    const std::lock_guard guard(mutex_);
    return static_cast<std::size_t>(std::count(kinds_.begin(), kinds_.end(), kind));
  }
  [[nodiscard]] std::string message(std::size_t number) const {
    const std::lock_guard guard(mutex_);
    return messages_.at(number);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Event::Kind> kinds_;
  std::vector<std::string> messages_;
};

// With checkpoints for the size of the log alone.
PersistConfig config_in(const DurableDirectory& directory, std::uint64_t least_log_bytes = small_log) {
  PersistConfig config = directory.config(iqdb::FsyncPolicy::never());
  config.checkpoint =
      CheckpointPolicy::automatic({.least_log_bytes = least_log_bytes, .recovery_time = std::chrono::hours(1)});
  return config;
}

// A flat index that can be told to fail in the middle of a save.
class Moody : public FlatIndex {
 public:
  explicit Moody(FlatIndex index) : FlatIndex(std::move(index)) {}
  void save_to(iqdb::Writer& writer) const {
    if (fails) {
      throw std::runtime_error("not in the mood");
    }
    FlatIndex::save_to(writer);
  }
  static Moody load_from(iqdb::Reader& reader) { return Moody(FlatIndex::load_from(reader)); }
  static constexpr bool freezes_by_fork = false;

  inline static std::atomic<bool> fails = false;
};

// Inserts rows until `enough()`. Returns how many.
template <class Db, class Enough>
std::uint64_t insert_until(Db& db, Enough&& enough, std::uint64_t first = 1) {
  std::uint64_t id = first;
  for (; !enough(); ++id) {
    insert_row(db, id);
  }
  return id - first;
}

}  // namespace

TEST_CASE("A mutation that makes the log larger than its bound makes a checkpoint", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = config_in(directory);
  heard.listen(config);
  std::uint64_t inserted = 0;
  {
    auto db = iqdb::PersistedIndex<FlatIndex>::open_with(empty_index(), config);
    std::uint64_t largest = 0;
    inserted = insert_until(db, [&] {
      largest = std::max(largest, db.log_bytes());
      return db.stats().checkpoints > 0;
    });
    CHECK(largest <= small_log);
    CHECK(db.log_bytes() < 100);
    CHECK(db.stats().last_checkpoint.bytes == std::filesystem::file_size(directory.path()));
    CHECK(heard.kinds() == std::vector{Event::Kind::checkpoint_begun, Event::Kind::checkpoint_done});
    CHECK(heard.message(0) == "an automatic checkpoint begins");
  }
  CHECK(iqdb_test::load_in(directory).index->size() == inserted);
}

TEST_CASE("An upsert and a batch make a checkpoint that is due", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<FlatIndex>::open_with(empty_index(), config_in(directory));
  const std::vector<float> vector = iqdb_test::vector_of(1);
  SECTION("upsert") {
    while (db.stats().checkpoints == 0) {
      db.upsert(1, std::span<const float>(vector));
      REQUIRE(db.log_bytes() <= small_log);
    }
  }
  SECTION("batch") {
    while (db.stats().checkpoints == 0) {
      iqdb::WriteBatch batch;
      batch.upsert(1, std::span<const float>(vector));
      db.apply(batch);
      REQUIRE(db.log_bytes() <= small_log);
    }
  }
}

TEST_CASE("Erases that outgrow the snapshot make a checkpoint", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  constexpr std::uint64_t vectors = 400;
  iqdb_test::Ids ids(vectors);
  std::iota(ids.begin(), ids.end(), 1);
  auto db = iqdb::PersistedIndex<FlatIndex>::open_with(iqdb_test::index_of(ids), config_in(directory));
  const std::uint64_t snapshot_bytes = std::filesystem::file_size(directory.path());
  REQUIRE(snapshot_bytes > small_log);
  std::uint64_t largest = 0;
  std::uint64_t erased = 0;
  for (; erased < vectors && db.stats().checkpoints == 0; ++erased) {
    largest = std::max(largest, db.log_bytes());
    db.erase(erased + 1);
  }
  CHECK(db.stats().checkpoints == 1);
  CHECK(largest <= snapshot_bytes);
  CHECK(largest > small_log);
  db.close();
  CHECK(iqdb_test::load_in(directory).index->size() == vectors - erased);
}

TEST_CASE("With a manual policy the log grows", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  PersistConfig config = config_in(directory);
  config.checkpoint = CheckpointPolicy::manual();
  auto db = iqdb::PersistedIndex<FlatIndex>::open_with(empty_index(), config);
  std::ignore = insert_until(db, [&] { return db.log_bytes() > 10 * small_log; });
  CHECK(db.stats().checkpoints == 0);
}

TEST_CASE("An automatic checkpoint that fails is an event and tried again when the log has doubled",
          "[automatic_checkpoint]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = config_in(directory);
  heard.listen(config);
  auto db = iqdb::PersistedIndex<Moody>::open_with(Moody(empty_index()), config);
  Moody::fails = true;
  std::uint64_t inserted = insert_until(db, [&] { return db.stats().failed_checkpoints > 0; });
  const std::uint64_t at_failure = db.log_bytes();
  CHECK(at_failure > small_log);
  CHECK(heard.count(Event::Kind::checkpoint_failed) == 1);
  CHECK(heard.message(1) == "an automatic checkpoint failed: not in the mood");
  Moody::fails = false;
  std::uint64_t largest = 0;
  inserted += insert_until(
      db,
      [&] {
        largest = std::max(largest, db.log_bytes());
        return db.stats().checkpoints > 0;
      },
      inserted + 1);
  CHECK(largest < 2 * at_failure);
  CHECK(largest + 200 > 2 * at_failure);  // a record has fewer bytes
  db.close();
  CHECK(iqdb_test::load_in(directory).index->size() == inserted);
}

TEST_CASE("An automatic checkpoint does not call on_progress", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  PersistConfig config = config_in(directory);
  std::uint64_t called = 0;
  config.on_progress = [&](const iqdb::Progress&) { ++called; };
  auto db = iqdb::PersistedIndex<FlatIndex>::open_with(empty_index(), config);
  const std::uint64_t before = called;
  std::ignore = insert_until(db, [&] { return db.stats().checkpoints > 0; });
  CHECK(called == before);
  std::ignore = db.checkpoint();
  CHECK(called > before);
}

TEST_CASE("A SharedIndex makes its checkpoints beside mutations and none is lost", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = config_in(directory);
  heard.listen(config);
  std::atomic<std::uint64_t> inserted = 0;
  {
    auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), config);
    std::vector<std::thread> writers;
    for (std::uint64_t writer = 0; writer < 3; ++writer) {
      writers.emplace_back([&, writer] {
        inserted += insert_until(
            db, [&] { return db.stats().checkpoints >= 2; }, writer * 1'000'000);
      });
    }
    for (std::thread& writer : writers) {
      writer.join();
    }
  }
  CHECK(heard.count(Event::Kind::checkpoint_done) >= 2);
  CHECK(iqdb_test::load_in(directory).index->size() == inserted);
}

TEST_CASE("A SharedIndex goes on where an automatic checkpoint fails", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = config_in(directory);
  heard.listen(config);
  auto db = iqdb::SharedIndex<Moody>::open_with(Moody(empty_index()), config);
  Moody::fails = true;
  std::uint64_t inserted = insert_until(db, [&] { return db.stats().failed_checkpoints > 0; });
  Moody::fails = false;
  inserted += insert_until(
      db, [&] { return db.stats().checkpoints > 0; }, inserted + 1);
  CHECK(heard.count(Event::Kind::checkpoint_failed) == 1);
  CHECK_FALSE(db.poisoned());
  db.close();
  CHECK(iqdb_test::load_in(directory).index->size() == inserted);
}

TEST_CASE("checkpoint_async returns at once what checkpoint returns later", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), directory.config());
  insert_row(db, 1);
  std::future<iqdb::SnapshotInfo> first = db.checkpoint_async();
  std::future<iqdb::SnapshotInfo> second = db.checkpoint_async();
  CHECK(first.get().vectors == 1);
  CHECK(second.get().vectors == 1);
  CHECK(db.stats().checkpoints == 2);
  std::ignore = db.checkpoint_async();  // nobody waits for this one
}

TEST_CASE("checkpoint_async fails as checkpoint does", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  auto db = iqdb::SharedIndex<Moody>::open_with(Moody(empty_index()), directory.config());
  Moody::fails = true;
  std::future<iqdb::SnapshotInfo> failed = db.checkpoint_async();
  CHECK_THROWS_AS(failed.get(), std::runtime_error);
  Moody::fails = false;
  db.close();
  std::ignore = require_kind(PersistErrorKind::poisoned, [&] { return db.checkpoint_async(); });
}

TEST_CASE("The result of checkpoint_async outlives the index", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  std::future<iqdb::SnapshotInfo> result;
  {
    auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), directory.config());
    result = db.checkpoint_async();
  }
  // Made before the end, or ended by it.
  try {
    const iqdb::SnapshotInfo info = result.get();
    CHECK(info.vectors == 0);
  } catch (const iqdb::PersistError& error) {
    CHECK(error.kind() == PersistErrorKind::poisoned);
  }
  CHECK(iqdb_test::load_in(directory).ok());
}

TEST_CASE("Only stats and what waits for nothing may be called from on_event", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  iqdb::SharedIndex<FlatIndex>* index = nullptr;
  int refused = 0;
  std::uint64_t mutations = 0;
  config.on_event = [&](const Event&) {
    if (index != nullptr) {
      mutations = index->stats().mutations + index->lsn() + index->log_bytes();
      for (const auto& call : std::vector<std::function<void()>>{
               [&] { insert_row(*index, 7); }, [&] { index->sync(); }, [&] { std::ignore = index->checkpoint(); },
               [&] { std::ignore = index->checkpoint_async(); }, [&] { index->close(); },
               [&] {
                 std::ignore = index->search({1.0F, 2.0F});
               }}) {
        try {
          call();
        } catch (const iqdb::PersistError& error) {
          refused += error.kind() == PersistErrorKind::reentered ? 1 : 0;
        }
      }
    }
  };
  auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), config);
  insert_row(db, 1);
  index = &db;
  std::ignore = db.checkpoint();  // two events
  index = nullptr;
  CHECK(refused == 12);
  CHECK(mutations > 0);
  CHECK(db.lsn() == 1);
}

TEST_CASE("An index of one thread refuses calls from on_event too", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  iqdb_test::DurableIndex* index = nullptr;
  int refused = 0;
  config.on_event = [&](const Event&) {
    try {
      index->erase(1);
    } catch (const iqdb::PersistError& error) {
      refused += error.kind() == PersistErrorKind::reentered ? 1 : 0;
    }
  };
  auto db = iqdb_test::DurableIndex::open_with(iqdb_test::index_of({1}), config);
  index = &db;
  std::ignore = db.checkpoint();
  CHECK(refused == 2);
  CHECK(db.index().size() == 1);
}

TEST_CASE("A load that replays says so and estimates the next replay by it", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  {
    auto db = directory.open_with();
    insert_row(db, 1);
    insert_row(db, 2);
  }
  Heard heard;
  PersistConfig config = directory.config();
  heard.listen(config);
  const auto db = iqdb_test::DurableIndex::load(config);
  CHECK(heard.kinds() == std::vector{Event::Kind::recovered});
  CHECK(heard.message(0).find("replayed 2 mutations") != std::string::npos);
  CHECK(db.recovery().replay_elapsed.count() > 0);
  CHECK(db.stats().replay_estimate == db.recovery().replay_elapsed);
}

TEST_CASE("A sync that takes longer than slow_sync is an event", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = directory.config();
  heard.listen(config);
  config.slow_sync = std::chrono::milliseconds(0);
  auto db = iqdb_test::DurableIndex::open_with(empty_index(), config);
  insert_row(db, 1);
  insert_row(db, 2);
  CHECK(heard.kinds() == std::vector{Event::Kind::slow_sync, Event::Kind::slow_sync});
  CHECK(db.stats().syncs.count() == 2);
}

TEST_CASE("What poisons is told once and stands in the stats", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = directory.config();
  heard.listen(config);
  iqdb_test::FaultyFileSystem system;
  auto db = iqdb::PersistedIndex<FlatIndex, iqdb_test::FaultyStorage>::open_with(empty_index(), config,
                                                                                 iqdb_test::FaultyStorage(system));
  CHECK(db.stats().why_poisoned.empty());
  system.plan(iqdb_test::fail_every(iqdb_test::FileCall::sync_data, EIO));
  for (std::uint64_t id = 1; id < 4; ++id) {
    CHECK_THROWS(insert_row(db, id));
  }
  system.plan({});
  CHECK(heard.kinds() == std::vector{Event::Kind::poisoned});
  CHECK(heard.message(0).find("a sync of the log failed") != std::string::npos);
  CHECK(db.stats().poisoned);
  CHECK(db.stats().why_poisoned.find("a sync of the log failed") != std::string::npos);
}

TEST_CASE("Stats count what was logged", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  auto db = directory.open_with();
  const std::uint64_t before = db.log_bytes();
  insert_row(db, 1);
  iqdb::WriteBatch batch;
  insert_row(batch, 2);
  insert_row(batch, 3);
  db.apply(batch);
  const iqdb::Stats stats = db.stats();
  CHECK(stats.lsn == 3);
  CHECK(stats.mutations == 3);
  CHECK(stats.groups == 2);
  CHECK(stats.syncs.count() == 2);
  CHECK(stats.log_bytes == db.log_bytes());
  CHECK(stats.logged_bytes == db.log_bytes() - before);
  CHECK(stats.checkpoints == 0);
  CHECK_FALSE(stats.poisoned);
}

TEST_CASE("A SharedIndex counts groups by their records", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), directory.config());
  insert_row(db, 1);
  insert_row(db, 2);
  std::ignore = db.checkpoint();
  const iqdb::Stats stats = db.stats();
  CHECK(stats.mutations == 2);
  CHECK(stats.groups == 2);
  CHECK(stats.lsn == 2);
  CHECK(stats.checkpoints == 1);
  CHECK(stats.last_checkpoint.pause <= stats.last_checkpoint.elapsed);
  CHECK(stats.replay_estimate.count() == 0);
  db.close();
  CHECK(db.stats().lsn == 2);
}
