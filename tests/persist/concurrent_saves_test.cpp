// Several threads and processes at one file: it is always one of theirs, whole, and nobody touches what another is
// writing.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
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
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb_test::ChildProcess;
using iqdb_test::outcome_of;
using iqdb_test::Pipe;
using iqdb_test::read_bytes;
using iqdb_test::require_kind;
using iqdb_test::Script;
using iqdb_test::ScriptedIndex;
using Bytes = std::vector<std::byte>;
using Db = iqdb::PersistedIndex<FlatIndex>;
using TextDb = iqdb::PersistedIndex<ScriptedIndex>;

constexpr int saves_each = 100;

// Two indexes of different sizes and contents, and the files that they are saved as.
class Rivals {
 public:
  Rivals() {
    for (std::size_t which = 0; which < 2; ++which) {
      save(which);
      files_.push_back(read_bytes(path()));
    }
  }

  [[nodiscard]] fs::path path() const { return directory_ / "index.iqdb"; }
  [[nodiscard]] fs::path temporary() const { return directory_ / "index.iqdb.tmp"; }

  void save(std::size_t which) const { Db::open_with(index(which), {.path = path(), .replace_existing = true}).save(); }

  // Saves again and again; gives "" if each time it succeeded or found the file locked.
  [[nodiscard]] std::string save_often(std::size_t which) const {
    for (int times = 0; times < saves_each; ++times) {
      const std::string outcome = outcome_of([&] {
        save(which);
        return 0;
      });
      if (outcome != "ok" && outcome != "locked") {
        return outcome;
      }
      if (!is_whole(read_bytes(path()))) {
        return "after a save the file is none of the two";
      }
    }
    return "";
  }

  [[nodiscard]] bool is_whole(const Bytes& file) const { return std::ranges::find(files_, file) != files_.end(); }

  // Whether a load gives one of the two.
  [[nodiscard]] bool loads_whole() const {
    const Db db = Db::load({.path = path()});
    return iqdb_test::same_rows(db.index(), index(0)) || iqdb_test::same_rows(db.index(), index(1));
  }

 private:
  static const FlatIndex& index(std::size_t which) {
    static const FlatIndex indexes[] = {// NOLINT(*-avoid-c-arrays)
                                        iqdb_test::make_sample_index(16, iqdb::DistanceMetric::cosine, 400, 1),
                                        iqdb_test::make_sample_index(16, iqdb::DistanceMetric::cosine, 250, 2)};
    return indexes[which];
  }

  iqdb_test::TemporaryDirectory directory_;
  std::vector<Bytes> files_;
};

// A file that a child process is in the middle of saving, until it is told to go on.
class SaveInProgress {
 public:
  explicit SaveInProgress(fs::path path)
      : child_([this, path = std::move(path)] {
          go_on_.close_writing();
          const Script script = Script::saving([this](iqdb::Writer& writer) {
            writer.write(Bytes(1'000'000));
            begun_.write("x");
            go_on_.wait_for_byte();
          });
          return outcome_of([&] {
                   return TextDb::open_with(ScriptedIndex("from the child"), {.path = path, .replace_existing = true})
                       .save();
                 }) == "ok"
                     ? 0
                     : 1;
        }) {
    begun_.close_writing();
    REQUIRE(begun_.wait_for_byte());
  }

  [[nodiscard]] int finish() {
    go_on_.close_writing();
    return child_.wait();
  }
  void kill() { child_.kill(); }

 private:
  Pipe begun_;
  Pipe go_on_;
  ChildProcess child_;
};

// What tells one state of a file from another.
struct FileState {
  ino_t number;
  off_t size;
  timespec changed;

  explicit FileState(const fs::path& path) {
    struct ::stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    number = status.st_ino;
    size = status.st_size;
    changed = status.st_ctim;
  }

  friend bool operator==(const FileState& a, const FileState& b) {
    return a.number == b.number && a.size == b.size && a.changed.tv_sec == b.changed.tv_sec &&
           a.changed.tv_nsec == b.changed.tv_nsec;
  }
};

}  // namespace

TEST_CASE("Two processes that save to one path at once leave one of the two files whole", "[concurrent]") {
  const Rivals rivals;
  std::vector<ChildProcess> children;
  for (const std::size_t which : {0U, 1U}) {
    children.emplace_back([&, which] {
      const std::string trouble = rivals.save_often(which);
      return trouble.empty() ? 0 : 1;
    });
  }
  // Meanwhile every load finds one of the two.
  std::size_t loads = 0;
  std::size_t whole = 0;
  for (; loads < saves_each; ++loads) {
    whole += rivals.loads_whole() ? 1U : 0U;
  }
  for (ChildProcess& child : children) {
    CHECK(child.wait() == 0);
  }
  CHECK(whole == loads);
  CHECK(rivals.is_whole(read_bytes(rivals.path())));
  CHECK_FALSE(fs::exists(rivals.temporary()));
}

TEST_CASE("Two threads that save to one path at once leave one of the two files whole", "[concurrent]") {
  const Rivals rivals;
  std::string troubles[2] = {"not run", "not run"};  // NOLINT(*-avoid-c-arrays)
  std::size_t loads = 0;
  std::size_t whole = 0;
  {
    std::vector<std::jthread> threads;
    for (const std::size_t which : {0U, 1U}) {
      threads.emplace_back([&, which] { troubles[which] = rivals.save_often(which); });
    }
    for (; loads < saves_each; ++loads) {
      whole += rivals.loads_whole() ? 1U : 0U;
    }
  }
  CHECK(troubles[0] == "");
  CHECK(troubles[1] == "");
  CHECK(whole == loads);
  CHECK_FALSE(fs::exists(rivals.temporary()));
}

TEST_CASE("Threads of two processes that save to one path at once leave a whole file", "[concurrent]") {
  const Rivals rivals;
  const auto save_in_two_threads = [&] {
    std::string troubles[2];  // NOLINT(*-avoid-c-arrays)
    {
      std::jthread other([&] { troubles[0] = rivals.save_often(0); });
      troubles[1] = rivals.save_often(1);
    }
    return troubles[0] + troubles[1];
  };
  ChildProcess child([&] { return save_in_two_threads().empty() ? 0 : 1; });
  CHECK(save_in_two_threads() == "");
  CHECK(child.wait() == 0);
  CHECK(rivals.is_whole(read_bytes(rivals.path())));
}

TEST_CASE("Saves to different paths do not wait for each other", "[concurrent]") {
  const iqdb_test::TemporaryDirectory directory;
  SaveInProgress other(directory / "a.iqdb");
  CHECK(outcome_of([&] { return TextDb::open_with(ScriptedIndex("b"), {.path = directory / "b.iqdb"}).save(); }) ==
        "ok");
  CHECK(other.finish() == 0);
}

TEST_CASE("A save that waits for another goes on when that is done", "[concurrent][lock]") {
  const Rivals rivals;
  iqdb::FileStorage storage;
  std::optional held = storage.lock(rivals.path(), std::chrono::milliseconds::zero());
  std::atomic<bool> released = false;
  std::jthread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    released = true;
    held.reset();
  });
  CHECK(outcome_of([&] {
          rivals.save(0);
          return 0;
        }) == "ok");
  CHECK(released);
}

TEST_CASE("A save gives up with locked and never touches what a live process is writing", "[concurrent][lock]") {
  const iqdb_test::TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  TextDb::open_with(ScriptedIndex("the old text"), {.path = path, .replace_existing = true}).save();
  const Bytes old_file = read_bytes(path);
  SaveInProgress other(path);
  const FileState temporary(path.string() + ".tmp");

  TextDb db = TextDb::open_with(ScriptedIndex("from the parent"), {.path = path, .replace_existing = true});
  const iqdb::PersistError error = require_kind(PersistErrorKind::locked, [&] { return db.save(); });
  CHECK(error.path() == path);
  CHECK(std::string(error.what()).find(path.string() + ".lock") != std::string::npos);
  CHECK(FileState(path.string() + ".tmp") == temporary);
  CHECK(read_bytes(path) == old_file);

  CHECK(other.finish() == 0);
  const Script script = Script::loading([](iqdb::Reader& reader) {
    std::ignore = reader.read_string(1'000'000);
    return ScriptedIndex::decode(reader);
  });
  CHECK(TextDb::load({.path = path}).index().text() == "from the child");
  CHECK(outcome_of([&] { return db.save(); }) == "ok");
}

TEST_CASE("The temporary file of a killed process harms no load and is gone after the next save", "[concurrent]") {
  const iqdb_test::TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  const fs::path temporary = directory / "index.iqdb.tmp";
  TextDb::open_with(ScriptedIndex("the old text"), {.path = path, .replace_existing = true}).save();
  SaveInProgress other(path);
  other.kill();
  REQUIRE(fs::exists(temporary));
  CHECK(TextDb::load({.path = path}).index().text() == "the old text");
  CHECK(fs::exists(temporary));  // a load writes nothing
  TextDb::open_with(ScriptedIndex("the new text"), {.path = path, .replace_existing = true}).save();
  CHECK_FALSE(fs::exists(temporary));
  CHECK(TextDb::load({.path = path}).index().text() == "the new text");
}

TEST_CASE("A process that was forked during a save does not keep the file locked", "[concurrent][fork]") {
  const iqdb_test::TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Pipe parent_lives;
  std::optional<ChildProcess> child;
  {
    const Script script = Script::saving([&](iqdb::Writer&) {
      child.emplace([&] {
        parent_lives.close_writing();
        parent_lives.wait_for_byte();
        return 0;
      });
    });
    TextDb::open_with(ScriptedIndex("one"), {.path = path, .replace_existing = true}).save();
  }
  CHECK(outcome_of([&] {
          return TextDb::open_with(ScriptedIndex("two"), {.path = path, .replace_existing = true}).save();
        }) == "ok");
  parent_lives.close_writing();
  CHECK(child->wait() == 0);
}

TEST_CASE("A process that was forked during a save can save when that is done", "[concurrent][fork]") {
  const iqdb_test::TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Pipe parent_is_done;
  std::optional<ChildProcess> child;
  {
    const Script script = Script::saving([&](iqdb::Writer&) {
      child.emplace([&] {
        ScriptedIndex::on_save = nullptr;
        parent_is_done.close_writing();
        parent_is_done.wait_for_byte();
        return outcome_of([&] {
                 return TextDb::open_with(ScriptedIndex("two"), {.path = path, .replace_existing = true}).save();
               }) == "ok"
                   ? 0
                   : 1;
      });
    });
    TextDb::open_with(ScriptedIndex("one"), {.path = path, .replace_existing = true}).save();
  }
  parent_is_done.close_writing();
  CHECK(child->wait() == 0);
  CHECK(TextDb::load({.path = path}).index().text() == "two");
}
