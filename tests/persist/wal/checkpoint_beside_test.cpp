#include "iqdb/persist/wal/checkpoint_beside.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
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
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::Freezing;
using iqdb::PersistErrorKind;
using iqdb_test::MemoryStorage;
using FilesBeside = std::map<std::filesystem::path, std::vector<std::byte>>;
using LoadedBeside = iqdb::PersistedIndex<FlatIndex, MemoryStorage>;

const std::filesystem::path beside_path = "/index.iqdb";
const std::filesystem::path beside_log_path = "/index.iqdb.wal";

// An index with its log, in memory, that takes mutations between the steps of a checkpoint.
class Writing {
 public:
  explicit Writing(Freezing freezing = Freezing::by_copy) {
    config_.freezing = freezing;
    log_ = iqdb::create_files(index_, storage_, beside_path, storage_.lock(beside_path), config_);
    storage_.watch([this](std::string_view what) {
      calls.emplace_back(what);
      if (watch) {
        watch();
      }
      if (calls.size() == fails_at) {
        iqdb::throw_persist_error(PersistErrorKind::io, "the disk is gone");
      }
    });
  }

  void insert(std::uint64_t id) {
    const std::vector<float> vector = {static_cast<float>(id), 0.0F};
    std::ignore = log_->writer->append(
        1, [&](iqdb::Writer& body) { iqdb::write_insert(body, id, std::span<const float>(vector), std::nullopt); });
    index_.insert(id, std::span<const float>(vector));
    acknowledged.insert(id);
  }

  // Calls `before(n)` in front of the n-th step that is done alone, counted from 0.
  iqdb::SnapshotInfo checkpoint(const std::function<void(std::size_t)>& before = [](std::size_t) {}) {
    steps = 0;
    return iqdb::checkpoint_beside(index_, storage_, beside_path, *log_, config_, [&](auto&& step) {
      before(steps++);
      step();
    });
  }

  [[nodiscard]] FilesBeside files() { return storage_.files(); }
  [[nodiscard]] iqdb::LogWriter<MemoryStorage>& writer() { return *log_->writer; }
  [[nodiscard]] iqdb::PersistConfig& config() { return config_; }

  std::set<std::uint64_t> acknowledged;
  std::vector<std::string> calls;  // that the store got
  std::function<void()> watch;     // called in front of each
  std::size_t fails_at = 0;        // the number of the call that fails, counted from 1
  std::size_t steps = 0;

 private:
  FlatIndex index_{2, iqdb::DistanceMetric::euclidean};
  MemoryStorage storage_;
  iqdb::PersistConfig config_{.path = beside_path, .wal_enabled = true, .helper_threads = 0};
  std::unique_ptr<iqdb::OpenLog<MemoryStorage>> log_;
};

// What a load finds in these files.
std::set<std::uint64_t> ids_loaded_from(const FilesBeside& files) {
  MemoryStorage storage;
  storage.files() = files;
  const auto loaded =
      LoadedBeside::load({.path = beside_path, .wal_enabled = true, .helper_threads = 0}, std::move(storage));
  std::set<std::uint64_t> ids;
  for (std::uint64_t id = 0; id < 100; ++id) {
    if (loaded.index().contains(id)) {
      ids.insert(id);
    }
  }
  CHECK(ids.size() == loaded.index().size());
  return ids;
}

}  // namespace

TEST_CASE("A checkpoint without mutations beside it leaves a snapshot and an empty log", "[checkpoint_beside]") {
  Writing writing(GENERATE(Freezing::by_copy, Freezing::by_waiting));
  writing.insert(1);
  writing.insert(2);
  const iqdb::SnapshotInfo info = writing.checkpoint();
  CHECK(info.vectors == 2);
  CHECK(info.lsn == 2);
  CHECK(info.frozen == writing.config().freezing);
  CHECK(iqdb_test::ops_of(writing.files().at(beside_log_path)).empty());
  CHECK(ids_loaded_from(writing.files()) == writing.acknowledged);
}

TEST_CASE("Mutations between the steps of a checkpoint are in the new log", "[checkpoint_beside]") {
  Writing writing;
  writing.insert(1);
  const iqdb::SnapshotInfo info = writing.checkpoint([&](std::size_t step) { writing.insert(10 + step); });
  CHECK(writing.steps == 3);
  CHECK(info.vectors == 2);  // what was there when the index was frozen
  CHECK(info.lsn == 2);
  CHECK(iqdb_test::ops_of(writing.files().at(beside_log_path)) == "iix");
  CHECK(ids_loaded_from(writing.files()) == std::set<std::uint64_t>{1, 10, 11, 12});
  writing.insert(20);
  CHECK(writing.writer().lsn() == 5);
  CHECK(iqdb_test::ops_of(writing.files().at(beside_log_path)) == "iixi");
  CHECK(ids_loaded_from(writing.files()) == writing.acknowledged);
}

TEST_CASE("A mutation that is made while the frozen index is written is not claimed by the checkpoint",
          "[checkpoint_beside]") {
  Writing writing;
  writing.insert(1);
  writing.config().on_progress = [&](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::save && writing.acknowledged.size() == 1) {
      writing.insert(10);
    }
  };
  writing.watch = [&] { CHECK(ids_loaded_from(writing.files()).size() >= writing.acknowledged.size()); };
  const iqdb::SnapshotInfo info = writing.checkpoint();
  CHECK(writing.acknowledged.size() == 2);
  CHECK(info.vectors == 1);
  CHECK(info.lsn == 1);
  CHECK(ids_loaded_from(writing.files()) == writing.acknowledged);
}

TEST_CASE("Where an index cannot be frozen one step does everything", "[checkpoint_beside]") {
  Writing writing(GENERATE(Freezing::by_waiting, Freezing::automatic, Freezing::by_fork));
  const iqdb::SnapshotInfo info = writing.checkpoint([&](std::size_t step) { writing.insert(10 + step); });
  CHECK(writing.steps == 1);
  CHECK(info.frozen == Freezing::by_waiting);
  CHECK(info.vectors == 1);
  CHECK(iqdb_test::ops_of(writing.files().at(beside_log_path)).empty());
}

TEST_CASE("A process that ends in front of any call of a checkpoint has lost no mutation", "[checkpoint_beside]") {
  Writing writing;
  writing.insert(1);
  std::size_t moments = 0;
  writing.watch = [&] {
    const auto found = ids_loaded_from(writing.files());
    // What is being logged may be there.
    CHECK(std::includes(found.begin(), found.end(), writing.acknowledged.begin(), writing.acknowledged.end()));
    CHECK(found.size() <= writing.acknowledged.size() + 1);
    ++moments;
  };
  std::ignore = writing.checkpoint([&](std::size_t step) {
    writing.insert(10 + 2 * step);
    writing.insert(11 + 2 * step);
  });
  CHECK(moments >= 20);
}

TEST_CASE("Whatever call of a checkpoint fails no acknowledged mutation is lost", "[checkpoint_beside]") {
  std::size_t calls = 0;
  {
    Writing writing;
    writing.insert(1);
    const std::size_t before = writing.calls.size();
    std::ignore = writing.checkpoint([&](std::size_t step) { writing.insert(10 + step); });
    calls = writing.calls.size() - before;
  }
  CHECK(calls > 10);
  for (std::size_t failing = 1; failing <= calls; ++failing) {
    Writing writing;
    writing.insert(1);
    writing.fails_at = writing.calls.size() + failing;
    try {
      std::ignore = writing.checkpoint([&](std::size_t step) { writing.insert(10 + step); });
    } catch (const iqdb::PersistError& error) {
      CHECK((error.kind() == PersistErrorKind::io || error.kind() == PersistErrorKind::poisoned));
    }
    INFO("call " << failing << ": " << writing.calls.back());
    const auto found = ids_loaded_from(writing.files());
    CHECK(std::includes(found.begin(), found.end(), writing.acknowledged.begin(), writing.acknowledged.end()));
    if (!writing.writer().poisoned()) {
      // It goes on as if nothing had been.
      writing.insert(50);
      CHECK(ids_loaded_from(writing.files()) == writing.acknowledged);
      std::ignore = writing.checkpoint();
      CHECK(ids_loaded_from(writing.files()) == writing.acknowledged);
      CHECK(iqdb_test::ops_of(writing.files().at(beside_log_path)).empty());
    }
  }
}

TEST_CASE("A failure before the frame of a checkpoint leaves the log as it was", "[checkpoint_beside]") {
  Writing writing;
  writing.insert(1);
  const FilesBeside before = writing.files();
  writing.fails_at = writing.calls.size() + 1;
  std::ignore = iqdb_test::require_kind(PersistErrorKind::io, [&] { return writing.checkpoint(); });
  CHECK(writing.calls.back() == "sync the new file");
  CHECK(writing.files() == before);
  CHECK(!writing.writer().poisoned());
}

TEST_CASE("A log that is poisoned while its snapshot is written stays as it is", "[checkpoint_beside]") {
  Writing writing;
  writing.insert(1);
  const auto snapshot = writing.files().at(beside_path);
  const std::size_t poisoned_before = GENERATE(0U, 1U, 2U);
  std::ignore = iqdb_test::require_kind(PersistErrorKind::poisoned, [&] {
    return writing.checkpoint([&](std::size_t step) {
      if (step == poisoned_before) {
        writing.writer().poison("the test", "says so");
      }
    });
  });
  CHECK((writing.files().at(beside_path) == snapshot) == (poisoned_before < 2));
  CHECK(ids_loaded_from(writing.files()) == writing.acknowledged);
}

TEST_CASE("The old files are not freed before mutations go on", "[checkpoint_beside]") {
  const iqdb_test::DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  iqdb::PersistConfig config = directory.config();
  config.freezing = Freezing::by_copy;
  using Files = iqdb::SharedIndex<FlatIndex, iqdb_test::FaultyStorage>;
  auto db = Files::open_with(iqdb_test::index_of({1}), config, iqdb_test::FaultyStorage(system));
  db.checkpoint();
  const auto times_open = [](const std::filesystem::path& path) {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::count_if(begin(all), end(all), [&](const auto& entry) {
      std::error_code gone;
      return std::filesystem::read_symlink(entry.path(), gone) == path;
    });
  };
  std::vector<std::string> renamed;
  std::vector<std::ptrdiff_t> was_open;
  system.plan([&](const iqdb_test::CallRecord& call) {
    if (call.call == iqdb_test::FileCall::rename) {
      const bool is_log = call.text().find(".wal") != std::string::npos;
      renamed.emplace_back(is_log ? "log" : "snapshot");
      was_open.push_back(times_open(is_log ? iqdb::log_path(directory.path()) : directory.path()));
    }
    return iqdb_test::Fault{};
  });
  iqdb_test::insert_row(db, 2);
  db.checkpoint();
  system.plan({});
  CHECK(renamed == std::vector<std::string>{"snapshot", "log"});
  CHECK(was_open == std::vector<std::ptrdiff_t>{1, 2});  // of the log the writer has one
  CHECK(times_open(directory.path()) == 0);
}
