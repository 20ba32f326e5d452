// An object store that is a directory of files, for tests and for a first try on one machine. Keys with slashes are folders.
//
// An upload is a hidden folder beside its object, with a file for each part that was put; it is gone at the moment when that folder
// loses its name. So a crash leaves an upload that is pending, or garbage that the next store removes.
//
// Only for a file system of one machine. What NFS remembers of names breaks the promise of a listing. Where names are equal that
// differ in the case of their letters, two keys may be one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/object_files.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/storage/posix_file_system.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An ObjectStore on files. Any number of these, in any number of processes of one machine, may work in one directory. One thread
/// uses an object at a time.
template <class F>
  requires FileSystem<F> && ListsFiles<F> && MakesDirectories<F>
class BasicDirectoryObjectStore {
 public:
  /// Keeps objects below `root`, a directory that exists. Throws PersistError io.
  explicit BasicDirectoryObjectStore(const std::filesystem::path& root, F file_system = F())
      : files_(root, std::move(file_system)) {}

  /// Stores an object unless there is one of its key. Never `unknown`. Throws PersistError invalid_config for a key that is not
  /// valid, and for one that is a folder; io if a call fails, and always after a failed sync. The object may then be there.
  [[nodiscard]] PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    const std::filesystem::path path = files_.path_of(key);
    return files_.put(path, writing(bytes, path), [](F& fs, auto folder, const auto& temporary, const auto& name) {
      return fs.link(folder, temporary, name);
    });
  }

  /// Stores an object in place of one that may be there. Throws as put_if_absent().
  void put(std::string_view key, std::span<const std::byte> bytes) {
    const std::filesystem::path path = files_.path_of(key);
    replace(path, writing(bytes, path));
  }

  /// The whole object, or nothing if none is there. Throws PersistError invalid_config for a key that is not valid; io.
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key) {
    return files_.read(files_.path_of(key), 0, everything);
  }

  /// Up to `count` bytes of the object from `offset` on, or nothing if none is there. Throws as get().
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    return files_.read(files_.path_of(key), offset, count);
  }

  /// The object's size in bytes, or nothing if none is there. Throws as get().
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) { return files_.size_of(files_.path_of(key)); }

  /// The first keys, at most `most`, that begin with `prefix` and are larger than `behind`, in the order of their bytes. Looks at
  /// every file of the folders that may hold them. Throws PersistError io.
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    std::vector<std::string> keys;
    for_each_folder(prefix, behind, [&](const std::string& folder, const std::string& name, const FileStatus& status) {
      std::string key = folder + name;
      if (name.front() != '.' && status.regular && key.starts_with(prefix) && key.compare(behind) > 0) {
        keys.push_back(std::move(key));
      }
    });
    std::ranges::sort(keys);
    keys.resize(std::min(keys.size(), most));
    return keys;
  }

  /// Deletes an object, durably. Does nothing if there is none. Throws as put_if_absent().
  void remove(std::string_view key) { files_.remove(files_.path_of(key)); }

  /// Parts of any size. As many as S3 takes.
  [[nodiscard]] PartLimits part_limits() const noexcept {
    constexpr std::uint32_t most_parts = 10000;
    return {.least_bytes = 1, .most_bytes = std::numeric_limits<std::int64_t>::max(), .most_parts = most_parts};
  }

  /// Begins an upload, durably, and returns its id. Throws as put_if_absent().
  [[nodiscard]] std::string begin_upload(std::string_view key) {
    const std::filesystem::path path = files_.path_of(key);
    std::string id = std::to_string(files_.random(path));
    files_.make_folder(path, folder_of({.key = std::string(key), .id = id}));
    return id;
  }

  /// Stores a part, durably, and returns its tag; nothing if there is no such upload. Throws as put_if_absent().
  [[nodiscard]] std::optional<std::string> put_part(const ObjectUpload& upload, std::uint32_t number,
                                                    std::span<const std::byte> bytes) {
    const std::filesystem::path path = files_.path_of(upload.key);
    files_.require_no_failed_sync(path);
    auto folder = files_.opened(path.parent_path() / folder_of(upload));
    std::string tag = std::to_string(files_.random(path));
    // Under a name of its own: what a crash leaves of it has a tag that nobody was told.
    const bool is_stored = folder && files_.write_new(*folder, file_of({.number = number, .tag = tag}), bytes, path);
    return is_stored ? std::optional(std::move(tag)) : std::nullopt;
  }

  /// Joins the parts to the object, durably. Throws as put_if_absent(); invalid_config also if a part is not there with this tag.
  [[nodiscard]] UploadOutcome complete_upload(const ObjectUpload& upload, std::span<const UploadedPart> parts) {
    const std::filesystem::path path = files_.path_of(upload.key);
    const std::filesystem::path folder = path.parent_path() / folder_of(upload);
    if (!files_.opened(folder)) {
      return UploadOutcome::absent;
    }
    const bool is_in_order =
        std::ranges::adjacent_find(parts, std::ranges::greater_equal(), &UploadedPart::number) == parts.end();
    try {
      replace(path, [&](FileHandle<F>& file) {
        std::uint64_t end = 0;
        for (const UploadedPart& part : parts) {
          if (!is_in_order || !append(file, end, folder / file_of(part), path)) {
            require_ended(folder, path);
          }
        }
      });
    } catch (const Ended&) {
      return UploadOutcome::absent;
    }
    files_.remove_folder(path, folder_of(upload));
    return UploadOutcome::completed;
  }

  /// Ends an upload. Does nothing if there is none. Throws as put_if_absent().
  void abort_upload(const ObjectUpload& upload) { files_.remove_folder(files_.path_of(upload.key), folder_of(upload)); }

  /// The first pending uploads, at most `most`, whose keys begin with `prefix`, and which stand behind `upload`, in the order of their
  /// keys and ids. Throws PersistError io.
  [[nodiscard]] std::vector<ObjectUpload> list_uploads(std::string_view prefix, const ObjectUpload& upload,
                                                       std::size_t most) {
    const auto place = [](const ObjectUpload& of) { return std::pair(of.key, of.id); };
    std::vector<ObjectUpload> uploads;
    for_each_folder(prefix, upload.key,
                    [&](const std::string& folder, const std::string& name, const FileStatus& status) {
                      auto found = status.directory ? upload_in(folder, name) : std::nullopt;
                      const bool is_behind = found && place(*found) > place(upload);
                      if (is_behind && found->key.starts_with(prefix)) {
                        uploads.push_back(*std::move(found));
                      }
                    });
    std::ranges::sort(uploads, {}, place);
    uploads.resize(std::min(uploads.size(), most));
    return uploads;
  }

 private:
  static constexpr std::size_t everything = std::numeric_limits<std::size_t>::max();
  static constexpr std::string_view upload_prefix = ".upload-";

  // An upload was ended while it was completed.
  struct Ended {};

  // Throws Ended; or why the upload cannot be completed, if it has not ended.
  [[noreturn]] void require_ended(const std::filesystem::path& folder, const std::filesystem::path& path) {
    if (!files_.opened(folder)) {
      throw Ended();
    }
    throw_persist_error(PersistErrorKind::invalid_config,
                        "cannot complete an upload: a part is not there as it was put, or stands twice, or not in its "
                        "order; name each part with the tag that it has",
                        {.path = path, .code = {}, .offset = {}});
  }

  static auto writing(std::span<const std::byte> bytes, const std::filesystem::path& path) {
    return [bytes, &path](FileHandle<F>& file) { file.write_all(0, bytes, "the temporary file", path); };
  }

  template <class Write>
  void replace(const std::filesystem::path& path, Write&& write) {
    static_cast<void>(
        files_.put(path, std::forward<Write>(write), [](F& fs, auto folder, const auto& temporary, const auto& name) {
          return fs.rename(folder, temporary, name);
        }));
  }

  // The name of the folder of an upload, beside its object. An id that this store has not made leads to none.
  [[nodiscard]] static std::string folder_of(const ObjectUpload& upload) {
    const bool is_id = !upload.id.empty() && upload.id.find_first_not_of("0123456789") == std::string::npos;
    return std::string(upload_prefix) + (is_id ? upload.id : "none") + "-" +
           upload.key.substr(upload.key.rfind('/') + 1);
  }

  // The upload whose folder has this name; nothing if it is none.
  [[nodiscard]] static std::optional<ObjectUpload> upload_in(const std::string& folder, std::string_view name) {
    if (!name.starts_with(upload_prefix)) {
      return std::nullopt;
    }
    name.remove_prefix(upload_prefix.size());
    const std::size_t dash = std::min(name.find('-'), name.size());
    ObjectUpload upload{.key = folder + std::string(name.substr(std::min(dash + 1, name.size()))),
                        .id = std::string(name.substr(0, dash))};
    return object_keys::wrong_with(upload.key).empty() ? std::optional(std::move(upload)) : std::nullopt;
  }

  [[nodiscard]] static std::string file_of(const UploadedPart& part) {
    const bool is_tag = part.tag.find_first_not_of("0123456789") == std::string::npos;
    return std::to_string(part.number) + "-" + (is_tag ? part.tag : "none");
  }

  // Copies a part to the end of a file. Returns false if it is not there.
  bool append(FileHandle<F>& file, std::uint64_t& end, const std::filesystem::path& part,
              const std::filesystem::path& path) {
    constexpr std::size_t most_at_once = std::size_t{1} << 20U;
    for (std::uint64_t offset = 0;;) {
      const auto bytes = files_.read(part, offset, most_at_once);
      if (!bytes || bytes->empty()) {
        return bytes.has_value();
      }
      file.write_all(end, *bytes, "the temporary file", path);
      offset += bytes->size();
      end += bytes->size();
    }
  }

  // Calls `take(folder, name, status)` for each name in the folders that may hold keys which begin with `prefix` and are not smaller
  // than `behind`. A folder is empty or ends with a slash. Hidden ones are not entered.
  template <class Take>
  void for_each_folder(std::string_view prefix, std::string_view behind, Take&& take) {
    const std::size_t slash = prefix.rfind('/');
    const std::string folder(prefix.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
    if (folder.empty() || object_keys::wrong_with(folder.substr(0, folder.size() - 1)).empty()) {
      gather(folder, prefix, behind, take);
    }
  }

  template <class Take>
  void gather(const std::string& folder, std::string_view prefix, std::string_view behind, Take& take) {
    const auto may_hold_keys = [&](const std::string& name) {
      const std::string below = folder + name + "/";
      return name.front() != '.' && (below.starts_with(prefix) || prefix.starts_with(below)) &&
             (below.compare(behind) > 0 || behind.starts_with(below));
    };
    const auto is_wanted = [&](const std::string& name) {
      const std::string key = folder + name;
      return name.starts_with(upload_prefix) || (key.starts_with(prefix) && key.compare(behind) > 0) ||
             may_hold_keys(name);
    };
    files_.for_each_name(files_.root() / folder, is_wanted, [&](const std::string& name, const FileStatus& status) {
      take(folder, name, status);
      if (status.directory && may_hold_keys(name)) {
        gather(folder + name + "/", prefix, behind, take);
      }
    });
  }

  ObjectFiles<F> files_;
};

/// An object store in a directory of the native file system.
using DirectoryObjectStore = BasicDirectoryObjectStore<NativeFileSystem>;

static_assert(ObjectStore<DirectoryObjectStore> && UploadsObjects<DirectoryObjectStore>);

}  // namespace iqdb
