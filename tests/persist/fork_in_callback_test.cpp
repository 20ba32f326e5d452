// A callback that forks, and returns in the child: there nothing of the call goes on, and the parent does not notice.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <optional>
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
#include "support/returning_child.hpp"

namespace {

using iqdb::Event;
using iqdb::FlatIndex;
using iqdb::Freezing;
using iqdb::FsyncPolicy;
using iqdb::PersistConfig;
using iqdb::Progress;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::ReturningChild;
using ForkShared = iqdb::SharedIndex<FlatIndex>;

const std::string only_in_parent = "ok, in the child: poisoned";

// An index that calls something in the middle of its save.
class CallsInSave : public FlatIndex {
 public:
  using FlatIndex::FlatIndex;
  explicit CallsInSave(FlatIndex index) : FlatIndex(std::move(index)) {}
  static constexpr bool freezes_by_fork = false;
  void save_to(iqdb::Writer& writer) const {
    if (called) {
      called();
    }
    FlatIndex::save_to(writer);
  }
  static CallsInSave load_from(iqdb::Reader& reader) { return CallsInSave(FlatIndex::load_from(reader)); }

  inline static std::function<void()> called;
};

// An index whose save waits in a forked process until there is a file.
class WaitsInFork : public FlatIndex {
 public:
  explicit WaitsInFork(FlatIndex index) : FlatIndex(std::move(index)) {}
  void save_to(iqdb::Writer& writer) const {
    while (::getpid() != process_ && !std::filesystem::exists(awaited)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    FlatIndex::save_to(writer);
  }
  static WaitsInFork load_from(iqdb::Reader& reader) { return WaitsInFork(FlatIndex::load_from(reader)); }

  inline static std::filesystem::path awaited;

 private:
  ::pid_t process_ = ::getpid();
};

// A child that is forked by an event of one kind, when it is armed.
class ForkingHandler {
 public:
  ForkingHandler(PersistConfig& config, Event::Kind kind) {
    config.on_event = [this, kind](const Event& event) {
      if (child.is_child()) {
        ::_exit(99);  // nothing happens there that could be told of
      }
      if (armed && event.kind == kind) {
        child.fork();
      }
    };
  }
  ForkingHandler(const ForkingHandler&) = delete;
  ForkingHandler& operator=(const ForkingHandler&) = delete;
  ~ForkingHandler() = default;

  template <class Call>
  std::string outcomes(Call&& call) {
    armed = true;
    const std::string outcome = child.outcomes(std::forward<Call>(call));
    armed = false;
    return outcome;
  }

  std::atomic<bool> armed = false;
  ReturningChild child;
};

// What a load finds in the end, when the parent has gone on.
template <class Db>
void require_goes_on(Db& db, const DurableDirectory& directory, std::uint64_t rows) {
  insert_row(db, rows + 1);
  std::ignore = db.checkpoint();
  insert_row(db, rows + 2);
  db.close();
  const iqdb_test::LoadResult found = iqdb_test::load_in(directory);
  REQUIRE(found.ok());
  CHECK(found.index->size() == rows + 2);
  CHECK(!std::filesystem::exists(directory.path().string() + ".tmp"));
  CHECK(!std::filesystem::exists(directory.log().string() + ".tmp"));
}

}  // namespace

TEST_CASE("A handler that forks at a checkpoint leaves a child whose call throws", "[fork_in_callback]") {
  const auto kind = GENERATE(Event::Kind::checkpoint_begun, Event::Kind::checkpoint_done);
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  ForkingHandler handler(config, kind);
  SECTION("of an index for one thread") {
    auto db = DurableIndex::open_with(index_of({1}), config);
    CHECK(handler.outcomes([&] { std::ignore = db.checkpoint(); }) == only_in_parent);
    CHECK(db.stats().checkpoints == 1);
    require_goes_on(db, directory, 1);
  }
  SECTION("of an index for many threads") {
    config.freezing = GENERATE(Freezing::by_fork, Freezing::by_copy, Freezing::by_waiting);
    auto db = ForkShared::open_with(index_of({1}), config);
    CHECK(handler.outcomes([&] { std::ignore = db.checkpoint(); }) == only_in_parent);
    CHECK(db.stats().checkpoints == 1);
    require_goes_on(db, directory, 1);
  }
}

TEST_CASE("A handler that forks at an automatic checkpoint leaves a child whose mutation throws",
          "[fork_in_callback]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config(FsyncPolicy::never());
  config.checkpoint = iqdb::CheckpointPolicy::automatic({.least_log_bytes = 1});
  ForkingHandler handler(config, Event::Kind::checkpoint_begun);
  auto db = DurableIndex::open_with(iqdb_test::empty_index(), config);
  std::uint64_t rows = 0;
  CHECK(handler.outcomes([&] {
    while (db.stats().checkpoints == 0) {
      insert_row(db, ++rows);
      if (handler.child.is_child()) {
        throw std::runtime_error("the mutation returned");
      }
    }
  }) == only_in_parent);
  require_goes_on(db, directory, rows);
}

TEST_CASE("A handler that forks in a thread of the library leaves a child that ends", "[fork_in_callback]") {
  const DurableDirectory directory;
  SECTION("in that of checkpoints") {
    PersistConfig config = directory.config();
    ForkingHandler handler(config, Event::Kind::checkpoint_begun);
    auto db = ForkShared::open_with(index_of({1}), config);
    CHECK(handler.outcomes([&] { std::ignore = db.checkpoint_async().get(); }) == "ok, in the child: ended with 1");
    require_goes_on(db, directory, 1);
  }
  SECTION("in that of syncs") {
    PersistConfig config = directory.config(FsyncPolicy::periodic(std::chrono::milliseconds(1)));
    config.slow_sync = std::chrono::milliseconds(0);
    ForkingHandler handler(config, Event::Kind::slow_sync);
    auto db = DurableIndex::open_with(index_of({1}), config);
    CHECK(handler.outcomes([&] {
      insert_row(db, 2);
      iqdb_test::wait_until([&] { return handler.child.is_over(); });
    }) == "ok, in the child: ended with 1");
    require_goes_on(db, directory, 2);
  }
}

TEST_CASE("A handler that forks at a sync leaves a child whose mutation throws", "[fork_in_callback]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  config.slow_sync = std::chrono::milliseconds(0);
  ForkingHandler handler(config, Event::Kind::slow_sync);
  SECTION("of an index for one thread") {
    auto db = DurableIndex::open_with(index_of({1}), config);
    CHECK(handler.outcomes([&] { insert_row(db, 2); }) == only_in_parent);
    require_goes_on(db, directory, 2);
  }
  SECTION("of an index for many threads") {
    auto db = ForkShared::open_with(index_of({1}), config);
    CHECK(handler.outcomes([&] { insert_row(db, 2); }) == only_in_parent);
    require_goes_on(db, directory, 2);
  }
}

TEST_CASE("A handler that forks at a load leaves a child whose load throws", "[fork_in_callback]") {
  const DurableDirectory directory;
  {
    auto db = directory.open_with(index_of({1}));
    insert_row(db, 2);
  }
  PersistConfig config =
      directory.config(GENERATE(FsyncPolicy::always(), FsyncPolicy::periodic(std::chrono::milliseconds(1))));
  ForkingHandler handler(config, Event::Kind::recovered);
  std::optional<DurableIndex> db;
  CHECK(handler.outcomes([&] { db.emplace(DurableIndex::load(config)); }) == only_in_parent);
  require_goes_on(*db, directory, 2);
}

TEST_CASE("A forked child can destroy an index whose log has a thread that waits", "[fork_in_callback]") {
  const DurableDirectory directory;
  std::optional db(
      DurableIndex::open_with(index_of({1}), directory.config(FsyncPolicy::periodic(std::chrono::milliseconds(1)))));
  for (std::uint64_t id = 2; id <= 4; ++id) {
    insert_row(*db, id);
    iqdb_test::wait_until([&] { return db->stats().syncs.count() + 2 > id; });
    CHECK(iqdb_test::in_child([&]() -> std::string {
            ::alarm(30);
            db.reset();
            return "gone";
          }) == "gone");
  }
  require_goes_on(*db, directory, 4);
}

TEST_CASE("on_progress that forks leaves a child whose call throws", "[fork_in_callback]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  config.helper_threads = GENERATE(0U, 2U);
  ReturningChild child;
  std::optional<Progress::Phase> phase;
  config.on_progress = [&](const Progress& progress) {
    if (phase == progress.phase) {
      child.fork();
    }
  };
  SECTION("a save") {
    auto db = DurableIndex::open_with(index_of({1}), config);
    phase = Progress::Phase::save;
    CHECK(child.outcomes([&] { std::ignore = db.save(); }) == only_in_parent);
    require_goes_on(db, directory, 1);
  }
  SECTION("a checkpoint of an index for one thread") {
    auto db = DurableIndex::open_with(index_of({1}), config);
    phase = Progress::Phase::save;
    CHECK(child.outcomes([&] { std::ignore = db.checkpoint(); }) == only_in_parent);
    require_goes_on(db, directory, 1);
  }
  SECTION("a checkpoint of an index for many threads") {
    config.freezing = GENERATE(Freezing::by_fork, Freezing::by_copy, Freezing::by_waiting);
    auto db = ForkShared::open_with(index_of({1}), config);
    phase = Progress::Phase::save;
    iqdb::SnapshotInfo info;
    CHECK(child.outcomes([&] { info = db.checkpoint(); }) == only_in_parent);
    CHECK(info.frozen == config.freezing);
    require_goes_on(db, directory, 1);
  }
  SECTION("a save with the log off") {
    config.wal_enabled = false;
    auto db = DurableIndex::open_with(index_of({1}), config);
    phase = Progress::Phase::save;
    CHECK(child.outcomes([&] { std::ignore = db.save(); }) == only_in_parent);
    CHECK(DurableIndex::load(config).index().size() == 1);
    CHECK(!std::filesystem::exists(directory.path().string() + ".tmp"));
  }
  SECTION("a load") {
    {
      auto db = DurableIndex::open_with(index_of({1}), config);
      insert_row(db, 2);
    }
    phase = GENERATE(Progress::Phase::load, Progress::Phase::replay);
    std::optional<DurableIndex> db;
    CHECK(child.outcomes([&] { db.emplace(DurableIndex::load(config)); }) == only_in_parent);
    require_goes_on(*db, directory, 2);
  }
}

TEST_CASE("on_progress that forks while threads help leaves a child whose call throws", "[fork_in_callback]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  config.helper_threads = 2;
  config.buffer_bytes = std::size_t{256} * 1024;
  ReturningChild child;
  std::optional<Progress::Phase> phase;
  config.on_progress = [&](const Progress& progress) {
    if (phase == progress.phase) {
      child.fork();
    }
  };
  // So large that the phases report before their ends.
  constexpr std::size_t dim = 4096;
  FlatIndex large(dim, iqdb::DistanceMetric::euclidean);
  for (std::uint64_t id = 1; id <= 2500; ++id) {
    large.insert(id, std::span<const float>(std::vector<float>(dim, static_cast<float>(id))));
  }
  auto db = DurableIndex::open_with(std::move(large), config);
  SECTION("a save") {
    phase = Progress::Phase::save;
    CHECK(child.outcomes([&] { std::ignore = db.save(); }) == only_in_parent);
  }
  SECTION("a load") {
    db.close();
    phase = Progress::Phase::load;
    CHECK(child.outcomes([&] { db = DurableIndex::load(config); }) == only_in_parent);
  }
  CHECK(db.index().size() == 2500);
  CHECK_FALSE(db.poisoned());
}

TEST_CASE("on_progress that forks leaves the process alone that writes the snapshot", "[fork_in_callback]") {
  const DurableDirectory directory;
  WaitsInFork::awaited = directory.directory() / "go";
  PersistConfig config = directory.config();
  config.freezing = Freezing::by_fork;
  ReturningChild child;
  bool armed = false;
  config.on_progress = [&](const Progress&) {
    if (armed) {
      child.fork();  // the process is not done, and goes on when this child has ended
      if (!child.is_child()) {
        std::ofstream(WaitsInFork::awaited) << "go";
      }
    }
  };
  auto db = iqdb::SharedIndex<WaitsInFork>::open_with(WaitsInFork(index_of({1})), config);
  armed = true;
  iqdb::SnapshotInfo info;
  CHECK(child.outcomes([&] { info = db.checkpoint(); }) == only_in_parent);
  CHECK(info.frozen == Freezing::by_fork);
}

TEST_CASE("An index that forks in its save leaves a child that changes no file", "[fork_in_callback]") {
  const DurableDirectory directory;
  PersistConfig config = directory.config();
  ReturningChild child;
  SECTION("with the log on") {
    auto db = iqdb::PersistedIndex<CallsInSave>::open_with(CallsInSave(index_of({1})), config);
    const iqdb_test::FileSet before = directory.files();
    CallsInSave::called = [&] {
      child.fork();
      if (!child.is_child()) {
        CHECK(directory.log_bytes() == before.at(iqdb_test::log_name));
      }
    };
    CHECK(child.outcomes([&] { std::ignore = db.checkpoint(); }) == only_in_parent);
    CallsInSave::called = nullptr;
    require_goes_on(db, directory, 1);
  }
  SECTION("with the log off") {
    config.wal_enabled = false;
    auto db = iqdb::PersistedIndex<CallsInSave>::open_with(CallsInSave(index_of({1})), config);
    CallsInSave::called = [&] { child.fork(); };
    CHECK(child.outcomes([&] { std::ignore = db.save(); }) == only_in_parent);
    CallsInSave::called = nullptr;
    CHECK(DurableIndex::load(config).index().size() == 1);
    CHECK(!std::filesystem::exists(directory.path().string() + ".tmp"));
  }
}

TEST_CASE("A function that forks while it has the index alone leaves a child whose call throws", "[fork_in_callback]") {
  const DurableDirectory directory;
  auto db = ForkShared::open_with(index_of({1}), directory.config());
  ReturningChild child;
  CHECK(child.outcomes([&] { db.tune([&](FlatIndex&) { child.fork(); }); }) == only_in_parent);
  require_goes_on(db, directory, 1);
}
