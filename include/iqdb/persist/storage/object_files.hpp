// The files of an object store in a directory: how one is written durably, read, and found again.
//
// Invariants: what is written is visible only when its bytes are durable, and success is told only when its name is; also where it
// was there already, since its name may not be durable yet, and who is told "was there" builds on it. A sync that failed is final:
// the system may have dropped what it could not write, and would report success for it next time. No key has a part that begins with
// a dot, so hidden names are no objects.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/memory_size.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A file system that can create a directory, and remove an empty one.
template <class F>
concept MakesDirectories = requires(F& fs, typename F::Handle directory, const std::filesystem::path& path,
                                    std::uint32_t permissions) {
  // Answers EEXIST if there is something of that name.
  { fs.make_directory(path, permissions) } -> std::same_as<std::error_code>;
  { fs.remove_directory(directory, path) } -> std::same_as<std::error_code>;
};

/// The files below one directory, by the keys of their objects. One thread uses it at a time; others, in other processes too, work in
/// the same directory. Paths are those of path_of(). Each call throws PersistError io if a call of the system fails; those that change
/// something also after a sync has failed.
template <class F>
  requires FileSystem<F> && ListsFiles<F> && MakesDirectories<F>
class ObjectFiles {
 public:
  using Folder = FileHandle<F>;

  /// Works below `root`, a directory that exists.
  ObjectFiles(const std::filesystem::path& root, F file_system) : fs_(std::move(file_system)), root_(resolved(root)) {
    std::ignore = open_folder(root_, "open the directory of the object store");
  }

  [[nodiscard]] const std::filesystem::path& root() const noexcept { return root_; }

  /// Where the object lies. Throws PersistError invalid_config for a key that is not valid.
  [[nodiscard]] std::filesystem::path path_of(std::string_view key) const { return root_ / path_of_object(key); }

  /// Up to `count` bytes of a file from `offset` on, or nothing if there is no file.
  [[nodiscard]] std::optional<ObjectBytes> read(const std::filesystem::path& path, std::uint64_t offset,
                                                std::size_t count) {
    const auto [handle, error] = file_calls::retried([&] { return fs_.open(path, OpenMode::read, 0); });
    if (is_absent(error)) {
      return std::nullopt;
    }
    if (error) {
      file_errors::fail("open the object", path, error);
    }
    FileHandle<F> file(fs_, handle);
    const auto [status, unknown] = file_calls::retried([&] { return fs_.status(file.get()); });
    if (unknown) {
      file_errors::fail("find out the object's size", path, unknown);
    }
    if (!status.regular) {
      return std::nullopt;
    }
    const std::uint64_t begin = std::min(offset, status.size);
    ObjectBytes bytes(memory_size(std::min<std::uint64_t>(count, status.size - begin)));
    for (std::size_t read = 0; read < bytes.size();) {
      const auto [some, failed] = file.read_at(begin + read, std::span(bytes).subspan(read));
      if (failed || some == 0) {
        file_errors::fail("read the object", path, failed ? failed : std::make_error_code(std::errc::io_error));
      }
      read += some;
    }
    return bytes;
  }

  /// The size of a file in bytes, or nothing if there is no file.
  [[nodiscard]] std::optional<std::uint64_t> size_of(const std::filesystem::path& path) {
    const auto [status, error] = file_calls::retried([&] { return fs_.status(path); });
    if (error && !is_absent(error)) {
      file_errors::fail("find out the object's size", path, error);
    }
    return !error && status.regular ? std::optional(status.size) : std::nullopt;
  }

  /// Opens a folder, or nothing if there is none.
  [[nodiscard]] std::optional<Folder> opened(const std::filesystem::path& path) {
    const auto [handle, error] = file_calls::retried([&] { return fs_.open(path, OpenMode::directory, 0); });
    if (is_absent(error)) {
      return std::nullopt;
    }
    if (error) {
      file_errors::fail("open a folder of objects", path, error);
    }
    return Folder(fs_, handle);
  }

  /// Opens the folder of an object. What is missing on the way is made, and each name on the way is durable afterwards: another
  /// process may have made it and not synced it yet.
  [[nodiscard]] Folder folder_for(const std::filesystem::path& path) {
    const std::filesystem::path folder = path.parent_path();
    std::filesystem::path at = root_;
    for (const auto& part : folder.lexically_relative(root_)) {
      if (part == ".") {
        break;
      }
      const std::filesystem::path parent = at;
      at /= part;
      if (durable_folders_.contains(at)) {
        continue;
      }
      const auto error = file_calls::uninterrupted([&] { return fs_.make_directory(at, any_folder); });
      if (error && error != std::errc::file_exists) {
        file_errors::fail("make the folder of the object", at, error);
      }
      Folder holder = open_folder(parent, "open the folder above");
      sync_folder(holder, at);
      durable_folders_.insert(at);
    }
    Folder found = open_folder(folder, "open the folder of the object");
    if (cleaned_folders_.insert(folder).second) {
      remove_leftovers(found);
    }
    return found;
  }

  /// Has `write(file)` write a temporary file, makes it durable, and has `give_name(file system, folder, temporary, name)` give it
  /// the name of the object.
  template <class Write, class GiveName>
  PutOutcome put(const std::filesystem::path& path, Write&& write, GiveName&& give_name) {
    constexpr int most_attempts = 100;
    require_no_failed_sync(path);
    Folder folder = folder_for(path);
    for (int attempt = 1;; ++attempt) {
      const std::filesystem::path name = temporary_name(path);
      const auto [handle, error] =
          file_calls::retried([&] { return fs_.open(folder.get(), name, OpenMode::create_new, any_file); });
      if (error) {
        file_errors::fail("create a temporary file beside the object", path, error);
      }
      FileHandle<F> file(fs_, handle);
      Temporary temporary(fs_, folder, name);
      write(file);
      sync_file(file, path);
      const std::error_code refused =
          file_calls::uninterrupted([&] { return give_name(fs_, folder.get(), temporary.name(), path.filename()); });
      temporary.remove();
      if (refused == std::errc::no_such_file_or_directory && attempt < most_attempts) {
        continue;  // another store took the temporary file for a leftover
      }
      if (refused == std::errc::file_exists) {
        require_object(folder, path);
      } else if (refused) {
        file_errors::fail("give the temporary file the name of the object", path, refused);
      }
      sync_folder(folder, path);
      return refused ? PutOutcome::was_there : PutOutcome::stored;
    }
  }

  /// Writes a new file with the name `name` into `folder`, durably. Returns false if the folder was removed meanwhile. A crash may
  /// leave a part of it.
  bool write_new(Folder& folder, const std::filesystem::path& name, std::span<const std::byte> bytes,
                 const std::filesystem::path& path) {
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(folder.get(), name, OpenMode::create_new, any_file); });
    if (is_absent(error)) {
      return false;
    }
    if (error) {
      file_errors::fail("create a file beside the object", path, error);
    }
    FileHandle<F> file(fs_, handle);
    file.write_all(0, bytes, "a part of the object", path);
    sync_file(file, path);
    sync_folder(folder, path);
    return true;
  }

  /// Makes a folder for the object at `path`, durably, beside it.
  void make_folder(const std::filesystem::path& path, const std::filesystem::path& name) {
    require_no_failed_sync(path);
    Folder folder = folder_for(path);
    const auto error =
        file_calls::uninterrupted([&] { return fs_.make_directory(path.parent_path() / name, any_folder); });
    if (error) {
      file_errors::fail("make a folder beside the object", path, error);
    }
    sync_folder(folder, path);
  }

  /// Removes the folder `name` beside the object at `path`, with the files in it, durably: at one moment it is gone. Does nothing if
  /// there is none.
  void remove_folder(const std::filesystem::path& path, const std::filesystem::path& name) {
    require_no_failed_sync(path);
    auto folder = opened(path.parent_path());
    if (!folder) {
      return;
    }
    const std::filesystem::path hidden = temporary_name(path);
    const auto error = file_calls::uninterrupted([&] { return fs_.rename(folder->get(), name, hidden); });
    if (error && !is_absent(error)) {
      file_errors::fail("remove a folder beside the object", path, error);
    }
    sync_folder(*folder, path);
    if (!error) {
      empty_folder(*folder, hidden);
    }
  }

  /// Removes a file, durably. Does nothing if there is none.
  void remove(const std::filesystem::path& path) {
    require_no_failed_sync(path);
    auto folder = opened(path.parent_path());
    if (!folder) {
      return;
    }
    const auto failed = file_calls::uninterrupted([&] { return fs_.remove(folder->get(), path.filename()); });
    if (failed && !is_absent(failed) && failed != std::errc::is_a_directory) {
      file_errors::fail("delete the object", path, failed);
    }
    sync_folder(*folder, path);
  }

  /// Calls `take(name, status)` for each name in a folder for which `is_wanted(name)`; for none if there is no folder.
  template <class IsWanted, class Take>
  void for_each_name(const std::filesystem::path& path, IsWanted&& is_wanted, Take&& take) {
    auto folder = opened(path);
    if (!folder) {
      return;
    }
    const auto [names, unread] = file_calls::retried([&] { return fs_.names(folder->get()); });
    if (unread) {
      file_errors::fail("list a folder of objects", path, unread);
    }
    for (const std::filesystem::path& name : names) {
      if (!is_wanted(path_text(name))) {
        continue;
      }
      const auto [status, gone] = file_calls::retried([&] { return fs_.status(folder->get(), name); });
      if (gone && !is_absent(gone)) {
        file_errors::fail("look at an object", path / name, gone);
      }
      if (!gone) {
        take(path_text(name), status);
      }
    }
  }

  /// Throws PersistError io if a sync has failed: nothing may be changed any more.
  void require_no_failed_sync(const std::filesystem::path& path) const {
    if (sync_failed_) {
      file_errors::fail(
          "change an object", path, std::make_error_code(std::errc::io_error),
          "an earlier sync of this object store failed, and what is durable is not known; check the disk, "
          "then open the store again");
    }
  }

  /// A random number, for names.
  [[nodiscard]] std::uint64_t random(const std::filesystem::path& path) {
    const auto [number, no_number] = file_calls::retried([&] { return fs_.random(); });
    if (no_number) {
      file_errors::fail("get a random number for a temporary file", path, no_number);
    }
    return number;
  }

 private:
  static constexpr std::string_view temporary_prefix = ".tmp-";
  static constexpr std::uint32_t any_file = 0666;    // less the umask
  static constexpr std::uint32_t any_folder = 0777;  // less the umask

  // A file without a key. Its name is removed at the end: an object that was made of it has another one.
  class Temporary {
   public:
    Temporary(F& fs, FileHandle<F>& folder, std::filesystem::path name)
        : fs_(&fs), folder_(&folder), name_(std::move(name)) {}
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() { remove(); }

    [[nodiscard]] const std::filesystem::path& name() const noexcept { return name_; }

    void remove() noexcept {
      if (!is_removed_) {
        std::ignore = file_calls::uninterrupted([&] { return fs_->remove(folder_->get(), name_); });
        is_removed_ = true;
      }
    }

   private:
    F* fs_;
    FileHandle<F>* folder_;
    std::filesystem::path name_;
    bool is_removed_ = false;
  };

  static bool is_absent(std::error_code error) noexcept {
    return error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
  }

  [[nodiscard]] std::filesystem::path resolved(const std::filesystem::path& root) {
    auto [path, error] = file_calls::retried([&] { return fs_.resolve(root); });
    if (error) {
      file_errors::fail("find out what the path of the object store leads to", root, error);
    }
    return std::move(path);
  }

  FileHandle<F> open_folder(const std::filesystem::path& path, const std::string& action) {
    const auto [handle, error] = file_calls::retried([&] { return fs_.open(path, OpenMode::directory, 0); });
    if (error) {
      file_errors::fail(action, path, error);
    }
    return FileHandle<F>(fs_, handle);
  }

  void sync_folder(FileHandle<F>& folder, const std::filesystem::path& path) {
    sync_failed_ = true;
    folder.sync_directory(path);
    sync_failed_ = false;
  }

  [[nodiscard]] std::filesystem::path temporary_name(const std::filesystem::path& path) {
    return std::string(temporary_prefix) + std::to_string(random(path));
  }

  void sync_file(FileHandle<F>& file, const std::filesystem::path& path) {
    sync_failed_ = true;
    if (const auto failed = file_calls::uninterrupted([&] { return fs_.sync(file.get()); })) {
      file_errors::fail("sync the temporary file of the object", path, failed);
    }
    sync_failed_ = false;
  }

  // What a killed process left. A temporary file that is in use may be among it: its owner makes it again.
  void remove_leftovers(Folder& folder) {
    const auto [names, error] = file_calls::retried([&] { return fs_.names(folder.get()); });
    for (const std::filesystem::path& name : names) {
      const bool is_leftover = !error && path_text(name).starts_with(temporary_prefix);
      if (is_leftover && file_calls::uninterrupted([&] { return fs_.remove(folder.get(), name); })) {
        empty_folder(folder, name);  // it may be one
      }
    }
  }

  // Removes a folder that is hidden already, as far as that is possible. What stays is a leftover.
  void empty_folder(Folder& holder, const std::filesystem::path& name) {
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(holder.get(), name, OpenMode::directory, 0); });
    if (!error) {
      Folder folder(fs_, handle);
      const auto [names, unread] = file_calls::retried([&] { return fs_.names(folder.get()); });
      for (const std::filesystem::path& each : names) {
        if (!unread && each != "." && each != "..") {
          std::ignore = file_calls::uninterrupted([&] { return fs_.remove(folder.get(), each); });
        }
      }
    }
    std::ignore = file_calls::uninterrupted([&] { return fs_.remove_directory(holder.get(), name); });
  }

  // Throws unless what has the name of an object is one.
  void require_object(FileHandle<F>& folder, const std::filesystem::path& path) {
    const auto [status, error] = file_calls::retried([&] { return fs_.status(folder.get(), path.filename()); });
    if (!error && status.directory) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "cannot store an object here: it is a folder that holds other objects; choose another key",
                          {.path = path, .code = {}, .offset = {}});
    }
  }

  F fs_;
  std::filesystem::path root_;
  bool sync_failed_ = false;  // also while a sync is under way: what throws in it leaves this set
  std::set<std::filesystem::path> durable_folders_;
  std::set<std::filesystem::path> cleaned_folders_;
};

}  // namespace iqdb
