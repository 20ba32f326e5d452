// HOW: the thin layer over system calls. Every function makes one call and reports what the system answered, without a
// loop or a retry. The caller handles interrupted and short calls, so a test can replace this layer and check that it
// does.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a system call answered: a value, or an error.
template <class T>
struct SystemResult {
  T value{};
  std::error_code error{};
};

/// What a file is opened for. A program that this process executes inherits no open file.
enum class OpenMode : std::uint8_t {
  read,        ///< reading
  create_new,  ///< reading and writing a file that must not exist yet
  write,       ///< writing a file that exists
  directory,   ///< syncing a directory
};

/// Which file it is, whatever its name. Meaningful while the file is open or has a name.
struct FileIdentity {
  std::uint64_t device = 0;  ///< the file system
  std::uint64_t inode = 0;   ///< the file in it

  friend constexpr bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// What the system knows about a file.
struct FileStatus {
  bool regular = false;           ///< a file, not a directory, a device or a pipe
  bool directory = false;         ///< a directory
  std::uint64_t size = 0;         ///< bytes
  std::uint32_t permissions = 0;  ///< the mode's twelve bits
  std::uint32_t owner = 0;        ///< user id
  std::uint32_t group = 0;        ///< group id
  FileIdentity identity = {};     ///< which file it is
};

/// The calls that BasicFileStorage makes. A copy refers to the same file system.
///
/// A call that takes an open directory and a name looks for the name in that directory only, wherever the directory lies
/// by then. set_owner, set_group and set_permissions take from a FileStatus what they set.
template <class F>
concept FileSystem = std::copyable<F> &&
    requires(F& fs, typename F::Handle handle, typename F::Handle directory, const std::filesystem::path& path,
             const std::filesystem::path& name, OpenMode mode, std::uint32_t permissions, std::uint64_t offset,
             std::span<std::byte> into, std::span<const std::byte> bytes, const FileStatus& status) {
  { fs.resolve(path) } -> std::same_as<SystemResult<std::filesystem::path>>;
  { fs.open(path, mode, permissions) } -> std::same_as<SystemResult<typename F::Handle>>;
  { fs.open(directory, name, mode, permissions) } -> std::same_as<SystemResult<typename F::Handle>>;
  { fs.close(handle) } -> std::same_as<std::error_code>;
  { fs.status(path) } -> std::same_as<SystemResult<FileStatus>>;
  { fs.status(directory, name) } -> std::same_as<SystemResult<FileStatus>>;
  { fs.status(handle) } -> std::same_as<SystemResult<FileStatus>>;
  { fs.set_owner(handle, status) } -> std::same_as<std::error_code>;
  { fs.set_group(handle, status) } -> std::same_as<std::error_code>;
  { fs.set_permissions(handle, status) } -> std::same_as<std::error_code>;
  // The access control list of a file, as the system stores it; empty if there is none or the system has none.
  { fs.acl(directory, name) } -> std::same_as<SystemResult<std::vector<std::byte>>>;
  // Gives a file this list, or takes its list away if it is empty.
  { fs.set_acl(handle, bytes) } -> std::same_as<std::error_code>;
  { fs.read_at(handle, offset, into) } -> std::same_as<SystemResult<std::size_t>>;
  { fs.write_at(handle, offset, bytes) } -> std::same_as<SystemResult<std::size_t>>;
  { fs.set_direct(handle, true) } -> std::same_as<std::error_code>;
  fs.start_write_back(handle, offset, bytes.size());
  { fs.truncate(handle, offset) } -> std::same_as<std::error_code>;
  { fs.sync(handle) } -> std::same_as<std::error_code>;
  { fs.sync_data(handle) } -> std::same_as<std::error_code>;
  { fs.rename(directory, name, name) } -> std::same_as<std::error_code>;
  { fs.link(directory, name, name) } -> std::same_as<std::error_code>;
  { fs.remove(directory, name) } -> std::same_as<std::error_code>;
  // How many bytes the name of a file in this directory may have.
  { fs.name_limit(directory) } -> std::same_as<SystemResult<std::size_t>>;
  // Whether another file system, or another file, is mounted on this name. Such a name cannot be renamed or removed.
  { fs.is_mount_point(directory, name) } -> std::same_as<SystemResult<bool>>;
  { fs.lock(directory, name) } -> std::same_as<SystemResult<typename F::Handle>>;
  fs.unlock(handle);
  // Forgets a lock that this process inherited by a fork. The lock stays its owner's.
  fs.abandon(handle);
  { fs.process() } -> std::same_as<std::int64_t>;
  { fs.random() } -> std::same_as<SystemResult<std::uint64_t>>;
};

/// A file system that can copy a file to another directory faster than by reading and writing it, with its rights. Without
/// this, a backup is read and written, and gets the rights of a new file.
template <class F>
concept DuplicatesFiles = requires(F& fs, typename F::Handle from, typename F::Handle to, typename F::Handle directory,
                                   const std::filesystem::path& path, std::uint32_t permissions, std::uint64_t offset,
                                   std::size_t count) {
  // Creates a directory.
  { fs.make_directory(path, permissions) } -> std::same_as<std::error_code>;
  // Gives an open file a name in a directory, which must be free there.
  { fs.link_open(from, directory, path) } -> std::same_as<std::error_code>;
  // Copies bytes of one file to the same place in another one. May copy less than requested.
  { fs.copy_range(from, to, offset, count) } -> std::same_as<SystemResult<std::size_t>>;
  // The access control list of an open file, as the system stores it; empty if there is none.
  { fs.acl(from) } -> std::same_as<SystemResult<std::vector<std::byte>>>;
};

/// A file system whose files can be read past the memory that the system keeps of them. Without this, every reading goes through it.
template <class F>
concept ReadsPastCache = requires(F& fs, typename F::Handle handle, std::uint64_t offset, std::size_t count) {
  // Opens an open file once more, for reading blocks past the page cache.
  { fs.open_past_cache(handle) } -> std::same_as<SystemResult<typename F::Handle>>;
  // Whether the page cache holds most of these bytes. True where nobody knows.
  { fs.is_cached(handle, offset, count) } -> std::same_as<bool>;
};

/// A file system that can say which names a directory has. A history needs it.
template <class F>
concept ListsFiles = requires(F& fs, typename F::Handle directory) {
  // The names in an open directory, in no order.
  { fs.names(directory) } -> std::same_as<SystemResult<std::vector<std::filesystem::path>>>;
};

/// `static constexpr bool handles_are_descriptors = true`: a handle is an `int`, and a forked process has the same file
/// open under it.
template <class F>
concept HasDescriptors = requires {
  requires F::handles_are_descriptors;
};

}  // namespace iqdb
