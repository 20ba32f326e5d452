// BasicFileStorage: Storage on files, over any FileSystem.
//
// A file `name` has two companions: `name.lock`, which a writer holds and nobody removes, and `name.tmp`, which exists
// while `name` is replaced. Invariants: `name` is a whole file or absent at every moment. `name.tmp` is created and
// removed only under the lock, so a stale one belongs to a process that is gone. What is done under a lock is done in the
// directory that the lock holds, whatever the path leads to by then.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/index_path.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_lock.hpp"
#include "iqdb/persist/storage/file_log.hpp"
#include "iqdb/persist/storage/file_rights.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/held_directory.hpp"
#include "iqdb/persist/storage/inherited_rights.hpp"
#include "iqdb/persist/storage/native_file_system.hpp"
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

  /// Returns the absolute name with symbolic links followed. Throws PersistError invalid_config if the path holds a zero
  /// byte, and io, e.g. if the links form a circle.
  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) {
    index_path::require_no_zero_byte(path);
    auto [name, error] = file_calls::retried([&] { return fs_.resolve(path); });
    if (error) {
      file_errors::fail("find out what the path leads to", path, error);
    }
    return std::move(name);
  }

  /// Opens a file for reading. Returns nothing if it does not exist. Throws PersistError invalid_config if the path holds
  /// a zero byte, and io, also if it is not a regular file.
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) {
    index_path::require_no_zero_byte(path);
    return opened(path, file_calls::retried([&] { return fs_.open(path, OpenMode::read, 0); }));
  }

  /// Opens a file that lies beside the locked one, or that one, in the directory that the lock holds. Returns and throws
  /// as open(path) does.
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path, const Lock& held) {
    return opened(path, file_calls::retried(
                            [&] { return fs_.open(held.directory()->get(), path.filename(), OpenMode::read, 0); }));
  }

  /// Locks `path`, and holds its directory. Waits up to `patience` for another holder, then throws PersistError locked.
  /// Throws PersistError invalid_config if no index can have the name (it ends like a file beside a snapshot, is too long
  /// for the longest of them, or is a mount point), and io if `path` is not a regular file, or if the lock file beside it
  /// cannot be created or locked.
  [[nodiscard]] Lock lock(const std::filesystem::path& path, std::chrono::milliseconds patience) {
    index_path::require_usable(path);
    auto directory = std::make_shared<HeldDirectory<F>>(fs_, path);
    require_room_for_endings(*directory);
    if (const auto [status, error] = file_calls::retried([&] { return status_of(*directory, path); }); !error) {
      file_errors::require_regular(status, path);
      require_no_mount_point(*directory);
    }
    const auto deadline = std::chrono::steady_clock::now() + patience;
    std::chrono::milliseconds pause{1};
    for (;;) {
      const auto [handle, error] =
          file_calls::retried([&] { return fs_.lock(directory->get(), directory->lock_name()); });
      if (!error) {
        Lock lock(directory, handle);
        directory->locked_by(handle);
        return lock;
      }
      if (error != std::errc::operation_would_block) {
        file_errors::fail("lock it by '" + path_text(directory->lock_path()) + "'", path, error);
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        throw_persist_error(PersistErrorKind::locked,
                            "another thread or process holds '" + path_text(directory->lock_path()) + "' (waited for " +
                                std::to_string(patience.count()) + " ms); wait until it is done, or find it with fuser",
                            {.path = path, .code = {}, .offset = {}});
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, std::chrono::milliseconds{50});
    }
  }

  /// Begins to replace or create `path`, the locked file or a file beside it. Removes a temporary file that a dead process
  /// left. The new file gets the owner and the rights of the locked file, else those of the file that it replaces, as far
  /// as the system lets it: see TemporaryFile::resemble. Throws PersistError io, also if `path` is not a regular file, or
  /// if the directory or the lock file was exchanged.
  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& held) {
    // Another process may write a temporary file of this name.
    held.directory()->require_unchanged(path);
    return temporary(path, held.directory(), inherited_rights::for_new(fs_, path, *held.directory()));
  }

  /// The same with the rights of `like`, a file that may lie elsewhere. Throws as replace does.
  [[nodiscard]] Replacement replace_like(const std::filesystem::path& path, const Lock& held,
                                         const File& like) requires DuplicatesFiles<F> {
    held.directory()->require_unchanged(path);
    return temporary(path, held.directory(), inherited_rights::of_open(fs_, like.handle().get(), path));
  }

  /// A second name of `file`, which may lie elsewhere: it takes the place of `path` by rename(). Nobody may write into it.
  /// Returns nothing if the system cannot do that for this file. Throws PersistError io as replace does.
  [[nodiscard]] std::optional<Replacement> linked(const std::filesystem::path& path, const Lock& held,
                                                  const File& file) requires DuplicatesFiles<F> {
    const std::shared_ptr<HeldDirectory<F>>& directory = held.directory();
    directory->require_unchanged(path);
    TemporaryNames names(path);
    remove_stale(names, *directory);
    if (file_calls::uninterrupted(
            [&] { return fs_.link_open(file.handle().get(), directory->get(), names.temporary_name); })) {
      return std::nullopt;
    }
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(directory->get(), names.temporary_name, OpenMode::read, 0); });
    if (error) {
      std::ignore = file_calls::uninterrupted([&] { return fs_.remove(directory->get(), names.temporary_name); });
      return std::nullopt;
    }
    return Replacement(FileHandle<F>(fs_, handle), directory, std::move(names), false);
  }

  /// See TemporaryFile::append_from.
  [[nodiscard]] std::size_t append_from(Replacement& replacement, const File& file,
                                        std::size_t count) requires DuplicatesFiles<F> {
    return replacement.append_from(file.handle(), count);
  }

  /// Creates a directory durably, in one that exists. If there is a directory, makes its name durable. Throws PersistError
  /// invalid_config if the path holds a zero byte; io.
  void create_directory(const std::filesystem::path& path) requires DuplicatesFiles<F> {
    // With a slash at its end the path would have no name, and its parent would be the directory itself.
    const std::filesystem::path resolved = resolve(path.has_filename() ? path : path.parent_path());
    constexpr std::uint32_t everyone = 0777;
    const std::error_code error = file_calls::uninterrupted([&] { return fs_.make_directory(resolved, everyone); });
    if (error && error != std::errc::file_exists) {
      file_errors::fail("create the directory", path, error);
    }
    // Otherwise a crash could lose the directory with all that is stored in it from now on. Also if it was there: an earlier
    // attempt may have ended before its sync.
    HeldDirectory<F>(fs_, resolved).sync(resolved);
  }

  /// Removes a file beside the locked one durably. Does nothing if it does not exist. Throws PersistError io, also if the
  /// directory or the lock file was exchanged.
  void remove(const std::filesystem::path& path, const Lock& held) {
    HeldDirectory<F>& directory = *held.directory();
    directory.require_unchanged(path);
    const std::error_code error =
        file_calls::uninterrupted([&] { return fs_.remove(directory.get(), path.filename()); });
    if (error == std::errc::no_such_file_or_directory) {
      return;
    }
    if (error) {
      file_errors::fail("remove the file", path, error);
    }
    // Otherwise a crash could bring the file back after something was written that relies on its absence.
    directory.sync(path);
  }

  /// Returns a log that appends to `replacement`, which was renamed into place.
  [[nodiscard]] Log open_log(Replacement&& replacement, LogOptions options) {
    // Zeros ahead save time only where each write is synced.
    const bool synced_each = options.synced == LogSync::every_write;
    return std::move(replacement).into_log(options_.direct_io && synced_each, synced_each ? options.extent_bytes : 0);
  }

  /// Returns a random number that identifies a new log file. Throws PersistError io if the system has none.
  [[nodiscard]] std::uint64_t new_log_id() {
    const auto [number, error] = file_calls::retried([&] { return fs_.random(); });
    if (error) {
      file_errors::fail("get a random number for a log", {}, error, "the system's source of random numbers must work");
    }
    return number;
  }

  /// The names of what lies in the directory that the lock holds, in no order. Throws PersistError io.
  [[nodiscard]] std::vector<std::filesystem::path> names(const Lock& held) requires ListsFiles<F> {
    return names_in(held.directory()->get(), held.directory()->path());
  }

  /// The same for the directory of `path`, without a lock.
  [[nodiscard]] std::vector<std::filesystem::path> names_beside(const std::filesystem::path& path) requires
      ListsFiles<F> {
    HeldDirectory<F> directory(fs_, path);
    return names_in(directory.get(), path);
  }

  /// Makes the bytes of the locked file, or of a file beside it, durable, whoever wrote them. Does nothing if it does not
  /// exist. Throws PersistError io.
  void sync(const std::filesystem::path& path, const Lock& held) {
    if (std::optional<File> file = open(path, held)) {
      file->sync();
    }
  }

  /// Makes the entries of the directory durable that the lock holds. Throws PersistError io.
  void sync_directory(const Lock& held) { held.directory()->sync(held.directory()->path()); }

  /// Gives the file at `path` the second name `aside`, and takes that name from the file that had it. If the file
  /// system has no second names, `aside` becomes a copy. Durable with the next sync of the directory. Throws
  /// PersistError io, also if there is no file at `path`, or if the directory or the lock file was exchanged.
  void keep(const std::filesystem::path& path, const std::filesystem::path& aside, const Lock& held) {
    HeldDirectory<F>& directory = *held.directory();
    directory.require_unchanged(path);
    const std::string action = "keep it as '" + path_text(aside) + "'";
    if (const std::error_code error = file_calls::retried([&] { return status_of(directory, path); }).error) {
      file_errors::fail(action, path, error);
    }
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return fs_.remove(directory.get(), aside.filename()); });
        error && error != std::errc::no_such_file_or_directory) {
      file_errors::fail("remove the older '" + path_text(aside) + "'", path, error);
    }
    const std::error_code error =
        file_calls::uninterrupted([&] { return fs_.link(directory.get(), path.filename(), aside.filename()); });
    if (error && !means_no_links(error)) {
      file_errors::fail(action, path, error);
    }
    if (error) {
      copy(path, aside, held);
    }
  }

 private:
  std::vector<std::filesystem::path> names_in(typename F::Handle directory, const std::filesystem::path& path) {
    auto [names, error] = file_calls::retried([&] { return fs_.names(directory); });
    if (error) {
      file_errors::fail("list the files beside it", path, error);
    }
    return std::move(names);
  }

  void remove_stale(const TemporaryNames& names, HeldDirectory<F>& directory) {
    const std::error_code error =
        file_calls::uninterrupted([&] { return fs_.remove(directory.get(), names.temporary_name); });
    if (error && error != std::errc::no_such_file_or_directory) {
      file_errors::fail("remove the stale temporary file '" + path_text(names.temporary) + "'", names.path, error);
    }
  }

  [[nodiscard]] Replacement temporary(const std::filesystem::path& path,
                                      const std::shared_ptr<HeldDirectory<F>>& directory,
                                      const std::optional<FileRights>& rights) {
    TemporaryNames names(path);
    remove_stale(names, *directory);
    constexpr std::uint32_t everyone = 0666;
    const std::uint32_t permissions = rights ? file_rights::at_first(*rights) : everyone;
    const auto [handle, error] = file_calls::retried(
        [&] { return fs_.open(directory->get(), names.temporary_name, OpenMode::create_new, permissions); });
    if (error) {
      file_errors::fail("create the temporary file '" + path_text(names.temporary) + "'", path, error);
    }
    Replacement replacement(FileHandle<F>(fs_, handle), directory, std::move(names), options_.direct_io);
    if (rights) {
      replacement.resemble(*rights);
    }
    return replacement;
  }

  [[nodiscard]] std::optional<File> opened(const std::filesystem::path& path, SystemResult<typename F::Handle> result) {
    const auto& [handle, error] = result;
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

  [[nodiscard]] SystemResult<FileStatus> status_of(const HeldDirectory<F>& directory,
                                                   const std::filesystem::path& path) {
    return fs_.status(directory.get(), path.filename());
  }

  // The longest name comes last, after a torn write, and must not be the first one that is too long.
  void require_room_for_endings(const HeldDirectory<F>& directory) {
    const auto [limit, error] = file_calls::retried([&] { return fs_.name_limit(directory.get()); });
    if (error) {
      file_errors::fail("find out how long a name may be", directory.path(), error);
    }
    const std::size_t bytes = directory.path().filename().native().size();
    const std::size_t ending = index_path::longest_ending.size();
    if (bytes + ending > limit) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the name has " + std::to_string(bytes) + " bytes; at most " +
                              std::to_string(limit - std::min(limit, ending)) +
                              " leave room for the endings of the files beside it, as \"" +
                              std::string(index_path::longest_ending) + "\"; choose a shorter name",
                          {.path = directory.path(), .code = {}, .offset = {}});
    }
  }

  // A file that is mounted by itself cannot be replaced, and its log and its lock would lie outside of the mount.
  void require_no_mount_point(const HeldDirectory<F>& directory) {
    const auto [mounted, error] =
        file_calls::retried([&] { return fs_.is_mount_point(directory.get(), directory.path().filename()); });
    if (error && error != std::errc::no_such_file_or_directory) {
      file_errors::fail("find out whether it is a mount point", directory.path(), error);
    }
    if (mounted) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the file is a mount point; mount its directory instead: the log and the lock lie beside the "
                          "file, where other owners of the mount do not see them",
                          {.path = directory.path(), .code = {}, .offset = {}});
    }
  }

  // Whether the answer means that a file cannot have a second name there.
  [[nodiscard]] static bool means_no_links(std::error_code error) noexcept {
    return file_rights::means_refused(error) || error == std::errc::too_many_links ||
           error == std::errc::cross_device_link;
  }

  void copy(const std::filesystem::path& path, const std::filesystem::path& aside, const Lock& held) {
    std::optional<File> file = open(path, held);
    if (!file) {
      file_errors::fail("copy it to '" + path_text(aside) + "'", path,
                        std::make_error_code(std::errc::no_such_file_or_directory), "it vanished meanwhile");
    }
    Replacement copy = replace(aside, held);
    constexpr std::size_t piece_bytes = std::size_t{64} * 1024;
    std::vector<std::byte> piece(piece_bytes);
    for (std::uint64_t offset = 0; offset < file->size();) {
      const std::size_t count = file->read_at(offset, piece);
      copy.append(std::span<const std::byte>(piece).first(count));
      offset += count;
    }
    put_in_place(copy);
  }

  F fs_;
  FileStorageOptions options_;
};

/// Storage on the files of this system.
using FileStorage = BasicFileStorage<>;

static_assert(Storage<FileStorage>);

}  // namespace iqdb
