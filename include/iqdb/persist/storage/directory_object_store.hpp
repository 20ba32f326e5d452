// An object store that is a directory of files, for tests and for a first try on one machine. Keys with slashes are folders.
//
// Invariants: an object is visible only when its bytes are durable, and success is told only when its name is. A sync that failed
// is final: the system may have dropped what it could not write, and would report success for it next time. A name that begins
// with a dot is a temporary file: no key has one, and no listing shows one.
//
// Why the folder is synced also where the object was there already: it may be one's own, whose name an earlier call had made and
// not synced; or that of a process which died in between. Who is told "was there" builds on it, and a power cut may then take it
// away from under what was built.
//
// Only for a file system of one machine. What NFS remembers of names breaks the promise of a listing. Where names are equal that
// differ in the case of their letters, two keys may be one.
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
#include "iqdb/persist/storage/native_file_system.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A file system that can create a directory.
template <class F>
concept MakesDirectories = requires(F& fs, const std::filesystem::path& path, std::uint32_t permissions) {
  // Answers EEXIST if there is something of that name.
  { fs.make_directory(path, permissions) } -> std::same_as<std::error_code>;
};

/// An ObjectStore on files. Any number of these, in any number of processes of one machine, may work in one directory. One thread
/// uses an object at a time.
template <class F>
  requires FileSystem<F> && ListsFiles<F> && MakesDirectories<F>
class BasicDirectoryObjectStore {
 public:
  /// Keeps objects below `root`, a directory that exists. Throws PersistError io.
  explicit BasicDirectoryObjectStore(const std::filesystem::path& root, F file_system = F())
      : fs_(std::move(file_system)), root_(resolved(root)) {
    std::ignore = open_folder(root_, "open the directory of the object store");
  }

  /// Stores an object unless there is one of its key. Never `unknown`. Throws PersistError invalid_config for a key that is not
  /// valid, and for one that is a folder; io if a call fails, and always after a failed sync. The object may then be there.
  [[nodiscard]] PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    return put_file(key, bytes, [this](FileHandle<F>& folder, const auto& temporary, const auto& name) {
      return fs_.link(folder.get(), temporary, name);
    });
  }

  /// Stores an object in place of one that may be there. Throws as put_if_absent().
  void put(std::string_view key, std::span<const std::byte> bytes) {
    std::ignore = put_file(key, bytes, [this](FileHandle<F>& folder, const auto& temporary, const auto& name) {
      return fs_.rename(folder.get(), temporary, name);
    });
  }

  /// The whole object, or nothing if none is there. Throws PersistError invalid_config for a key that is not valid; io.
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key) {
    constexpr auto everything = static_cast<std::size_t>(-1);
    return get(key, 0, everything);
  }

  /// Up to `count` bytes of the object from `offset` on, or nothing if none is there. Throws as get().
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    const std::filesystem::path path = path_of(key);
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

  /// The object's size in bytes, or nothing if none is there. Throws as get().
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) {
    const std::filesystem::path path = path_of(key);
    const auto [status, error] = file_calls::retried([&] { return fs_.status(path); });
    if (error && !is_absent(error)) {
      file_errors::fail("find out the object's size", path, error);
    }
    return !error && status.regular ? std::optional(status.size) : std::nullopt;
  }

  /// The first keys, at most `most`, that begin with `prefix` and are larger than `behind`, in the order of their bytes. Looks at
  /// every file of the folders that may hold them. Throws PersistError io.
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    std::vector<std::string> keys;
    const std::size_t slash = prefix.rfind('/');
    const std::string folder(prefix.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
    if (folder.empty() || object_keys::wrong_with(folder.substr(0, folder.size() - 1)).empty()) {
      gather(folder, prefix, behind, keys);
    }
    std::ranges::sort(keys);
    keys.resize(std::min(keys.size(), most));
    return keys;
  }

  /// Deletes an object, durably. Does nothing if there is none. Throws as put_if_absent().
  void remove(std::string_view key) {
    const std::filesystem::path path = path_of(key);
    require_no_failed_sync(path);
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(path.parent_path(), OpenMode::directory, 0); });
    if (is_absent(error)) {
      return;
    }
    if (error) {
      file_errors::fail("open the folder of the object", path, error);
    }
    FileHandle<F> folder(fs_, handle);
    const auto failed = file_calls::uninterrupted([&] { return fs_.remove(folder.get(), path.filename()); });
    if (failed && !is_absent(failed) && failed != std::errc::is_a_directory) {
      file_errors::fail("delete the object", path, failed);
    }
    sync_folder(folder, path);
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

  // The path of which path_text() is `text`.
  [[nodiscard]] static std::filesystem::path named(std::string_view text) {
    return std::u8string(text.begin(), text.end());
  }

  [[nodiscard]] std::filesystem::path path_of(std::string_view key) const {
    require_object_key(key);
    const std::filesystem::path below = named(key);
    if (below.has_root_name() || below.generic_u8string() != std::u8string(key.begin(), key.end())) {
      // On Windows a key with a backslash or a drive could lead out of the root.
      throw_persist_error(PersistErrorKind::invalid_config,
                          "no file of this system can be called as this object; choose another key",
                          {.path = below, .code = {}, .offset = {}});
    }
    return root_ / below;
  }

  FileHandle<F> open_folder(const std::filesystem::path& path, const std::string& action) {
    const auto [handle, error] = file_calls::retried([&] { return fs_.open(path, OpenMode::directory, 0); });
    if (error) {
      file_errors::fail(action, path, error);
    }
    return FileHandle<F>(fs_, handle);
  }

  void require_no_failed_sync(const std::filesystem::path& path) const {
    if (sync_failed_) {
      file_errors::fail(
          "change an object", path, std::make_error_code(std::errc::io_error),
          "an earlier sync of this object store failed, and what is durable is not known; check the disk, "
          "then open the store again");
    }
  }

  void sync_folder(FileHandle<F>& folder, const std::filesystem::path& path) {
    sync_failed_ = true;
    folder.sync_directory(path);
    sync_failed_ = false;
  }

  // Opens the folder of an object. What is missing on the way is made, and each name on the way is durable afterwards: another
  // process may have made it and not synced it yet.
  FileHandle<F> folder_for(const std::filesystem::path& path) {
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
      FileHandle<F> holder = open_folder(parent, "open the folder above");
      sync_folder(holder, at);
      durable_folders_.insert(at);
    }
    FileHandle<F> opened = open_folder(folder, "open the folder of the object");
    if (cleaned_folders_.insert(folder).second) {
      remove_leftovers(opened);
    }
    return opened;
  }

  // Temporary files that a killed process left. One that is in use may be among them: its owner makes it again.
  void remove_leftovers(FileHandle<F>& folder) {
    const auto [names, error] = file_calls::retried([&] { return fs_.names(folder.get()); });
    for (const std::filesystem::path& name : names) {
      if (!error && path_text(name).starts_with(temporary_prefix)) {
        std::ignore = file_calls::uninterrupted([&] { return fs_.remove(folder.get(), name); });
      }
    }
  }

  // Writes a temporary file, durably, and has `give_name` give it the name of the object.
  template <class GiveName>
  PutOutcome put_file(std::string_view key, std::span<const std::byte> bytes, GiveName&& give_name) {
    constexpr int most_attempts = 100;
    const std::filesystem::path path = path_of(key);
    require_no_failed_sync(path);
    FileHandle<F> folder = folder_for(path);
    for (int attempt = 1;; ++attempt) {
      const auto [number, no_number] = file_calls::retried([&] { return fs_.random(); });
      if (no_number) {
        file_errors::fail("get a random number for a temporary file", path, no_number);
      }
      const std::filesystem::path name = std::string(temporary_prefix) + std::to_string(number);
      const auto [handle, error] =
          file_calls::retried([&] { return fs_.open(folder.get(), name, OpenMode::create_new, any_file); });
      if (error) {
        file_errors::fail("create a temporary file beside the object", path, error);
      }
      FileHandle<F> file(fs_, handle);
      Temporary temporary(fs_, folder, name);
      file.write_all(0, bytes, "the temporary file", path);
      sync_failed_ = true;
      if (const auto failed = file_calls::uninterrupted([&] { return fs_.sync(file.get()); })) {
        file_errors::fail("sync the temporary file of the object", path, failed);
      }
      sync_failed_ = false;
      const std::error_code refused =
          file_calls::uninterrupted([&] { return give_name(folder, temporary.name(), path.filename()); });
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

  // Throws unless what has the name of an object is one.
  void require_object(FileHandle<F>& folder, const std::filesystem::path& path) {
    const auto [status, error] = file_calls::retried([&] { return fs_.status(folder.get(), path.filename()); });
    if (!error && status.directory) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "cannot store an object here: it is a folder that holds other objects; choose another key",
                          {.path = path, .code = {}, .offset = {}});
    }
  }

  // Adds the keys below `folder`, which is empty or ends with a slash.
  void gather(const std::string& folder, std::string_view prefix, std::string_view behind,
              std::vector<std::string>& keys) {
    const auto [handle, error] =
        file_calls::retried([&] { return fs_.open(root_ / named(folder), OpenMode::directory, 0); });
    if (is_absent(error)) {
      return;
    }
    if (error) {
      file_errors::fail("open a folder of objects", root_ / named(folder), error);
    }
    FileHandle<F> opened(fs_, handle);
    const auto [names, unread] = file_calls::retried([&] { return fs_.names(opened.get()); });
    if (unread) {
      file_errors::fail("list a folder of objects", root_ / named(folder), unread);
    }
    for (const std::filesystem::path& name : names) {
      const std::string key = folder + path_text(name);
      const std::string below = key + "/";
      const bool may_be_key = key.starts_with(prefix) && key.compare(behind) > 0;
      const bool may_hold_keys = (below.starts_with(prefix) || prefix.starts_with(below)) &&
                                 (below.compare(behind) > 0 || behind.starts_with(below));
      if (key[folder.size()] == '.' || (!may_be_key && !may_hold_keys)) {
        continue;
      }
      const auto [status, gone] = file_calls::retried([&] { return fs_.status(opened.get(), name); });
      if (gone && !is_absent(gone)) {
        file_errors::fail("look at an object", root_ / named(key), gone);
      }
      if (!gone && status.regular && may_be_key) {
        keys.push_back(key);
      } else if (!gone && status.directory && may_hold_keys) {
        gather(below, prefix, behind, keys);
      }
    }
  }

  F fs_;
  std::filesystem::path root_;
  bool sync_failed_ = false;  // also while a sync is under way: what throws in it leaves this set
  std::set<std::filesystem::path> durable_folders_;
  std::set<std::filesystem::path> cleaned_folders_;
};

/// An object store in a directory of the native file system.
using DirectoryObjectStore = BasicDirectoryObjectStore<NativeFileSystem>;

static_assert(ObjectStore<DirectoryObjectStore>);

}  // namespace iqdb
