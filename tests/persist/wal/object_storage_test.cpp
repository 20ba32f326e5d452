// An index on an object store, by the faces that indexes on files have.
#include "iqdb/persist/wal/object_storage.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/storage/directory_object_store.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/late_index.hpp"
#include "support/object_logs.hpp"
#include "support/temporary_directory.hpp"

namespace of_object_storage {

using iqdb::FsyncPolicy;
using iqdb::PersistConfig;
using iqdb::PersistErrorKind;
using iqdb::PutOutcome;
using iqdb_test::LateIndex;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

using Storage = iqdb::ObjectStorage<WayToStore>;
using Database = iqdb::PersistedIndex<LateIndex, Storage>;

constexpr std::array<float, 1> some_vector{1.0F};
constexpr std::array<float, 1> other_vector{2.0F};

[[nodiscard]] Storage storage_in(ScriptedStore& store) {
  return Storage(WayToStore(store), iqdb_test::hasty_options());
}

[[nodiscard]] PersistConfig logged(const std::string& path = "index") {
  return {.path = path, .wal_enabled = true, .helper_threads = 0};
}

[[nodiscard]] PersistConfig taking_over() {
  PersistConfig config = logged();
  config.take_over = true;
  return config;
}

[[nodiscard]] PersistConfig read_only() {
  PersistConfig config = logged();
  config.read_only = true;
  return config;
}

[[nodiscard]] Database opened(ScriptedStore& store, PersistConfig config = logged()) {
  return Database::load_or_create(std::move(config), LateIndex(), storage_in(store));
}

TEST_CASE("ObjectStorage: a load has what was acknowledged", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(1, some_vector);
    database.insert(2, some_vector);
    database.erase(1);
  }
  const Database database = opened(store);
  CHECK(database.index().ids() == std::vector<iqdb::VectorId>{2});
  CHECK(database.lsn() == 3);
  CHECK(database.recovery().replayed == 3);
}

TEST_CASE("ObjectStorage: an index that was not closed is opened with take_over alone", "[object_storage]") {
  ScriptedStore store;
  Database first = opened(store);
  first.insert(1, some_vector);
  require_kind(PersistErrorKind::locked, [&] { std::ignore = opened(store); });
  const Database second = opened(store, taking_over());
  CHECK(second.index().contains(1));
}

TEST_CASE("ObjectStorage: a writer that was displaced acknowledges nothing", "[object_storage]") {
  ScriptedStore store;
  Database first = opened(store);
  Database second = opened(store, taking_over());
  require_kind(PersistErrorKind::fenced, [&] { first.insert(1, some_vector); });
  require_kind(PersistErrorKind::poisoned, [&] { first.insert(1, some_vector); });
  CHECK(first.poisoned());
  second.insert(2, some_vector);
  CHECK(opened(store, read_only()).index().ids() == std::vector<iqdb::VectorId>{2});
}

TEST_CASE("ObjectStorage: a displaced writer publishes no snapshot, and leaves none", "[object_storage]") {
  ScriptedStore store;
  Database first = opened(store);
  const Database second = opened(store, taking_over());
  const std::size_t snapshots = store.objects_below("index/snapshot/0");
  require_kind(PersistErrorKind::fenced, [&] { first.checkpoint(); });
  CHECK(store.objects_below("index/snapshot/0") == snapshots);
}

TEST_CASE("ObjectStorage: a writer that was told that it is displaced takes nothing more, whatever the policy",
          "[object_storage]") {
  ScriptedStore store;
  PersistConfig config = logged();
  config.fsync_policy = FsyncPolicy::never();
  Database first = opened(store, config);
  const Database second = opened(store, taking_over());
  require_kind(PersistErrorKind::fenced, [&] { first.checkpoint(); });
  CHECK(first.poisoned());
  require_kind(PersistErrorKind::poisoned, [&] { first.insert(1, some_vector); });
}

TEST_CASE("ObjectStorage: an index that was opened forgets that it took over", "[object_storage]") {
  ScriptedStore store;
  CHECK_FALSE(opened(store, taking_over()).config().take_over);
}

TEST_CASE("ObjectStorage: an opening without an answer behind its fence leaves a closed log closed",
          "[object_storage]") {
  ScriptedStore store;
  opened(store).close();
  bool has_fence = false;
  store.before = [&](const std::string& call) {
    has_fence = has_fence || call.starts_with("put ");
    if (call == "list" && has_fence) {
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  require_kind(PersistErrorKind::io, [&] { std::ignore = opened(store); });
  store.before = [](const std::string&) {};
  CHECK_NOTHROW(opened(store));
}

TEST_CASE("ObjectStorage: a load that fails behind its fence closes the log again", "[object_storage]") {
  ScriptedStore store;
  opened(store).close();
  using Flat = iqdb::PersistedIndex<iqdb::FlatIndex, Storage>;
  require_kind(PersistErrorKind::invalid_index_type, [&] { std::ignore = Flat::load(logged(), storage_in(store)); });
  CHECK_NOTHROW(opened(store));
}

TEST_CASE("ObjectStorage: a load begins with the snapshot of the last checkpoint", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(1, some_vector);
    database.checkpoint();
    database.insert(2, some_vector);
  }
  const Database database = opened(store);
  CHECK(database.index().size() == 2);
  CHECK(database.recovery().replayed == 1);
}

TEST_CASE("ObjectStorage: checkpoints leave what two of them need, and every fence", "[object_storage]") {
  ScriptedStore store;
  Database database = opened(store);
  for (std::uint64_t id = 1; id <= 5; ++id) {
    database.insert(id, some_vector);
    database.checkpoint();
  }
  CHECK(store.objects_below("index/snapshot/0") == 2);
  CHECK(store.objects_below("index/log/") == 4);  // the fence, two checkpoints, and the mutation between them
  database.insert(6, some_vector);
  CHECK(opened(store, read_only()).index().size() == 6);
}

TEST_CASE("ObjectStorage: a sweep that the store refuses fails no checkpoint", "[object_storage]") {
  ScriptedStore store;
  std::vector<iqdb::Event::Kind> events;
  PersistConfig config = logged();
  config.on_event = [&](const iqdb::Event& event) { events.push_back(event.kind); };
  Database database = opened(store, config);
  database.insert(1, some_vector);
  store.before = [](const std::string& call) {
    if (call == "list") {
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  CHECK_NOTHROW(database.checkpoint());
  CHECK(std::ranges::count(events, iqdb::Event::Kind::sweep_failed) == 1);
}

TEST_CASE("ObjectStorage: a snapshot stays of which it is not known whether it was published", "[object_storage]") {
  ScriptedStore store;
  Database database = opened(store);
  database.insert(1, some_vector);
  const std::size_t snapshots = store.objects_below("index/snapshot/0");
  // Stored, and the reply is lost each time.
  store.answer_put = [&](std::string_view key, std::span<const std::byte> bytes) -> std::optional<PutOutcome> {
    store.objects.emplace(key, iqdb::ObjectBytes(bytes.begin(), bytes.end()));
    return PutOutcome::unknown;
  };
  require_kind(PersistErrorKind::io, [&] { database.checkpoint(); });
  CHECK(database.poisoned());
  store.answer_put = {};
  CHECK(store.objects_below("index/snapshot/0") == snapshots + 1);
  CHECK(opened(store, taking_over()).index().contains(1));
}

TEST_CASE("ObjectStorage: a snapshot stays where publishing it ended in an exception of the store's own",
          "[object_storage]") {
  ScriptedStore store;
  Database database = opened(store);
  database.insert(1, some_vector);
  store.answer_put = [&](std::string_view key, std::span<const std::byte> bytes) -> std::optional<PutOutcome> {
    store.objects.emplace(key, iqdb::ObjectBytes(bytes.begin(), bytes.end()));
    throw std::bad_alloc();
  };
  CHECK_THROWS_AS(database.checkpoint(), std::bad_alloc);
  CHECK(database.poisoned());
  store.answer_put = {};
  CHECK(opened(store, taking_over()).index().contains(1));
}

TEST_CASE("ObjectStorage: a snapshot that could not be stored leaves the index as it was", "[object_storage]") {
  ScriptedStore store;
  Database database = opened(store);
  database.insert(1, some_vector);
  store.before = [](const std::string& call) {
    if (call.starts_with("put index/snapshot/")) {
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  require_kind(PersistErrorKind::io, [&] { database.save(); });
  store.before = [](const std::string&) {};
  CHECK(store.objects_below("index/snapshot/0") == 1);
  CHECK_NOTHROW(database.insert(2, some_vector));
}

[[nodiscard]] Storage storage_in_parts(ScriptedStore& store) {
  iqdb::ObjectLogOptions options = iqdb_test::hasty_options();
  options.part_bytes = 100;
  options.parts_in_flight = 0;
  return Storage(WayToStore(store), options);
}

// An index whose snapshot has several parts.
[[nodiscard]] Database opened_in_parts(ScriptedStore& store, PersistConfig config = logged()) {
  Database database = Database::load_or_create(std::move(config), LateIndex(), storage_in_parts(store));
  for (std::uint64_t id = 1; id <= 50; ++id) {
    database.insert(id, some_vector);
  }
  return database;
}

TEST_CASE("ObjectStorage: a snapshot that is larger than a part is uploaded, and loads", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened_in_parts(store);
    database.checkpoint();
    CHECK(store.calls_that_begin("complete ") == 1);
    CHECK(store.calls_that_begin("part ") > 3);
    database.insert(51, some_vector);
  }
  const Database database = opened(store);
  CHECK(database.index().size() == 51);
  CHECK(database.recovery().replayed == 1);
  CHECK(store.uploads.empty());
}

TEST_CASE("ObjectStorage: a checkpoint whose upload fails ends it, and the index goes on", "[object_storage]") {
  for (const char* failing : {"begin ", "part 2", "part 3", "part 1 ", "complete "}) {
    CAPTURE(failing);
    ScriptedStore store;
    Database database = opened_in_parts(store);
    store.before = [&](const std::string& call) {
      if (call.starts_with(failing)) {
        iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
      }
    };
    const std::size_t snapshots = store.objects_below("index/snapshot/");
    require_kind(PersistErrorKind::io, [&] { database.checkpoint(); });
    CHECK(store.uploads.empty());
    CHECK(store.objects_below("index/snapshot/") == snapshots);
    store.before = [](const std::string&) {};
    CHECK_NOTHROW(database.insert(51, some_vector));
    CHECK_NOTHROW(database.checkpoint());
    CHECK(opened(store, read_only()).index().size() == 51);
  }
}

TEST_CASE("ObjectStorage: a writer that sleeps while its upload is swept publishes nothing when it wakes",
          "[object_storage]") {
  for (const char* asleep : {"part 3", "part 1 ", "complete "}) {
    CAPTURE(asleep);
    ScriptedStore store;
    Database first = opened_in_parts(store);
    bool is_first = true;
    store.before = [&](const std::string& call) {
      if (call.starts_with(asleep) && std::exchange(is_first, false)) {
        Database second = opened(store, taking_over());
        second.insert(51, some_vector);
        second.checkpoint();
        CHECK(store.uploads.empty());
      }
    };
    const auto error = require_kind(PersistErrorKind::io, [&] { first.checkpoint(); });
    CHECK(iqdb_test::mentions(error, "has ended before it was whole"));
    CHECK_FALSE(first.poisoned());
    // It is displaced, and learns that as ever.
    require_kind(PersistErrorKind::fenced, [&] { first.insert(52, some_vector); });
    CHECK(opened(store, read_only()).index().size() == 51);
  }
}

TEST_CASE("ObjectStorage: a checkpoint whose upload a rule of the bucket has ended fails, and the next one does not",
          "[object_storage]") {
  ScriptedStore store;
  Database database = opened_in_parts(store);
  store.before = [&](const std::string& call) {
    if (call.starts_with("complete ")) {
      store.uploads.clear();
    }
  };
  require_kind(PersistErrorKind::io, [&] { database.checkpoint(); });
  store.before = [](const std::string&) {};
  CHECK_NOTHROW(database.insert(51, some_vector));
  CHECK_NOTHROW(database.checkpoint());
  CHECK(opened(store, read_only()).index().size() == 51);
}

TEST_CASE("ObjectStorage: a checkpoint ends the uploads that a killed writer has left", "[object_storage]") {
  ScriptedStore store;
  store.begin_upload(iqdb::object_snapshot_key("index", 0, 7));
  Database database = opened(store);
  database.checkpoint();
  CHECK(store.uploads.empty());
}

TEST_CASE("ObjectStorage: a snapshot says which mutations it holds, though others were made since",
          "[object_storage]") {
  ScriptedStore store;
  using Shared = iqdb::SharedIndex<iqdb::FlatIndex, Storage>;
  PersistConfig config = logged();
  config.freezing = iqdb::Freezing::by_copy;
  const iqdb::FlatIndex empty(1, iqdb::DistanceMetric::euclidean);
  Shared database = Shared::load_or_create(config, empty, storage_in(store));
  database.insert(1, some_vector);
  bool is_first = true;
  store.before = [&](const std::string& call) {
    if (call.starts_with("put index/snapshot/") && std::exchange(is_first, false)) {
      std::thread([&] { database.insert(2, some_vector); }).join();
    }
  };
  const iqdb::SnapshotInfo info = database.checkpoint();
  CHECK(info.lsn == 1);
  database.close();
  const Shared again = Shared::load(config, storage_in(store));
  CHECK(again.size() == 2);
  CHECK(again.recovery().replayed == 1);
}

TEST_CASE("ObjectStorage: a log that is synced now and then is put as few objects", "[object_storage]") {
  ScriptedStore store;
  PersistConfig config = logged();
  config.fsync_policy = FsyncPolicy::never();
  Database database = opened(store, config);
  const std::size_t before = store.calls_that_begin("put ");
  for (std::uint64_t id = 1; id <= 20; ++id) {
    database.insert(id, some_vector);
  }
  CHECK(store.calls_that_begin("put ") == before);
  database.sync();
  CHECK(store.calls_that_begin("put ") == before + 1);
  CHECK(opened(store, read_only()).index().size() == 20);
}

TEST_CASE("ObjectStorage: a log that is never synced does not fill the memory", "[object_storage]") {
  ScriptedStore store;
  PersistConfig config = logged();
  config.fsync_policy = FsyncPolicy::never();
  Database database = opened(store, config);
  const std::size_t before = store.calls_that_begin("put ");
  const iqdb::Metadata large{{"text", std::string(60'000, 'x')}};
  for (std::uint64_t id = 1; id <= 20; ++id) {
    database.insert(id, some_vector, large);
  }
  CHECK(store.calls_that_begin("put ") == before + 1);
}

TEST_CASE("ObjectStorage: a mutation that the index rejected stays out", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(1, some_vector);
    CHECK_THROWS_AS(database.insert(1, other_vector), iqdb::IndexError);
    database.insert(2, some_vector);
  }
  const Database database = opened(store);
  CHECK(database.index().size() == 2);
  CHECK(database.recovery().aborted == 1);
}

// Leaves a log whose last mutation the index had rejected, and whose writer ended before it could say so.
void leave_unsettled(ScriptedStore& store) {
  Database database = opened(store);
  database.insert(1, some_vector);
  std::size_t puts = 0;
  store.answer_put = [&](std::string_view, std::span<const std::byte>) -> std::optional<PutOutcome> {
    return ++puts > 1 ? std::optional(PutOutcome::unknown) : std::nullopt;
  };
  CHECK_THROWS_AS(database.insert(1, other_vector), iqdb::IndexError);
  CHECK(database.poisoned());
  store.answer_put = {};
}

TEST_CASE("ObjectStorage: a load names what it has passed over, in front of what it writes", "[object_storage]") {
  ScriptedStore store;
  leave_unsettled(store);
  {
    Database database = opened(store, taking_over());
    CHECK(database.recovery().tolerated == 1);
    database.erase(1);  // a replay that did not pass over the mutation before it would now go another way
  }
  const Database database = opened(store);
  CHECK(database.index().size() == 0);
  CHECK(database.recovery().aborted == 1);
  CHECK(database.recovery().tolerated == 0);
}

TEST_CASE("ObjectStorage: a load that cannot name what it has passed over fails", "[object_storage]") {
  ScriptedStore store;
  leave_unsettled(store);
  std::size_t puts = 0;
  store.answer_put = [&](std::string_view, std::span<const std::byte>) -> std::optional<PutOutcome> {
    return ++puts > 2 ? std::optional(PutOutcome::unknown) : std::nullopt;  // the fence is put twice
  };
  require_kind(PersistErrorKind::io, [&] { std::ignore = opened(store, taking_over()); });
}

TEST_CASE("ObjectStorage: a load that failed does not settle the last mutation by closing the log",
          "[object_storage]") {
  ScriptedStore store;
  leave_unsettled(store);
  store.before = [](const std::string& call) {
    if (call.starts_with("get index/snapshot/")) {
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  require_kind(PersistErrorKind::io, [&] { std::ignore = opened(store, taking_over()); });
  store.before = [](const std::string&) {};
  require_kind(PersistErrorKind::locked, [&] { std::ignore = opened(store); });
  CHECK(opened(store, taking_over()).recovery().tolerated == 1);
}

// Rejects vector 2, which it once took.
class Stricter : public LateIndex {
 public:
  Stricter() = default;
  explicit Stricter(LateIndex index) : LateIndex(std::move(index)) {}
  void insert(const iqdb::VectorId& id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    if (id == iqdb::VectorId(2)) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_vector, "no such vector");
    }
    LateIndex::insert(id, vector, std::move(metadata));
  }
  static Stricter load_from(iqdb::Reader& reader) { return Stricter(LateIndex::load_from(reader)); }
};

using StricterDatabase = iqdb::PersistedIndex<Stricter, Storage>;

TEST_CASE("ObjectStorage: what was settled before a close is not passed over", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(2, some_vector);
  }
  require_kind(PersistErrorKind::replay_rejected,
               [&] { std::ignore = StricterDatabase::load(logged(), storage_in(store)); });
}

TEST_CASE("ObjectStorage: mutations in front of others cannot be passed over for good", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(1, some_vector);
    database.insert(2, some_vector);
    database.insert(3, some_vector);
  }
  PersistConfig config = logged();
  config.skip_rejected = true;
  require_kind(PersistErrorKind::unsupported, [&] { std::ignore = StricterDatabase::load(config, storage_in(store)); });
  config.read_only = true;
  CHECK(StricterDatabase::load(config, storage_in(store)).index().size() == 2);
}

TEST_CASE("ObjectStorage: who only reads stores nothing", "[object_storage]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  const std::size_t before = store.calls_that_begin("put ");
  const Database reader = opened(store, read_only());
  CHECK(reader.index().contains(1));
  CHECK(reader.lsn() == 1);
  CHECK(store.calls_that_begin("put ") == before);
  CHECK_NOTHROW(writer.insert(2, some_vector));
}

TEST_CASE("ObjectStorage: an index that replaces another goes on with its numbers", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(1, some_vector);
    database.insert(2, some_vector);
    database.checkpoint();
  }
  PersistConfig config = logged();
  config.replace_existing = true;
  {
    Database database = Database::open_with(LateIndex(), config, storage_in(store));
    CHECK(database.lsn() == 2);
    database.insert(3, some_vector);
  }
  CHECK(opened(store).index().ids() == std::vector<iqdb::VectorId>{3});
}

TEST_CASE("ObjectStorage: an index does not replace mutations that no snapshot holds", "[object_storage]") {
  ScriptedStore store;
  {
    Database database = opened(store);
    database.insert(1, some_vector);
  }
  PersistConfig config = logged();
  config.replace_existing = true;
  require_kind(PersistErrorKind::would_discard_log,
               [&] { std::ignore = Database::open_with(LateIndex(), config, storage_in(store)); });
  CHECK(opened(store).index().contains(1));
}

TEST_CASE("ObjectStorage: an index without a log publishes snapshots", "[object_storage]") {
  ScriptedStore store;
  const PersistConfig config{.path = "index", .helper_threads = 0};
  {
    Database database = Database::load_or_create(config, LateIndex(), storage_in(store));
    database.insert(1, some_vector);
    database.save();
    database.insert(2, some_vector);
    database.save();
  }
  CHECK(Database::load(config, storage_in(store)).index().size() == 2);
  CHECK(opened(store).index().size() == 2);
}

TEST_CASE("ObjectStorage: an index without a log does not save over mutations of one", "[object_storage]") {
  ScriptedStore store;
  opened(store).close();
  const PersistConfig config{.path = "index", .helper_threads = 0};
  Database without_log = Database::load(config, storage_in(store));
  opened(store).insert(1, some_vector);
  require_kind(PersistErrorKind::log_present, [&] { without_log.save(); });
}

TEST_CASE("ObjectStorage: a save without a log takes over an index whose last writer did not close it",
          "[object_storage]") {
  ScriptedStore store;
  PersistConfig config{.path = "index", .helper_threads = 0};
  Database::open_with(LateIndex(), config, storage_in(store)).save();
  Database database = Database::load(config, storage_in(store));
  config.take_over = true;
  Database taking = Database::load(config, storage_in(store));
  std::ignore = iqdb::open_object_log(store, "index", true, iqdb_test::hasty_options());  // and dies
  CHECK_NOTHROW(taking.save());
  CHECK_NOTHROW(opened(store));
}

TEST_CASE("ObjectStorage: a copy is refused without a fence where there is an index", "[object_storage]") {
  ScriptedStore store;
  Database other = opened(store, logged("other"));
  Database database = opened(store);
  require_kind(PersistErrorKind::would_discard_snapshot, [&] { database.save_copy("other"); });
  CHECK_NOTHROW(other.insert(1, some_vector));
}

TEST_CASE("ObjectStorage: a copy under another name is an index of its own", "[object_storage]") {
  ScriptedStore store;
  Database database = opened(store);
  database.insert(1, some_vector);
  database.save_copy("other/copy");
  CHECK(Database::load(logged("other/copy"), storage_in(store)).index().contains(1));
  require_kind(PersistErrorKind::would_discard_snapshot, [&] { database.save_copy("other/copy"); });
}

TEST_CASE("ObjectStorage: an index whose name continues that of another is another one", "[object_storage]") {
  ScriptedStore store;
  Database outer = opened(store);
  Database inner = opened(store, logged("index/log"));
  outer.insert(1, some_vector);
  inner.insert(2, some_vector);
  outer.checkpoint();
  inner.checkpoint();
  CHECK(opened(store, read_only()).index().ids() == std::vector<iqdb::VectorId>{1});
}

TEST_CASE("ObjectStorage: a name that is no key, or that of a log, is refused", "[object_storage]") {
  ScriptedStore store;
  for (const char* name : {"/index", "a/.b", "index.wal", "a/log/b", "a/snapshot/b"}) {
    CAPTURE(name);
    require_kind(PersistErrorKind::invalid_config, [&] { std::ignore = opened(store, logged(name)); });
  }
  CHECK(store.objects.empty());
}

TEST_CASE("ObjectStorage: a backup of files is refused, since there are none", "[object_storage]") {
  ScriptedStore store;
  Database database = opened(store);
  require_kind(PersistErrorKind::unsupported, [&] { database.backup("there"); });
}

TEST_CASE("ObjectStorage: a snapshot that is gone is named", "[object_storage]") {
  ScriptedStore store;
  opened(store).close();
  std::erase_if(store.objects, [](const auto& object) { return object.first.starts_with("index/snapshot/"); });
  require_kind(PersistErrorKind::log_mismatch, [&] { std::ignore = opened(store); });
}

TEST_CASE("ObjectStorage: a load that only reads begins again where its snapshot was swept meanwhile",
          "[object_storage]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  bool is_first = true;
  store.before = [&](const std::string& call) {
    if (call.starts_with("get index/snapshot/") && std::exchange(is_first, false)) {
      for (int checkpoints = 0; checkpoints < 3; ++checkpoints) {
        writer.checkpoint();
      }
    }
  };
  CHECK(opened(store, read_only()).index().contains(1));
  CHECK_FALSE(is_first);
}

TEST_CASE("ObjectStorage: the child of a fork writes nothing, and ends nothing", "[object_storage]") {
  const iqdb_test::TemporaryDirectory directory;
  using Flat = iqdb::PersistedIndex<LateIndex, iqdb::ObjectStorage<iqdb::DirectoryObjectStore>>;
  const iqdb::ObjectStorage<iqdb::DirectoryObjectStore> storage{iqdb::DirectoryObjectStore(directory.path())};
  auto database = std::optional(Flat::load_or_create(logged(), LateIndex(), storage));
  iqdb_test::ChildProcess child([&] {
    const auto error = iqdb_test::error_of([&] { database->insert(1, some_vector); });
    database.reset();
    return error.kind() == PersistErrorKind::poisoned ? 0 : 1;
  });
  CHECK(child.wait() == 0);
  database->insert(2, some_vector);
  CHECK(database->lsn() == 1);
}

TEST_CASE("ObjectStorage: the mutations of many threads share objects", "[object_storage]") {
  const iqdb_test::TemporaryDirectory directory;
  using Shared = iqdb::SharedIndex<iqdb::FlatIndex, iqdb::ObjectStorage<iqdb::DirectoryObjectStore>>;
  const iqdb::ObjectStorage<iqdb::DirectoryObjectStore> storage{iqdb::DirectoryObjectStore(directory.path())};
  constexpr std::uint64_t threads = 4;
  constexpr std::uint64_t each = 25;
  {
    const iqdb::FlatIndex empty(1, iqdb::DistanceMetric::euclidean);
    Shared database = Shared::load_or_create(logged(), empty, storage);
    std::vector<std::thread> running;
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
      running.emplace_back([&database, thread] {
        for (std::uint64_t id = 1; id <= each; ++id) {
          database.insert(thread * each + id, some_vector);
        }
      });
    }
    database.checkpoint();
    for (std::thread& thread : running) {
      thread.join();
    }
    CHECK(database.stats().syncs.count() <= threads * each + 1);
  }
  CHECK(Shared::load(logged(), storage).size() == threads * each);
}

TEST_CASE("ObjectStorage: an index of files knows no take-over", "[object_storage]") {
  const iqdb_test::TemporaryDirectory directory;
  PersistConfig config = taking_over();
  config.path = directory.path() / "index.iqdb";
  require_kind(PersistErrorKind::unsupported,
               [&] { std::ignore = iqdb::PersistedIndex<LateIndex>::load_or_create(config, LateIndex()); });
}

}  // namespace of_object_storage
