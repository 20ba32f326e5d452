// The file system of a POSIX system, as it answers: each function makes one call.
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

  /// The absolute name of `path` with symbolic links followed, also a last one that leads to nothing yet.
  [[nodiscard]] SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) const;

  /// Opens a file; `permissions` are for one that is created, less the umask.
  [[nodiscard]] SystemResult<Handle> open(const std::filesystem::path& path, OpenMode mode,
                                          std::uint32_t permissions) const noexcept {
    switch (mode) {
      case OpenMode::read:
        // O_NONBLOCK: a pipe must not hang the program before it was seen to be none of ours.
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

  /// Closes a file, whatever is answered.
  std::error_code close(Handle handle) const noexcept { return answered(::close(handle)); }

  /// What is at `path`, behind symbolic links.
  [[nodiscard]] SystemResult<FileStatus> status(const std::filesystem::path& path) const noexcept {
    struct ::stat found {};
    const std::error_code error = answered(::stat(path.c_str(), &found));
    return {status_of(found), error};
  }

  /// What an open file is.
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

  /// Reads at `offset`; may read less than was asked for, and nothing only at the end.
  [[nodiscard]] SystemResult<std::size_t> read_at(Handle handle, std::uint64_t offset,
                                                  std::span<std::byte> into) const noexcept {
    return counted(::pread(handle, into.data(), into.size(), static_cast<off_t>(offset)));
  }

  /// Writes at `offset`; may write less than was asked for.
  [[nodiscard]] SystemResult<std::size_t> write_at(Handle handle, std::uint64_t offset,
                                                   std::span<const std::byte> bytes) const noexcept {
    return counted(::pwrite(handle, bytes.data(), bytes.size(), static_cast<off_t>(offset)));
  }

  /// From now on reads and writes go past the system's page cache, or through it again. Past it, offsets, sizes and
  /// addresses must be multiples of the device's blocks: anything else is answered with EINVAL, and so is this call by
  /// a file system that knows no such thing.
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

  /// Lets the system begin to write what stands there to the disk, so that a later sync has less to wait for. Makes
  /// nothing durable; a system that cannot do it does not.
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

  /// Makes a file's bytes durable, and of what is known of it only what is needed to read them, such as its size.
  std::error_code sync_data(Handle handle) const noexcept { return answered(::fdatasync(handle)); }

  /// Makes a file's bytes, or a directory's entries, durable.
  std::error_code sync(Handle handle) const noexcept { return answered(::fsync(handle)); }

  /// Gives a file another name, in place of whatever file has it.
  std::error_code rename(const std::filesystem::path& from, const std::filesystem::path& to) const noexcept {
    return answered(::rename(from.c_str(), to.c_str()));
  }

  /// Gives a file a second name, which nothing may have.
  std::error_code link(const std::filesystem::path& from, const std::filesystem::path& to) const noexcept {
    return answered(::link(from.c_str(), to.c_str()));
  }

  /// Removes a file's name.
  std::error_code remove(const std::filesystem::path& path) const noexcept { return answered(::unlink(path.c_str())); }

  /// Takes an exclusive lock on the file at `path`, which is created if need be, or answers EWOULDBLOCK at once.
  ///
  /// flock(2), since its locks belong to the open file and not to the process. Where a network file system turns them
  /// into locks of the process, a second one in the same process would succeed, and closing it would drop the first:
  /// therefore a registry of this process's own is asked before anything is opened.
  [[nodiscard]] SystemResult<Handle> lock(const std::filesystem::path& path) const;

  /// Gives a lock back. The file stays: if it were removed, two processes could hold locks on two files of one name.
  void unlock(Handle handle) const noexcept;

  /// Which process this is.
  [[nodiscard]] std::int64_t process() const noexcept;

  /// A number that nobody can foretell. Throws std::system_error where the system has none.
  [[nodiscard]] std::uint64_t random() const;

 private:
  struct Registry {
    std::mutex mutex;
    std::int64_t process = 0;                   // whose locks these are
    std::vector<std::pair<dev_t, ino_t>> held;  // each once

    [[nodiscard]] bool holds(const struct ::stat& file) const {
      return std::find(held.begin(), held.end(), std::pair(file.st_dev, file.st_ino)) != held.end();
    }
  };

  static Registry& registry() {
    // Never destroyed: an index with static lifetime may give its lock back after everything else has gone.
    static auto* const instance = new Registry;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
    return *instance;
  }

  // Holds 0 at first, and in each child of a fork again; null where the system has no such memory.
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
  constexpr int most_links = 40;  // as Linux has it (path_resolution(7))
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
  // A file or a directory that is missing is for the caller to find out, with the name that it knows.
  const fs::path directory = fs::weakly_canonical(name.parent_path(), error);
  return {error ? name : directory / name.filename(), {}};
}

IQDB_PERSIST_INLINE SystemResult<PosixFileSystem::Handle> PosixFileSystem::lock(
    const std::filesystem::path& path) const {
  const std::lock_guard guard(registry().mutex);
  if (std::exchange(registry().process, process()) != process()) {
    registry().held.clear();  // a fork: what is held is the parent's
  }
  struct ::stat found {};
  if (::stat(path.c_str(), &found) == 0 && registry().holds(found)) {
    return {-1, std::make_error_code(std::errc::operation_would_block)};
  }
  constexpr mode_t everyone = 0666;
  SystemResult<Handle> file = opened(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, everyone));
  if (file.error == std::errc::permission_denied) {
    // Another user's lock file can be locked all the same.
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
  // Closing alone would leave the lock with a child that was forked meanwhile.
  ::flock(handle, LOCK_UN);
  close(handle);
}

IQDB_PERSIST_INLINE std::int64_t PosixFileSystem::process() const noexcept {
  // Asked with every mutation. A call of the system would be a tenth of one that is not synced, so the answer is kept
  // where a fork forgets it.
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
  // Not std::random_device: its header holds every distribution, an eighth of all the lines that a program compiles.
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

/// The file system of the system that the program is built for.
using NativeFileSystem = PosixFileSystem;

}  // namespace iqdb
