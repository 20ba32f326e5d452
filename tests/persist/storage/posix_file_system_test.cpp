// PosixFileSystem: what its calls promise to whoever builds on them.
#include "iqdb/persist/storage/posix_file_system.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

#ifdef __linux__
#include <sys/syscall.h>
#endif

namespace {

namespace fs = std::filesystem;
using iqdb::FileSystem;
using iqdb::OpenMode;
using iqdb::PosixFileSystem;
using iqdb_test::ChildProcess;
using iqdb_test::in_child;
using iqdb_test::in_child_without_privileges;
using iqdb_test::TemporaryDirectory;

// What is asked of a file system, piece by piece: without any one of them a type is none.
struct NotCopyable : PosixFileSystem {
  NotCopyable() = default;
  NotCopyable(NotCopyable&&) = default;
};
struct WithoutRename : PosixFileSystem {
  void rename(Handle, const fs::path&, const fs::path&) = delete;
};
struct SyncThatSaysNothing : PosixFileSystem {
  void sync(Handle) {}
};
static_assert(FileSystem<PosixFileSystem>);
static_assert(FileSystem<iqdb_test::FaultyFileSystem>);
static_assert(!FileSystem<int>);
static_assert(!FileSystem<NotCopyable>);
static_assert(!FileSystem<WithoutRename>);
static_assert(!FileSystem<SyncThatSaysNothing>);

const std::vector<std::byte> content(100, std::byte{7});

void touch(const fs::path& path) { iqdb_test::write_bytes(path, content); }

bool is_close_on_exec(int handle) { return (::fcntl(handle, F_GETFD) & FD_CLOEXEC) != 0; }

fs::path resolved(const fs::path& path) {
  const auto [name, error] = PosixFileSystem().resolve(path);
  REQUIRE_FALSE(error);
  return name;
}

}  // namespace

TEST_CASE("resolve makes a relative name absolute", "[file_system]") {
  CHECK(resolved("index.iqdb") == fs::canonical(fs::current_path()) / "index.iqdb");
}

TEST_CASE("resolve follows a chain of symbolic links", "[file_system]") {
  const TemporaryDirectory directory;
  touch(directory / "real");
  fs::create_symlink("real", directory / "second");
  fs::create_symlink(directory / "second", directory / "first");
  CHECK(resolved(directory / "first") == fs::canonical(directory / "real"));
}

TEST_CASE("resolve follows a relative link from the directory that the link is in", "[file_system]") {
  const TemporaryDirectory directory;
  fs::create_directories(directory / "here");
  fs::create_directories(directory / "there");
  touch(directory / "there/real");
  fs::create_symlink("../there/real", directory / "here/link");
  CHECK(resolved(directory / "here/link") == fs::canonical(directory / "there/real"));
}

TEST_CASE("resolve follows a link that leads to nothing yet", "[file_system]") {
  const TemporaryDirectory directory;
  fs::create_symlink("not there yet", directory / "link");
  CHECK(resolved(directory / "link") == fs::canonical(directory.path()) / "not there yet");
}

TEST_CASE("resolve gives one name to a file that is reached through a linked directory", "[file_system]") {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "real");
  fs::create_directory_symlink("real", directory / "alias");
  CHECK(resolved(directory / "alias/index") == resolved(directory / "real/index"));
}

TEST_CASE("resolve reports a circle of links", "[file_system]") {
  const TemporaryDirectory directory;
  fs::create_symlink("b", directory / "a");
  fs::create_symlink("a", directory / "b");
  CHECK(PosixFileSystem().resolve(directory / "a").error == std::errc::too_many_symbolic_link_levels);
}

TEST_CASE("resolve leaves a missing directory for the caller to find out", "[file_system]") {
  const TemporaryDirectory directory;
  CHECK(resolved(directory / "missing/index") == fs::canonical(directory.path()) / "missing/index");
}

TEST_CASE("Opening a file that is not there answers ENOENT", "[file_system]") {
  const TemporaryDirectory directory;
  CHECK(PosixFileSystem().open(directory / "none", OpenMode::read, 0).error.value() == ENOENT);
}

TEST_CASE("Creating a file that is there already answers EEXIST and leaves it", "[file_system]") {
  const TemporaryDirectory directory;
  touch(directory / "file");
  CHECK(PosixFileSystem().open(directory / "file", OpenMode::create_new, 0666).error.value() == EEXIST);
  CHECK(iqdb_test::read_bytes(directory / "file") == content);
}

TEST_CASE("Creating a file does not follow a symbolic link", "[file_system]") {
  const TemporaryDirectory directory;
  fs::create_symlink("victim", directory / "link");
  CHECK(PosixFileSystem().open(directory / "link", OpenMode::create_new, 0666).error.value() == EEXIST);
  CHECK_FALSE(fs::exists(directory / "victim"));
}

TEST_CASE("Opening a file as a directory answers ENOTDIR", "[file_system]") {
  const TemporaryDirectory directory;
  touch(directory / "file");
  CHECK(PosixFileSystem().open(directory / "file", OpenMode::directory, 0).error.value() == ENOTDIR);
}

TEST_CASE("Opening a pipe without a writer returns at once", "[file_system]") {
  const TemporaryDirectory directory;
  REQUIRE(::mkfifo((directory / "pipe").c_str(), 0600) == 0);
  PosixFileSystem system;
  const auto [handle, error] = system.open(directory / "pipe", OpenMode::read, 0);
  REQUIRE_FALSE(error);
  CHECK_FALSE(system.status(handle).value.regular);
  system.close(handle);
}

TEST_CASE("No open file or lock is inherited by a program that is started", "[file_system]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  const auto created = system.open(directory / "file", OpenMode::create_new, 0666);
  const auto read = system.open(directory / "file", OpenMode::read, 0);
  const auto opened_directory = system.open(directory.path(), OpenMode::directory, 0);
  const auto lock = system.lock(AT_FDCWD, directory / "lock");
  for (const auto& [handle, error] : {created, read, opened_directory, lock}) {
    REQUIRE_FALSE(error);
    CHECK(is_close_on_exec(handle));
  }
  system.close(created.value);
  system.close(read.value);
  system.close(opened_directory.value);
  system.unlock(lock.value);
}

TEST_CASE("set_permissions gives exactly the permissions asked for whatever the umask", "[file_system]") {
  const TemporaryDirectory directory;
  const mode_t old_umask = ::umask(0077);
  PosixFileSystem system;
  const auto [handle, error] = system.open(directory / "file", OpenMode::create_new, 0666);
  REQUIRE_FALSE(error);
  CHECK(system.status(handle).value.permissions == 0600);
  CHECK_FALSE(system.set_permissions(handle, {.permissions = 0664}));
  ::umask(old_umask);
  CHECK(system.status(directory / "file").value.permissions == 0664);
  system.close(handle);
}

TEST_CASE("status tells files from directories and says their size", "[file_system]") {
  const TemporaryDirectory directory;
  touch(directory / "file");
  const auto file = PosixFileSystem().status(directory / "file");
  CHECK(file.value.regular);
  CHECK_FALSE(file.value.directory);
  CHECK(file.value.size == content.size());
  CHECK(file.value.owner == ::geteuid());
  const auto itself = PosixFileSystem().status(directory.path());
  CHECK(itself.value.directory);
  CHECK_FALSE(itself.value.regular);
}

TEST_CASE("A lock keeps out others in the same process", "[file_system][lock]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  CHECK(system.lock(AT_FDCWD, directory / "lock").error == std::errc::operation_would_block);
  system.unlock(held.value);
  const auto again = system.lock(AT_FDCWD, directory / "lock");
  CHECK_FALSE(again.error);
  system.unlock(again.value);
}

TEST_CASE("A lock keeps out other processes until it is given back", "[file_system][lock]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  // Not forked, which would copy the registry of this process: the lock in the file has to be what keeps others out.
  const auto try_lock = [&] {
    return std::system(("flock --nonblock --exclusive '" + (directory / "lock").string() + "' true").c_str()) == 0;
  };
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  CHECK_FALSE(try_lock());
  system.unlock(held.value);
  CHECK(try_lock());
}

TEST_CASE("A lock that another process holds is refused at once", "[file_system][lock]") {
  const TemporaryDirectory directory;
  iqdb_test::Pipe locked;
  iqdb_test::Pipe release;
  ChildProcess child([&] {
    release.close_writing();
    const auto held = PosixFileSystem().lock(AT_FDCWD, directory / "lock");
    locked.write("x");
    release.wait_for_byte();
    return held.error ? 1 : 0;
  });
  REQUIRE(locked.wait_for_byte());
  CHECK(PosixFileSystem().lock(AT_FDCWD, directory / "lock").error == std::errc::operation_would_block);
  release.close_writing();
  CHECK(child.wait() == 0);
}

TEST_CASE("The lock of a killed process is free", "[file_system][lock]") {
  const TemporaryDirectory directory;
  iqdb_test::Pipe locked;
  ChildProcess child([&] {
    const auto held = PosixFileSystem().lock(AT_FDCWD, directory / "lock");
    locked.write("x");
    ::pause();
    return held.error ? 1 : 0;
  });
  REQUIRE(locked.wait_for_byte());
  child.kill();
  const auto lock = PosixFileSystem().lock(AT_FDCWD, directory / "lock");
  CHECK_FALSE(lock.error);
  PosixFileSystem().unlock(lock.value);
}

TEST_CASE("A lock file stays when the lock is given back", "[file_system][lock]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  system.unlock(held.value);
  CHECK(fs::exists(directory / "lock"));
}

TEST_CASE("A lock file that is a symbolic link is refused", "[file_system][lock]") {
  const TemporaryDirectory directory;
  fs::create_symlink("victim", directory / "lock");
  CHECK(PosixFileSystem().lock(AT_FDCWD, directory / "lock").error.value() == ELOOP);
  CHECK_FALSE(fs::exists(directory / "victim"));
}

TEST_CASE("A lock file that this user may only read can be locked", "[file_system][lock]") {
  const TemporaryDirectory directory;
  fs::permissions(directory.path(), fs::perms(0755));
  touch(directory / "lock");
  fs::permissions(directory / "lock", fs::perms(0444));
  CHECK(in_child_without_privileges([&]() -> std::string {
          const auto lock = PosixFileSystem().lock(AT_FDCWD, directory / "lock");
          return lock.error ? lock.error.message() : "locked";
        }) == "locked");
}

TEST_CASE("A child that was forked while a lock was held does not keep it", "[file_system][lock]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  iqdb_test::Pipe release;
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  ChildProcess child([&] {
    release.close_writing();
    release.wait_for_byte();
    return 0;
  });
  system.unlock(held.value);
  const auto again = system.lock(AT_FDCWD, directory / "lock");
  CHECK_FALSE(again.error);
  system.unlock(again.value);
  release.close_writing();
  CHECK(child.wait() == 0);
}

#ifdef __linux__
TEST_CASE("A child that was made without the handlers of a fork does not keep a lock that is given back",
          "[file_system][lock][fork]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  iqdb_test::Pipe release;
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  // As fork(), but the C library runs no handlers, so that the child has the lock's descriptor until it ends.
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  REQUIRE(child >= 0);
  if (child == 0) {
    release.close_writing();
    release.wait_for_byte();
    ::_exit(0);
  }
  system.unlock(held.value);
  const auto again = system.lock(AT_FDCWD, directory / "lock");
  CHECK_FALSE(again.error);
  system.unlock(again.value);
  release.close_writing();
  CHECK(::waitpid(child, nullptr, 0) == child);
}
#endif

TEST_CASE("A killed process leaves no lock to a child that it had forked", "[file_system][lock][fork]") {
  const TemporaryDirectory directory;
  iqdb_test::Pipe ready;
  iqdb_test::Pipe release;
  ChildProcess parent([&] {
    const auto held = PosixFileSystem().lock(AT_FDCWD, directory / "lock");
    const pid_t worker = ::fork();
    if (worker == 0) {
      // Here it has run: in the instant of the fork itself the lock is still both processes'.
      ready.write(held.error ? "" : "x");
      ready.close_writing();
      release.close_writing();
      release.wait_for_byte();
      ::_exit(0);
    }
    ready.close_writing();
    ::pause();
    return 1;
  });
  ready.close_writing();
  REQUIRE(ready.wait_for_byte());
  parent.kill();
  const auto lock = PosixFileSystem().lock(AT_FDCWD, directory / "lock");
  CHECK_FALSE(lock.error);
  PosixFileSystem().unlock(lock.value);
  release.close_writing();
}

TEST_CASE("A forked child has no descriptor of its parent's locks and closes none that takes the number",
          "[file_system][lock][fork]") {
  const TemporaryDirectory directory;
  touch(directory / "file");
  PosixFileSystem system;
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  CHECK(in_child([&]() -> std::string {
          if (::fcntl(held.value, F_GETFD) != -1) {
            return "inherited";
          }
          const auto file = system.open(directory / "file", OpenMode::read, 0);
          if (file.value != held.value) {
            return "the number was not used again";
          }
          system.abandon(held.value);
          system.unlock(held.value);
          return ::fcntl(file.value, F_GETFD) != -1 ? "open" : "closed";
        }) == "open");
  CHECK(::fcntl(held.value, F_GETFD) != -1);
  system.unlock(held.value);
}

TEST_CASE("A forked child can take a lock that its parent has given back", "[file_system][lock][fork]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  iqdb_test::Pipe asked;
  iqdb_test::Pipe given_back;
  const auto held = system.lock(AT_FDCWD, directory / "lock");
  REQUIRE_FALSE(held.error);
  ChildProcess child([&] {
    given_back.close_writing();
    const bool is_refused = system.lock(AT_FDCWD, directory / "lock").error == std::errc::operation_would_block;
    asked.write("x");
    given_back.wait_for_byte();
    return is_refused && !system.lock(AT_FDCWD, directory / "lock").error ? 0 : 1;
  });
  asked.close_writing();
  REQUIRE(asked.wait_for_byte());
  system.unlock(held.value);
  given_back.close_writing();
  CHECK(child.wait() == 0);
}

TEST_CASE("Names in a directory are looked for in that directory wherever it lies", "[file_system]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  fs::create_directory(directory / "before");
  touch(directory / "before/file");
  const auto [place, error] = system.open(directory / "before", OpenMode::directory, 0);
  REQUIRE_FALSE(error);
  fs::rename(directory / "before", directory / "behind");
  fs::create_directory(directory / "before");
  CHECK(system.status(place, "file").value.identity == system.status(directory / "behind/file").value.identity);
  CHECK_FALSE(system.link(place, "file", "linked"));
  CHECK_FALSE(system.rename(place, "linked", "renamed"));
  const auto created = system.open(place, "new", OpenMode::create_new, 0600);
  CHECK_FALSE(created.error);
  system.close(created.value);
  CHECK(fs::exists(directory / "behind/renamed"));
  CHECK(fs::exists(directory / "behind/new"));
  CHECK_FALSE(system.remove(place, "file"));
  CHECK_FALSE(fs::exists(directory / "behind/file"));
  CHECK(fs::is_empty(directory / "before"));
  system.close(place);
}

TEST_CASE("A name may be as long as the file system says and no longer", "[file_system]") {
  const TemporaryDirectory directory;
  PosixFileSystem system;
  const auto [place, error] = system.open(directory.path(), OpenMode::directory, 0);
  REQUIRE_FALSE(error);
  const auto limit = system.name_limit(place);
  REQUIRE_FALSE(limit.error);
  CHECK(system.status(place, std::string(limit.value, 'x')).error == std::errc::no_such_file_or_directory);
  CHECK(system.status(place, std::string(limit.value + 1, 'x')).error == std::errc::filename_too_long);
  system.close(place);
}

TEST_CASE("An ordinary file is no mount point and a missing one is missing", "[file_system]") {
  const TemporaryDirectory directory;
  touch(directory / "file");
  PosixFileSystem system;
  CHECK_FALSE(system.is_mount_point(AT_FDCWD, directory / "file").value);
  CHECK(system.is_mount_point(AT_FDCWD, directory / "none").error == std::errc::no_such_file_or_directory);
  CHECK(system.is_mount_point(AT_FDCWD, "/proc").value);
}
