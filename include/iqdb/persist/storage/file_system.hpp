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

/// What the system knows about a file.
struct FileStatus {
  bool regular = false;           ///< a file, not a directory, a device or a pipe
  bool directory = false;         ///< a directory
  std::uint64_t size = 0;         ///< bytes
  std::uint32_t permissions = 0;  ///< the mode's twelve bits
  std::uint32_t owner = 0;        ///< user id
  std::uint32_t group = 0;        ///< group id
};

/// The calls that BasicFileStorage makes. A copy refers to the same file system.
template <class F>
concept FileSystem = std::copyable<F> &&
    requires(F& fs, typename F::Handle handle, const std::filesystem::path& path, OpenMode mode,
             std::uint32_t permissions, std::uint64_t offset, std::span<std::byte> into,
             std::span<const std::byte> bytes, const FileStatus& status) {
  { fs.resolve(path) } -> std::same_as<SystemResult<std::filesystem::path>>;
  { fs.open(path, mode, permissions) } -> std::same_as<SystemResult<typename F::Handle>>;
  { fs.close(handle) } -> std::same_as<std::error_code>;
  { fs.status(path) } -> std::same_as<SystemResult<FileStatus>>;
  { fs.status(handle) } -> std::same_as<SystemResult<FileStatus>>;
  { fs.set_owner(handle, status) } -> std::same_as<std::error_code>;
  { fs.set_group(handle, status) } -> std::same_as<std::error_code>;
  { fs.set_permissions(handle, status) } -> std::same_as<std::error_code>;
  { fs.read_at(handle, offset, into) } -> std::same_as<SystemResult<std::size_t>>;
  { fs.write_at(handle, offset, bytes) } -> std::same_as<SystemResult<std::size_t>>;
  { fs.set_direct(handle, true) } -> std::same_as<std::error_code>;
  fs.start_write_back(handle, offset, bytes.size());
  { fs.truncate(handle, offset) } -> std::same_as<std::error_code>;
  { fs.sync(handle) } -> std::same_as<std::error_code>;
  { fs.sync_data(handle) } -> std::same_as<std::error_code>;
  { fs.rename(path, path) } -> std::same_as<std::error_code>;
  { fs.link(path, path) } -> std::same_as<std::error_code>;
  { fs.remove(path) } -> std::same_as<std::error_code>;
  { fs.lock(path) } -> std::same_as<SystemResult<typename F::Handle>>;
  fs.unlock(handle);
  { fs.process() } -> std::same_as<std::int64_t>;
  { fs.random() } -> std::same_as<std::uint64_t>;
};

}  // namespace iqdb
