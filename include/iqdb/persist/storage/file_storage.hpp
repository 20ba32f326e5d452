// BasicFileStorage: Storage on files, over any FileSystem.
//
// Beside a snapshot `name` lie `name.lock`, held by whoever writes and never removed, and for the time of a save
// `name.tmp`. Invariants: `name` is at every moment a whole file or absent; `name.tmp` is created and removed only
// under the lock, so a stale one is of a process that is gone.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_lock.hpp"
#include "iqdb/persist/storage/file_log.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_file_system.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/storage/stored_file.hpp"
#include "iqdb/persist/storage/temporary_file.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How files are written.
struct FileStorageOptions {
  /// Whether large pieces of a snapshot, and a log that is synced with every write, go past the system's page cache
  /// where the file system can do that. This saves a copy, and a sync has only to flush the disk. Elsewhere they go
  /// through it.
  bool direct_io = true;
};

/// Storage on the files of a FileSystem. One thread uses it at a time.
template <FileSystem F = NativeFileSystem>
class BasicFileStorage {
 public:
  using File = StoredFile<F>;
  using Lock = FileLock<F>;
  using Log = FileLog<F>;
  using Replacement = TemporaryFile<F>;

  BasicFileStorage() = default;

  explicit BasicFileStorage(FileStorageOptions options) : options_(options) {}

  /// On `file_system`, of which copies are made.
  explicit BasicFileStorage(F file_system, FileStorageOptions options = {})
      : fs_(std::move(file_system)), options_(options) {}

  /// The absolute name behind symbolic links. Throws PersistError io for a circle of links.
  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) {
    auto [name, error] = file_calls::retried([&] { return fs_.resolve(path); });
    if (error) {
      file_errors::fail("find out what the path leads to", path, error);
    }
    return std::move(name);
  }

  /// Opens a file for reading; nothing where there is none. Throws PersistError io.
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) {
    auto [handle, error] = file_calls::retried([&] { return fs_.open(path, OpenMode::read, 0); });
    if (error == std::errc::no_such_file_or_directory) {
      return std::nullopt;
    }
    if (error) {
      file_errors::fail("open the file for reading", path, error);
    }
    FileHandle<F> owned(fs_, handle);
    const auto [status, status_error] = file_calls::retried([&] { return fs_.status(owned.get()); });
    if (status_error) {
      file_errors::fail("find out the file's size", path, status_error);
    }
    file_errors::require_regular(status, path);
    return File(std::move(owned), path, status.size);
  }

  /// Locks `path`: waits for another holder as long as `patience`, then throws PersistError locked. Throws io where the
  /// lock file beside it cannot be made.
  [[nodiscard]] Lock lock(const std::filesystem::path& path, std::chrono::milliseconds patience) {
    if (const auto [status, error] = file_calls::retried([&] { return fs_.status(path); }); !error) {
      file_errors::require_regular(status, path);
    }
    const std::filesystem::path lock_path = beside(path, ".lock");
    const auto deadline = std::chrono::steady_clock::now() + patience;
    std::chrono::milliseconds pause{1};
    for (;;) {
      const auto [handle, error] = file_calls::retried([&] { return fs_.lock(lock_path); });
      if (!error) {
        return Lock(fs_, handle);
      }
      if (error != std::errc::operation_would_block) {
        file_errors::fail("lock it by '" + lock_path.string() + "'", path, error);
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        throw_persist_error(PersistErrorKind::locked,
                            "another thread or process holds '" + lock_path.string() + "' (waited for " +
                                std::to_string(patience.count()) + " ms); wait until it is done, or find it with fuser",
                            {.path = path, .code = {}, .offset = {}});
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, std::chrono::milliseconds{50});
    }
  }

  /// Begins to replace `path`, or to create it. A temporary file that a dead process left is removed first. The new
  /// file gets owner and permissions of the one it replaces. Throws PersistError io.
  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& /*held*/) {
    const auto [old_status, old_error] = file_calls::retried([&] { return fs_.status(path); });
    const bool replaces = !old_error;
    if (old_error && old_error != std::errc::no_such_file_or_directory) {
      file_errors::fail("look at the file to be replaced", path, old_error);
    }
    if (replaces) {
      file_errors::require_regular(old_status, path);
    }
    // Opened before anything is written: a directory that cannot be synced must be found out before the rename.
    FileHandle<F> directory = open_directory(path);
    std::filesystem::path temporary = beside(path, ".tmp");
    const std::error_code stale = file_calls::uninterrupted([&] { return fs_.remove(temporary); });
    if (stale && stale != std::errc::no_such_file_or_directory) {
      file_errors::fail("remove the stale temporary file '" + temporary.string() + "'", path, stale);
    }
    constexpr std::uint32_t everyone = 0666;
    const std::uint32_t permissions = replaces ? old_status.permissions : everyone;
    std::filesystem::path name = path;  // copied before there is a file that nothing owns yet
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(temporary, OpenMode::create_new, permissions); });
    if (error) {
      file_errors::fail("create the temporary file '" + temporary.string() + "'", path, error);
    }
    Replacement replacement(FileHandle<F>(fs_, handle), std::move(directory), std::move(name), std::move(temporary),
                            options_.direct_io);
    if (replaces) {
      replacement.resemble(old_status);
    }
    return replacement;
  }

  /// Removes `path` durably; nothing happens where it is not there. Throws PersistError io.
  void remove(const std::filesystem::path& path, const Lock& /*held*/) {
    FileHandle<F> directory = open_directory(path);
    const std::error_code error = file_calls::uninterrupted([&] { return fs_.remove(path); });
    if (error == std::errc::no_such_file_or_directory) {
      return;
    }
    if (error) {
      file_errors::fail("remove the file", path, error);
    }
    // Without it a crash could bring the file back after what relies on its absence was written.
    directory.sync_directory(path);
  }

  /// Goes on writing a file that was renamed into place, as a log.
  [[nodiscard]] Log open_log(Replacement&& replacement, LogOptions options) {
    // Zeros ahead save time only where each write is synced.
    const bool synced_each = options.synced == LogSync::every_write;
    return std::move(replacement).into_log(options_.direct_io && synced_each, synced_each ? options.extent_bytes : 0);
  }

  /// A number for a new log file that no other has.
  [[nodiscard]] std::uint64_t new_log_id() { return fs_.random(); }

  /// Makes the bytes of a file durable, whoever wrote them; nothing happens where there is none. Throws PersistError
  /// io.
  void sync(const std::filesystem::path& path) {
    if (std::optional<File> file = open(path)) {
      file->sync();
    }
  }

  /// Makes durable which files lie beside `path`. Throws PersistError io.
  void sync_directory(const std::filesystem::path& path) { open_directory(path).sync_directory(path); }

  /// Gives the file at `path` the second name `aside`, and takes that name from the file that had it. Makes a copy where
  /// the file system knows no second names. Durable with the next sync of the directory. Throws PersistError io.
  void keep(const std::filesystem::path& path, const std::filesystem::path& aside, const Lock& lock) {
    if (const std::error_code error = file_calls::uninterrupted([&] { return fs_.remove(aside); });
        error && error != std::errc::no_such_file_or_directory) {
      file_errors::fail("remove the older '" + aside.string() + "'", path, error);
    }
    if (!file_calls::uninterrupted([&] { return fs_.link(path, aside); })) {
      return;
    }
    std::optional<File> file = open(path);
    Replacement copy = replace(aside, lock);
    constexpr std::size_t piece_bytes = std::size_t{64} * 1024;
    std::vector<std::byte> piece(piece_bytes);
    for (std::uint64_t offset = 0; file && offset < file->size();) {
      const std::size_t count = file->read_at(offset, piece);
      copy.append(std::span<const std::byte>(piece).first(count));
      offset += count;
    }
    put_in_place(copy);
  }

 private:
  [[nodiscard]] FileHandle<F> open_directory(const std::filesystem::path& path) {
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(path.parent_path(), OpenMode::directory, 0); });
    if (error) {
      file_errors::fail("open its directory", path, error);
    }
    return FileHandle<F>(fs_, handle);
  }

  static std::filesystem::path beside(std::filesystem::path path, std::string_view ending) {
    path += ending;
    return path;
  }

  F fs_;
  FileStorageOptions options_;
};

/// Storage on the files of this system.
using FileStorage = BasicFileStorage<>;

static_assert(Storage<FileStorage>);

}  // namespace iqdb
