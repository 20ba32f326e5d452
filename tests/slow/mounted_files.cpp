// An index on file systems that refuse something: a mounted file, no chmod, no chown, read only, full, with access control
// lists, a directory that is covered by a mount while the index is open.
//
// Each case mounts in a namespace of its own, and runs in a process of its own. A case that the system does not let be
// made says SKIP and why. Exits with 77 if all were skipped.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/child_process.hpp"
#include "support/files.hpp"
#include "support/outcome.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::FlatIndex;
using iqdb_test::outcome_of;
using Db = iqdb::PersistedIndex<FlatIndex>;

constexpr int skipped = 77;

// Why a case cannot be made here.
class Skip : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void require(bool holds, const std::string& what) {
  if (!holds) {
    throw std::runtime_error(what);
  }
}

void require_same(const std::string& found, const std::string& expected, const std::string& what) {
  require(found == expected, what + ": \"" + found + "\", expected \"" + expected + "\"");
}

void run(const std::string& command) {
  if (std::system((command + " >/dev/null 2>&1").c_str()) != 0) {
    throw Skip("this failed: " + command);
  }
}

void mount(const std::string& source, const fs::path& point, const char* type, unsigned long flags,
           const char* options = nullptr) {
  if (::mount(source.c_str(), point.c_str(), type, flags, options) != 0) {
    throw Skip("cannot mount " + point.string());
  }
}

iqdb::PersistConfig with_log(const fs::path& path) { return {.path = path, .wal_enabled = true}; }
iqdb::PersistConfig without_log(const fs::path& path) { return {.path = path}; }

FlatIndex index_of(std::size_t rows) {
  FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  for (std::size_t id = 0; id < rows; ++id) {
    index.insert(id, {static_cast<float>(id), 1.0F});
  }
  return index;
}

// Everything in a directory, with what it holds.
std::map<std::string, std::vector<std::byte>> files_in(const fs::path& directory) {
  std::map<std::string, std::vector<std::byte>> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    files[entry.path().filename().string()] = iqdb_test::read_bytes(entry.path());
  }
  return files;
}

unsigned mode_of(const fs::path& path) {
  struct ::stat status {};
  require(::stat(path.c_str(), &status) == 0, "no " + path.string());
  return status.st_mode & 07777U;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// What must work on a file system that refuses to change rights: create, load, checkpoint, save, and load again.
void live_at(const fs::path& path) {
  {
    Db db = Db::open_with(index_of(3), with_log(path));
    db.insert(3, {3.0F, 1.0F});
  }
  for (std::uint64_t id = 4; id < 7; ++id) {
    Db db = Db::load(with_log(path));
    require(db.index().size() == id, "a load has " + std::to_string(db.index().size()) + " vectors");
    db.insert(id, {static_cast<float>(id), 1.0F});
    if (id == 5) {
      db.checkpoint();
    } else if (id == 6) {
      db.save();
    }
  }
  Db::load(with_log(path)).close();
  fs::remove(path.string() + ".wal");
  Db::load(without_log(path)).save();
  require(Db::load(without_log(path)).index().size() == 7, "the last load");
}

void a_mounted_file(const fs::path& directory) {
  const fs::path outside = directory / "outside.iqdb";
  const fs::path inside = directory / "inside.iqdb";
  Db::open_with(index_of(3), without_log(outside)).save();
  iqdb_test::write_bytes(inside, {});
  mount(outside.string(), inside, nullptr, MS_BIND);
  const auto before = files_in(directory);
  for (const auto& call : std::array<std::function<void()>, 4>{
           [&] { Db::load(with_log(inside)); }, [&] { Db::open_with(index_of(1), with_log(inside)); },
           [&] { Db::load_or_create(with_log(inside), [] { return index_of(1); }); },
           [&] { Db::load(without_log(inside)).save(); }}) {
    require_same(outcome_of([&] {
                   call();
                   return 0;
                 }),
                 "invalid_config", "a call");
    require(message_of(call).find("is a mount point; mount its directory") != std::string::npos, message_of(call));
  }
  require(Db::load(without_log(inside)).index().size() == 3, "a load with the log off");
  require(files_in(directory) == before, "a file was changed");
  // The directory above a mount is none, and neither is a file in a mounted directory.
  fs::create_directory(directory / "mounted");
  mount("small", directory / "mounted", "tmpfs", 0);
  live_at(directory / "mounted/index.iqdb");
}

void a_mounted_log(const fs::path& directory) {
  const fs::path path = directory / "index.iqdb";
  Db::open_with(index_of(3), with_log(path)).close();
  fs::copy_file(path.string() + ".wal", directory / "outside.wal");
  mount((directory / "outside.wal").string(), path.string() + ".wal", nullptr, MS_BIND);
  const auto before = files_in(directory);
  require(message_of([&] { Db::load(with_log(path)); }).find("mount its directory instead") != std::string::npos,
          "the advice of a load");
  require(files_in(directory) == before, "a file was changed");
}

// Shows `directory`/real as `directory`/seen, with rights that cannot be changed. A process of its own serves it, which
// ends with the mount.
class BindFs {
 public:
  BindFs(const fs::path& directory, const std::string& options) : seen_(directory / "seen") {
    fs::create_directory(directory / "real");
    fs::create_directory(seen_);
    run("bindfs " + options + " '" + (directory / "real").string() + "' '" + seen_.string() + "'");
  }
  BindFs(const BindFs&) = delete;
  BindFs& operator=(const BindFs&) = delete;
  ~BindFs() { ::umount2(seen_.c_str(), MNT_DETACH); }

  [[nodiscard]] fs::path index() const { return seen_ / "index.iqdb"; }

 private:
  fs::path seen_;
};

void no_chmod(const fs::path& directory) {
  ::umask(022);
  const BindFs bound(directory, "--chmod-deny");
  live_at(bound.index());
  require(::chmod(bound.index().c_str(), 0600) != 0, "chmod is not refused");
  require((mode_of(bound.index()) & 022U) == 0, "others may write");
}

void no_chmod_for_a_private_file(const fs::path& directory) {
  ::umask(0);
  const BindFs bound(directory, "--chmod-deny");
  const fs::path real = directory / "real/index.iqdb";
  Db::open_with(index_of(3), with_log(real)).close();
  fs::permissions(real, fs::perms(0640));
  Db::load(with_log(bound.index())).checkpoint();
  require((mode_of(real) & 0177U) == 0, "the snapshot got rights");
  require((mode_of(real.string() + ".wal") & 0177U) == 0, "the log got rights");
}

void no_chown(const fs::path& directory) {
  const BindFs bound(directory, "--chown-deny --chgrp-deny");
  live_at(bound.index());
  require(::chown(bound.index().c_str(), 1, 1) != 0, "chown is not refused");
}

void access_control_lists(const fs::path& directory) {
  mount("small", directory, "tmpfs", 0);
  const fs::path path = directory / "index.iqdb";
  Db::open_with(index_of(3), with_log(path)).close();
  fs::permissions(path, fs::perms(0600));
  run("setfacl -m u:4711:r '" + path.string() + "'");
  const auto list_of = [&](const fs::path& file) {
    const fs::path text = directory / "list";
    if (std::system(
            ("getfacl --omit-header --absolute-names --numeric '" + file.string() + "' > '" + text.string() + "'")
                .c_str()) != 0) {
      throw Skip("getfacl failed");
    }
    const auto bytes = iqdb_test::read_bytes(text);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const std::string before = list_of(path);
  require(before.find("user:4711:r--") != std::string::npos, "the list was not set: " + before);
  require(before.find("group::---") != std::string::npos, "the group had rights: " + before);
  Db::load(with_log(path)).checkpoint();
  require_same(list_of(path), before, "the list of the snapshot");
  require_same(list_of(path.string() + ".wal"), before, "the list of the log");
}

void read_only_medium(const fs::path& directory) {
  mount("small", directory, "tmpfs", 0);
  const fs::path path = directory / "index.iqdb";
  Db::open_with(index_of(3), without_log(path)).save();
  mount("small", directory, "tmpfs", MS_REMOUNT | MS_RDONLY);
  const auto before = files_in(directory);
  require(Db::load(without_log(path)).index().size() == 3, "a load with the log off");
  require(outcome_of([&] { return Db::load(with_log(path)); }).starts_with("io"), "a load with the log on");
  require(outcome_of([&] { return Db::load(without_log(path)).save(); }).starts_with("io"), "a save");
  require(files_in(directory) == before, "a file was changed");
}

// `make` mounts a small file system on the directory.
void full(const fs::path& directory, const std::function<void()>& make) {
  make();
  const fs::path path = directory / "index.iqdb";
  const auto fill = [&] {
    const int handle = ::open((directory / "filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const std::vector<char> block(4096);
    while (::write(handle, block.data(), block.size()) > 0) {
    }
    ::close(handle);
  };
  Db db = Db::open_with(index_of(1000), with_log(path));
  fill();
  const auto before = iqdb_test::read_bytes(path);
  require(outcome_of([&] { return db.checkpoint(); }).starts_with("io"), "a checkpoint on a full disk");
  require(iqdb_test::read_bytes(path) == before, "the snapshot was changed");
  require(!fs::exists(path.string() + ".tmp"), "a temporary file is left");
  require(!db.poisoned(), "the index is poisoned");
  fs::remove(directory / "filler");
  db.insert(5000, {1.0F, 2.0F});
  db.checkpoint();
  db.close();
  require(Db::load(with_log(path)).index().size() == 1001, "the last load");
}

void full_tmpfs(const fs::path& directory) {
  full(directory, [&] { mount("small", directory, "tmpfs", 0, "size=256k"); });
}

void full_ext4(const fs::path& directory) {
  const fs::path image = directory.parent_path() / (directory.filename().string() + ".ext4");
  struct Remove {
    const fs::path& path;
    ~Remove() { fs::remove(path); }
  } const remove{image};
  full(directory, [&] {
    run("truncate -s 4M '" + image.string() + "' && mkfs.ext4 -q '" + image.string() + "' && mount -o loop '" +
        image.string() + "' '" + directory.string() + "'");
  });
  run("umount '" + directory.string() + "'");
}

void a_directory_that_is_covered(const fs::path& directory) {
  const fs::path place = directory / "live";
  fs::create_directory(place);
  Db db = Db::open_with(index_of(3), with_log(place / "x"));
  const auto before = files_in(place);
  mount("small", place, "tmpfs", 0);
  Db::open_with(index_of(9), with_log(place / "x")).close();
  const auto other = files_in(place);
  require(message_of([&] { db.checkpoint(); }).find("was replaced while the index was open") != std::string::npos,
          "a checkpoint");
  require(files_in(place) == other, "the other index was changed");
  ::umount2(place.c_str(), MNT_DETACH);
  require(files_in(place) == before, "the index was changed");
  db.checkpoint();
}

struct Case {
  const char* name;
  void (*check)(const fs::path& directory);
};

constexpr std::array cases = {Case{"a file that is mounted by itself", a_mounted_file},
                              Case{"a log that is mounted by itself", a_mounted_log},
                              Case{"bindfs without chmod", no_chmod},
                              Case{"bindfs without chmod, a private file", no_chmod_for_a_private_file},
                              Case{"bindfs without chown", no_chown},
                              Case{"access control lists", access_control_lists},
                              Case{"a read-only medium", read_only_medium},
                              Case{"a full tmpfs", full_tmpfs},
                              Case{"a full ext4", full_ext4},
                              Case{"a directory that is covered by a mount", a_directory_that_is_covered}};

// In a process of its own, whose mounts go with it.
int outcome(const Case& which) {
  const iqdb_test::TemporaryDirectory directory;
  iqdb_test::ChildProcess child([&] {
    try {
      if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        throw Skip("this process may not mount");
      }
      which.check(directory.path());
      std::printf("ok    %s\n", which.name);
      std::fflush(stdout);
      return 0;
    } catch (const Skip& reason) {
      std::printf("SKIP  %s: %s\n", which.name, reason.what());
      std::fflush(stdout);
      return skipped;
    } catch (const std::exception& error) {
      std::printf("FAILED %s: %s\n", which.name, error.what());
      std::fflush(stdout);
      return 1;
    }
  });
  return child.wait();
}

}  // namespace

int main() {
  int checked = 0;
  int failed = 0;
  for (const Case& each : cases) {
    const int status = outcome(each);
    checked += status == skipped ? 0 : 1;
    failed += status == 0 || status == skipped ? 0 : 1;
  }
  return failed > 0 ? 1 : checked > 0 ? 0 : skipped;
}
