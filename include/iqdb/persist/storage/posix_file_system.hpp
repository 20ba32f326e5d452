// The calls of a POSIX system on files. A function reports what the system answered and retries nothing.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/posix_process.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_attributes.hpp"
#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/storage/posix_duplicates.hpp"
#include "iqdb/persist/storage/posix_locks.hpp"
#include "iqdb/persist/storage/posix_names.hpp"
#include "iqdb/persist/storage/posix_past_cache.hpp"
#include "iqdb/persist/storage/posix_sync.hpp"
#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The file system of a POSIX system.
class PosixFileSystem {
 public:
  /// An open file.
  using Handle = int;

  /// A forked process has the same open files under the same handles.
  static constexpr bool handles_are_descriptors = true;

  /// Returns the absolute name of `path` with symbolic links followed, even if the last one leads to a missing file.
  [[nodiscard]] SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) const;

  /// Opens a file. A new file gets `permissions` less the umask.
  [[nodiscard]] SystemResult<Handle> open(const std::filesystem::path& path, OpenMode mode,
                                          std::uint32_t permissions) const noexcept {
    return open(AT_FDCWD, path, mode, permissions);
  }

  /// Opens the file `name` in `directory`. A new file gets `permissions` less the umask.
  [[nodiscard]] SystemResult<Handle> open(Handle directory, const std::filesystem::path& name, OpenMode mode,
                                          std::uint32_t permissions) const noexcept {
    const auto opened = [&](int flags) {
      return posix_calls::opened(::openat(directory, name.c_str(), flags, static_cast<mode_t>(permissions)));
    };
    switch (mode) {
      case OpenMode::read:
        // O_NONBLOCK: opening a pipe must not block. The caller then rejects it by its status.
        return opened(O_RDONLY | O_CLOEXEC | O_NONBLOCK);
      case OpenMode::create_new:
        return opened(O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC);
      case OpenMode::write:
        return opened(O_WRONLY | O_CLOEXEC);
      case OpenMode::directory:
        return opened(O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return {-1, std::make_error_code(std::errc::invalid_argument)};
  }

  /// Closes a file. The handle must not be used again, whatever the answer.
  std::error_code close(Handle handle) const noexcept { return answered(::close(handle)); }

  /// Returns the status of what is at `path`, with symbolic links followed.
  [[nodiscard]] SystemResult<FileStatus> status(const std::filesystem::path& path) const noexcept {
    return status(AT_FDCWD, path);
  }

  /// Returns the status of what is at `name` in `directory`, with symbolic links followed.
  [[nodiscard]] SystemResult<FileStatus> status(Handle directory, const std::filesystem::path& name) const noexcept {
    struct ::stat found {};
    const std::error_code error = posix_calls::answered(::fstatat(directory, name.c_str(), &found, 0));
    return {posix_calls::status_of(found), error};
  }

  /// Returns the status of an open file.
  [[nodiscard]] SystemResult<FileStatus> status(Handle handle) const noexcept {
    struct ::stat found {};
    const std::error_code error = answered(::fstat(handle, &found));
    return {posix_calls::status_of(found), error};
  }

  /// Gives a file the owner and group in `status`.
  std::error_code set_owner(Handle handle, const FileStatus& status) const noexcept {
    return answered(::fchown(handle, uid_t{status.owner}, gid_t{status.group}));
  }

  /// Gives a file the group in `status`.
  std::error_code set_group(Handle handle, const FileStatus& status) const noexcept {
    constexpr auto unchanged = static_cast<uid_t>(-1);
    return answered(::fchown(handle, unchanged, gid_t{status.group}));
  }

  /// Gives a file the permissions in `status`, whatever the umask.
  std::error_code set_permissions(Handle handle, const FileStatus& status) const noexcept {
    return answered(::fchmod(handle, static_cast<mode_t>(status.permissions)));
  }

  /// Returns the access control list of the file `name` in `directory`, as the system stores it. It is empty if the
  /// file has none or the system has none. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<std::vector<std::byte>> acl(Handle directory, const std::filesystem::path& name) const {
    return posix_attributes::acl(directory, name);
  }

  /// Gives a file this access control list, or takes its list away if `list` is empty.
  std::error_code set_acl(Handle handle, std::span<const std::byte> list) const noexcept {
    return posix_attributes::set_acl(handle, list);
  }

  /// Reads at `offset`. May read less than requested; reads nothing only at the end of the file.
  [[nodiscard]] SystemResult<std::size_t> read_at(Handle handle, std::uint64_t offset,
                                                  std::span<std::byte> into) const noexcept {
    return counted(::pread(handle, into.data(), into.size(), static_cast<off_t>(offset)));
  }

  /// Writes at `offset`. May write less than requested.
  [[nodiscard]] SystemResult<std::size_t> write_at(Handle handle, std::uint64_t offset,
                                                   std::span<const std::byte> bytes) const noexcept {
    return counted(::pwrite(handle, bytes.data(), bytes.size(), static_cast<off_t>(offset)));
  }

  /// Makes later reads and writes bypass the system's page cache, or use it again. Direct I/O answers EINVAL unless
  /// offsets, sizes and addresses are multiples of the device's block size. This call answers EINVAL if the file system
  /// has no direct I/O.
  std::error_code set_direct(Handle handle, bool direct) const noexcept {
    return posix_sync::set_direct(handle, direct);
  }

  /// Asks the system to start writing these bytes to the disk, so that a later sync waits less. Makes nothing durable.
  /// Ignores errors, and does nothing on a system without this call.
  void start_write_back(Handle handle, std::uint64_t offset, std::size_t bytes) const noexcept {
    posix_sync::start(handle, offset, bytes);
  }

  /// Cuts a file off at `size`.
  std::error_code truncate(Handle handle, std::uint64_t size) const noexcept {
    return answered(::ftruncate(handle, static_cast<off_t>(size)));
  }

  /// Makes a file's bytes durable, and only the metadata that reading them needs, such as the file's size.
  std::error_code sync_data(Handle handle) const noexcept { return posix_sync::data(handle); }

  /// Makes a file's bytes, or a directory's entries, durable.
  std::error_code sync(Handle handle) const noexcept { return posix_sync::all(handle); }

  /// Renames a file in `directory`. Replaces a file that has the new name.
  std::error_code rename(Handle directory, const std::filesystem::path& from,
                         const std::filesystem::path& to) const noexcept {
    return answered(::renameat(directory, from.c_str(), directory, to.c_str()));
  }

  /// Gives a file in `directory` a second name there, which must be free.
  std::error_code link(Handle directory, const std::filesystem::path& from,
                       const std::filesystem::path& to) const noexcept {
    return answered(::linkat(directory, from.c_str(), directory, to.c_str(), 0));
  }

  /// Creates a directory. Answers EEXIST if there is something of that name.
  std::error_code make_directory(const std::filesystem::path& path, std::uint32_t permissions) const noexcept {
    return answered(::mkdir(path.c_str(), static_cast<mode_t>(permissions)));
  }

  /// Gives an open file a name in `directory`, which must be free there. Throws std::bad_alloc.
  std::error_code link_open(Handle file, Handle directory, const std::filesystem::path& name) const {
    return posix_duplicates::link_open(file, directory, name);
  }

  /// Copies bytes of one file to the same place in another one, or has the two files share them. May copy less than
  /// requested; copies nothing only at the end of `from`.
  [[nodiscard]] SystemResult<std::size_t> copy_range(Handle from, Handle to, std::uint64_t offset,
                                                     std::size_t count) const noexcept {
    return posix_duplicates::copy_range(from, to, offset, count);
  }

  /// Returns the access control list of an open file. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<std::vector<std::byte>> acl(Handle file) const { return posix_attributes::acl(file); }

  /// Opens an open file once more, to read whole blocks of it past the page cache. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<Handle> open_past_cache(Handle file) const { return posix_past_cache::open(file); }

  /// Whether the page cache holds most of these bytes of a file. Throws std::bad_alloc.
  [[nodiscard]] bool is_cached(Handle file, std::uint64_t offset, std::size_t count) const {
    return posix_past_cache::holds(file, offset, count);
  }

  /// Removes the name of a file in `directory`; or of an empty directory.
  std::error_code remove(Handle directory, const std::filesystem::path& name) const noexcept {
    return answered(::unlinkat(directory, name.c_str(), 0));
  }
  std::error_code remove_directory(Handle directory, const std::filesystem::path& name) const noexcept {
    return answered(::unlinkat(directory, name.c_str(), AT_REMOVEDIR));
  }

  /// Returns the names in `directory`, in no order. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<std::vector<std::filesystem::path>> names(Handle directory) const {
    return posix_names::in_directory(directory);
  }

  /// Returns how many bytes the name of a file in `directory` may have.
  [[nodiscard]] SystemResult<std::size_t> name_limit(Handle directory) const noexcept {
    return posix_attributes::name_limit(directory);
  }

  /// Returns whether something is mounted on `name` in `directory`.
  [[nodiscard]] SystemResult<bool> is_mount_point(Handle directory, const std::filesystem::path& name) const noexcept {
    return posix_attributes::is_mount_point(directory, name);
  }

  /// Takes an exclusive lock on the file `name` in `directory`, and creates the file if needed. Answers EWOULDBLOCK at
  /// once if another thread or process holds the lock. May be called from several threads. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<Handle> lock(Handle directory, const std::filesystem::path& name) const {
    return PosixLocks::take(directory, name);
  }

  /// Releases a lock. The file stays: if it were removed, two processes could hold locks on two files of the same name.
  /// May be called from several threads.
  void unlock(Handle handle) const noexcept { PosixLocks::release(handle); }

  /// Forgets a lock that this process inherited by a fork: its descriptor is closed already. The lock stays its owner's.
  void abandon(Handle /*handle*/) const noexcept { PosixLocks::abandon(); }

  /// Returns the id of this process, also after a fork. May be called from several threads.
  [[nodiscard]] std::int64_t process() const noexcept { return posix_process::number(); }

  /// Returns an unpredictable number.
  [[nodiscard]] SystemResult<std::uint64_t> random() const noexcept {
    // Not std::random_device: its header has every distribution, an eighth of all the lines that a program compiles.
    std::uint64_t number = 0;
    const std::error_code error = answered(::getentropy(&number, sizeof number));
    return {number, error};
  }

 private:
  static std::error_code answered(int answer) noexcept { return posix_calls::answered(answer); }
  static SystemResult<std::size_t> counted(ssize_t answer) noexcept { return posix_calls::counted(answer); }
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE SystemResult<std::filesystem::path> PosixFileSystem::resolve(
    const std::filesystem::path& path) const {
  namespace fs = std::filesystem;
  constexpr int most_links = 40;  // the limit of Linux (path_resolution(7))
  std::error_code error;
  fs::path name = fs::absolute(path, error);
  for (int links = 0; !error; ++links) {
    const fs::file_status status = fs::symlink_status(name, error);
    if (status.type() != fs::file_type::symlink) {
      break;
    }
    if (links == most_links) {
      return {{}, std::make_error_code(std::errc::too_many_symbolic_link_levels)};
    }
    name = name.parent_path() / fs::read_symlink(name, error);
  }
  // A missing file or directory is not an error here: the caller finds it out and reports it under the name it knows.
  const fs::path directory = fs::weakly_canonical(name.parent_path(), error);
  return {error ? name : directory / name.filename(), {}};
}

#endif  // IQDB_PERSIST_DEFINITIONS

static_assert(FileSystem<PosixFileSystem> && DuplicatesFiles<PosixFileSystem>);

}  // namespace iqdb
