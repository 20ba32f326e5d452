// SimulatedFileSystem: answers as a POSIX file system does, and knows what is volatile.
#include "iqdb/persist/testing/simulated_file_system.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/posix_file_system.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "support/by_path.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace of_simulated_file_system {

namespace {

namespace fs = std::filesystem;
using iqdb::OpenMode;
using iqdb::PosixFileSystem;
using iqdb::testing::CrashStates;
using iqdb::testing::DiskState;
using iqdb::testing::FailedSync;
using iqdb::testing::Fault;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::Random;
using iqdb::testing::SharedBytes;
using iqdb::testing::SimulatedFileSystem;
using iqdb::testing::system_error;
using iqdb_test::Bytes;
using iqdb_test::shared;
using iqdb_test::text_of;
using Files = std::map<std::string, std::string>;
using Names = std::set<std::string>;

Files files_of(const DiskState& state) {
  Files files;
  for (const auto& [name, bytes] : state) {
    files[name] = text_of(*bytes);
  }
  return files;
}

Files visible_in(const SimulatedFileSystem& system) { return files_of(system.visible()); }

// What a power cut leaves for sure.
Files durable_in(const SimulatedFileSystem& system) { return files_of(CrashStates(system, 1).nothing_unsynced()); }

// The calls, on any file system.

template <class F>
typename F::Handle opened(F& system, const fs::path& path, OpenMode mode = OpenMode::read) {
  const auto [handle, error] = system.open(path, mode, 0644);
  REQUIRE_FALSE(error);
  return handle;
}

template <class F>
std::string read(F& system, typename F::Handle handle, std::uint64_t offset = 0, std::size_t count = 100) {
  std::vector<std::byte> into(count);
  const auto [moved, error] = system.read_at(handle, offset, into);
  CHECK_FALSE(error);
  return text_of(std::span(into).first(moved));
}

template <class F>
std::string content_of(F& system, typename F::Handle handle) {
  return read(system, handle, 0, 10000);
}

template <class F>
std::size_t write(F& system, typename F::Handle handle, std::uint64_t offset, std::string_view text) {
  const auto [moved, error] = system.write_at(handle, offset, Bytes().text(text));
  CHECK_FALSE(error);
  return moved;
}

template <class F>
void make_file(F& system, const fs::path& path, std::string_view text) {
  const auto handle = opened(system, path, OpenMode::create_new);
  write(system, handle, 0, text);
  system.close(handle);
}

std::error_code sync_file(SimulatedFileSystem& system, const fs::path& path) {
  const auto handle = opened(system, path, OpenMode::write);
  const std::error_code error = system.sync(handle);
  system.close(handle);
  return error;
}

std::error_code sync_directory(SimulatedFileSystem& system, const fs::path& path = "/") {
  const auto handle = opened(system, path, OpenMode::directory);
  const std::error_code error = system.sync(handle);
  system.close(handle);
  return error;
}

void overwrite(SimulatedFileSystem& system, const fs::path& path, std::string_view text, std::uint64_t offset = 0) {
  const auto handle = opened(system, path, OpenMode::write);
  write(system, handle, offset, text);
  system.close(handle);
}

// A machine that holds one durable file.
SimulatedFileSystem with_file(const std::string& name, std::string_view text, std::uint64_t seed = 1) {
  return SimulatedFileSystem({{name, shared(text)}}, seed);
}

// Makes every call on the real file system and on the simulated one, and requires the same answer of both.
class Both {
 public:
  [[nodiscard]] fs::path path(const std::string& name) const { return directory_ / name; }

  int open(const std::string& name, OpenMode mode) {
    const auto real = real_.open(path(name), mode, 0600);
    const auto simulated = simulated_.open(path(name), mode, 0600);
    const int answer = same(real.error, simulated.error);
    if (answer == 0) {
      handles_.emplace_back(real.value, simulated.value);
    }
    return answer;
  }

  [[nodiscard]] bool has_open() const { return !handles_.empty(); }

  // The file opened last.
  int close() {
    const auto [real, simulated] = handles_.back();
    handles_.pop_back();
    return same(real_.close(real), simulated_.close(simulated));
  }
  std::string read(std::uint64_t offset, std::size_t count) {
    std::vector<std::byte> into(count);
    std::vector<std::byte> other(count);
    const auto real = real_.read_at(handles_.back().first, offset, into);
    const auto simulated = simulated_.read_at(handles_.back().second, offset, other);
    same(real.error, simulated.error);
    CHECK(real.value == simulated.value);
    CHECK(into == other);
    return text_of(std::span(into).first(real.value));
  }
  std::size_t write(std::uint64_t offset, std::string_view text) {
    const std::vector<std::byte> bytes = Bytes().text(text);
    const auto real = real_.write_at(handles_.back().first, offset, bytes);
    const auto simulated = simulated_.write_at(handles_.back().second, offset, bytes);
    same(real.error, simulated.error);
    CHECK(real.value == simulated.value);
    return simulated.value;
  }
  int truncate(std::uint64_t size) {
    return same(real_.truncate(handles_.back().first, size), simulated_.truncate(handles_.back().second, size));
  }
  int sync() { return same(real_.sync(handles_.back().first), simulated_.sync(handles_.back().second)); }
  int sync_data() { return same(real_.sync_data(handles_.back().first), simulated_.sync_data(handles_.back().second)); }
  int set_permissions(std::uint32_t permissions) {
    return same(real_.set_permissions(handles_.back().first, {.permissions = permissions}),
                simulated_.set_permissions(handles_.back().second, {.permissions = permissions}));
  }
  iqdb::FileStatus status() {
    return same(real_.status(handles_.back().first), simulated_.status(handles_.back().second));
  }

  iqdb::FileStatus status(const std::string& name) {
    return same(real_.status(path(name)), simulated_.status(path(name)));
  }
  int rename(const std::string& from, const std::string& to) {
    return same(real_.rename(real_place_, from, to), simulated_.rename(simulated_place_, from, to));
  }
  int link(const std::string& from, const std::string& to) {
    return same(real_.link(real_place_, from, to), simulated_.link(simulated_place_, from, to));
  }
  int remove(const std::string& name) {
    return same(real_.remove(real_place_, name), simulated_.remove(simulated_place_, name));
  }

  // The files, the same in both.
  Files files() {
    Files real;
    for (const auto& entry : fs::directory_iterator(directory_.path())) {
      const auto handle = opened(real_, entry.path());
      real[entry.path().native()] = content_of(real_, handle);
      real_.close(handle);
    }
    const Files simulated = visible_in(simulated_);
    CHECK(real == simulated);
    Files named;
    for (const auto& [name, text] : simulated) {
      named[fs::path(name).filename()] = text;
    }
    return named;
  }

 private:
  int same(std::error_code real, std::error_code simulated) {
    CHECK(real == simulated);
    return simulated.value();
  }
  iqdb::FileStatus same(const iqdb::SystemResult<iqdb::FileStatus>& real,
                        const iqdb::SystemResult<iqdb::FileStatus>& simulated) {
    CHECK(real.error == simulated.error);
    if (!real.error) {
      CHECK(real.value.regular == simulated.value.regular);
      CHECK(real.value.directory == simulated.value.directory);
      CHECK(real.value.size == simulated.value.size);
      CHECK(real.value.permissions == simulated.value.permissions);
    }
    return simulated.value;
  }

  iqdb_test::TemporaryDirectory directory_{iqdb_test::memory_directory()};
  PosixFileSystem real_;
  SimulatedFileSystem simulated_;
  int real_place_ = opened(real_, directory_.path(), OpenMode::directory);
  int simulated_place_ = opened(simulated_, directory_.path(), OpenMode::directory);
  std::vector<std::pair<int, int>> handles_;
};

}  // namespace

// ---- As POSIX has it ------------------------------------------------------------------------------------------------

TEST_CASE("SimulatedFileSystem: a file that is not there is not found", "[testing][posix]") {
  Both both;
  CHECK(both.open("file", OpenMode::read) == ENOENT);
  CHECK(both.open("file", OpenMode::write) == ENOENT);
  CHECK(both.remove("file") == ENOENT);
  CHECK(both.rename("file", "other") == ENOENT);
  CHECK(both.link("file", "other") == ENOENT);
  both.status("file");
  CHECK(both.files().empty());
}

TEST_CASE("SimulatedFileSystem: a file is created once", "[testing][posix]") {
  Both both;
  CHECK(both.open("file", OpenMode::create_new) == 0);
  CHECK(both.write(0, "text") == 4);
  CHECK(both.open("file", OpenMode::create_new) == EEXIST);
  CHECK(both.close() == 0);
  CHECK(both.files() == Files{{"file", "text"}});
}

TEST_CASE("SimulatedFileSystem: a read is short at the end and empty behind it", "[testing][posix]") {
  Both both;
  both.open("file", OpenMode::create_new);
  both.write(0, "abcdef");
  both.close();
  REQUIRE(both.open("file", OpenMode::read) == 0);
  CHECK(both.read(0, 3) == "abc");
  CHECK(both.read(4, 10) == "ef");
  CHECK(both.read(6, 10).empty());
  CHECK(both.read(1000, 10).empty());
  CHECK(both.read(0, 0).empty());
  both.close();
}

TEST_CASE("SimulatedFileSystem: what lies between the end and a write beyond it reads as zeros", "[testing][posix]") {
  Both both;
  both.open("file", OpenMode::create_new);
  both.write(0, "ab");
  both.write(5, "c");
  CHECK(both.files().at("file") == std::string("ab\0\0\0c", 6));
  CHECK(both.write(100, "") == 0);
  CHECK(both.files().at("file").size() == 6);
  both.close();
}

TEST_CASE("SimulatedFileSystem: truncate cuts off and what it adds is zeros", "[testing][posix]") {
  Both both;
  both.open("file", OpenMode::create_new);
  both.write(0, "abcdef");
  CHECK(both.truncate(2) == 0);
  CHECK(both.truncate(4) == 0);
  CHECK(both.files().at("file") == std::string("ab\0\0", 4));
  CHECK(both.status().size == 4);
  both.close();
}

TEST_CASE("SimulatedFileSystem: a file that is renamed over goes on under its handle", "[testing][posix]") {
  Both both;
  both.open("old", OpenMode::create_new);
  both.write(0, "old");
  both.close();
  both.open("new", OpenMode::create_new);
  both.write(0, "new");
  both.close();
  REQUIRE(both.open("old", OpenMode::read) == 0);
  CHECK(both.rename("new", "old") == 0);
  CHECK(both.read(0, 10) == "old");
  CHECK(both.files() == Files{{"old", "new"}});
  both.close();
  REQUIRE(both.open("old", OpenMode::read) == 0);
  CHECK(both.read(0, 10) == "new");
  both.close();
}

TEST_CASE("SimulatedFileSystem: a handle follows its file through a rename", "[testing][posix]") {
  Both both;
  both.open("file.tmp", OpenMode::create_new);
  both.rename("file.tmp", "file");
  both.write(0, "text");
  CHECK(both.files() == Files{{"file", "text"}});
  both.close();
}

TEST_CASE("SimulatedFileSystem: a file that is removed while it is open can be read and written", "[testing][posix]") {
  Both both;
  both.open("file", OpenMode::create_new);
  both.write(0, "text");
  both.open("file", OpenMode::read);
  CHECK(both.remove("file") == 0);
  CHECK(both.read(0, 10) == "text");
  both.close();
  CHECK(both.write(4, "more") == 4);
  CHECK(both.truncate(1) == 0);
  CHECK(both.sync() == 0);
  CHECK(both.status().size == 1);
  CHECK(both.files().empty());
  both.close();
}

TEST_CASE("SimulatedFileSystem: two names of a file share its bytes", "[testing][posix]") {
  Both both;
  both.open("first", OpenMode::create_new);
  CHECK(both.link("first", "second") == 0);
  CHECK(both.link("first", "second") == EEXIST);
  both.write(0, "text");
  CHECK(both.files() == Files{{"first", "text"}, {"second", "text"}});
  CHECK(both.remove("first") == 0);
  both.write(0, "TEXT");
  CHECK(both.files() == Files{{"second", "TEXT"}});
  both.close();
}

TEST_CASE("SimulatedFileSystem: a rename between two names of a file leaves both", "[testing][posix]") {
  Both both;
  both.open("first", OpenMode::create_new);
  both.close();
  both.link("first", "second");
  CHECK(both.rename("first", "second") == 0);
  CHECK(both.rename("first", "first") == 0);
  CHECK(both.files() == Files{{"first", ""}, {"second", ""}});
}

TEST_CASE("SimulatedFileSystem: permissions are those that were set", "[testing][posix]") {
  Both both;
  both.open("file", OpenMode::create_new);
  CHECK(both.status().permissions == 0600);
  CHECK(both.set_permissions(0640) == 0);
  CHECK(both.status().permissions == 0640);
  CHECK(both.status("file").permissions == 0640);
  both.close();
}

TEST_CASE("SimulatedFileSystem: owner and group are those that were set", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "");
  const auto handle = opened(system, "/file");
  system.set_owner(handle, {.owner = 5, .group = 6});
  CHECK(system.status(handle).value.owner == 5);
  CHECK(system.status(handle).value.group == 6);
  system.set_group(handle, {.owner = 7, .group = 8});
  CHECK(system.status(handle).value.owner == 5);
  CHECK(system.status(handle).value.group == 8);
  system.close(handle);
}

TEST_CASE("SimulatedFileSystem: a lock has one holder", "[testing][posix]") {
  const iqdb_test::TemporaryDirectory directory;
  const auto check = [&](auto system) {
    const auto held = iqdb_test::lock_by_path(system, directory / "lock");
    CHECK_FALSE(held.error);
    CHECK(iqdb_test::lock_by_path(system, directory / "lock").error.value() == EWOULDBLOCK);
    const auto other = iqdb_test::lock_by_path(system, directory / "other");
    CHECK_FALSE(other.error);
    system.unlock(held.value);
    const auto again = iqdb_test::lock_by_path(system, directory / "lock");
    CHECK_FALSE(again.error);
    system.unlock(again.value);
    system.unlock(other.value);
  };
  check(PosixFileSystem());
  check(SimulatedFileSystem());
}

TEST_CASE("SimulatedFileSystem: resolve gives an absolute name", "[testing]") {
  SimulatedFileSystem system;
  CHECK(system.resolve("/a/file").value == "/a/file");
  CHECK(system.resolve("file").value == "/file");
}

TEST_CASE("SimulatedFileSystem: any calls in any order are answered as POSIX does", "[testing][posix]") {
  Random random(1);
  for (int round = 0; round < 15; ++round) {
    Both both;
    const auto name = [&] { return std::string("file ") + std::to_string(random.below(4)); };
    for (int step = 0; step < 120; ++step) {
      switch (random.below(8)) {
        case 0: {
          if (both.open(name(), OpenMode::create_new) == 0) {
            both.write(random.below(3) * 700, std::string(random.below(900), 'c'));
            both.close();
          }
          break;
        }
        case 1: {
          if (both.open(name(), OpenMode::write) == 0) {
            both.write(random.below(2000), std::string(random.below(900), static_cast<char>('0' + step % 10)));
            random.one_in(2) ? both.sync() : both.sync_data();
            both.close();
          }
          break;
        }
        case 2: {
          if (both.open(name(), OpenMode::write) == 0) {
            both.truncate(random.below(2000));
            both.status();
            both.close();
          }
          break;
        }
        case 3: {
          if (both.open(name(), OpenMode::read) == 0) {
            both.read(random.below(2000), static_cast<std::size_t>(random.below(1000)));
            both.close();
          }
          break;
        }
        case 4:
          both.rename(name(), name());
          break;
        case 5:
          both.link(name(), name());
          break;
        case 6:
          both.remove(name());
          break;
        default:
          both.status(name());
      }
    }
    both.files();
  }
}

// ---- What is made ready ---------------------------------------------------------------------------------------------

TEST_CASE("SimulatedFileSystem: what it is made of is durable", "[testing]") {
  const SimulatedFileSystem system = with_file("/file", "text");
  CHECK(visible_in(system) == Files{{"/file", "text"}});
  CHECK(CrashStates(system, 1).count() == 1);
  CHECK(durable_in(system) == Files{{"/file", "text"}});
}

TEST_CASE("SimulatedFileSystem: names that share their bytes are made names of one file", "[testing]") {
  const SharedBytes bytes = shared("text");
  SimulatedFileSystem system({{"/a", bytes}, {"/b", bytes}, {"/c", shared("text")}}, 1);
  overwrite(system, "/a", "TEXT");
  CHECK(visible_in(system) == Files{{"/a", "TEXT"}, {"/b", "TEXT"}, {"/c", "text"}});
}

TEST_CASE("SimulatedFileSystem: a copy stands for the same machine", "[testing]") {
  SimulatedFileSystem system;
  SimulatedFileSystem copy = system;
  make_file(copy, "/file", "text");
  CHECK(visible_in(system) == Files{{"/file", "text"}});
}

TEST_CASE("SimulatedFileSystem: open files and locks are counted", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  const auto file = opened(system, "/file");
  const auto again = opened(system, "/file", OpenMode::write);
  const auto directory = opened(system, "/", OpenMode::directory);
  const auto lock = iqdb_test::lock_by_path(system, "/lock");
  CHECK(system.open_files() == 4);
  system.close(file);
  system.close(again);
  system.close(directory);
  CHECK(system.open_files() == 1);
  system.unlock(lock.value);
  CHECK(system.open_files() == 0);
}

TEST_CASE("SimulatedFileSystem: what looks random follows from the seed", "[testing]") {
  const auto numbers = [](std::uint64_t seed) {
    SimulatedFileSystem system({}, seed);
    return std::vector<std::uint64_t>{system.random().value, system.random().value, system.after_kill().random().value,
                                      system.after_restore().random().value};
  };
  CHECK(numbers(1) == numbers(1));
  CHECK(numbers(1) != numbers(2));
  const std::vector<std::uint64_t> all = numbers(1);
  CHECK(std::set<std::uint64_t>(all.begin(), all.end()).size() == 4);
}

// ---- What is volatile -----------------------------------------------------------------------------------------------

TEST_CASE("SimulatedFileSystem: a write is volatile until its file is synced", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "old");
  overwrite(system, "/file", "new!");
  CHECK(visible_in(system).at("/file") == "new!");
  CHECK(durable_in(system).at("/file") == "old");
  sync_directory(system);
  CHECK(durable_in(system).at("/file") == "old");
  sync_file(system, "/file");
  CHECK(durable_in(system).at("/file") == "new!");
  CHECK(CrashStates(system, 1).count() == 1);
}

TEST_CASE("SimulatedFileSystem: a sync of data makes the size durable as well", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "old");
  const auto handle = opened(system, "/file", OpenMode::write);
  write(system, handle, 3, " and more");
  CHECK_FALSE(system.sync_data(handle));
  CHECK(durable_in(system).at("/file") == "old and more");
  system.truncate(handle, 1);
  CHECK_FALSE(system.sync_data(handle));
  CHECK(durable_in(system).at("/file") == "o");
  system.close(handle);
}

TEST_CASE("SimulatedFileSystem: a name is volatile until its directory is synced", "[testing]") {
  SimulatedFileSystem system = with_file("/gone", "");
  make_file(system, "/file", "text");
  iqdb_test::link_by_path(system, "/file", "/linked");
  iqdb_test::rename_by_path(system, "/linked", "/renamed");
  iqdb_test::remove_by_path(system, "/gone");
  sync_file(system, "/file");
  CHECK(visible_in(system) == Files{{"/file", "text"}, {"/renamed", "text"}});
  CHECK(durable_in(system) == Files{{"/gone", ""}});
  sync_directory(system);
  CHECK(durable_in(system) == visible_in(system));
  CHECK(CrashStates(system, 1).count() == 1);
}

TEST_CASE("SimulatedFileSystem: a directory is synced without its files and without other directories", "[testing]") {
  SimulatedFileSystem system;
  make_file(system, "/a/file", "text");
  make_file(system, "/b/file", "text");
  sync_directory(system, "/a");
  CHECK(durable_in(system) == Files{{"/a/file", ""}});
  sync_file(system, "/b/file");
  CHECK(durable_in(system) == Files{{"/a/file", ""}});
}

TEST_CASE("SimulatedFileSystem: a file keeps what was synced under whatever name", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "old");
  make_file(system, "/file.tmp", "new");
  sync_file(system, "/file.tmp");
  iqdb_test::rename_by_path(system, "/file.tmp", "/file");
  CHECK(durable_in(system) == Files{{"/file", "old"}});
  sync_directory(system);
  CHECK(durable_in(system) == Files{{"/file", "new"}});
}

// ---- Faults ---------------------------------------------------------------------------------------------------------

TEST_CASE("SimulatedFileSystem: a call that is planned to fail is not made", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "text");
  const auto handle = opened(system, "/file", OpenMode::write);
  const auto directory = opened(system, "/", OpenMode::directory);
  system.plan([](const FileCallRecord&) { return Fault{.error = system_error(EIO)}; });
  std::vector<std::byte> into(4);
  CHECK(system.write_at(handle, 0, into).error.value() == EIO);
  CHECK(system.write_at(handle, 0, into).value == 0);
  CHECK(system.read_at(handle, 0, into).error.value() == EIO);
  CHECK(system.truncate(handle, 0).value() == EIO);
  CHECK(system.rename(directory, "file", "other").value() == EIO);
  CHECK(system.link(directory, "file", "other").value() == EIO);
  CHECK(system.remove(directory, "file").value() == EIO);
  CHECK(system.open("/other", OpenMode::create_new, 0).error.value() == EIO);
  CHECK(system.open("/file", OpenMode::read, 0).error.value() == EIO);
  CHECK(system.status("/file").error.value() == EIO);
  CHECK(system.status(handle).error.value() == EIO);
  CHECK(system.status(directory, "file").error.value() == EIO);
  CHECK(system.open(directory, "file", OpenMode::read, 0).error.value() == EIO);
  CHECK(system.open("/", OpenMode::directory, 0).error.value() == EIO);
  CHECK(system.set_owner(handle, {.owner = 9}).value() == EIO);
  CHECK(system.set_group(handle, {.group = 9}).value() == EIO);
  CHECK(system.set_permissions(handle, {.permissions = 9}).value() == EIO);
  CHECK(system.lock(directory, "lock").error.value() == EIO);
  CHECK(system.resolve("/file").error.value() == EIO);
  system.plan({});
  CHECK(visible_in(system) == Files{{"/file", "text"}});
  CHECK(CrashStates(system, 1).count() == 1);
  CHECK(system.status(handle).value.owner == 0);
  CHECK(system.status(handle).value.permissions == 0);
  CHECK(system.open_files() == 2);
  const auto lock = iqdb_test::lock_by_path(system, "/lock");
  CHECK_FALSE(lock.error);
}

TEST_CASE("SimulatedFileSystem: a file is closed and a lock given back whatever is planned", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "text");
  const auto handle = opened(system, "/file");
  const auto lock = iqdb_test::lock_by_path(system, "/lock");
  system.plan([](const FileCallRecord&) { return Fault{.error = system_error(EIO)}; });
  CHECK(system.close(handle).value() == EIO);
  system.unlock(lock.value);
  CHECK(system.open_files() == 0);
  system.plan({});
  CHECK_FALSE(iqdb_test::lock_by_path(system, "/lock").error);
}

TEST_CASE("SimulatedFileSystem: a fault can strike once or for good", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "text");
  const auto answers = [&] {
    std::vector<int> all;
    for (int call = 0; call < 4; ++call) {
      all.push_back(system.status("/file").error.value());
    }
    return all;
  };
  system.plan([](const FileCallRecord& call) { return Fault{.error = system_error(call.number == 1 ? EIO : 0)}; });
  CHECK(answers() == std::vector<int>{0, EIO, 0, 0});
  system.plan([](const FileCallRecord& call) { return Fault{.error = system_error(call.number >= 1 ? EIO : 0)}; });
  CHECK(answers() == std::vector<int>{0, EIO, EIO, EIO});
}

TEST_CASE("SimulatedFileSystem: a read or a write can be short", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "abcdef");
  const auto handle = opened(system, "/file", OpenMode::write);
  system.plan([](const FileCallRecord&) { return Fault{.error = {}, .most_bytes = 2}; });
  CHECK(read(system, handle, 1) == "bc");
  CHECK(read(system, handle, 5) == "f");
  CHECK(write(system, handle, 3, "XYZ") == 2);
  CHECK(write(system, handle, 0, "P") == 1);
  CHECK(visible_in(system).at("/file") == "PbcXYf");
  system.plan([](const FileCallRecord&) { return Fault{.error = {}, .most_bytes = 0}; });
  CHECK(write(system, handle, 100, "XYZ") == 0);
  CHECK(visible_in(system).at("/file") == "PbcXYf");
  system.close(handle);
}

TEST_CASE("SimulatedFileSystem: a plan is told of each call what is asked", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/data/old", "text");
  std::vector<std::string> texts;
  std::vector<std::size_t> numbers;
  system.plan([&](const FileCallRecord& call) {
    texts.push_back(call.text() + (call.bytes > 0 ? " " + std::to_string(call.bytes) : ""));
    numbers.push_back(call.number);
    return Fault{};
  });
  const auto directory = opened(system, "/data", OpenMode::directory);
  const auto lock = system.lock(directory, "old.lock");
  const auto handle = opened(system, "/data/new", OpenMode::create_new);
  write(system, handle, 64, "abc");
  read(system, handle, 60, 10);
  system.truncate(handle, 65);
  system.sync_data(handle);
  system.sync(handle);
  system.rename(directory, "new", "old");
  system.link(directory, "old", "other");
  system.sync(directory);
  system.close(directory);
  system.close(handle);
  system.unlock(lock.value);
  CHECK(texts == std::vector<std::string>{"open .", "lock old.lock", "create new", "write new at 64 3",
                                          "read new at 60 10", "truncate new to 65", "sync data of new", "sync new",
                                          "rename new to old", "link old to other", "sync directory", "close .",
                                          "close new", "unlock old.lock"});
  CHECK(numbers == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  CHECK(system.calls() == 14);
  system.plan({});
  CHECK(system.calls() == 0);
}

TEST_CASE("SimulatedFileSystem: a plan may look at the file system and sees it before the call", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "old");
  std::vector<std::string> seen;
  system.plan([&](const FileCallRecord& call) {
    if (call.call == FileCall::write || call.call == FileCall::sync) {
      seen.push_back(visible_in(system).at("/file") + " " + durable_in(system).at("/file") + " " +
                     std::to_string(system.open_files()));
    }
    return Fault{};
  });
  const auto handle = opened(system, "/file", OpenMode::write);
  write(system, handle, 0, "new");
  system.sync(handle);
  system.plan({});
  CHECK(seen == std::vector<std::string>{"old old 1", "new old 1"});
}

// ---- A sync that fails ----------------------------------------------------------------------------------------------

namespace {

void fail_syncs(SimulatedFileSystem& system, FailedSync model, int error = EIO) {
  system.plan([model, error](const FileCallRecord& call) {
    return is_sync(call.call) ? Fault{.error = system_error(error), .most_bytes = {}, .failed_sync = model} : Fault{};
  });
}

// A file of which "new text" was written over "old", and the sync of that has failed.
SimulatedFileSystem after_failed_sync(FailedSync model, std::uint64_t seed) {
  SimulatedFileSystem system = with_file("/file", "old", seed);
  overwrite(system, "/file", "new text");
  fail_syncs(system, model);
  CHECK(sync_file(system, "/file").value() == EIO);
  system.plan({});
  return system;
}

constexpr std::uint64_t seeds = 60;

}  // namespace

TEST_CASE("A failed sync: dropped means that what is read is what the disk has", "[testing][faults]") {
  std::set<std::string> found;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    SimulatedFileSystem system = after_failed_sync(FailedSync::dropped, seed);
    const std::string visible = visible_in(system).at("/file");
    std::string disk = durable_in(system).at("/file");
    found.insert(disk);
    // The size is kept.
    CHECK(visible.size() == 8);
    disk.resize(8);
    CHECK(visible == disk);
    // The next sync succeeds, and brings nothing back.
    CHECK_FALSE(sync_file(system, "/file"));
    CHECK(durable_in(system).at("/file") == visible);
  }
  // Some of the bytes may have reached the disk all the same.
  CHECK(found.contains("old"));
  CHECK(found.contains("new text"));
  CHECK(found.size() > 5);
}

TEST_CASE("A failed sync: kept clean means that what is lost is still read and never written", "[testing][faults]") {
  std::set<std::string> found;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    SimulatedFileSystem system = after_failed_sync(FailedSync::kept_clean, seed);
    const std::string disk = durable_in(system).at("/file");
    found.insert(disk);
    CHECK(visible_in(system).at("/file") == "new text");
    CHECK_FALSE(sync_file(system, "/file"));
    CHECK(visible_in(system).at("/file") == "new text");
    CHECK(durable_in(system).at("/file") == disk);
    CHECK(files_of(CrashStates(system, 1).everything()).at("/file") == disk);
  }
  CHECK(found.contains("old"));
  CHECK(found.contains("new text"));
  CHECK(found.size() > 5);
}

TEST_CASE("A failed sync: what is written behind one that kept its bytes clean is made durable alone",
          "[testing][faults]") {
  bool lost_any = false;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    SimulatedFileSystem system = after_failed_sync(FailedSync::kept_clean, seed);
    std::string expected = durable_in(system).at("/file");
    overwrite(system, "/file", "!", 8);
    CHECK(visible_in(system).at("/file") == "new text!");
    expected.resize(8);
    expected += "!";
    CHECK(files_of(CrashStates(system, 1).everything()).at("/file") == expected);
    CHECK_FALSE(sync_file(system, "/file"));
    CHECK(durable_in(system).at("/file") == expected);
    CHECK(durable_in(system.after_kill()).at("/file") == expected);
    lost_any = lost_any || expected != "new text!";
  }
  CHECK(lost_any);
}

TEST_CASE("A failed sync: reverted means that the file is as it was at its last sync", "[testing][faults]") {
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    SimulatedFileSystem system = after_failed_sync(FailedSync::reverted, seed);
    CHECK(visible_in(system).at("/file") == "old");
    CHECK(durable_in(system).at("/file") == "old");
    CHECK(CrashStates(system, 1).count() == 1);
  }
}

TEST_CASE("A failed sync: one that was interrupted loses nothing", "[testing][faults]") {
  for (const FailedSync model : {FailedSync::dropped, FailedSync::kept_clean, FailedSync::reverted}) {
    SimulatedFileSystem system = with_file("/file", "old");
    overwrite(system, "/file", "new text");
    make_file(system, "/other", "");
    const std::uint64_t states = CrashStates(system, 1).count();
    fail_syncs(system, model, EINTR);
    CHECK(sync_file(system, "/file").value() == EINTR);
    CHECK(sync_directory(system).value() == EINTR);
    system.plan({});
    CHECK(visible_in(system) == Files{{"/file", "new text"}, {"/other", ""}});
    CHECK(CrashStates(system, 1).count() == states);
    CHECK_FALSE(sync_file(system, "/file"));
    CHECK_FALSE(sync_directory(system));
    CHECK(durable_in(system) == Files{{"/file", "new text"}, {"/other", ""}});
  }
}

TEST_CASE("A failed sync: a sync of data fails as any other", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "old");
  const auto handle = opened(system, "/file", OpenMode::write);
  write(system, handle, 0, "new text");
  fail_syncs(system, FailedSync::reverted, ENOSPC);
  CHECK(system.sync_data(handle).value() == ENOSPC);
  CHECK(visible_in(system).at("/file") == "old");
  system.close(handle);
}

TEST_CASE("A failed sync: of a directory it reverts the names whether dropped or reverted", "[testing][faults]") {
  for (const FailedSync model : {FailedSync::dropped, FailedSync::reverted}) {
    SimulatedFileSystem system({{"/a/file", shared("old")}, {"/a/removed", shared("r")}, {"/b/file", shared("b")}}, 1);
    make_file(system, "/a/new", "new");
    iqdb_test::rename_by_path(system, "/a/new", "/a/file");
    iqdb_test::remove_by_path(system, "/a/removed");
    iqdb_test::remove_by_path(system, "/b/file");
    fail_syncs(system, model);
    CHECK(sync_directory(system, "/a").value() == EIO);
    system.plan({});
    CHECK(visible_in(system) == Files{{"/a/file", "old"}, {"/a/removed", "r"}});
    // What was changed in another directory is not touched.
    CHECK(durable_in(system) == Files{{"/a/file", "old"}, {"/a/removed", "r"}, {"/b/file", "b"}});
    CHECK_FALSE(sync_directory(system, "/a"));
    CHECK(durable_in(system) == Files{{"/a/file", "old"}, {"/a/removed", "r"}, {"/b/file", "b"}});
  }
}

TEST_CASE("A failed sync: names that were kept clean are seen and not written by the next sync", "[testing][faults]") {
  SimulatedFileSystem system = with_file("/file", "");
  iqdb_test::link_by_path(system, "/file", "/new");
  fail_syncs(system, FailedSync::kept_clean);
  CHECK(sync_directory(system).value() == EIO);
  system.plan({});
  CHECK(visible_in(system) == Files{{"/file", ""}, {"/new", ""}});
  CHECK_FALSE(sync_directory(system));
  CHECK(durable_in(system) == Files{{"/file", ""}});
  // It may have been written by the sync that failed.
  CHECK(CrashStates(system, 1).count() == 2);
}

TEST_CASE("A failed sync: names that were kept clean are written once their directory changes again",
          "[testing][faults]") {
  SimulatedFileSystem system({{"/a/file", shared("")}, {"/b/file", shared("")}}, 1);
  iqdb_test::link_by_path(system, "/a/file", "/a/new");
  fail_syncs(system, FailedSync::kept_clean);
  CHECK(sync_directory(system, "/a").value() == EIO);
  system.plan({});
  // A change elsewhere does not write them.
  iqdb_test::link_by_path(system, "/b/file", "/b/new");
  CHECK_FALSE(sync_directory(system, "/a"));
  CHECK_FALSE(sync_directory(system, "/b"));
  CHECK(durable_in(system) == Files{{"/a/file", ""}, {"/b/file", ""}, {"/b/new", ""}});
  iqdb_test::link_by_path(system, "/a/file", "/a/newer");
  CHECK_FALSE(sync_directory(system, "/a"));
  CHECK(durable_in(system) ==
        Files{{"/a/file", ""}, {"/a/new", ""}, {"/a/newer", ""}, {"/b/file", ""}, {"/b/new", ""}});
}

TEST_CASE("A failed sync: what of it has reached the disk follows from the seed", "[testing][faults]") {
  const auto disks = [] {
    std::vector<std::string> all;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      all.push_back(durable_in(after_failed_sync(FailedSync::dropped, seed)).at("/file"));
    }
    return all;
  };
  CHECK(disks() == disks());
}

// ---- Other machines -------------------------------------------------------------------------------------------------

TEST_CASE("after_kill: what is visible stays and what is unsynced stays so", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "old");
  overwrite(system, "/file", "new text");
  make_file(system, "/other", "other");
  const SimulatedFileSystem next = system.after_kill();
  CHECK(visible_in(next) == visible_in(system));
  CHECK(durable_in(next) == Files{{"/file", "old"}});
  CHECK(CrashStates(next, 1).count() == CrashStates(system, 1).count());
  CHECK(files_of(CrashStates(next, 1).everything()) == visible_in(system));
}

TEST_CASE("after_kill: files are closed and locks given back", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  const auto handle = opened(system, "/file");
  REQUIRE_FALSE(iqdb_test::lock_by_path(system, "/lock").error);
  SimulatedFileSystem next = system.after_kill();
  CHECK(next.open_files() == 0);
  CHECK_FALSE(iqdb_test::lock_by_path(next, "/lock").error);
  // Here they are still open.
  CHECK(iqdb_test::lock_by_path(system, "/lock").error.value() == EWOULDBLOCK);
  CHECK(read(system, handle) == "text");
}

TEST_CASE("after_kill: neither machine sees what happens on the other", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  overwrite(system, "/file", "TEXT");
  SimulatedFileSystem next = system.after_kill();
  overwrite(next, "/file", "next");
  make_file(next, "/next", "");
  CHECK(visible_in(system) == Files{{"/file", "TEXT"}});
  sync_file(system, "/file");
  iqdb_test::remove_by_path(system, "/file");
  sync_directory(system);
  CHECK(visible_in(next) == Files{{"/file", "next"}, {"/next", ""}});
  CHECK(durable_in(next) == Files{{"/file", "text"}});
}

TEST_CASE("after_kill: no plan is taken over", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  system.plan([](const FileCallRecord&) { return Fault{.error = system_error(EIO)}; });
  SimulatedFileSystem next = system.after_kill();
  CHECK_FALSE(next.status("/file").error);
}

TEST_CASE("after_kill: names of one file stay names of one file", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  iqdb_test::link_by_path(system, "/file", "/linked");
  SimulatedFileSystem next = system.after_kill();
  overwrite(next, "/linked", "TEXT");
  CHECK(visible_in(next) == Files{{"/file", "TEXT"}, {"/linked", "TEXT"}});
  sync_file(next, "/file");
  sync_directory(next);
  CHECK(durable_in(next) == visible_in(next));
}

TEST_CASE("after_kill: a file without a name is gone", "[testing]") {
  SimulatedFileSystem system;
  const auto handle = opened(system, "/file", OpenMode::create_new);
  iqdb_test::remove_by_path(system, "/file");
  write(system, handle, 0, "text");
  CHECK(visible_in(system.after_kill()).empty());
}

TEST_CASE("after_restore: everything is there and nothing is durable", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  overwrite(system, "/file", "TEXT");
  SimulatedFileSystem next = system.after_restore();
  CHECK(visible_in(next) == Files{{"/file", "TEXT"}});
  CHECK(durable_in(next).empty());
  sync_directory(next);
  CHECK(durable_in(next) == Files{{"/file", ""}});
  sync_file(next, "/file");
  CHECK(durable_in(next) == Files{{"/file", "TEXT"}});
}

TEST_CASE("after_restore: neither machine sees what happens on the other", "[testing]") {
  SimulatedFileSystem system = with_file("/file", "text");
  SimulatedFileSystem next = system.after_restore();
  overwrite(next, "/file", "next");
  iqdb_test::remove_by_path(system, "/file");
  CHECK(visible_in(system).empty());
  CHECK(visible_in(next) == Files{{"/file", "next"}});
  CHECK(next.open_files() == 0);
}

TEST_CASE("after_restore: what is restored by copies was never lost by a sync", "[testing][faults]") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SimulatedFileSystem next = after_failed_sync(FailedSync::kept_clean, seed).after_restore();
    sync_file(next, "/file");
    sync_directory(next);
    CHECK(durable_in(next) == Files{{"/file", "new text"}});
  }
}

}  // namespace of_simulated_file_system
