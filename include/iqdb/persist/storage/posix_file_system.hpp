// The calls of a POSIX system on files. A function reports what the system answered and retries nothing.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

#if defined(_WIN32)
#error "There is no native file system for Windows yet: only POSIX systems are supported."
#endif

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The file system of a POSIX system.
class PosixFileSystem {
 public:
  /// An open file.
  using Handle = int;

  /// Returns the absolute name of `path` with symbolic links followed, even if the last one leads to a missing file.
  [[nodiscard]] SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) const;

  /// Opens a file. A new file gets `permissions` less the umask.
  [[nodiscard]] SystemResult<Handle> open(const std::filesystem::path& path, OpenMode mode,
                                          std::uint32_t permissions) const noexcept {
    switch (mode) {
      case OpenMode::read:
        // O_NONBLOCK: opening a pipe must not block. The caller then rejects it by its status.
        return opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      case OpenMode::create_new:
        return opened(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode_t{permissions}));
      case OpenMode::write:
        return opened(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
      case OpenMode::directory:
        return opened(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    return {-1, std::make_error_code(std::errc::invalid_argument)};
  }

  /// Closes a file. The handle must not be used again, whatever the answer.
  std::error_code close(Handle handle) const noexcept { return answered(::close(handle)); }

  /// Returns the status of what is at `path`, with symbolic links followed.
  [[nodiscard]] SystemResult<FileStatus> status(const std::filesystem::path& path) const noexcept {
    struct ::stat found {};
    const std::error_code error = answered(::stat(path.c_str(), &found));
    return {status_of(found), error};
  }

  /// Returns the status of an open file.
  [[nodiscard]] SystemResult<FileStatus> status(Handle handle) const noexcept {
    struct ::stat found {};
    const std::error_code error = answered(::fstat(handle, &found));
    return {status_of(found), error};
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
    return answered(::fchmod(handle, mode_t{status.permissions}));
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
  std::error_code set_direct([[maybe_unused]] Handle handle, [[maybe_unused]] bool direct) const noexcept {
#ifdef O_DIRECT
    const int flags = ::fcntl(handle, F_GETFL);
    if (flags == -1) {
      return answered(-1);
    }
    return answered(::fcntl(handle, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT));
#else
    return direct ? std::make_error_code(std::errc::invalid_argument) : std::error_code();
#endif
  }

  /// Asks the system to start writing these bytes to the disk, so that a later sync waits less. Makes nothing durable.
  /// Ignores errors, and does nothing on a system without this call.
  void start_write_back([[maybe_unused]] Handle handle, [[maybe_unused]] std::uint64_t offset,
                        [[maybe_unused]] std::size_t bytes) const noexcept {
#ifdef SYNC_FILE_RANGE_WRITE
    std::ignore =
        ::sync_file_range(handle, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
#endif
  }

  /// Cuts a file off at `size`.
  std::error_code truncate(Handle handle, std::uint64_t size) const noexcept {
    return answered(::ftruncate(handle, static_cast<off_t>(size)));
  }

  /// Makes a file's bytes durable, and only the metadata that reading them needs, such as the file's size.
  std::error_code sync_data(Handle handle) const noexcept { return answered(::fdatasync(handle)); }

  /// Makes a file's bytes, or a directory's entries, durable.
  std::error_code sync(Handle handle) const noexcept { return answered(::fsync(handle)); }

  /// Renames a file. Replaces a file that has the new name.
  std::error_code rename(const std::filesystem::path& from, const std::filesystem::path& to) const noexcept {
    return answered(::rename(from.c_str(), to.c_str()));
  }

  /// Gives a file a second name, which must be free.
  std::error_code link(const std::filesystem::path& from, const std::filesystem::path& to) const noexcept {
    return answered(::link(from.c_str(), to.c_str()));
  }

  /// Removes a file's name.
  std::error_code remove(const std::filesystem::path& path) const noexcept { return answered(::unlink(path.c_str())); }

  /// Takes an exclusive lock on the file at `path`, and creates the file if needed. Answers EWOULDBLOCK at once if
  /// another thread or process holds the lock. May be called from several threads. Throws std::bad_alloc.
  ///
  /// Uses flock(2), whose locks belong to the open file and not to the process. Some network file systems turn them
  /// into locks of the process: a second lock in the same process would succeed, and closing it would drop the first.
  /// So a registry of this process's locks is asked before the file is opened.
  [[nodiscard]] SystemResult<Handle> lock(const std::filesystem::path& path) const;

  /// Releases a lock. The file stays: if it were removed, two processes could hold locks on two files of the same name.
  /// May be called from several threads.
  void unlock(Handle handle) const noexcept;

  /// Returns the id of this process, also after a fork. May be called from several threads.
  [[nodiscard]] std::int64_t process() const noexcept;

  /// Returns an unpredictable number. Throws std::system_error if the system cannot supply one.
  [[nodiscard]] std::uint64_t random() const;

 private:
  struct Registry {
    std::mutex mutex;
    std::int64_t process = 0;                   // the process that holds these locks
    std::vector<std::pair<dev_t, ino_t>> held;  // without duplicates

    [[nodiscard]] bool holds(const struct ::stat& file) const {
      return std::find(held.begin(), held.end(), std::pair(file.st_dev, file.st_ino)) != held.end();
    }
  };

  static Registry& registry() {
    // Never destroyed: an index with static lifetime may release its lock after other statics are destroyed.
    static auto* const instance = new Registry;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
    return *instance;
  }

  // Returns memory that holds 0 at first and again in every forked child, or null if the system has no such memory.
  static std::atomic<std::int64_t>* memory_that_a_fork_wipes() noexcept;

  static std::error_code answered(int answer) noexcept {
    return answer == -1 ? std::error_code(errno, std::system_category()) : std::error_code();
  }

  static SystemResult<Handle> opened(int answer) noexcept { return {answer, answered(answer)}; }

  static SystemResult<std::size_t> counted(ssize_t answer) noexcept {
    return answer < 0 ? SystemResult<std::size_t>{0, answered(-1)}
                      : SystemResult<std::size_t>{static_cast<std::size_t>(answer), {}};
  }

  static FileStatus status_of(const struct ::stat& found) noexcept {
    constexpr mode_t permission_bits = 07777;
    return {.regular = S_ISREG(found.st_mode),
            .directory = S_ISDIR(found.st_mode),
            .size = static_cast<std::uint64_t>(found.st_size),
            .permissions = found.st_mode & permission_bits,
            .owner = found.st_uid,
            .group = found.st_gid};
  }
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

IQDB_PERSIST_INLINE SystemResult<PosixFileSystem::Handle> PosixFileSystem::lock(
    const std::filesystem::path& path) const {
  const std::lock_guard guard(registry().mutex);
  if (std::exchange(registry().process, process()) != process()) {
    registry().held.clear();  // after a fork: these locks are the parent's
  }
  struct ::stat found {};
  if (::stat(path.c_str(), &found) == 0 && registry().holds(found)) {
    return {-1, std::make_error_code(std::errc::operation_would_block)};
  }
  constexpr mode_t everyone = 0666;
  SystemResult<Handle> file = opened(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, everyone));
  if (file.error == std::errc::permission_denied) {
    // A lock file of another user can be locked without write permission.
    const SystemResult<Handle> existing = opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (existing.error != std::errc::no_such_file_or_directory) {
      file = existing;
    }
  }
  if (file.error) {
    return file;
  }
  std::error_code error = answered(::fstat(file.value, &found));
  if (!error) {
    error = answered(::flock(file.value, LOCK_EX | LOCK_NB));
  }
  if (error) {
    close(file.value);
    return {-1, error};
  }
  try {
    registry().held.emplace_back(found.st_dev, found.st_ino);
  } catch (...) {
    close(file.value);
    throw;
  }
  return file;
}

IQDB_PERSIST_INLINE void PosixFileSystem::unlock(Handle handle) const noexcept {
  struct ::stat found {};
  const std::lock_guard guard(registry().mutex);
  if (::fstat(handle, &found) == 0) {
    std::erase(registry().held, std::pair(found.st_dev, found.st_ino));
  }
  // close() alone would leave the lock with a child that was forked meanwhile.
  ::flock(handle, LOCK_UN);
  close(handle);
}

IQDB_PERSIST_INLINE std::int64_t PosixFileSystem::process() const noexcept {
  // Called with every mutation. A system call would take a tenth of the time of a mutation that is not synced, so the
  // answer is cached in memory that a fork clears.
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
  static std::atomic<std::int64_t>* const kept = memory_that_a_fork_wipes();
  if (kept == nullptr) {
    return ::getpid();
  }
  std::int64_t number = kept->load(std::memory_order_relaxed);
  if (number == 0) {
    number = ::getpid();
    kept->store(number, std::memory_order_relaxed);
  }
  return number;
}

IQDB_PERSIST_INLINE std::uint64_t PosixFileSystem::random() const {
  // Not std::random_device: its header has every distribution, an eighth of all the lines that a program compiles.
  std::uint64_t number = 0;
  if (::getentropy(&number, sizeof number) != 0) {
    throw std::system_error(errno, std::system_category(), "getentropy");
  }
  return number;
}

IQDB_PERSIST_INLINE std::atomic<std::int64_t>* PosixFileSystem::memory_that_a_fork_wipes() noexcept {
#ifdef MADV_WIPEONFORK
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {  // NOLINT(*-no-int-to-ptr,*-cstyle-cast): the macro of the system
    return nullptr;
  }
  if (::madvise(page, page_bytes, MADV_WIPEONFORK) == 0) {
    return ::new (page) std::atomic<std::int64_t>(0);
  }
  ::munmap(page, page_bytes);
#endif
  return nullptr;
}

#endif  // IQDB_PERSIST_DEFINITIONS

static_assert(FileSystem<PosixFileSystem>);

/// The file system of the platform that the program is built for.
using NativeFileSystem = PosixFileSystem;

}  // namespace iqdb
