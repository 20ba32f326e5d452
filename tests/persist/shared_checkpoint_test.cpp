// Checkpoints of a SharedIndex: beside writers, by a forked process.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
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
#include "support/expect_error.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::Freezing;
using iqdb::PersistConfig;
using iqdb::PersistErrorKind;
using iqdb_test::TemporaryDirectory;
using Shared = iqdb::SharedIndex<FlatIndex>;

FlatIndex empty() { return {2, iqdb::DistanceMetric::euclidean}; }

std::size_t size_of(const std::filesystem::path& path) {
  return iqdb::PersistedIndex<FlatIndex>::load({.path = path, .wal_enabled = true}).index().size();
}

// A flat index that is never saved to its end by a forked process. There its save_to waits for ever.
class Endless : public FlatIndex {
 public:
  using FlatIndex::FlatIndex;
  explicit Endless(FlatIndex index) : FlatIndex(std::move(index)) {}
  void save_to(iqdb::Writer& writer) const {
    if (!marker.empty() && ::getpid() != process_) {
      std::ofstream(marker) << "saving";
      for (;;) {
        ::pause();
      }
    }
    FlatIndex::save_to(writer);
  }
  static Endless load_from(iqdb::Reader& reader) { return Endless(FlatIndex::load_from(reader)); }

  // Made by the child when it saves. Where there is none, it saves to the end.
  static inline std::filesystem::path marker;

 private:
  ::pid_t process_ = ::getpid();
};
using EndlessShared = iqdb::SharedIndex<Endless>;

// An index that says nothing of forks.
class Plain : public FlatIndex {
 public:
  using FlatIndex::FlatIndex;
  explicit Plain(FlatIndex index) : FlatIndex(std::move(index)) {}
  static constexpr bool freezes_by_fork = false;
  static Plain load_from(iqdb::Reader& reader) { return Plain(FlatIndex::load_from(reader)); }
};

// Returns when the child is saving.
void wait_for_child() {
  while (!std::filesystem::exists(Endless::marker)) {
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE("Mutations beside checkpoints are all there after a load", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  const PersistConfig config{
      .path = directory / "x.iqdb",
      .wal_enabled = true,
      .freezing = GENERATE(Freezing::automatic, Freezing::by_fork, Freezing::by_copy, Freezing::by_waiting)};
  constexpr std::uint64_t threads = 4;
  std::vector<std::uint64_t> inserted(threads, 0);
  std::uint64_t erased = 0;
  {
    Shared db = Shared::open_with(empty(), config);
    db.insert(1'000'000, {0.0F, 0.0F});
    std::atomic<bool> stop = false;
    std::vector<std::thread> writers;
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
      writers.emplace_back([&, thread] {
        for (; !stop; ++inserted[thread]) {
          db.insert(thread * 10'000 + inserted[thread], {1.0F, 2.0F});
        }
      });
    }
    for (int round = 0; round < 3; ++round) {
      const iqdb::SnapshotInfo info = db.checkpoint();
      CHECK(info.vectors >= 1);
      CHECK(info.frozen == (config.freezing == Freezing::automatic ? Freezing::by_fork : config.freezing));
    }
    db.erase(1'000'000);
    ++erased;
    stop = true;
    for (std::thread& writer : writers) {
      writer.join();
    }
    CHECK(db.lsn() == 1 + erased + inserted[0] + inserted[1] + inserted[2] + inserted[3]);
  }
  CHECK(size_of(config.path) == inserted[0] + inserted[1] + inserted[2] + inserted[3]);
  CHECK(!std::filesystem::exists(config.path.string() + ".tmp"));
  CHECK(!std::filesystem::exists(config.path.string() + ".wal.tmp"));
}

TEST_CASE("Mutations and reads go on while a forked process writes the snapshot", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  Endless::marker = directory / "saving";
  EndlessShared db = EndlessShared::open_with(Endless(empty()), {.path = directory / "x.iqdb", .wal_enabled = true});
  auto checkpoint = std::async(std::launch::async, [&] { std::ignore = db.checkpoint(); });
  wait_for_child();
  for (std::uint64_t id = 0; id < 20; ++id) {
    db.insert(id, {1.0F, 2.0F});
    CHECK(db.search({1.0F, 2.0F}, {.k = 1}).size() == 1);
  }
  db.sync();
  db.close();  // ends the checkpoint, which would never end by itself
  std::ignore = iqdb_test::require_kind(PersistErrorKind::poisoned, [&] { checkpoint.get(); });
  Endless::marker.clear();
  CHECK(size_of(directory / "x.iqdb") == 20);
  CHECK(!std::filesystem::exists(directory / "x.iqdb.tmp"));
}

TEST_CASE("close ends an automatic checkpoint that is under way and says so", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  Endless::marker = directory / "saving";
  std::string why;
  PersistConfig config{.path = directory / "x.iqdb", .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never()};
  config.checkpoint = iqdb::CheckpointPolicy::automatic({.least_log_bytes = 1});
  config.on_event = [&](const iqdb::Event& event) {
    if (event.kind == iqdb::Event::Kind::checkpoint_failed) {
      why = event.message;
    }
  };
  EndlessShared db = EndlessShared::open_with(Endless(empty()), config);
  std::uint64_t inserted = 0;
  while (!std::filesystem::exists(Endless::marker)) {
    db.insert(++inserted, {1.0F, 2.0F});
  }
  db.close();
  Endless::marker.clear();
  CHECK(why.find("is being closed") != std::string::npos);
  CHECK(why.find("load it again") == std::string::npos);
  CHECK(size_of(directory / "x.iqdb") == inserted);
}

TEST_CASE("A path is free at once when its process is killed during a checkpoint", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  iqdb_test::Pipe started;
  iqdb_test::ChildProcess process([&] {
    Endless::marker = directory / "saving";
    EndlessShared db = EndlessShared::open_with(Endless(empty()), {.path = directory / "x.iqdb", .wal_enabled = true});
    db.insert(1, {1.0F, 2.0F});
    std::thread other([&] {
      wait_for_child();
      db.insert(2, {1.0F, 2.0F});
      started.write("x");
    });
    std::ignore = db.checkpoint();
    return 0;
  });
  started.close_writing();
  REQUIRE(started.wait_for_byte());
  CHECK(process.kill() == -SIGKILL);
  CHECK(size_of(directory / "x.iqdb") == 2);
}

TEST_CASE("An exception of on_progress ends a checkpoint and nothing else", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  bool stops = true;
  Shared db = Shared::open_with(empty(), {.path = directory / "x.iqdb", .wal_enabled = true});
  db.insert(1, {1.0F, 2.0F});
  db.close();
  PersistConfig config{.path = directory / "x.iqdb", .wal_enabled = true};
  config.on_progress = [&](const iqdb::Progress& progress) {
    if (stops && progress.phase == iqdb::Progress::Phase::save) {
      throw std::runtime_error("not now");
    }
  };
  Shared again = Shared::load(config);
  CHECK_THROWS_AS(std::ignore = again.checkpoint(), std::runtime_error);
  CHECK(!again.poisoned());
  again.insert(2, {1.0F, 2.0F});
  stops = false;
  CHECK(again.checkpoint().vectors == 2);
  again.close();
  CHECK(size_of(directory / "x.iqdb") == 2);
}

TEST_CASE("A second checkpoint waits for the first and is made", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  Shared db = Shared::open_with(empty(), {.path = directory / "x.iqdb", .wal_enabled = true});
  db.insert(1, {1.0F, 2.0F});
  std::vector<std::thread> threads;
  std::atomic<int> made = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        made += db.checkpoint().vectors == 1 ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(made == 20);
  db.close();
  CHECK(size_of(directory / "x.iqdb") == 1);
}

TEST_CASE("Where a fork is refused by the system mutations wait for the checkpoint", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  CHECK(iqdb_test::in_child_without_privileges([&]() -> std::string {
          const std::filesystem::path path =
              std::filesystem::temp_directory_path() / ("iqdb_no_fork_" + std::to_string(::getpid()));
          std::filesystem::create_directory(path);
          std::string answer;
          {
            Shared db = Shared::open_with(empty(), {.path = path / "x.iqdb", .wal_enabled = true});
            db.insert(1, {1.0F, 2.0F});
            const ::rlimit none{.rlim_cur = 0, .rlim_max = 0};
            if (::setrlimit(RLIMIT_NPROC, &none) != 0) {
              return "no limit";
            }
            answer = db.checkpoint().frozen == Freezing::by_waiting ? "waited" : "forked";
            db.insert(2, {1.0F, 2.0F});
          }
          answer += " " + std::to_string(size_of(path / "x.iqdb"));
          std::filesystem::remove_all(path);
          return answer;
        }) == "waited 2");
}

TEST_CASE("With the log off a checkpoint stores what was mutated", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  {
    Shared db = Shared::open_with(empty(), {.path = directory / "x.iqdb"});
    db.insert(1, {1.0F, 2.0F});
    CHECK(db.checkpoint().frozen == Freezing::by_waiting);
    db.insert(2, {1.0F, 2.0F});
    db.close();
    std::ignore = iqdb_test::require_kind(PersistErrorKind::poisoned, [&] { db.insert(3, {1.0F, 2.0F}); });
    std::ignore = iqdb_test::require_kind(PersistErrorKind::poisoned, [&] { return db.checkpoint(); });
  }
  CHECK(iqdb::PersistedIndex<FlatIndex>::load({.path = directory / "x.iqdb"}).index().size() == 1);
}

TEST_CASE("A way of freezing that the index does not offer is refused when it is opened", "[shared_checkpoint]") {
  const TemporaryDirectory directory;
  PersistConfig config{.path = directory / "x.iqdb", .wal_enabled = true, .freezing = Freezing::by_fork};
  const auto error = iqdb_test::require_kind(
      PersistErrorKind::invalid_config, [&] { return iqdb::SharedIndex<Plain>::open_with(Plain(empty()), config); });
  CHECK(iqdb_test::mentions(error, "freezes_by_fork"));
  CHECK(!std::filesystem::exists(directory / "x.iqdb"));
  config.freezing = Freezing::automatic;
  auto db = iqdb::SharedIndex<Plain>::open_with(Plain(empty()), config);
  CHECK(db.checkpoint().frozen == Freezing::by_waiting);
}
