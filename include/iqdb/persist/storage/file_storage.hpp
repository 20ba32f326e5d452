// BasicFileStorage: Storage on files, over any FileSystem.
//
// A file `name` has two companions: `name.lock`, which a writer holds and nobody removes, and `name.tmp`, which exists
// while `name` is replaced. Invariants: `name` is a whole file or absent at every moment. `name.tmp` is created and
// removed only under the lock, so a stale one belongs to a process that is gone.
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
  /// Whether large pieces of a snapshot, and a log that is synced with every write, bypass the system's page cache if
  /// the file system supports that. This saves a copy, and a sync only has to flush the disk. All other writes go
  /// through the page cache.
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

  /// Stores files on `file_system`. The files and locks that this opens keep copies of it.
  explicit BasicFileStorage(F file_system, FileStorageOptions options = {})
      : fs_(std::move(file_system)), options_(options) {}

  /// Returns the absolute name with symbolic links followed. Throws PersistError io, e.g. if the links form a circle.
  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) {
    auto [name, error] = file_calls::retried([&] { return fs_.resolve(path); });
    if (error) {
      file_errors::fail("find out what the path leads to", path, error);
    }
    return std::move(name);
  }

  /// Opens a file for reading. Returns nothing if it does not exist. Throws PersistError io, also if it is not a
  /// regular file.
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

  /// Locks `path`. Waits up to `patience` for another holder, then throws PersistError locked. Throws PersistError io
  /// if `path` is not a regular file, or if the lock file beside it cannot be created or locked.
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

  /// Begins to replace or create `path`. Removes a temporary file that a dead process left. The new file gets the owner
  /// and the permissions of the file that it replaces. Throws PersistError io, also if `path` is not a regular file.
  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& /*held*/) {
    const auto [old_status, old_error] = file_calls::retried([&] { return fs_.status(path); });
    const bool replaces = !old_error;
    if (old_error && old_error != std::errc::no_such_file_or_directory) {
      file_errors::fail("look at the file to be replaced", path, old_error);
    }
    if (replaces) {
      file_errors::require_regular(old_status, path);
    }
    // Opened before anything is written: a directory that cannot be synced must fail the save before the rename.
    FileHandle<F> directory = open_directory(path);
    std::filesystem::path temporary = beside(path, ".tmp");
    const std::error_code stale = file_calls::uninterrupted([&] { return fs_.remove(temporary); });
    if (stale && stale != std::errc::no_such_file_or_directory) {
      file_errors::fail("remove the stale temporary file '" + temporary.string() + "'", path, stale);
    }
    constexpr std::uint32_t everyone = 0666;
    const std::uint32_t permissions = replaces ? old_status.permissions : everyone;
    std::filesystem::path name = path;  // copied before the open: a copy that throws later would leave the file behind
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

  /// Removes `path` durably. Does nothing if it does not exist. Throws PersistError io.
  void remove(const std::filesystem::path& path, const Lock& /*held*/) {
    FileHandle<F> directory = open_directory(path);
    const std::error_code error = file_calls::uninterrupted([&] { return fs_.remove(path); });
    if (error == std::errc::no_such_file_or_directory) {
      return;
    }
    if (error) {
      file_errors::fail("remove the file", path, error);
    }
    // Otherwise a crash could bring the file back after something was written that relies on its absence.
    directory.sync_directory(path);
  }

  /// Returns a log that appends to `replacement`, which was renamed into place.
  [[nodiscard]] Log open_log(Replacement&& replacement, LogOptions options) {
    // Zeros ahead save time only where each write is synced.
    const bool synced_each = options.synced == LogSync::every_write;
    return std::move(replacement).into_log(options_.direct_io && synced_each, synced_each ? options.extent_bytes : 0);
  }

  /// Returns a random number that identifies a new log file. Throws what the file system's random() throws.
  [[nodiscard]] std::uint64_t new_log_id() { return fs_.random(); }

  /// Makes the bytes of a file durable, whoever wrote them. Does nothing if it does not exist. Throws PersistError io.
  void sync(const std::filesystem::path& path) {
    if (std::optional<File> file = open(path)) {
      file->sync();
    }
  }

  /// Makes the entries of the directory of `path` durable. Throws PersistError io.
  void sync_directory(const std::filesystem::path& path) { open_directory(path).sync_directory(path); }

  /// Gives the file at `path` the second name `aside`, and takes that name from the file that had it. If the file
  /// system has no second names, `aside` becomes a copy. Durable with the next sync of the directory. Throws
  /// PersistError io.
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
