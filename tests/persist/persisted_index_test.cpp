// PersistedIndex: what each call of its life does and does not do.
#include "iqdb/persist/persisted_index.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/scripted_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::Compression;
using iqdb::DistanceMetric;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::PersistConfig;
using iqdb::PersistedIndex;
using iqdb::PersistErrorKind;
using iqdb_test::difference;
using iqdb_test::in_child_without_privileges;
using iqdb_test::outcome_of;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;
using Db = PersistedIndex<FlatIndex>;

static_assert(std::movable<Db>);
static_assert(!std::copyable<Db>);
static_assert(!std::default_initializable<Db>);
static_assert(std::is_nothrow_move_constructible_v<Db>);

// An index that only has what saving and loading needs is kept, but offers no mutations.
template <class D>
concept HasInsert = requires(D& db, std::span<const float> vector) {
  db.insert(iqdb::VectorId(1), vector);
};
template <class D>
concept HasErase = requires(D& db) {
  db.erase(iqdb::VectorId(1));
};
static_assert(HasInsert<Db> && HasErase<Db>);
static_assert(!HasErase<PersistedIndex<iqdb_test::ScriptedIndex>>);

// load_or_create takes what makes an index, and nothing else.
template <class Make>
concept Makes = requires(PersistConfig config, Make make) {
  Db::load_or_create(config, make);
};
static_assert(Makes<FlatIndex (*)()>);
static_assert(!Makes<int (*)()>);
static_assert(!Makes<FlatIndex (*)(int)>);

FlatIndex sample(std::size_t rows = 5) { return iqdb_test::make_sample_index(3, DistanceMetric::cosine, rows); }

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

using Strings = std::vector<std::string>;

// Which config is refused, and as what.
struct Refused {
  std::string what;
  std::function<void(PersistConfig&)> change;
  PersistErrorKind kind;
};

std::vector<Refused> refused_configs() {
  constexpr auto invalid = PersistErrorKind::invalid_config;
  std::vector<Refused> all{
      {"no path", [](PersistConfig& config) { config.path.clear(); }, invalid},
      {"a path that ends in a slash", [](PersistConfig& config) { config.path = "directory/"; }, invalid},
      {"a negative interval",
       [](PersistConfig& config) { config.fsync_policy = FsyncPolicy::periodic(std::chrono::milliseconds(-1)); },
       invalid},
      {"a buffer under 4096 bytes", [](PersistConfig& config) { config.buffer_bytes = 4095; }, invalid},
      {"no buffer", [](PersistConfig& config) { config.buffer_bytes = 0; }, invalid},
      {"zstd level 0", [](PersistConfig& config) { config.compression = Compression::zstd(0); }, invalid},
      {"zstd level 23", [](PersistConfig& config) { config.compression = Compression::zstd(23); }, invalid},
      {"zstd level -1", [](PersistConfig& config) { config.compression = Compression::zstd(-1); }, invalid},
  };
  if (IQDB_PERSIST_HAS_ZSTD == 0) {
    all.push_back({"zstd without zstd", [](PersistConfig& config) { config.compression = Compression::zstd(); },
                   PersistErrorKind::unsupported});
  }
  if (IQDB_PERSIST_HAS_LZ4 == 0) {
    all.push_back({"lz4 without lz4", [](PersistConfig& config) { config.compression = Compression::lz4(); },
                   PersistErrorKind::unsupported});
  }
  return all;
}

}  // namespace

// ---- Making one -----------------------------------------------------------------------------------------------------

TEST_CASE("open_with touches no file", "[persisted_index]") {
  const TemporaryDirectory directory;
  const Db db = Db::open_with(sample(), {.path = directory / "index.iqdb"});
  CHECK(names_in(directory.path()).empty());
  CHECK(difference(db.index(), sample()).empty());
}

TEST_CASE("open_with does not need the directory yet", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db db = Db::open_with(sample(), {.path = directory / "later/index.iqdb"});
  fs::create_directory(directory / "later");
  db.save();
  CHECK(fs::exists(directory / "later/index.iqdb"));
}

TEST_CASE("open_with asked to replace does not look at a damaged file that is there", "[persisted_index]") {
  const TemporaryDirectory directory;
  iqdb_test::write_bytes(directory / "index.iqdb", std::vector<std::byte>(10));
  Db::open_with(sample(), {.path = directory / "index.iqdb", .replace_existing = true}).save();
  CHECK(difference(Db::load({.path = directory / "index.iqdb"}).index(), sample()).empty());
}

TEST_CASE("What is saved is what is loaded", "[persisted_index]") {
  const TemporaryDirectory directory;
  const auto metric = GENERATE(DistanceMetric::cosine, DistanceMetric::dot_product, DistanceMetric::euclidean,
                               DistanceMetric::manhattan, DistanceMetric::hamming);
  const FlatIndex index = iqdb_test::make_sample_index(7, metric, 50);
  Db::open_with(index, {.path = directory / "index.iqdb"}).save();
  CHECK(difference(Db::load({.path = directory / "index.iqdb"}).index(), index).empty());
}

TEST_CASE("An empty index is saved and loaded", "[persisted_index]") {
  const TemporaryDirectory directory;
  const std::size_t dim = GENERATE(1U, 300U);
  Db::open_with(FlatIndex(dim, DistanceMetric::hamming), {.path = directory / "index.iqdb"}).save();
  const Db db = Db::load({.path = directory / "index.iqdb"});
  CHECK(db.index().size() == 0);
  CHECK(db.index().dim() == dim);
  CHECK(db.index().metric() == DistanceMetric::hamming);
}

TEST_CASE("An index of dimension 1 is saved and loaded", "[persisted_index]") {
  const TemporaryDirectory directory;
  const FlatIndex index = iqdb_test::make_sample_index(1, DistanceMetric::manhattan, 20);
  Db::open_with(index, {.path = directory / "index.iqdb"}).save();
  CHECK(difference(Db::load({.path = directory / "index.iqdb"}).index(), index).empty());
}

TEST_CASE("Loading a missing file is io and says so with its name", "[persisted_index]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "missing.iqdb";
  const iqdb::PersistError error = require_kind(PersistErrorKind::io, [&] { return Db::load({.path = path}); });
  CHECK(error.code().value() == ENOENT);
  CHECK(error.path() == path);
  const std::string message = error.what();
  CHECK(message.find(path.string()) != std::string::npos);
  CHECK(message.find("save one first") != std::string::npos);
  CHECK(names_in(directory.path()).empty());
}

TEST_CASE("load_or_create takes what make returns where there is no file and writes none", "[persisted_index]") {
  const TemporaryDirectory directory;
  const Db db = Db::load_or_create({.path = directory / "index.iqdb"}, [] { return sample(2); });
  CHECK(difference(db.index(), sample(2)).empty());
  CHECK(names_in(directory.path()).empty());
}

TEST_CASE("load_or_create loads the file that is there and does not call make", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db::open_with(sample(3), {.path = directory / "index.iqdb"}).save();
  const Db db =
      Db::load_or_create({.path = directory / "index.iqdb"}, []() -> FlatIndex { throw std::logic_error("called"); });
  CHECK(difference(db.index(), sample(3)).empty());
}

TEST_CASE("load_or_create does not pass over a file that cannot be loaded", "[persisted_index]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db::open_with(sample(3), {.path = path}).save();
  std::vector<std::byte> damaged = iqdb_test::read_bytes(path);
  damaged.back() ^= std::byte{1};
  iqdb_test::write_bytes(path, damaged);
  bool made = false;
  const auto make = [&] {
    made = true;
    return sample();
  };
  CHECK(outcome_of([&] { return Db::load_or_create({.path = path}, make); }) == "checksum_mismatch");
  iqdb_test::write_bytes(path, {});
  CHECK(outcome_of([&] { return Db::load_or_create({.path = path}, make); }) == "truncated_header");
  CHECK_FALSE(made);
}

TEST_CASE("What make throws passes through load_or_create", "[persisted_index]") {
  const TemporaryDirectory directory;
  CHECK_THROWS_AS(
      Db::load_or_create({.path = directory / "index.iqdb"}, []() -> FlatIndex { throw std::out_of_range("make"); }),
      std::out_of_range);
}

TEST_CASE("A config that cannot be used is refused by every call that takes one", "[persisted_index][config]") {
  const TemporaryDirectory directory;
  Db::open_with(sample(), {.path = directory / "index.iqdb"}).save();
  for (const Refused& refused : refused_configs()) {
    INFO(refused.what);
    PersistConfig config{.path = directory / "index.iqdb"};
    refused.change(config);
    const std::string expected(to_string(refused.kind));
    CHECK(outcome_of([&] { return Db::open_with(sample(), config); }) == expected);
    CHECK(outcome_of([&] { return Db::load(config); }) == expected);
    CHECK(outcome_of([&] { return Db::load_or_create(config, [] { return sample(); }); }) == expected);
  }
}

TEST_CASE("The extremes of what a config may say are taken", "[persisted_index][config]") {
  const TemporaryDirectory directory;
  std::vector<PersistConfig> configs{
      {.path = directory / "a", .fsync_policy = FsyncPolicy::periodic(std::chrono::milliseconds(0))},
      {.path = directory / "b", .buffer_bytes = 4096},
      {.path = directory / "c", .helper_threads = 0}};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    configs.push_back({.path = directory / "d", .compression = Compression::zstd(1), .helper_threads = 0});
    configs.push_back({.path = directory / "e", .compression = Compression::zstd(22), .helper_threads = 0});
  }
  for (const PersistConfig& config : configs) {
    Db::open_with(sample(), config).save();
    CHECK(difference(Db::load(config).index(), sample()).empty());
  }
}

TEST_CASE("More helpers than any compressor takes do no harm", "[persisted_index][config]") {
  const TemporaryDirectory directory;
  const PersistConfig config{.path = directory / "index.iqdb",
                             .compression = IQDB_PERSIST_HAS_ZSTD != 0 ? Compression::zstd() : Compression::none(),
                             .helper_threads = 1024};
  Db::open_with(sample(), config).save();
  CHECK(difference(Db::load(config).index(), sample()).empty());
}

TEST_CASE("config gives back what was given", "[persisted_index][config]") {
  const PersistConfig config{
      .path = "some/index.iqdb", .fsync_policy = FsyncPolicy::never(), .buffer_bytes = 5000, .helper_threads = 7};
  const Db db = Db::open_with(sample(), config);
  CHECK(db.config().path == "some/index.iqdb");
  CHECK(db.config().fsync_policy == FsyncPolicy::never());
  CHECK(db.config().buffer_bytes == 5000);
  CHECK(db.config().helper_threads == 7);
}

// ---- Using it -------------------------------------------------------------------------------------------------------

TEST_CASE("insert and erase reach the index and last with the next save", "[persisted_index]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db db = Db::open_with(FlatIndex(2, DistanceMetric::euclidean), {.path = path});
  const std::vector<float> vector{1.0F, 2.0F};
  db.insert(1, vector);
  db.insert(2, {3.0F, 4.0F});
  db.insert(iqdb::VectorId::from_bytes("three"), {5.0F, 6.0F}, {{"page", 3}, {"title", "x"}});
  db.insert(4, std::span<const float>(vector), iqdb::Metadata{{"draft", true}});
  db.erase(1);
  db.save();
  db.erase(2);
  const Db again = Db::load({.path = path});
  CHECK(again.index().size() == 3);
  CHECK(again.index().contains(2));
  CHECK_FALSE(again.index().contains(1));
  CHECK(again.index().search(vector, {.k = 1}).at(0).metadata == iqdb::Metadata{{"draft", true}});
  CHECK(db.index().size() == 2);
}

TEST_CASE("What the index throws passes through insert and erase and changes nothing", "[persisted_index]") {
  Db db = Db::open_with(sample(3), {.path = "never saved"});
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.insert(0, {1.0F, 2.0F, 3.0F}); });
  require_kind(iqdb::IndexErrorKind::dimension_mismatch, [&] { db.insert(99, {1.0F}); });
  require_kind(iqdb::IndexErrorKind::not_found, [&] { db.erase(98); });
  CHECK(difference(db.index(), sample(3)).empty());
}

TEST_CASE("index_mut changes what the next save writes", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db db = Db::open_with(sample(3), {.path = directory / "index.iqdb"});
  db.index_mut() = sample(4);
  db.save();
  CHECK(Db::load({.path = directory / "index.iqdb"}).index().size() == 4);
}

TEST_CASE("Every save replaces the file before it", "[persisted_index]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db db = Db::open_with(sample(200), {.path = path});
  db.save();
  db.index_mut() = sample(1);
  db.save();
  CHECK(difference(Db::load({.path = path}).index(), sample(1)).empty());
  CHECK(names_in(directory.path()) == Strings{"index.iqdb", "index.iqdb.lock"});
}

TEST_CASE("An index that is not saved leaves nothing", "[persisted_index]") {
  const TemporaryDirectory directory;
  {
    Db db = Db::open_with(sample(3), {.path = directory / "index.iqdb"});
    db.insert(1000, {1.0F, 2.0F, 3.0F});
  }
  CHECK(names_in(directory.path()).empty());
}

TEST_CASE("An index that was moved saves to the path it was made for", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db first = Db::open_with(sample(3), {.path = directory / "index.iqdb"});
  Db second = std::move(first);
  second.insert(1000, {1.0F, 2.0F, 3.0F});
  second.save();
  CHECK(Db::load({.path = directory / "index.iqdb"}).index().size() == 4);
}

TEST_CASE("An index that is assigned to another takes its place and its path", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db db = Db::open_with(sample(3), {.path = directory / "a.iqdb"});
  db = Db::open_with(sample(4), {.path = directory / "b.iqdb"});
  db.save();
  CHECK(names_in(directory.path()) == Strings{"b.iqdb", "b.iqdb.lock"});
  CHECK(Db::load({.path = directory / "b.iqdb"}).index().size() == 4);
}

TEST_CASE("An index that is assigned to another has what its load found in the log", "[persisted_index]") {
  const TemporaryDirectory directory;
  const PersistConfig config{.path = directory / "b.iqdb", .wal_enabled = true};
  {
    Db logged = Db::open_with(sample(3), config);
    logged.insert(1000, {1.0F, 2.0F, 3.0F});
  }
  Db db = Db::open_with(sample(3), {.path = directory / "a.iqdb"});
  db = Db::load(config);
  CHECK(db.recovery().replayed == 1);
}

TEST_CASE("An index that was closed has the number of its last mutation still", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db db = Db::open_with(sample(3), {.path = directory / "index.iqdb", .wal_enabled = true});
  db.insert(1000, {1.0F, 2.0F, 3.0F});
  db.insert(1001, {1.0F, 2.0F, 3.0F});
  db.close();
  CHECK(db.lsn() == 2);
}

TEST_CASE("Saving an index that was moved from throws and writes nothing anywhere", "[persisted_index]") {
  const TemporaryDirectory directory;
  CHECK(iqdb_test::in_child([&] {
          fs::current_path(directory.path());
          Db first = Db::open_with(sample(3), {.path = "index.iqdb"});
          const Db second = std::move(first);
          const std::string outcome = outcome_of([&] { return first.save(); });  // NOLINT(*-use-after-move)
          return outcome + ", files: " + std::to_string(names_in(directory.path()).size());
        }) == "poisoned, files: 0");
}

TEST_CASE("Objects in several threads load one file at the same time", "[persisted_index]") {
  const TemporaryDirectory directory;
  Db::open_with(sample(100), {.path = directory / "index.iqdb"}).save();
  std::vector<std::string> outcomes(4);
  {
    std::vector<std::jthread> threads;
    for (std::string& outcome : outcomes) {
      threads.emplace_back([&] {
        outcome = outcome_of([&] {
          if (difference(Db::load({.path = directory / "index.iqdb"}).index(), sample(100)) != "") {
            throw std::runtime_error("another index");
          }
          return 0;
        });
      });
    }
  }
  CHECK(outcomes == Strings(4, "ok"));
}

// ---- A load writes nothing ------------------------------------------------------------------------------------------

TEST_CASE("A load makes no file and changes no time stamp", "[persisted_index]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db::open_with(sample(), {.path = path}).save();
  fs::remove(path.string() + ".lock");
  const auto long_ago = fs::file_time_type(std::chrono::hours(24 * 365 * 30));
  fs::last_write_time(path, long_ago);
  fs::last_write_time(directory.path(), long_ago);
  std::ignore = Db::load({.path = path});
  CHECK(names_in(directory.path()) == Strings{"index.iqdb"});
  CHECK(fs::last_write_time(path) == long_ago);
  CHECK(fs::last_write_time(directory.path()) == long_ago);
}

TEST_CASE("A snapshot loads that this user may only read from a directory that this user may only read",
          "[persisted_index]") {
  const TemporaryDirectory directory;
  Db::open_with(sample(), {.path = directory / "index.iqdb"}).save();
  fs::remove(directory / "index.iqdb.lock");
  fs::permissions(directory / "index.iqdb", fs::perms(0444));
  fs::permissions(directory.path(), fs::perms(0555));
  CHECK(in_child_without_privileges([&] {
          return difference(Db::load({.path = directory / "index.iqdb"}).index(), sample());
        }).empty());
  fs::permissions(directory.path(), fs::perms(0755));
}

TEST_CASE("A load does not wait for a save that is in progress", "[persisted_index]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db::open_with(sample(), {.path = path}).save();
  iqdb::FileStorage storage;
  const auto lock = storage.lock(path, std::chrono::milliseconds::zero());
  CHECK(difference(Db::load({.path = path}).index(), sample()).empty());
}
