// Checkpoints that an index makes by itself, and what a program is told of an index.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/raw_log.hpp"
#include "support/shared_calls.hpp"
#include "support/temporary_directory.hpp"

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

// ---- Failures that are no failures of a checkpoint, and the reverse ----------------------------------------------------

namespace {

// A flat index without checks: the log has what it rejects.
class Careless {
 public:
  static constexpr std::string_view index_type = "careless";

  explicit Careless(FlatIndex rows) : rows_(std::move(rows)) {}
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }
  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) { rows_.erase(id); }
  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static Careless load_from(iqdb::Reader& reader) { return Careless(FlatIndex::load_from(reader)); }

 private:
  FlatIndex rows_;
};

// What on_event hears of a load, and the index that was loaded.
template <class Db>
void write_long_log(const DurableDirectory& directory, Db&& open) {
  PersistConfig config = config_in(directory);
  config.checkpoint = CheckpointPolicy::manual();
  auto db = open(config);
  std::ignore = insert_until(db, [&] { return db.log_bytes() > 10 * small_log; });
}

}  // namespace

TEST_CASE("Mutations that the index rejects make a checkpoint that is due", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<Careless>::open_with(Careless(iqdb_test::index_of({1})), config_in(directory));
  const bool is_batch = GENERATE(false, true);
  while (db.stats().checkpoints == 0) {
    if (is_batch) {
      CHECK_THROWS_AS(db.apply(iqdb_test::twice(1)), iqdb::BatchError);
    } else {
      CHECK_THROWS_AS(insert_row(db, 1), iqdb::IndexError);
    }
    REQUIRE(db.log_bytes() <= small_log);
  }
  db.close();
  CHECK(iqdb::PersistedIndex<Careless>::load(directory.config()).index().size() == 1);
}

TEST_CASE("A load of a log that is long already makes a checkpoint without a mutation", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  write_long_log(directory, [](const PersistConfig& config) {
    return iqdb::PersistedIndex<FlatIndex>::open_with(empty_index(), config);
  });
  const PersistConfig config = config_in(directory);
  SECTION("of an index for one thread") {
    const auto db = iqdb::PersistedIndex<FlatIndex>::load(config);
    CHECK(db.stats().checkpoints == 1);
    CHECK(db.log_bytes() < 100);
  }
  SECTION("of an index for one thread that may be created") {
    const auto db = iqdb::PersistedIndex<FlatIndex>::load_or_create(config, empty_index());
    CHECK(db.stats().checkpoints == 1);
  }
  SECTION("of an index for many threads") {
    auto db = iqdb::SharedIndex<FlatIndex>::load(config);
    iqdb_test::wait_until([&] { return db.stats().checkpoints == 1; });
    CHECK(db.log_bytes() < 100);
  }
}

TEST_CASE("A checkpoint that was asked for and fails does not postpone the next automatic one",
          "[automatic_checkpoint]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<Moody>::open_with(Moody(empty_index()), config_in(directory));
  const std::uint64_t inserted = insert_until(db, [&] { return db.log_bytes() > small_log / 4 * 3; });
  Moody::fails = true;
  CHECK_THROWS_AS(std::ignore = db.checkpoint(), std::runtime_error);
  Moody::fails = false;
  std::uint64_t largest = 0;
  std::ignore = insert_until(
      db,
      [&] {
        largest = std::max(largest, db.log_bytes());
        return db.stats().checkpoints > 0;
      },
      inserted + 1);
  CHECK(largest <= small_log);
  CHECK(db.stats().failed_checkpoints == 1);
}

TEST_CASE("A checkpoint that cannot begin is no event and not counted", "[automatic_checkpoint]") {
  const DurableDirectory directory;
  Heard heard;
  PersistConfig config = directory.config();
  heard.listen(config);
  SECTION("of an index for one thread") {
    auto db = iqdb_test::DurableIndex::open_with(empty_index(), config);
    db.close();
    std::ignore = require_kind(PersistErrorKind::poisoned, [&] { return db.checkpoint(); });
    CHECK(db.stats().failed_checkpoints == 0);
  }
  SECTION("of an index for many threads") {
    auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), config);
    db.close();
    const auto error = require_kind(PersistErrorKind::poisoned, [&] { return db.checkpoint(); });
    CHECK(iqdb_test::mentions(error, "load it again"));
    CHECK(db.stats().failed_checkpoints == 0);
  }
  SECTION("of an index that only reads") {
    iqdb_test::DurableIndex::open_with(empty_index(), directory.config()).close();
    config.read_only = true;
    auto db = iqdb_test::DurableIndex::load(config);
    std::ignore = require_kind(PersistErrorKind::read_only, [&] { return db.checkpoint(); });
    auto shared = iqdb::SharedIndex<FlatIndex>::load(config);
    std::ignore = require_kind(PersistErrorKind::read_only, [&] { return shared.checkpoint(); });
  }
  CHECK(heard.kinds().empty());
}

TEST_CASE("Without a thread for it an automatic checkpoint fails with an event and is tried again",
          "[automatic_checkpoint]") {
  const iqdb_test::TemporaryDirectory directory;
  std::filesystem::permissions(directory.path(), std::filesystem::perms::all);  // the child may be another user
  CHECK(iqdb_test::in_child_without_privileges([&]() -> std::string {
          Heard heard;
          PersistConfig config{
              .path = directory / "x.iqdb", .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never()};
          config.checkpoint = CheckpointPolicy::automatic({.least_log_bytes = small_log});
          heard.listen(config);
          std::string answer;
          {
            auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), config);
            ::rlimit before{};
            ::getrlimit(RLIMIT_NPROC, &before);
            const ::rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
            if (::setrlimit(RLIMIT_NPROC, &none) != 0) {
              return "no limit";
            }
            const std::uint64_t inserted = insert_until(db, [&] { return db.stats().failed_checkpoints > 0; });
            const std::uint64_t at_failure = db.log_bytes();
            answer += heard.message(0).find("cannot start the thread") != std::string::npos ? "told, " : "not told, ";
            answer += heard.kinds() == std::vector{Event::Kind::checkpoint_failed} ? "once, " : "wrongly, ";
            ::setrlimit(RLIMIT_NPROC, &before);
            std::ignore = insert_until(
                db, [&] { return heard.count(Event::Kind::checkpoint_begun) > 0; }, inserted + 1);
            answer += db.log_bytes() + 200 > 2 * at_failure || db.stats().checkpoints > 0 ? "doubled" : "at once";
          }
          return answer;
        }) == "told, once, doubled");
}

// ---- Estimates --------------------------------------------------------------------------------------------------------

TEST_CASE("Without a log there is nothing to replay", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), directory.config_without_log());
  insert_row(db, 1);
  CHECK(db.stats().replay_estimate.count() == 0);
  std::ignore = db.checkpoint();
  {
    auto with_log = directory.load();
    insert_row(with_log, 2);
  }
  PersistConfig config = directory.config();
  config.read_only = true;
  const auto reads = iqdb_test::DurableIndex::load(config);
  CHECK(reads.recovery().replayed == 1);
  CHECK(reads.recovery().replay_elapsed.count() > 0);
  CHECK(reads.stats().replay_estimate.count() == 0);
}

TEST_CASE("Behind a close nothing is to be replayed", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  {
    auto db = directory.open_with();
    insert_row(db, 1);
  }
  {
    auto db = directory.load();
    CHECK(db.stats().replay_estimate.count() > 0);
    db.close();
    CHECK(db.stats().replay_estimate.count() == 0);
  }
  auto shared = iqdb::SharedIndex<FlatIndex>::load(directory.config());
  CHECK(shared.stats().replay_estimate.count() > 0);
  shared.close();
  CHECK(shared.stats().replay_estimate.count() == 0);
}

TEST_CASE("Behind a save nothing is to be replayed and the log may be as large as its snapshot",
          "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<FlatIndex>::open_with(empty_index(), config_in(directory));
  const std::uint64_t few = 20;
  for (std::uint64_t id = 1; id <= few; ++id) {
    insert_row(db, id);
  }
  for (std::uint64_t id = few + 1; id <= 800; ++id) {
    insert_row(db.index_mut(), id);
  }
  std::ignore = db.save();
  CHECK(db.stats().replay_estimate.count() == 0);
  const std::uint64_t snapshot_bytes = std::filesystem::file_size(directory.path());
  REQUIRE(snapshot_bytes > 2 * small_log);
  std::uint64_t largest = 0;
  std::ignore = insert_until(
      db,
      [&] {
        largest = std::max(largest, db.log_bytes());
        return db.stats().checkpoints > 0;
      },
      1000);
  CHECK(largest <= snapshot_bytes);
  CHECK(largest + 200 > snapshot_bytes);
}

TEST_CASE("A load that replays nothing is no event", "[automatic_checkpoint][stats]") {
  const DurableDirectory directory;
  directory.open_with().close();
  Heard heard;
  PersistConfig config = directory.config();
  heard.listen(config);
  std::ignore = iqdb_test::DurableIndex::load(config);
  CHECK(heard.kinds().empty());
}

// ---- What a handler of events does ------------------------------------------------------------------------------------

TEST_CASE("An index that goes in a handler of another one's events is closed", "[automatic_checkpoint][handler]") {
  const DurableDirectory directory;
  const DurableDirectory other_directory;
  std::function<void()> in_handler;
  PersistConfig config = directory.config();
  config.on_event = [&](const Event&) {
    if (in_handler) {
      std::exchange(in_handler, nullptr)();
    }
  };
  auto db = iqdb_test::DurableIndex::open_with(empty_index(), config);
  const auto is_closed = [&] {
    return iqdb_test::frames_of(other_directory.log_bytes()).back().op == 6 && iqdb_test::load_in(other_directory).ok();
  };
  SECTION("destroyed, for one thread") {
    std::optional other(iqdb_test::DurableIndex::open_with(empty_index(), other_directory.config()));
    in_handler = [&] { other.reset(); };
    std::ignore = db.checkpoint();
    CHECK(is_closed());
  }
  SECTION("assigned to, for one thread") {
    const DurableDirectory third;
    auto other = iqdb_test::DurableIndex::open_with(empty_index(), other_directory.config());
    auto next = third.open_with();
    in_handler = [&] { other = std::move(next); };
    std::ignore = db.checkpoint();
    CHECK(is_closed());
  }
  SECTION("destroyed, for many threads") {
    std::unique_ptr<iqdb::SharedIndex<FlatIndex>> other(new iqdb::SharedIndex<FlatIndex>(
        iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), other_directory.config())));
    in_handler = [&] { other.reset(); };
    std::ignore = db.checkpoint();
    CHECK(is_closed());
  }
}

TEST_CASE("An index that goes in its own handler of events leaves its files as a crash would",
          "[automatic_checkpoint][handler]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  std::function<void()> in_handler;
  config.on_event = [&](const Event&) {
    if (in_handler) {
      std::exchange(in_handler, nullptr)();
    }
  };
  const auto shared = [&] {
    return std::unique_ptr<iqdb::SharedIndex<FlatIndex>>(
        new iqdb::SharedIndex<FlatIndex>(iqdb::SharedIndex<FlatIndex>::open_with(iqdb_test::index_of({1}), config)));
  };
  // In a child, since what is left is never destroyed.
  const auto outcome = [](auto&& work) {
    return iqdb_test::in_child([&]() -> std::string {
      ::alarm(30);
      work();
      return "gone";
    });
  };
  std::promise<void> inserted;
  std::promise<void> gone;
  const auto go_beside_no_call = [&](auto& db) {
    in_handler = [&] {
      inserted.get_future().wait();  // no call is under way
      db.reset();
      gone.set_value();
    };
    insert_row(*db, 2);
    inserted.set_value();
    gone.get_future().wait();
  };
  SECTION("in its thread of checkpoints") {
    CHECK(outcome([&] {
            auto db = shared();
            insert_row(*db, 2);
            in_handler = [&] { db.reset(); };
            std::future<iqdb::SnapshotInfo> made = db->checkpoint_async();
            CHECK(made.get().vectors == 2);
          }) == "gone");
  }
  SECTION("in the thread of a caller") {
    CHECK(outcome([&] {
            auto db = shared();
            insert_row(*db, 2);
            in_handler = [&] { db.reset(); };
            std::ignore = db->checkpoint();
          }) == "gone");
  }
  config.fsync_policy = iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(1));
  config.slow_sync = std::chrono::milliseconds(0);
  SECTION("in the thread that syncs, for many threads") {
    CHECK(outcome([&] {
            auto db = shared();
            go_beside_no_call(db);
          }) == "gone");
  }
  SECTION("in the thread that syncs, for one thread") {
    CHECK(outcome([&] {
            std::optional db(iqdb_test::DurableIndex::open_with(iqdb_test::index_of({1}), config));
            go_beside_no_call(db);
          }) == "gone");
  }
  CHECK(iqdb_test::load_in(directory).ids() == iqdb_test::Ids{1, 2});
}

TEST_CASE("An index cannot be opened in a handler of events", "[automatic_checkpoint][handler]") {
  const DurableDirectory directory;
  const DurableDirectory other;
  other.open_with().close();
  int refused = 0;
  PersistConfig config = directory.config();
  config.on_event = [&](const Event&) {
    for (const auto& call : std::vector<std::function<void()>>{
             [&] { std::ignore = other.load(); }, [&] { std::ignore = other.open_with(); },
             [&] { std::ignore = iqdb_test::DurableIndex::load_or_create(other.config(), empty_index()); },
             [&] { std::ignore = iqdb::SharedIndex<FlatIndex>::load(other.config()); }}) {
      try {
        call();
      } catch (const iqdb::PersistError& error) {
        refused += error.kind() == PersistErrorKind::reentered ? 1 : 0;
      }
    }
  };
  auto db = iqdb_test::DurableIndex::open_with(empty_index(), config);
  std::ignore = db.checkpoint();
  CHECK(refused == 8);
}

TEST_CASE("stats may be called in the thread that syncs", "[automatic_checkpoint][handler]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config(iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(1)));
  config.slow_sync = std::chrono::milliseconds(0);
  std::atomic<iqdb::SharedIndex<FlatIndex>*> index = nullptr;
  std::atomic<std::uint64_t> syncs = 0;
  config.on_event = [&](const Event&) {
    if (auto* const known = index.load()) {
      syncs = known->stats().syncs.count() + known->waiting().calls;
    }
  };
  auto db = iqdb::SharedIndex<FlatIndex>::open_with(empty_index(), config);
  index = &db;
  insert_row(db, 1);
  iqdb_test::wait_until([&] { return syncs > 0; });
  index = nullptr;
  CHECK(syncs >= 1);
}

TEST_CASE("An automatic checkpoint that waits for its thread at a close is not made",
          "[automatic_checkpoint][handler]") {
  const DurableDirectory directory;
  PersistConfig config = config_in(directory);
  iqdb_test::Gate gate;
  std::atomic<int> begun = 0;
  config.on_event = [&](const Event& event) {
    begun += event.kind == Event::Kind::checkpoint_begun ? 1 : 0;
    if (event.kind == Event::Kind::checkpoint_failed) {
      gate.pass();
    }
  };
  std::uint64_t inserted = 0;
  {
    auto db = iqdb::SharedIndex<Moody>::open_with(Moody(empty_index()), config);
    gate.close();
    Moody::fails = true;
    std::future<iqdb::SnapshotInfo> first = db.checkpoint_async();
    gate.wait_until_held();  // the thread is in the handler
    Moody::fails = false;
    inserted = insert_until(db, [&] { return db.log_bytes() > 2 * small_log; });
    std::thread closes([&] { db.close(); });
    iqdb_test::wait_until([&] {
      // close() has begun when a checkpoint is refused for it: reads go on.
      return !db.poisoned() && iqdb_test::word_of([&] { std::ignore = db.checkpoint_async(); }) == "poisoned";
    });
    gate.open();
    closes.join();
    CHECK(db.stats().checkpoints == 0);
    CHECK_THROWS_AS(first.get(), std::runtime_error);
  }
  CHECK(begun == 1);
  CHECK(iqdb_test::load_in(directory).index->size() == inserted);
}
