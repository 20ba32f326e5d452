#include "iqdb/persist/snapshot/freeze.hpp"

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <unistd.h>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/memory_storage.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FileStorage;
using iqdb::FlatIndex;
using iqdb::Freezing;
using iqdb::PersistConfig;
using iqdb_test::MemoryStorage;
using iqdb_test::TemporaryDirectory;

FlatIndex index_of(std::uint64_t vectors) {
  FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  for (std::uint64_t id = 0; id < vectors; ++id) {
    index.insert(id, {static_cast<float>(id), 1.0F});
  }
  return index;
}

// An index whose save_to does in the child what a test wants.
class Scripted : public FlatIndex {
 public:
  static constexpr std::string_view index_type = "scripted";
  explicit Scripted(void (*in_save)()) : FlatIndex(2, iqdb::DistanceMetric::euclidean), in_save_(in_save) {}
  void save_to(iqdb::Writer& writer) const {
    in_save_();
    FlatIndex::save_to(writer);
  }
  static Scripted load_from(iqdb::Reader& /*reader*/) { throw std::logic_error("not loaded here"); }

 private:
  void (*in_save_)();
};

// A directory with nothing in it, and its lock.
struct Place {
  TemporaryDirectory directory;
  std::filesystem::path path = directory / "index.iqdb";
  FileStorage storage;
  FileStorage::Lock lock = storage.lock(path, {});
  PersistConfig config{.path = path};
};

std::size_t files_in(const std::filesystem::path& directory) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    count += entry.path().extension() != ".lock" ? 1U : 0U;
  }
  return count;
}

}  // namespace

TEST_CASE("What was frozen is written and not what the index has become", "[freeze]") {
  Place place;
  place.config.freezing = GENERATE(Freezing::by_fork, Freezing::by_copy, Freezing::automatic);
  FlatIndex index = index_of(1000);
  iqdb::FrozenSnapshot<FlatIndex, FileStorage> frozen(place.storage, place.lock, place.path, place.config);
  REQUIRE(frozen.freeze(index));
  for (std::uint64_t id = 0; id < 500; ++id) {
    index.erase(id);
  }
  auto written = frozen.write();
  REQUIRE(written);
  CHECK(written->info.frozen == (place.config.freezing == Freezing::by_copy ? Freezing::by_copy : Freezing::by_fork));
  CHECK(written->info.vectors == 1000);
  iqdb::put_in_place(written->file);
  const auto loaded = iqdb::PersistedIndex<FlatIndex>::load({.path = place.path});
  CHECK(loaded.index().size() == 1000);
  CHECK(loaded.index().contains(0));
}

TEST_CASE("A snapshot by a fork is the one that this process would write", "[freeze]") {
  Place place;
  place.config.compression = GENERATE(iqdb::Compression::none(), iqdb::Compression::lz4(), iqdb::Compression::zstd());
  const bool has_codec = place.config.compression.codec() == iqdb::Compression::Codec::none ||
                         (IQDB_PERSIST_HAS_LZ4 != 0 && IQDB_PERSIST_HAS_ZSTD != 0);
  if (!has_codec) {
    return;
  }
  const FlatIndex index = index_of(20'000);
  const auto plain = iqdb::write_snapshot(index, place.storage, place.lock, place.directory / "plain", place.config);
  iqdb::FrozenSnapshot<FlatIndex, FileStorage> frozen(place.storage, place.lock, place.path, place.config);
  REQUIRE(frozen.freeze(index));
  const auto written = frozen.write();
  REQUIRE(written);
  CHECK(written->fingerprint == plain.fingerprint);
  CHECK(written->info.payload_bytes == plain.info.payload_bytes);
}

TEST_CASE("What is frozen is written while the log is synced all the time", "[freeze]") {
  Place place;
  place.config.freezing = GENERATE(Freezing::by_fork, Freezing::by_copy);
  std::uint64_t syncs = 0;
  const FlatIndex index = index_of(100'000);
  iqdb::FrozenSnapshot<FlatIndex, FileStorage> frozen(place.storage, place.lock, place.path, place.config,
                                                      [&] { return ++syncs; });
  REQUIRE(frozen.freeze(index));
  const auto written = frozen.write();
  REQUIRE(written);
  CHECK(written->info.vectors == 100'000);
  CHECK(syncs > 1);  // it has looked
}

TEST_CASE("A child that dies leaves no file and the caller goes another way", "[freeze]") {
  Place place;
  const Scripted index(GENERATE(static_cast<void (*)()>([] { ::raise(SIGKILL); }),
                                static_cast<void (*)()>([] { throw std::runtime_error("cannot be saved"); }),
                                static_cast<void (*)()>([] { ::_exit(0); })));
  {
    iqdb::FrozenSnapshot<Scripted, FileStorage> frozen(place.storage, place.lock, place.path, place.config);
    REQUIRE(frozen.freeze(index));
    CHECK(!frozen.write());
  }
  CHECK(files_in(place.directory.path()) == 0);
}

TEST_CASE("An exception of on_progress ends a child and reaches the caller", "[freeze]") {
  Place place;
  std::size_t calls = 0;
  place.config.on_progress = [&](const iqdb::Progress& progress) {
    ++calls;
    CHECK(progress.phase == iqdb::Progress::Phase::save);
    throw std::runtime_error("stop");
  };
  {
    iqdb::FrozenSnapshot<FlatIndex, FileStorage> frozen(place.storage, place.lock, place.path, place.config);
    REQUIRE(frozen.freeze(index_of(10)));
    CHECK_THROWS_AS(std::ignore = frozen.write(), std::runtime_error);
  }
  CHECK(calls == 1);
  CHECK(files_in(place.directory.path()) == 0);
}

TEST_CASE("A snapshot that is frozen and never written leaves no file", "[freeze]") {
  Place place;
  {
    iqdb::FrozenSnapshot<FlatIndex, FileStorage> frozen(place.storage, place.lock, place.path, place.config);
    REQUIRE(frozen.freeze(index_of(100'000)));
  }
  CHECK(files_in(place.directory.path()) == 0);
}

TEST_CASE("Mutations wait where a fork or a copy is not offered", "[freeze]") {
  using InMemory = iqdb::FrozenSnapshot<FlatIndex, MemoryStorage>;
  CHECK(!InMemory::is_possible({.path = "/x", .freezing = Freezing::automatic}));
  CHECK(!InMemory::is_possible({.path = "/x", .freezing = Freezing::by_waiting}));
  CHECK(InMemory::is_possible({.path = "/x", .freezing = Freezing::by_copy}));
  using InFiles = iqdb::FrozenSnapshot<FlatIndex, FileStorage>;
  CHECK(InFiles::is_possible({.path = "/x", .freezing = Freezing::automatic}));
  CHECK(!InFiles::is_possible({.path = "/x", .freezing = Freezing::by_waiting}));
}

TEST_CASE("A way of freezing that is not offered is refused by its name", "[freeze]") {
  const auto error = iqdb_test::require_kind(iqdb::PersistErrorKind::invalid_config, [] {
    iqdb::freeze::check<FlatIndex, MemoryStorage>({.path = "/x", .freezing = Freezing::by_fork});
  });
  CHECK(iqdb_test::mentions(error, "by_fork"));
  iqdb::freeze::check<FlatIndex, MemoryStorage>({.path = "/x", .freezing = Freezing::automatic});
  iqdb::freeze::check<FlatIndex, FileStorage>({.path = "/x", .freezing = Freezing::by_fork});
}
