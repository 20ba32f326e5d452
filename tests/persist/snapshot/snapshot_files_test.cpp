// Snapshots among the things that a file system has: links, permissions, owners, directories, pipes, long names.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb_test::in_child;
using iqdb_test::in_child_without_privileges;
using iqdb_test::outcome_of;
using iqdb_test::refused_with;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;
using Db = iqdb::PersistedIndex<FlatIndex>;
using Strings = std::vector<std::string>;

FlatIndex sample(std::size_t rows = 5) { return iqdb_test::make_sample_index(3, iqdb::DistanceMetric::cosine, rows); }

void save(const fs::path& path, std::size_t rows = 5) {
  Db::open_with(sample(rows), {.path = path, .replace_existing = true}).save();
}

std::size_t rows_in(const fs::path& path) { return Db::load({.path = path}).index().size(); }

Strings names_in(const fs::path& directory) {
  Strings names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

struct ::stat status_of(const fs::path& path) {
  struct ::stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status;
}

unsigned mode_of(const fs::path& path) { return status_of(path).st_mode & 07777U; }

// Sets the umask as long as it lives.
class Umask {
 public:
  explicit Umask(mode_t mask) : old_(::umask(mask)) {}
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;
  ~Umask() { ::umask(old_); }

 private:
  mode_t old_;
};

// A directory in which everybody may do everything.
class OpenDirectory : public TemporaryDirectory {
 public:
  OpenDirectory() { fs::permissions(path(), fs::perms(0777)); }
};

std::string message_of_save(const fs::path& path) {
  return iqdb_test::error_of([&] { save(path); }).what();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

// ---- Symbolic links -------------------------------------------------------------------------------------------------

TEST_CASE("A save through a symbolic link replaces what it leads to and keeps the link", "[files][links]") {
  const TemporaryDirectory directory;
  save(directory / "real.iqdb", 3);
  fs::create_symlink("real.iqdb", directory / "link.iqdb");
  save(directory / "link.iqdb", 7);
  CHECK(fs::is_symlink(directory / "link.iqdb"));
  CHECK(fs::is_regular_file(fs::symlink_status(directory / "real.iqdb")));
  CHECK(rows_in(directory / "real.iqdb") == 7);
  CHECK(names_in(directory.path()) == Strings{"link.iqdb", "real.iqdb", "real.iqdb.lock"});
}

TEST_CASE("A save follows a chain of links from directory to directory", "[files][links]") {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "a");
  fs::create_directories(directory / "b/c");
  save(directory / "b/c/real.iqdb", 3);
  fs::create_symlink("../b/second.iqdb", directory / "a/first.iqdb");
  fs::create_symlink(directory / "b/c/real.iqdb", directory / "b/second.iqdb");
  save(directory / "a/first.iqdb", 7);
  CHECK(rows_in(directory / "b/c/real.iqdb") == 7);
  CHECK(names_in(directory / "a") == Strings{"first.iqdb"});
  CHECK(names_in(directory / "b") == Strings{"c", "second.iqdb"});
  CHECK(fs::is_symlink(directory / "a/first.iqdb"));
  CHECK(fs::is_symlink(directory / "b/second.iqdb"));
}

TEST_CASE("A save through a dangling link makes the file that it leads to", "[files][links]") {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "disk");
  fs::create_symlink("disk/index.iqdb", directory / "link.iqdb");
  save(directory / "link.iqdb", 7);
  CHECK(fs::is_symlink(directory / "link.iqdb"));
  CHECK(fs::is_regular_file(fs::symlink_status(directory / "disk/index.iqdb")));
  CHECK(rows_in(directory / "link.iqdb") == 7);
}

TEST_CASE("A load of a dangling link is the error of a missing file", "[files][links]") {
  const TemporaryDirectory directory;
  fs::create_symlink("nothing", directory / "link.iqdb");
  CHECK(outcome_of([&] { return Db::load({.path = directory / "link.iqdb"}); }) == refused_with(ENOENT));
}

TEST_CASE("A circle of links is refused by every call", "[files][links]") {
  const TemporaryDirectory directory;
  fs::create_symlink("b", directory / "a");
  fs::create_symlink("a", directory / "b");
  CHECK(outcome_of([&] { return Db::load({.path = directory / "a"}); }) == refused_with(ELOOP));
  CHECK(outcome_of([&] { return Db::open_with(sample(), {.path = directory / "a"}); }) == refused_with(ELOOP));
  CHECK(names_in(directory.path()) == Strings{"a", "b"});
}

TEST_CASE("Two names of one file share its lock", "[files][links]") {
  const TemporaryDirectory directory;
  save(directory / "real.iqdb");
  fs::create_symlink("real.iqdb", directory / "link.iqdb");
  iqdb::FileStorage storage;
  CHECK(storage.resolve(directory / "link.iqdb") == storage.resolve(directory / "real.iqdb"));
}

TEST_CASE("A link that is changed after open_with does not move the file", "[files][links]") {
  const TemporaryDirectory directory;
  save(directory / "first.iqdb", 1);
  save(directory / "second.iqdb", 2);
  fs::create_symlink("first.iqdb", directory / "link");
  Db db = Db::load({.path = directory / "link"});
  fs::remove(directory / "link");
  fs::create_symlink("second.iqdb", directory / "link");
  db.index_mut() = sample(9);
  db.save();
  CHECK(rows_in(directory / "first.iqdb") == 9);
  CHECK(rows_in(directory / "second.iqdb") == 2);
}

// ---- Permissions and owners -----------------------------------------------------------------------------------------

TEST_CASE("A save keeps the permissions of the file whatever the umask", "[files][permissions]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb");
  for (const unsigned mode : {0600U, 0640U, 0666U, 0400U, 0755U}) {
    for (const mode_t mask : {mode_t{0}, mode_t{0022}, mode_t{0077}, mode_t{0277}}) {
      fs::permissions(directory / "index.iqdb", fs::perms(mode));
      const Umask umask(mask);
      save(directory / "index.iqdb");
      CHECK(mode_of(directory / "index.iqdb") == mode);
    }
  }
}

TEST_CASE("At no moment has the new file more permissions than the old one", "[files][permissions]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb");
  fs::permissions(directory / "index.iqdb", fs::perms(0600));
  const Umask umask(0);
  std::vector<unsigned> modes;
  Db db = Db::open_with(
      sample(), {.path = directory / "index.iqdb", .replace_existing = true, .on_progress = [&](const iqdb::Progress&) {
                   modes.push_back(mode_of(directory / "index.iqdb.tmp"));
                 }});
  db.save();
  CHECK(modes == std::vector<unsigned>{0600U});
}

TEST_CASE("A new file gets the permissions that the umask leaves", "[files][permissions]") {
  for (const mode_t mask : {mode_t{0}, mode_t{0022}, mode_t{0027}, mode_t{0077}}) {
    const TemporaryDirectory directory;
    const Umask umask(mask);
    save(directory / "index.iqdb");
    CHECK(mode_of(directory / "index.iqdb") == (0666U & ~mask));
  }
}

TEST_CASE("The superuser who saves another user's file leaves it to its owner", "[files][permissions]") {
  if (::geteuid() != 0) {
    WARN("only the superuser can try this");
    return;
  }
  const TemporaryDirectory directory;
  save(directory / "index.iqdb", 3);
  REQUIRE(::chown((directory / "index.iqdb").c_str(), 1234, 4321) == 0);
  fs::permissions(directory / "index.iqdb", fs::perms(0640));
  save(directory / "index.iqdb", 7);
  CHECK(status_of(directory / "index.iqdb").st_uid == 1234);
  CHECK(status_of(directory / "index.iqdb").st_gid == 4321);
  CHECK(mode_of(directory / "index.iqdb") == 0640);
  CHECK(rows_in(directory / "index.iqdb") == 7);
}

TEST_CASE("A user who may not give files away can save over another user's file", "[files][permissions]") {
  const OpenDirectory directory;
  save(directory / "index.iqdb", 3);
  fs::permissions(directory / "index.iqdb", fs::perms(0644));
  CHECK(in_child_without_privileges([&] {
          return outcome_of([&] {
            save(directory / "index.iqdb", 7);
            return 0;
          });
        }) == "ok");
  CHECK(rows_in(directory / "index.iqdb") == 7);
  CHECK(mode_of(directory / "index.iqdb") == 0644);
}

TEST_CASE("A group that the new file cannot keep is not replaced by another with its rights", "[files][permissions]") {
  if (::geteuid() != 0) {
    WARN("only the superuser can try this");
    return;
  }
  const unsigned owner = GENERATE(1234U, iqdb_test::nobody);  // the second may see whether there is a list
  const OpenDirectory directory;
  save(directory / "index.iqdb", 3);
  REQUIRE(::chown((directory / "index.iqdb").c_str(), owner, 4321) == 0);
  fs::permissions(directory / "index.iqdb", fs::perms(0660));
  REQUIRE(in_child_without_privileges([&] {
            return outcome_of([&] {
              save(directory / "index.iqdb", 7);
              return 0;
            });
          }) == "ok");
  // Members of the group that the file now has were not allowed to read it before.
  const struct ::stat status = status_of(directory / "index.iqdb");
  CHECK((status.st_gid == 4321 || (status.st_mode & 0070U) == 0));
}

TEST_CASE("The log of a private snapshot is as private whatever the umask and the log before", "[files][permissions]") {
  const TemporaryDirectory directory;
  const Umask nothing_withheld(0);
  const fs::path path = directory / "index.iqdb";
  const fs::path log = path.string() + ".wal";
  const iqdb::PersistConfig config{.path = path, .wal_enabled = true};
  Db::open_with(sample(1), config).close();
  fs::permissions(path, fs::perms(0600));
  fs::permissions(log, fs::perms(0644));
  Db db = Db::load(config);
  CHECK(mode_of(log) == 0600);
  fs::permissions(path, fs::perms(0640));
  db.checkpoint();
  CHECK(mode_of(log) == 0640);
  CHECK(mode_of(path) == 0640);
}

TEST_CASE("A save into a directory that this user may not write is io and names the file", "[files][permissions]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  const bool replaces = GENERATE(false, true);
  if (replaces) {
    save(path, 3);
  }
  fs::permissions(directory.path(), fs::perms(0555));
  const Strings before = names_in(directory.path());
  const std::string message = in_child_without_privileges([&] {
    return outcome_of([&] {
             save(path);
             return 0;
           }) +
           ": " + message_of_save(path);
  });
  fs::permissions(directory.path(), fs::perms(0755));
  CHECK(message.starts_with(refused_with(EACCES) + ": "));
  CHECK(contains(message, path.string()));
  CHECK(contains(message, "check the permissions"));
  CHECK(names_in(directory.path()) == before);
}

TEST_CASE("A load of a file that this user may not read is io and names the file", "[files][permissions]") {
  const OpenDirectory directory;
  save(directory / "index.iqdb");
  fs::permissions(directory / "index.iqdb", fs::perms(0000));
  const std::string message = in_child_without_privileges([&]() -> std::string {
    try {
      std::ignore = Db::load({.path = directory / "index.iqdb"});
      return "loaded";
    } catch (const iqdb::PersistError& error) {
      return std::string(to_string(error.kind())) + " " + std::to_string(error.code().value()) + ": " + error.what();
    }
  });
  CHECK(message.starts_with(refused_with(EACCES) + ": "));
  CHECK(contains(message, (directory / "index.iqdb").string()));
}

TEST_CASE("A load of a file in a directory that this user may not enter is io", "[files][permissions]") {
  const OpenDirectory directory;
  fs::create_directory(directory / "closed");
  save(directory / "closed/index.iqdb");
  fs::permissions(directory / "closed", fs::perms(0700));
  const auto outcome = [&](auto&& call) { return in_child_without_privileges([&] { return outcome_of(call); }); };
  CHECK(outcome([&] { return Db::load({.path = directory / "closed/index.iqdb"}); }) == refused_with(EACCES));
  CHECK(outcome([&] {
          return Db::load_or_create({.path = directory / "closed/index.iqdb"}, [] { return sample(); });
        }) == refused_with(EACCES));
}

// ---- Names and directories ------------------------------------------------------------------------------------------

TEST_CASE("A bare file name is in the working directory and stays there when that changes", "[files]") {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "work");
  fs::create_directory(directory / "elsewhere");
  CHECK(in_child([&]() -> std::string {
          fs::current_path(directory / "work");
          Db db = Db::open_with(sample(7), {.path = "index.iqdb", .replace_existing = true});
          db.save();
          fs::current_path(directory / "elsewhere");
          db.index_mut() = sample(8);
          db.save();
          fs::current_path(directory / "work");
          return std::to_string(rows_in("index.iqdb"));
        }) == "8");
  CHECK(names_in(directory / "work") == Strings{"index.iqdb", "index.iqdb.lock"});
  CHECK(names_in(directory / "elsewhere").empty());
}

TEST_CASE("A save into a directory that does not exist is io and says that it does not", "[files]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "missing/index.iqdb";
  const iqdb::PersistError error = require_kind(PersistErrorKind::io, [&] { save(path); });
  CHECK(error.code().value() == ENOENT);
  CHECK(error.path() == path);
  CHECK(contains(error.what(), "directory does not exist; create it"));
  CHECK(names_in(directory.path()).empty());
}

TEST_CASE("A save below a file is io", "[files]") {
  const TemporaryDirectory directory;
  iqdb_test::write_bytes(directory / "file", {});
  CHECK(outcome_of([&] {
          save(directory / "file/index.iqdb");
          return 0;
        }) == refused_with(ENOTDIR));
  CHECK(contains(message_of_save(directory / "file/index.iqdb"), (directory / "file/index.iqdb").string()));
}

TEST_CASE("A directory in the file's place is io for every call and nothing is made beside it", "[files]") {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "index.iqdb");
  CHECK(outcome_of([&] {
          save(directory / "index.iqdb");
          return 0;
        }) == refused_with(EISDIR));
  CHECK(outcome_of([&] { return Db::load({.path = directory / "index.iqdb"}); }) == refused_with(EISDIR));
  CHECK(outcome_of([&] { return Db::load_or_create({.path = directory / "index.iqdb"}, [] { return sample(); }); }) ==
        refused_with(EISDIR));
  CHECK(contains(message_of_save(directory / "index.iqdb"), "not a regular file"));
  CHECK(names_in(directory.path()) == Strings{"index.iqdb"});
}

TEST_CASE("A pipe in the file's place is io for every call and hangs none", "[files]") {
  const TemporaryDirectory directory;
  REQUIRE(::mkfifo((directory / "pipe").c_str(), 0600) == 0);
  CHECK(outcome_of([&] { return Db::load({.path = directory / "pipe"}); }).starts_with("io"));
  CHECK(outcome_of([&] {
          save(directory / "pipe");
          return 0;
        }).starts_with("io"));
  CHECK(names_in(directory.path()) == Strings{"pipe"});
}

TEST_CASE("A device in the file's place is io for a load", "[files]") {
  // Not saved to: where that went wrong, the superuser would lose the device.
  CHECK(outcome_of([&] { return Db::load({.path = "/dev/null"}); }).starts_with("io"));
}

TEST_CASE("A name that leaves no room for the longest one beside it is refused in words", "[files][names]") {
  const TemporaryDirectory directory;
  const std::size_t length = GENERATE(243U, 247U, 250U, 255U, 256U, 5000U);
  const fs::path path = directory / std::string(length, 'x');
  CHECK(outcome_of([&] {
          save(path);
          return 0;
        }) == "invalid_config");
  CHECK(contains(message_of_save(path), "at most 242"));
  CHECK(outcome_of([&] { return Db::open_with(sample(1), {.path = path, .wal_enabled = true}); }) == "invalid_config");
  CHECK(names_in(directory.path()).empty());
}

TEST_CASE("The longest name that leaves room for those beside it works", "[files][names]") {
  const TemporaryDirectory directory;
  save(directory / std::string(242, 'x'), 7);
  CHECK(rows_in(directory / std::string(242, 'x')) == 7);
}

TEST_CASE("A name that ends like a file beside a snapshot is refused and nothing is touched", "[files][names]") {
  const TemporaryDirectory directory;
  const std::string name =
      GENERATE("a.tmp", "a.wal", "a.wal.tmp", "a.wal.torn", "a.wal.torn.tmp", "a.lock", ".wal", "a.TMP");
  save(directory / "a", 7);
  const fs::path link = directory / "link";
  fs::create_symlink(name, link);
  const auto names = names_in(directory.path());
  const iqdb::PersistConfig on{.path = directory / name, .wal_enabled = true};
  const iqdb::PersistConfig off{.path = directory / name};
  for (const auto& config : {on, off}) {
    CHECK(outcome_of([&] { return Db::open_with(sample(1), config); }) == "invalid_config");
    CHECK(outcome_of([&] { return Db::load(config); }) == "invalid_config");
    CHECK(outcome_of([&] { return Db::load_or_create(config, [] { return sample(1); }); }) == "invalid_config");
  }
  // A link hides the name until it is followed.
  CHECK(outcome_of([&] {
          save(link);
          return 0;
        }) == "invalid_config");
  CHECK(contains(message_of_save(link), "choose another name"));
  CHECK(names_in(directory.path()) == names);
  CHECK(rows_in(directory / "a") == 7);
}

TEST_CASE("A path with a zero byte is refused and the file before it stays", "[files][names]") {
  const TemporaryDirectory directory;
  save(directory / "a", 7);
  const fs::path path = (directory / "a").string() + std::string("\0.wal", 5);
  CHECK(outcome_of([&] { return Db::open_with(sample(1), {.path = path}); }) == "invalid_config");
  CHECK(outcome_of([&] { return Db::load({.path = path}); }) == "invalid_config");
  CHECK(outcome_of([&] { return iqdb::read_header(path); }) == "invalid_config");
  CHECK(contains(iqdb_test::error_of([&] { return Db::load({.path = path}); }).what(), "zero byte"));
  iqdb::FileStorage storage;
  CHECK(outcome_of([&] { return storage.open(path); }) == "invalid_config");
  CHECK(outcome_of([&] { return storage.lock(path, std::chrono::milliseconds::zero()); }) == "invalid_config");
  CHECK(names_in(directory.path()) == Strings{"a", "a.lock"});
  CHECK(rows_in(directory / "a") == 7);
}

TEST_CASE("A snapshot whose name is too long to have a log beside it loads", "[files]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb", 7);
  fs::rename(directory / "index.iqdb", directory / std::string(255, 'x'));
  CHECK(outcome_of([&] { return rows_in(directory / std::string(255, 'x')); }) == "ok");
}

TEST_CASE("Names of unusual characters work", "[files]") {
  const TemporaryDirectory directory;
  for (const std::string name : {" ", "a b\n", "\xFF\xFE", "-rf", "ä", "*", ".hidden", "..."}) {
    save(directory / name, 7);
    CHECK(rows_in(directory / name) == 7);
  }
}

TEST_CASE("A file that a hard link also leads to is replaced for this name only", "[files]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb", 3);
  fs::create_hard_link(directory / "index.iqdb", directory / "backup.iqdb");
  save(directory / "index.iqdb", 7);
  CHECK(rows_in(directory / "backup.iqdb") == 3);
  CHECK(rows_in(directory / "index.iqdb") == 7);
}

TEST_CASE("Too many open files is io and says so", "[files]") {
  const TemporaryDirectory directory;
  save(directory / "index.iqdb", 3);
  const auto without_descriptors = [](auto&& call) {
    return in_child([&] {
      struct ::rlimit limit {};
      ::getrlimit(RLIMIT_NOFILE, &limit);
      limit.rlim_cur = 64;
      ::setrlimit(RLIMIT_NOFILE, &limit);
      while (::dup(STDIN_FILENO) != -1 || ::dup(STDERR_FILENO) != -1) {
      }
      return outcome_of(call);
    });
  };
  CHECK(without_descriptors([&] { return Db::load({.path = directory / "index.iqdb"}); }) == refused_with(EMFILE));
  CHECK(without_descriptors([&] {
          save(directory / "index.iqdb", 7);
          return 0;
        }) == refused_with(EMFILE));
  CHECK(rows_in(directory / "index.iqdb") == 3);
}
