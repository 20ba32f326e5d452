// A disk, or a limit on file sizes, that is exhausted in the middle of a save.
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/scripted_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::Compression;
using iqdb_test::in_child;
using iqdb_test::outcome_of;
using iqdb_test::read_bytes;
using iqdb_test::refused_with;
using iqdb_test::ScriptedIndex;
using iqdb_test::TemporaryDirectory;
using ScriptedDb = iqdb::PersistedIndex<ScriptedIndex>;

// A text that no codec makes smaller.
std::string incompressible(std::size_t bytes) {
  iqdb_test::Random random(bytes);
  std::string text(bytes, ' ');
  for (char& each : text) {
    each = static_cast<char>(random.next() >> 56U);
  }
  return text;
}

// Saves a large index where there is a small one, and another small one when there is room again; tells what came of
// it.
template <class MakeRoom>
std::string save_in_too_little_room(const fs::path& directory, Compression compression, MakeRoom&& make_room) {
  const fs::path path = directory / "index.iqdb";
  const iqdb::PersistConfig config{.path = path, .compression = compression, .replace_existing = true};
  const auto old_file = read_bytes(path);
  ScriptedDb db = ScriptedDb::open_with(ScriptedIndex(incompressible(2'000'000)), config);
  std::string story = outcome_of([&] { return db.save(); });
  story += read_bytes(path) == old_file ? ", the old file stands" : ", the old file is gone";
  story += fs::exists(path.string() + ".tmp") ? ", a temporary file is left" : ", no temporary file is left";
  make_room(db);
  story += ", then " + outcome_of([&] { return db.save(); });
  story += ScriptedDb::load(config).index().text() == db.index().text() ? ", loads" : ", does not load";
  return story;
}

std::string expected_story(int error) {
  return refused_with(error) + ", the old file stands, no temporary file is left, then ok, loads";
}

void save_small(const fs::path& directory) {
  ScriptedDb::open_with(ScriptedIndex("small"), {.path = directory / "index.iqdb"}).save();
}

std::vector<Compression> codecs() {
  std::vector<Compression> all{Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    all.push_back(Compression::zstd());
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    all.push_back(Compression::lz4());
  }
  return all;
}

// Lets this process see a file system of 1 MiB at `place`. It goes with the process. False where that is not allowed.
bool mount_small_disk(const fs::path& place) {
  return (::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("small", place.c_str(), "tmpfs", 0, "size=1m") == 0;
}

}  // namespace

TEST_CASE("A save that reaches the limit on file sizes is EFBIG and leaves the old file", "[full_disk]") {
  for (const Compression compression : codecs()) {
    const TemporaryDirectory directory;
    save_small(directory.path());
    CHECK(in_child([&] {
            std::signal(SIGXFSZ, SIG_IGN);
            struct ::rlimit limit {};
            ::getrlimit(RLIMIT_FSIZE, &limit);
            limit.rlim_cur = 1'000'000;
            ::setrlimit(RLIMIT_FSIZE, &limit);
            return save_in_too_little_room(directory.path(), compression, [&](ScriptedDb&) {
              limit.rlim_cur = limit.rlim_max;
              ::setrlimit(RLIMIT_FSIZE, &limit);
            });
          }) == expected_story(EFBIG));
  }
}

TEST_CASE("A save that fills the disk is ENOSPC and leaves the old file", "[full_disk]") {
  for (const Compression compression : codecs()) {
    const TemporaryDirectory directory;
    const std::string story = in_child([&]() -> std::string {
      if (!mount_small_disk(directory.path())) {
        return "no disk";
      }
      save_small(directory.path());
      return save_in_too_little_room(directory.path(), compression,
                                     [&](ScriptedDb& db) { db.index_mut() = ScriptedIndex(incompressible(500'000)); });
    });
    if (story == "no disk") {
      WARN("this process may not mount a small disk to fill");
      return;
    }
    CHECK(story == expected_story(ENOSPC));
  }
}

TEST_CASE("A disk that is full but for the old file itself still takes an index that fits beside it", "[full_disk]") {
  const TemporaryDirectory directory;
  const std::string story = in_child([&]() -> std::string {
    if (!mount_small_disk(directory.path())) {
      return "no disk";
    }
    const fs::path path = directory / "index.iqdb";
    ScriptedDb db =
        ScriptedDb::open_with(ScriptedIndex(incompressible(400'000)), {.path = path, .replace_existing = true});
    db.save();
    const std::string first = outcome_of([&] { return db.save(); });
    iqdb_test::write_bytes(directory / "other", std::vector<std::byte>(400'000));
    return first + ", " + outcome_of([&] { return db.save(); }) +
           (ScriptedDb::load({.path = path}).index().text() == db.index().text() ? ", loads" : ", does not load");
  });
  if (story == "no disk") {
    WARN("this process may not mount a small disk to fill");
    return;
  }
  CHECK(story == "ok, " + refused_with(ENOSPC) + ", loads");
}
