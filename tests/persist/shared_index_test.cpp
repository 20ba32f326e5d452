// SharedIndex: what its callers see of each other, and of failures, forks and ends.
#include "iqdb/persist/shared_index.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/callers.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"
#include "support/shared_calls.hpp"
#include "support/wrong_index.hpp"

namespace {

using SharedDb = iqdb::SharedIndex<iqdb::FlatIndex>;
using SharedMemoryDb = iqdb::SharedIndex<iqdb::FlatIndex, iqdb_test::MemoryStorage>;
using SharedWrongDb = iqdb::SharedIndex<iqdb_test::WrongIndex, iqdb_test::MemoryStorage>;

// Files whose next sync can be held.
struct GatedFileSystem : iqdb::PosixFileSystem {
  std::error_code sync_data(Handle handle) {
    gate->pass();
    return iqdb::PosixFileSystem::sync_data(handle);
  }
  std::shared_ptr<iqdb_test::Gate> gate = std::make_shared<iqdb_test::Gate>();
};
static_assert(iqdb::FileSystem<GatedFileSystem>);
using SharedGatedDb = iqdb::SharedIndex<iqdb::FlatIndex, iqdb::BasicFileStorage<GatedFileSystem>>;

}  // namespace

namespace {

using iqdb::FsyncPolicy;
using iqdb_test::Callers;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::Gate;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::MemoryStorage;
using iqdb_test::require_kind;
using iqdb_test::vector_of;
using iqdb_test::wait_until;
using iqdb_test::waiting_calls;
using iqdb_test::waiting_readers;
using iqdb_test::waiting_writers;
using iqdb_test::word_of;
using SharedWords = std::vector<std::string>;

static_assert(!std::copyable<SharedDb> && !std::movable<SharedDb>);

const std::filesystem::path shared_path = "/index.iqdb";
const std::filesystem::path shared_log_path = "/index.iqdb.wal";

iqdb::PersistConfig shared_config(FsyncPolicy policy = FsyncPolicy::always()) {
  return {.path = shared_path, .wal_enabled = true, .fsync_policy = policy, .buffer_bytes = 4096, .helper_threads = 0};
}

template <class D>
void upsert_row(D& db, std::uint64_t id, float first) {
  const std::vector<float> vector{first, 0.0F};
  db.upsert(id, std::span<const float>(vector));
}

iqdb::WriteBatch batch_of(const Ids& ids) {
  iqdb::WriteBatch batch;
  for (const std::uint64_t id : ids) {
    insert_row(batch, id);
  }
  return batch;
}

const iqdb::FlatIndex& rows_in(const iqdb::FlatIndex& index) { return index; }
const iqdb::FlatIndex& rows_in(const iqdb_test::WrongIndex& index) { return index.rows(); }

// The identifiers in an index, in the order in which they were inserted.
template <class D>
Ids ids_in(const D& db) {
  return db.read([](const auto& index) { return ids_of(rows_in(index)); });
}

Ids sorted(Ids ids) {
  std::ranges::sort(ids);
  return ids;
}

// The first component of each vector, by identifier.
using SharedModel = std::map<std::uint64_t, float>;

SharedModel model_in(const iqdb::FlatIndex& index) {
  SharedModel model;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& /*metadata*/) {
    model.emplace(id.integer(), vector[0]);
  });
  return model;
}

// An index in memory whose log's writes and syncs are counted, held and made to fail.
template <class D>
class WatchedIndex {
 public:
  template <class I>
  explicit WatchedIndex(I index, const iqdb::PersistConfig& config = shared_config())
      : db(D::open_with(std::move(index), config, storage)) {
    iqdb::testing::GroupsWithoutClock::set_for(db);
    storage.watch([this](std::string_view what) {
      syncs += what == "sync the log" ? 1U : 0U;
      writes += what == "write the log" ? 1U : 0U;
      const bool fails_now = what == fails && passing-- == 0;
      if (what == "sync the log") {
        gate.pass();
      }
      if (fails_now) {
        fails.clear();
        iqdb::throw_persist_error(iqdb::PersistErrorKind::io, "the disk is gone");
      }
    });
  }
  WatchedIndex(const WatchedIndex&) = delete;
  WatchedIndex& operator=(const WatchedIndex&) = delete;
  ~WatchedIndex() { let_go(); }

  // Begins a call, and returns when it is held in its sync.
  void hold(std::function<void()> call) {
    gate.close();
    callers.begin(std::move(call));
    gate.wait_until_held();
    syncs = 0;
    writes = 0;
  }

  // Begins a call, and returns when it waits for the one that is held.
  void queue(std::function<void()> call) {
    const std::size_t before = waiting_calls(db);
    callers.begin(std::move(call));
    wait_until([&] { return waiting_calls(db) > before; });
  }

  void let_go() { gate.open(); }

  SharedWords outcomes() {
    let_go();
    return callers.outcomes();
  }

  // The kinds of the frames of the log: "i" insert, "e" erase, "b" batch, "a" abort, "c" checkpoint, "x" close, "u" upsert,
  // "m" metadata.
  std::string frames() {
    std::string ops;
    for (const auto& frame : iqdb_test::frames_of(storage.files().at(shared_log_path))) {
      ops += std::string_view("?iebacxum").at(frame.op);
    }
    return ops;
  }

  MemoryStorage storage;
  Gate gate;
  std::atomic<std::size_t> syncs = 0;
  std::atomic<std::size_t> writes = 0;
  std::string fails;  // what fails, when no call is under way but the held one
  int passing = 0;    // so many of them do not fail before
  D db;
  Callers callers;  // goes first
};

using WatchedFlat = WatchedIndex<SharedMemoryDb>;
using WatchedWrong = WatchedIndex<SharedWrongDb>;

iqdb_test::WrongIndex wrong_index() { return iqdb_test::WrongIndex(iqdb_test::empty_index()); }

// Every call that can be made of an index, but for reads, in a word.
template <class D>
std::vector<std::pair<std::string, std::function<void(D&)>>> calls_but_reads() {
  return {{"insert", [](D& db) { insert_row(db, 91); }},
          {"upsert", [](D& db) { upsert_row(db, 91, 1); }},
          {"erase", [](D& db) { db.erase(1); }},
          {"update_metadata",
           [](D& db) {
             if constexpr (requires { db.update_metadata(1, std::nullopt); }) {
               db.update_metadata(1, std::nullopt);
             } else {
               db.erase(1);
             }
           }},
          {"apply",
           [](D& db) {
             db.apply(batch_of({91, 92}));
           }},
          {"apply nothing", [](D& db) { db.apply({}); }},
          {"tune", [](D& db) { db.tune([](auto& /*index*/) {}); }},
          {"sync", [](D& db) { db.sync(); }},
          {"checkpoint", [](D& db) { db.checkpoint(); }},
          {"save_copy", [](D& db) { db.save_copy(db.config().path.string() + ".copy"); }},
          {"close", [](D& db) { db.close(); }}};
}

}  // namespace

// ---- What is durable --------------------------------------------------------------------------------------------------

TEST_CASE("What each thread was told is there is found by a load under every policy", "[shared_index]") {
  const FsyncPolicy policy =
      GENERATE(FsyncPolicy::always(), FsyncPolicy::never(), FsyncPolicy::periodic(std::chrono::milliseconds(1)));
  constexpr std::uint64_t threads = 4;
  const DurableDirectory directory;
  std::vector<SharedModel> models(threads);
  std::vector<std::string> outcomes(threads);
  std::uint64_t mutations = 0;
  {
    auto db = SharedDb::open_with(iqdb_test::empty_index(), directory.config(policy));
    std::vector<std::thread> callers;
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
      callers.emplace_back([&, thread] {
        outcomes[thread] = word_of([&] {
          SharedModel& model = models[thread];
          for (std::uint64_t round = 0; round < 25; ++round) {
            const std::uint64_t id = thread * 1000 + round * 4;
            insert_row(db, id);
            upsert_row(db, id + 1, 7.0F);
            upsert_row(db, id, 8.0F);
            db.apply(batch_of({id + 2, id + 3}));
            db.erase(id + 2);
            for (const auto& [each, first] :
                 {std::pair(id, 8.0F), {id + 1, 7.0F}, {id + 3, static_cast<float>(id + 3)}}) {
              model[each] = first;
            }
          }
        });
      });
    }
    for (std::thread& caller : callers) {
      caller.join();
    }
    mutations = db.lsn();
    if (policy.is_always()) {
      // What a kill would leave now.
      CHECK(iqdb_test::load_of(directory.files()).index->size() == threads * 75);
    }
  }
  CHECK(outcomes == SharedWords(threads, "ok"));
  CHECK(mutations == threads * 25 * 6);
  SharedModel expected;
  for (const SharedModel& model : models) {
    expected.insert(model.begin(), model.end());
  }
  const DurableIndex loaded = directory.load();
  CHECK(model_in(loaded.index()) == expected);
  CHECK(loaded.lsn() == mutations);
}

TEST_CASE("A PersistedIndex loads what a SharedIndex wrote and the reverse", "[shared_index]") {
  const DurableDirectory directory;
  {
    auto db = SharedDb::open_with(index_of({1}), directory.config());
    insert_row(db, 2);
  }
  {
    DurableIndex db = directory.load();
    CHECK(ids_of(db.index()) == Ids{1, 2});
    insert_row(db, 3);
    db.checkpoint();
    insert_row(db, 4);
  }
  auto db = SharedDb::load(directory.config());
  CHECK(ids_in(db) == Ids{1, 2, 3, 4});
  CHECK(db.recovery().replayed == 1);
  CHECK(db.lsn() == 3);
  insert_row(db, 5);
  CHECK(iqdb_test::load_of(directory.files()).ids() == Ids{1, 2, 3, 4, 5});
}

TEST_CASE("A SharedIndex that is not there yet is made of an index or by a function", "[shared_index]") {
  const DurableDirectory directory;
  const bool by_function = GENERATE(true, false);
  std::size_t made = 0;
  const auto open = [&] {
    return by_function ? SharedDb::load_or_create(directory.config(),
                                                  [&] {
                                                    ++made;
                                                    return index_of({1});
                                                  })
                       : SharedDb::load_or_create(directory.config(), index_of({1}));
  };
  {
    auto db = open();
    insert_row(db, 2);
  }
  const auto db = open();
  CHECK(ids_in(db) == Ids{1, 2});
  CHECK(made == (by_function ? 1 : 0));
}

TEST_CASE("A SharedIndex of another dimension is not taken for the one in the file", "[shared_index]") {
  const DurableDirectory directory;
  { const auto db = SharedDb::open_with(index_of({1}), directory.config()); }
  CHECK(word_of([&] {
          std::ignore =
              SharedDb::load_or_create(directory.config(), iqdb::FlatIndex(3, iqdb::DistanceMetric::euclidean));
        }) == "invalid_config");
}

TEST_CASE("A SharedIndex on the heap is made from a call that returns one", "[shared_index]") {
  const DurableDirectory directory;
  const std::unique_ptr<SharedDb> db(new SharedDb(SharedDb::open_with(index_of({1}), directory.config())));
  insert_row(*db, 2);
  CHECK(ids_in(*db) == Ids{1, 2});
}

TEST_CASE("sync makes durable what was committed under never", "[shared_index]") {
  WatchedFlat watched(index_of({1}), shared_config(FsyncPolicy::never()));
  insert_row(watched.db, 2);
  insert_row(watched.db, 3);
  CHECK(watched.syncs == 0);
  watched.db.sync();
  CHECK(watched.syncs == 1);
}

TEST_CASE("What was committed while checkpoints were made is there", "[shared_index]") {
  constexpr std::uint64_t each = 60;
  const DurableDirectory directory;
  iqdb_test::FileSet files;
  Ids expected;
  {
    auto db = SharedDb::open_with(iqdb_test::empty_index(), directory.config());
    Callers callers;
    std::atomic<std::uint64_t> running = 3;
    for (std::uint64_t thread = 0; thread < 3; ++thread) {
      callers.begin([&db, &running, thread] {
        for (std::uint64_t id = 0; id < each; ++id) {
          insert_row(db, thread * each + id);
        }
        --running;
      });
    }
    std::size_t checkpoints = 0;
    while (running > 0 || checkpoints < 3) {
      db.checkpoint();
      ++checkpoints;
    }
    CHECK(callers.outcomes() == SharedWords(3, "ok"));
    files = directory.files();
    CHECK(db.lsn() == 3 * each);
  }
  for (std::uint64_t id = 0; id < 3 * each; ++id) {
    expected.push_back(id);
  }
  CHECK(sorted(iqdb_test::load_of(files).ids()) == expected);
  CHECK(sorted(ids_of(directory.load().index())) == expected);
}

TEST_CASE("A checkpoint begins a new log that goes on with the numbers", "[shared_index]") {
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1}), directory.config());
  const std::uint64_t empty = db.log_bytes();
  insert_row(db, 2);
  CHECK(db.log_bytes() > empty);
  const iqdb::SnapshotInfo info = db.checkpoint();
  CHECK(info.file_bytes == std::filesystem::file_size(directory.path()));
  CHECK(info.lsn == 1);
  CHECK(db.log_bytes() < empty + 60);
  CHECK(db.lsn() == 1);
  insert_row(db, 3);
  CHECK(db.lsn() == 2);
  CHECK(ids_of(iqdb::PersistedIndex<iqdb::FlatIndex>::load({.path = directory.path(), .read_only = true}).index()) ==
        Ids{1, 2, 3});
}

TEST_CASE("A copy of a SharedIndex holds what was committed and has no log", "[shared_index]") {
  const DurableDirectory directory;
  const std::filesystem::path copy = directory.directory() / "copy.iqdb";
  auto db = SharedDb::open_with(index_of({1}), directory.config());
  insert_row(db, 2);
  CHECK(db.save_copy(copy).vectors == 2);
  insert_row(db, 3);
  CHECK(ids_of(DurableIndex::load({.path = copy}).index()) == Ids{1, 2});
  CHECK(word_of([&] { db.save_copy(directory.path()); }) == "invalid_config");
  CHECK(word_of([&] { db.save_copy(copy); }) == "would_discard_snapshot");
}

TEST_CASE("A SharedIndex with the log off is stored by its checkpoints", "[shared_index]") {
  const DurableDirectory directory;
  {
    auto db = SharedDb::open_with(index_of({1}), directory.config_without_log());
    insert_row(db, 2);
    upsert_row(db, 3, 3);
    db.erase(1);
    db.apply(batch_of({4}));
    CHECK(word_of([&] { insert_row(db, 2); }) == "duplicate");
    CHECK(directory.files().empty());
    db.sync();
    db.checkpoint();
    insert_row(db, 5);
    CHECK(db.lsn() == 0);
    CHECK(db.log_bytes() == 0);
    CHECK_FALSE(db.poisoned());
    db.close();
    CHECK(db.read([](const iqdb::FlatIndex& index) { return index.size(); }) == 4);
  }
  CHECK(model_in(DurableIndex::load(directory.config_without_log()).index()) == SharedModel{{2, 2}, {3, 3}, {4, 4}});
}

TEST_CASE("An update of metadata of a SharedIndex is one record without the vector, and replays", "[shared_index]") {
  const DurableDirectory directory;
  const iqdb::Metadata pages = {{"page", 5}};
  {
    auto db = SharedDb::open_with(index_of({1, 2}), directory.config());
    db.update_metadata(1, pages);
    CHECK(word_of([&] { db.update_metadata(7, pages); }) == "not_found");
    CHECK(word_of([&] { db.update_metadata(1, iqdb::Metadata{{"k", "\xFF"}}); }) == "invalid_config");
    iqdb::WriteBatch batch;
    insert_row(batch, 3);
    batch.update_metadata(3, pages);
    db.apply(batch);
    CHECK(db.lsn() == 3);
    CHECK(iqdb_test::ops_of(directory.log_bytes()) == "mb");
  }
  const DurableIndex db = directory.load();
  CHECK(db.index().metadata(1) == pages);
  CHECK(db.index().metadata(3) == pages);
  CHECK(!db.index().metadata(2));
}

TEST_CASE("A SharedIndex refuses a batch with an update of metadata where the index has none, before it is logged",
          "[shared_index]") {
  WatchedWrong watched(wrong_index());
  iqdb::WriteBatch batch;
  insert_row(batch, 3);
  batch.update_metadata(3, {});
  CHECK(word_of([&] { watched.db.apply(batch); }) == "unsupported");
  CHECK(watched.frames().empty());
}

TEST_CASE("A SharedIndex gives back what it holds", "[shared_index]") {
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1}), directory.config());
  const std::vector<float> two = vector_of(2);
  db.insert(2, two, {{"page", 5}});
  CHECK(db.size() == 2);
  CHECK(db.contains(2));
  CHECK_FALSE(db.contains(3));
  CHECK(db.get(2).vector == two);
  CHECK(db.find(2)->metadata == iqdb::Metadata{{"page", 5}});
  CHECK_FALSE(db.find(3));
  CHECK(db.metadata(2) == iqdb::Metadata{{"page", 5}});
  CHECK(db.ids() == std::vector<iqdb::VectorId>{1, 2});
  CHECK(word_of([&] { std::ignore = db.get(3); }) == "not_found");
  CHECK(word_of([&] { std::ignore = db.metadata(3); }) == "not_found");
}

TEST_CASE("A SharedIndex searches for many queries, more than are read in one piece", "[shared_index]") {
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1, 2, 3}), directory.config());
  std::vector<float> queries;
  for (std::uint64_t query = 0; query < 600; ++query) {
    const std::vector<float> vector = vector_of(1 + query % 3);
    queries.insert(queries.end(), vector.begin(), vector.end());
  }
  const auto hits = db.search_many(queries, {.k = 1});
  REQUIRE(hits.size() == 600);
  for (std::uint64_t query = 0; query < 600; ++query) {
    REQUIRE(hits[query].front().id == iqdb::VectorId(1 + query % 3));
  }
  CHECK(db.search_many(std::vector<float>()).empty());
  CHECK(word_of([&] { std::ignore = db.search_many(std::vector<float>{1.0F}); }) == "dimension_mismatch");
}

TEST_CASE("A filter of a SharedIndex may read the index and not change it", "[shared_index]") {
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1, 2, 3}), directory.config());
  const std::vector<float> query = vector_of(1);
  const auto reads = [&](const iqdb::VectorId& id) { return db.contains(2) && id != iqdb::VectorId(1); };
  CHECK(db.search(query, {.k = 1, .filter = reads}).front().id == iqdb::VectorId(2));
  CHECK(db.search(query, {.k = 1}, reads).front().id == iqdb::VectorId(2));
  const auto changes = [&](const iqdb::VectorId& id) {
    db.erase(id);
    return true;
  };
  CHECK(word_of([&] { std::ignore = db.search(query, {.filter = changes}); }) == "reentered");
  CHECK(db.size() == 3);
}

TEST_CASE("A SharedIndex that only reads sees what a writer committed and refuses mutations", "[shared_index]") {
  const DurableDirectory directory;
  auto writer = SharedDb::open_with(index_of({1}), directory.config());
  insert_row(writer, 2);
  auto db = SharedDb::load({.path = directory.path(), .read_only = true});
  CHECK(ids_in(db) == Ids{1, 2});
  const SharedWords refused{"insert", "upsert", "erase", "update_metadata", "apply", "checkpoint"};
  for (const auto& [name, call] : calls_but_reads<SharedDb>()) {
    INFO(name);
    CHECK(word_of([&, &called = call] { called(db); }) ==
          (std::ranges::find(refused, name) != refused.end() ? "read_only" : "ok"));
  }
  CHECK(db.search(std::vector<float>{1, 0}).size() == 2);
  insert_row(writer, 3);
}

TEST_CASE("A SharedIndex tells its settings", "[shared_index]") {
  const DurableDirectory directory;
  const auto db = SharedDb::open_with(index_of({1}), directory.config(FsyncPolicy::never()));
  CHECK(db.config().path == directory.path());
  CHECK(db.config().fsync_policy == FsyncPolicy::never());
}

// ---- Groups -----------------------------------------------------------------------------------------------------------

TEST_CASE("Calls that wait for a sync are committed by one record and one sync", "[shared_index][group]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { upsert_row(db, 4, 4); });
  watched.queue([&] { db.erase(1); });
  watched.queue([&] { db.apply(batch_of({5, 6})); });
  CHECK(watched.writes == 0);
  CHECK(watched.outcomes() == SharedWords(5, "ok"));
  CHECK(watched.writes == 1);
  CHECK(watched.syncs == 1);
  CHECK(watched.frames() == "ib");
  CHECK(db.lsn() == 6);
  CHECK(db.read(model_in) == SharedModel{{2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}});
}

TEST_CASE("Nothing of a group is applied or acknowledged before its sync", "[shared_index][group]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  std::atomic<bool> returned = false;
  watched.hold([&] {
    insert_row(db, 2);
    returned = true;
  });
  CHECK(ids_in(db) == Ids{1});
  CHECK_FALSE(returned);
  CHECK(db.lsn() == 0);
  CHECK(watched.outcomes() == SharedWords{"ok"});
  CHECK(ids_in(db) == Ids{1, 2});
  CHECK(db.lsn() == 1);
}

TEST_CASE("Calls are applied in the order in which they were made", "[shared_index][group]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 9); });
  for (const std::uint64_t id : {5U, 3U, 8U, 2U}) {
    watched.queue([&db, id] { insert_row(db, id); });
  }
  CHECK(watched.outcomes() == SharedWords(5, "ok"));
  CHECK(ids_in(db) == Ids{1, 9, 5, 3, 8, 2});
}

TEST_CASE("Two callers with one identifier are two groups and each has its own result", "[shared_index][group]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 7); });
  watched.queue([&] { insert_row(db, 7); });
  watched.queue([&] { db.apply(batch_of({8, 3})); });
  watched.queue([&] { upsert_row(db, 3, 30); });
  CHECK(watched.outcomes() == SharedWords{"ok", "ok", "duplicate", "ok", "ok"});
  CHECK(watched.frames() == "ibu");  // 2; 7 with the batch, which pass the second 7; what is left
  CHECK(db.read(model_in) == SharedModel{{1, 1}, {2, 2}, {7, 7}, {8, 8}, {3, 30}});
}

TEST_CASE("What is wrong with one call touches no other call of its group", "[shared_index][group]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { insert_row(db, 1); });
  watched.queue([&] { db.erase(77); });
  watched.queue([&] { db.apply(batch_of({20, 2})); });
  watched.queue([&] { db.apply(iqdb_test::twice(30)); });
  watched.queue([&] { insert_row(db, 4); });
  CHECK(watched.outcomes() == SharedWords{"ok", "ok", "duplicate", "not_found", "mutation 1", "mutation 1", "ok"});
  CHECK(ids_in(db) == Ids{1, 2, 3, 30, 4});
  CHECK(watched.frames() == "iba");
  CHECK(watched.syncs == 2);
  db.close();
  CHECK(ids_in(SharedMemoryDb::load(shared_config(), watched.storage)) == Ids{1, 2, 3, 30, 4});
}

namespace {

// Of an index that does not take the vector 3.
bool throws_for_three(const iqdb::VectorId& id) {
  return id == iqdb::VectorId(3) ? throw std::runtime_error("not three") : false;
}

}  // namespace

TEST_CASE("What an index throws reaches the caller whose mutation it was and no other", "[shared_index][group]") {
  const iqdb_test::MistakesIn mistakes({.loses_insert = throws_for_three});
  WatchedWrong watched(wrong_index());
  SharedWrongDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { insert_row(db, 4); });
  watched.queue([&] { insert_row(db, 5); });
  CHECK(watched.outcomes() == SharedWords{"ok", "not three", "ok", "ok"});
  CHECK(ids_in(db) == Ids{2, 4, 5});
  CHECK(watched.frames() == "iba");
}

TEST_CASE("A call whose vector is wrong is refused while others wait for the disk", "[shared_index][group]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  const std::vector<float> three{1, 2, 3};
  CHECK(word_of([&] { db.insert(5, std::span<const float>(three)); }) == "dimension_mismatch");
  CHECK(word_of([&] { db.upsert(5, std::span<const float>(three)); }) == "dimension_mismatch");
  iqdb::WriteBatch batch = batch_of({5});
  batch.insert(6, std::span<const float>(three));
  CHECK(word_of([&] { db.apply(batch); }) == "mutation 1");
  CHECK(waiting_calls(db) == 0);
  CHECK(watched.outcomes() == SharedWords{"ok"});
}

TEST_CASE("A thread whose call failed can make the next one", "[shared_index]") {
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1}), directory.config());
  CHECK(word_of([&] { insert_row(db, 1); }) == "duplicate");
  CHECK(word_of([&] { db.read([](const iqdb::FlatIndex&) { throw std::runtime_error("looked"); }); }) == "looked");
  CHECK(word_of([&] { db.tune([](iqdb::FlatIndex&) { throw std::runtime_error("tuned"); }); }) == "tuned");
  CHECK(word_of([&] { insert_row(db, 2); }) == "ok");
  CHECK(ids_in(db) == Ids{1, 2});
}

TEST_CASE("A batch of no mutations does nothing", "[shared_index]") {
  WatchedFlat watched(index_of({1}));
  watched.db.apply({});
  CHECK(watched.writes == 0);
  CHECK(watched.db.lsn() == 0);
}

// ---- Reading ----------------------------------------------------------------------------------------------------------

TEST_CASE("Readers see a batch whole", "[shared_index][reading]") {
  constexpr std::size_t batch_size = 10;
  for (int round = 0; round < 20; ++round) {  // each with an index of its own, which is not known to be slow
    std::atomic<std::size_t> looks = 0;
    std::atomic<bool> done = false;
    // In the middle of the batch the writer waits until both readers wait, or have looked again.
    WatchedWrong* reached = nullptr;
    const iqdb_test::MistakesIn mistakes({.loses_insert = [&](const iqdb::VectorId& id) {
      if (id == iqdb::VectorId(batch_size / 2)) {
        const std::size_t seen = looks;
        wait_until([&] { return waiting_readers(reached->db) == 2 || looks > seen + 2; });
      }
      return false;
    }});
    WatchedWrong watched(wrong_index());
    reached = &watched;
    std::atomic<std::size_t> halves = 0;
    for (int reader = 0; reader < 2; ++reader) {
      watched.callers.begin([&] {
        while (!done) {
          ++looks;
          halves += watched.db.read([](const auto& index) { return index.size(); }) % batch_size != 0 ? 1U : 0U;
        }
      });
    }
    Ids ids;
    for (std::size_t each = 0; each < batch_size; ++each) {
      ids.push_back(each);
    }
    watched.db.apply(batch_of(ids));
    done = true;
    CHECK(watched.outcomes() == SharedWords(2, "ok"));
    CHECK(halves == 0);
  }
}

TEST_CASE("Readers are let in between the parts of a batch that is too long for them", "[shared_index][reading]") {
  WatchedWrong* reached = nullptr;
  std::size_t seen = 0;
  const iqdb_test::MistakesIn mistakes({.loses_insert = [&](const iqdb::VectorId& id) {
    if (id == iqdb::VectorId(10)) {
      reached->callers.begin([&] { seen = reached->db.read([](const auto& index) { return index.size(); }); });
      wait_until([&] { return waiting_readers(reached->db) == 1; });
    }
    return false;
  }});
  WatchedWrong watched(wrong_index());
  reached = &watched;
  Ids ids;
  for (std::uint64_t id = 0; id < 3000; ++id) {
    ids.push_back(id);
  }
  watched.db.apply(batch_of(ids));
  CHECK(watched.outcomes() == SharedWords{"ok"});
  CHECK(seen > 10);
  CHECK(seen < 3000);
  CHECK(ids_in(watched.db).size() == 3000);
}

TEST_CASE("Reads and searches go on while a sync is held", "[shared_index][reading]") {
  WatchedFlat watched(index_of({1, 2}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 3); });
  watched.queue([&] { insert_row(db, 4); });
  CHECK(ids_in(db) == Ids{1, 2});
  CHECK(db.search(std::vector<float>{2, -1}, {.k = 1}).at(0).id == iqdb::VectorId(2));
  CHECK_FALSE(db.poisoned());
  CHECK(watched.outcomes() == SharedWords(2, "ok"));
}

TEST_CASE("Reads go on and mutations wait while a checkpoint or a copy is made", "[shared_index][reading]") {
  const bool copies = GENERATE(true, false);
  const DurableDirectory directory;
  Gate gate;
  iqdb::PersistConfig config = directory.config();
  config.freezing = iqdb::Freezing::by_waiting;
  config.on_progress = [&](const iqdb::Progress& /*progress*/) { gate.pass(); };
  auto db = SharedDb::open_with(index_of({1}), config);
  Callers callers;
  gate.close();
  callers.begin([&] { copies ? db.save_copy(directory.directory() / "copy.iqdb") : db.checkpoint(); });
  gate.wait_until_held();
  callers.begin([&] { insert_row(db, 2); });
  wait_until([&] { return waiting_calls(db) == 1; });
  CHECK(ids_in(db) == Ids{1});
  CHECK(db.search(std::vector<float>{1, 0}).size() == 1);
  CHECK(waiting_calls(db) == 1);
  gate.open();
  CHECK(callers.outcomes() == SharedWords(2, "ok"));
  CHECK(ids_in(db) == Ids{1, 2});
  db.close();
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2});
}

TEST_CASE("A read within a read passes although a writer waits between them", "[shared_index][reading]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  db.read([&](const iqdb::FlatIndex& /*index*/) {
    watched.callers.begin([&] { insert_row(db, 2); });
    wait_until([&] { return waiting_writers(db) == 1; });
    CHECK(ids_in(db) == Ids{1});
    CHECK(db.search(std::vector<float>{1, 0}).size() == 1);
    db.read([&](const iqdb::FlatIndex& /*index*/) { CHECK(ids_in(db) == Ids{1}); });
  });
  CHECK(watched.outcomes() == SharedWords{"ok"});
  CHECK(ids_in(db) == Ids{1, 2});
}

TEST_CASE("A mutation and a tuning have the index alone", "[shared_index][reading]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  const bool tunes = GENERATE(true, false);
  std::atomic<bool> changed = false;
  Gate gate;
  gate.close();
  watched.callers.begin([&] {
    db.read([&](const iqdb::FlatIndex& /*index*/) {
      gate.pass();
      if (changed) {
        throw std::runtime_error("it changed while it was read");
      }
    });
  });
  gate.wait_until_held();
  watched.callers.begin([&] {
    if (tunes) {
      CHECK(db.tune([&](iqdb::FlatIndex& index) {
        changed = true;
        return index.dim();
      }) == iqdb_test::durable_dim);
    } else {
      insert_row(db, 2);
      changed = true;
    }
  });
  wait_until([&] { return waiting_writers(db) == 1; });
  CHECK_FALSE(changed);
  gate.open();
  CHECK(watched.outcomes() == SharedWords(2, "ok"));
  CHECK(changed);
}

TEST_CASE("A writer comes in beside reads that always overlap", "[shared_index][reading]") {
  WatchedFlat watched(index_of({}));
  SharedMemoryDb& db = watched.db;
  std::atomic<int> inside = 0;
  std::atomic<bool> done = false;
  for (int reader = 0; reader < 3; ++reader) {
    watched.callers.begin([&] {
      while (!done) {
        db.read([&](const iqdb::FlatIndex& /*index*/) {
          ++inside;
          for (int turn = 0; turn < 200 && inside < 2; ++turn) {
            std::this_thread::yield();
          }
          --inside;
        });
      }
    });
  }
  for (std::uint64_t id = 0; id < 200; ++id) {
    insert_row(db, id);
  }
  done = true;
  CHECK(watched.outcomes() == SharedWords(3, "ok"));
  CHECK(db.lsn() == 200);
}

TEST_CASE("A read comes in beside mutations that never pause", "[shared_index][reading]") {
  WatchedFlat watched(index_of({}), shared_config(FsyncPolicy::never()));
  SharedMemoryDb& db = watched.db;
  std::atomic<bool> done = false;
  for (std::uint64_t writer = 0; writer < 2; ++writer) {
    watched.callers.begin([&, writer] {
      while (!done) {
        upsert_row(db, writer, 1);
      }
    });
  }
  std::size_t reads = 0;
  for (; reads < 300; ++reads) {
    std::ignore = db.read([](const iqdb::FlatIndex& index) { return index.size(); });
  }
  done = true;
  CHECK(watched.outcomes() == SharedWords(2, "ok"));
  CHECK(reads == 300);
}

// ---- Failures ---------------------------------------------------------------------------------------------------------

TEST_CASE("An append that fails fails its group alone and each caller has an exception of its own",
          "[shared_index][failures]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { insert_row(db, 4); });
  watched.queue([&] { insert_row(db, 1); });
  watched.queue([&] { insert_row(db, 3); });  // the next group
  watched.fails = "write the log";
  CHECK(watched.outcomes() == SharedWords{"ok", "io", "io", "duplicate", "ok"});
  std::set<const void*> objects;
  for (const std::exception_ptr& thrown : watched.callers.exceptions()) {
    try {
      if (thrown) {
        std::rethrow_exception(thrown);
      }
    } catch (const std::exception& error) {
      objects.insert(&error);
    }
  }
  CHECK(objects.size() == 3);
  CHECK_FALSE(db.poisoned());
  insert_row(db, 4);
  CHECK(ids_in(db) == Ids{1, 2, 3, 4});
  CHECK(db.lsn() == 3);
}

TEST_CASE("A sync that fails poisons and nobody behind it is told success", "[shared_index][failures]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { db.apply(batch_of({4, 5})); });
  watched.queue([&] { insert_row(db, 3); });  // the next group
  watched.queue([&] { db.checkpoint(); });
  watched.queue([&] { insert_row(db, 6); });
  watched.fails = "sync the log";
  CHECK(watched.outcomes() == SharedWords{"ok", "io", "io", "poisoned", "poisoned", "poisoned"});
  CHECK(db.poisoned());
  CHECK(word_of([&] { insert_row(db, 7); }) == "poisoned");
  CHECK(word_of([&] { db.sync(); }) == "poisoned");
  CHECK(ids_in(db) == Ids{1, 2});
  CHECK(db.search(std::vector<float>{1, 0}).size() == 2);
  db.save_copy("/copy.iqdb");
  CHECK(watched.storage.files().contains("/copy.iqdb"));
  CHECK(word_of([&] { db.close(); }) == "poisoned");
}

TEST_CASE("An abort that cannot be written poisons and no call of the group is told success",
          "[shared_index][failures]") {
  const iqdb_test::MistakesIn mistakes({.loses_insert = throws_for_three});
  WatchedWrong watched(wrong_index());
  SharedWrongDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { insert_row(db, 4); });
  watched.passing = 1;  // the record
  watched.fails = "write the log";
  CHECK(watched.outcomes() == SharedWords{"ok", "not three", "poisoned"});
  CHECK(db.poisoned());
}

// ---- Calls within calls -----------------------------------------------------------------------------------------------

TEST_CASE("A call from within a call of the same object throws reentered and does nothing",
          "[shared_index][reentered]") {
  const std::string where = GENERATE("read", "tune", "on_progress");
  const DurableDirectory directory;
  SharedDb* reached = nullptr;
  std::set<std::string> outcomes;
  std::function<void(SharedDb&)> called;
  const auto call_it = [&] {
    if (reached != nullptr) {
      outcomes.insert(word_of([&] { called(*reached); }));
    }
  };
  iqdb::PersistConfig config = directory.config();
  config.on_progress = [&](const iqdb::Progress& /*progress*/) { call_it(); };
  auto db = SharedDb::open_with(index_of({1}), config);
  auto calls = calls_but_reads<SharedDb>();
  if (where != "read") {
    calls.emplace_back("read", [](SharedDb& inner) { std::ignore = ids_in(inner); });
    calls.emplace_back("search", [](SharedDb& inner) { std::ignore = inner.search(std::vector<float>{1, 0}); });
  }
  for (const auto& [name, call] : calls) {
    INFO(name << " from " << where);
    outcomes.clear();
    called = call;
    reached = &db;
    if (where == "read") {
      db.read([&](const iqdb::FlatIndex& /*index*/) { call_it(); });
    } else if (where == "tune") {
      db.tune([&](iqdb::FlatIndex& /*index*/) { call_it(); });
    } else {
      db.checkpoint();
    }
    reached = nullptr;
    CHECK(outcomes == std::set<std::string>{"reentered"});
  }
  CHECK(ids_in(db) == Ids{1});
  CHECK(db.lsn() == 0);
  insert_row(db, 2);
  db.close();
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2});
}

TEST_CASE("A call by the index's own insert throws reentered and one by another thread waits",
          "[shared_index][reentered]") {
  WatchedWrong* reached = nullptr;
  std::set<std::string> outcomes;
  const iqdb_test::MistakesIn mistakes({.loses_insert = [&](const iqdb::VectorId& id) {
    if (id == iqdb::VectorId(1)) {
      auto calls = calls_but_reads<SharedWrongDb>();
      calls.emplace_back("read", [](SharedWrongDb& db) { std::ignore = ids_in(db); });
      for (const auto& [name, call] : calls) {
        outcomes.insert(word_of([&, &called = call] { called(reached->db); }));
      }
      reached->callers.begin([&] { insert_row(reached->db, 2); });
      wait_until([&] { return waiting_calls(reached->db) == 1; });
    }
    return false;
  }});
  WatchedWrong watched(wrong_index());
  reached = &watched;
  insert_row(watched.db, 1);
  CHECK(outcomes == std::set<std::string>{"reentered"});
  CHECK(watched.outcomes() == SharedWords{"ok"});
  CHECK(ids_in(watched.db) == Ids{1, 2});
}

TEST_CASE("A call of another object from within a call passes", "[shared_index][reentered]") {
  const DurableDirectory first;
  const DurableDirectory second;
  auto one = SharedDb::open_with(index_of({1}), first.config());
  auto other = SharedDb::open_with(index_of({2}), second.config());
  one.read([&](const iqdb::FlatIndex& /*index*/) { insert_row(other, 3); });
  one.tune([&](iqdb::FlatIndex& /*index*/) { other.checkpoint(); });
  CHECK(ids_in(other) == Ids{2, 3});
}

namespace {

// A flat index that keeps what it is given in a SharedIndex, too, unless it was loaded.
class NestingIndex {
 public:
  static constexpr std::string_view index_type = "nesting";

  explicit NestingIndex(iqdb::FlatIndex rows, std::shared_ptr<SharedDb> inner = {})
      : rows_(std::move(rows)), inner_(std::move(inner)) {}

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }
  [[nodiscard]] const iqdb::FlatIndex& rows() const noexcept { return rows_; }

  void check_vector(std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) const {
    if (inner_) {
      inner_->read([&](const iqdb::FlatIndex& index) { index.check_vector(vector, metadata); });
    }
  }
  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    if (inner_) {
      inner_->insert(id, vector, metadata);
    }
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) {
    if (inner_) {
      inner_->erase(id);
    }
    rows_.erase(id);
  }
  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static NestingIndex load_from(iqdb::Reader& reader) { return NestingIndex(iqdb::FlatIndex::load_from(reader)); }

 private:
  iqdb::FlatIndex rows_;
  std::shared_ptr<SharedDb> inner_;
};

}  // namespace

TEST_CASE("An index can keep a SharedIndex inside", "[shared_index][reentered]") {
  const DurableDirectory outer_directory;
  const DurableDirectory inner_directory;
  {
    const std::shared_ptr<SharedDb> inner(
        new SharedDb(SharedDb::open_with(iqdb_test::empty_index(), inner_directory.config())));
    auto db = iqdb::SharedIndex<NestingIndex>::open_with(NestingIndex(iqdb_test::empty_index(), inner),
                                                         outer_directory.config());
    Callers callers;
    for (std::uint64_t thread = 0; thread < 3; ++thread) {
      callers.begin([&db, thread] {
        for (std::uint64_t id = 0; id < 20; ++id) {
          insert_row(db, thread * 100 + id);
          if (id % 4 == 0) {
            db.erase(thread * 100 + id);
          }
        }
      });
    }
    CHECK(callers.outcomes() == SharedWords(3, "ok"));
    CHECK(db.read([](const NestingIndex& index) { return ids_of(index.rows()); }) == ids_in(*inner));
  }
  const auto outer = iqdb::SharedIndex<NestingIndex>::load({.path = outer_directory.path(), .read_only = true});
  const Ids ids = sorted(outer.read([](const NestingIndex& index) { return ids_of(index.rows()); }));
  CHECK(ids.size() == 45);
  CHECK(ids == sorted(ids_of(inner_directory.load().index())));
}

// ---- The end ----------------------------------------------------------------------------------------------------------

TEST_CASE("close waits for the calls before it and refuses those behind it", "[shared_index][close]") {
  WatchedFlat watched(index_of({1}));
  SharedMemoryDb& db = watched.db;
  watched.hold([&] { insert_row(db, 2); });
  watched.queue([&] { insert_row(db, 3); });
  watched.queue([&] { db.close(); });
  watched.queue([&] { insert_row(db, 4); });
  watched.queue([&] { db.sync(); });
  CHECK_FALSE(db.poisoned());
  CHECK(watched.outcomes() == SharedWords{"ok", "ok", "ok", "poisoned", "poisoned"});
  CHECK(watched.frames() == "iix");
  CHECK(db.poisoned());
  CHECK(db.lsn() == 2);
  CHECK(ids_in(db) == Ids{1, 2, 3});
  CHECK(db.search(std::vector<float>{1, 0}).size() == 3);
  for (const auto& [name, call] : calls_but_reads<SharedMemoryDb>()) {
    INFO(name);
    const bool needs_no_log = name == "apply nothing" || name == "tune" || name == "save_copy" || name == "close";
    CHECK(word_of([&, &called = call] { called(db); }) == (needs_no_log ? "ok" : "poisoned"));
  }
  // The path is free.
  const auto next = SharedMemoryDb::load(shared_config(), watched.storage);
  CHECK(ids_in(next) == Ids{1, 2, 3});
  CHECK(next.lsn() == 2);
}

TEST_CASE("close while another object has the path already does nothing", "[shared_index][close]") {
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1}), directory.config());
  insert_row(db, 2);
  db.close();
  auto next = SharedDb::load(directory.config());
  insert_row(next, 3);
  db.close();
  insert_row(next, 4);
  CHECK(iqdb_test::load_of(directory.files()).ids() == Ids{1, 2, 3, 4});
  require_kind(iqdb::PersistErrorKind::locked, [&] { std::ignore = SharedDb::load(directory.config()); });
}

TEST_CASE("The path is free behind a close that throws", "[shared_index][close]") {
  WatchedFlat watched(index_of({1}), shared_config(FsyncPolicy::never()));
  insert_row(watched.db, 2);
  watched.fails = "sync the log";
  CHECK(word_of([&] { watched.db.close(); }) == "io");
  CHECK(watched.db.poisoned());
  const auto next = SharedMemoryDb::load(shared_config(), watched.storage);
  CHECK(ids_in(next) == Ids{1, 2});
}

TEST_CASE("A SharedIndex that goes closes its log in order", "[shared_index][close]") {
  MemoryStorage storage;
  {
    auto db = SharedMemoryDb::open_with(index_of({1}), shared_config(FsyncPolicy::never()), storage);
    insert_row(db, 2);
  }
  CHECK(iqdb_test::frames_of(storage.files().at(shared_log_path)).back().op == 6);
  CHECK(ids_in(SharedMemoryDb::load(shared_config(), storage)) == Ids{1, 2});
}

TEST_CASE("A second SharedIndex on a path gets locked", "[shared_index][close]") {
  const DurableDirectory directory;
  const auto db = SharedDb::open_with(index_of({1}), directory.config());
  require_kind(iqdb::PersistErrorKind::locked, [&] { std::ignore = SharedDb::load(directory.config()); });
}

// ---- Forks ------------------------------------------------------------------------------------------------------------

namespace {

// What each call comes to in a child process, which is killed if it takes longer than half a minute.
template <class D>
std::string outcomes_in_child(D& db) {
  return iqdb_test::in_child([&] {
    ::alarm(30);
    std::string outcomes;
    auto calls = calls_but_reads<D>();
    calls.emplace_back("read", [](D& each) { std::ignore = ids_in(each); });
    calls.emplace_back("search", [](D& each) { std::ignore = each.search(std::vector<float>{1, 0}); });
    for (const auto& [name, call] : calls) {
      const std::string outcome = word_of([&, &called = call] { called(db); });
      outcomes += outcome == "poisoned" ? "" : name + ": " + outcome + ", ";
    }
    return outcomes + (db.poisoned() ? "poisoned" : "not poisoned");
  });
}

}  // namespace

TEST_CASE("After a fork every call of the child throws poisoned and the parent goes on", "[shared_index][fork]") {
  const FsyncPolicy policy =
      GENERATE(FsyncPolicy::always(), FsyncPolicy::never(), FsyncPolicy::periodic(std::chrono::milliseconds(1)));
  const DurableDirectory directory;
  auto db = SharedDb::open_with(index_of({1}), directory.config(policy));
  insert_row(db, 2);
  db.sync();
  const iqdb_test::FileSet before = directory.files();
  CHECK(outcomes_in_child(db) == "poisoned");
  CHECK(directory.files() == before);
  insert_row(db, 3);
  require_kind(iqdb::PersistErrorKind::locked, [&] { std::ignore = directory.load(); });
  db.close();
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("A fork in the middle of other threads' calls leaves a child whose calls return", "[shared_index][fork]") {
  const DurableDirectory directory;
  GatedFileSystem system;
  auto db = SharedGatedDb::open_with(index_of({1}), directory.config(), iqdb::BasicFileStorage(system));
  Callers callers;
  // One is held in its sync, one waits for it, and one reads.
  system.gate->close();
  callers.begin([&] { insert_row(db, 2); });
  system.gate->wait_until_held();
  callers.begin([&] { insert_row(db, 3); });
  wait_until([&] { return waiting_calls(db) == 1; });
  Gate reading;
  reading.close();
  callers.begin([&] { db.read([&](const iqdb::FlatIndex& /*index*/) { reading.pass(); }); });
  reading.wait_until_held();
  CHECK(outcomes_in_child(db) == "poisoned");
  // The one that was held waits for the reader, and another reader for that one.
  system.gate->open();
  wait_until([&] { return waiting_writers(db) == 1; });
  callers.begin([&] { std::ignore = ids_in(db); });
  wait_until([&] { return waiting_readers(db) == 1; });
  CHECK(outcomes_in_child(db) == "poisoned");
  reading.open();
  CHECK(callers.outcomes() == SharedWords(4, "ok"));
  insert_row(db, 4);
  db.close();
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2, 3, 4});
}

TEST_CASE("A child of a fork can destroy its copy whatever other threads were doing", "[shared_index][fork]") {
  const DurableDirectory directory;
  std::unique_ptr<SharedDb> db(new SharedDb(
      SharedDb::open_with(index_of({1}), directory.config(FsyncPolicy::periodic(std::chrono::milliseconds(1))))));
  const auto destroy_in_child = [&] {
    return iqdb_test::in_child([&]() -> std::string {
      ::alarm(30);
      db.reset();
      return "gone";
    });
  };
  CHECK(destroy_in_child() == "gone");
  Callers callers;
  Gate reading;
  reading.close();
  callers.begin([&] { db->read([&](const iqdb::FlatIndex& /*index*/) { reading.pass(); }); });
  reading.wait_until_held();
  callers.begin([&] { insert_row(*db, 2); });
  wait_until([&] { return waiting_writers(*db) == 1; });
  callers.begin([&] { std::ignore = ids_in(*db); });
  wait_until([&] { return waiting_readers(*db) == 1; });
  CHECK(destroy_in_child() == "gone");
  reading.open();
  CHECK(callers.outcomes() == SharedWords(3, "ok"));
  insert_row(*db, 3);
  db->close();
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2, 3});
}
