// What a simulated machine holds: a disk, directories and locks, and the files that its processes have open.
#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/testing/disk_model.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/planned_calls.hpp"
#include "iqdb/persist/testing/simulated_directories.hpp"
#include "iqdb/persist/testing/simulated_disk.hpp"
#include "iqdb/persist/testing/simulated_names.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What all copies of a SimulatedFileSystem share. The functions are called with the mutex held.
struct SimulatedMachine {
  /// An open file.
  using Handle = int;

  /// What a handle stands for.
  struct OpenFile {
    std::shared_ptr<SimulatedFile> file = {};                ///< of an ordinary file
    std::string name;                                        ///< without its directory; "." for a directory
    bool direct = false;                                     ///< whether it bypasses the page cache
    std::optional<SimulatedDirectories::Id> directory = {};  ///< of a directory
    std::optional<SimulatedDirectories::Id> lock = {};       ///< of a lock file
  };

  /// A machine with this disk, on which nothing is open.
  explicit SimulatedMachine(SimulatedDisk holds) : disk(std::move(holds)) {}

  PlannedCalls planned;              ///< needs no mutex
  std::mutex mutex;                  ///< protects what follows
  SimulatedDisk disk;                ///< the files and their names
  SimulatedDirectories directories;  ///< the directories, and the lock files in them
  std::map<Handle, OpenFile> open;   ///< what is open
  Handle next_handle = 3;            ///< of the next file to be opened

  /// A handle for an open file.
  Handle new_handle(OpenFile file) {
    open.emplace(next_handle, std::move(file));
    return next_handle++;
  }

  /// Opens the file with this absolute name, or creates it.
  SystemResult<Handle> open_file(const std::string& name, OpenMode mode, std::uint32_t permissions) {
    const auto found = disk.visible.find(name);
    const bool is_there = found != disk.visible.end();
    if (is_there == (mode == OpenMode::create_new)) {
      return {-1, system_error(is_there ? EEXIST : ENOENT)};
    }
    std::shared_ptr<SimulatedFile> file = is_there ? found->second : std::make_shared<SimulatedFile>();
    if (!is_there) {
      file->status.permissions = permissions;
      disk.change_names({.kind = NameChange::Kind::add, .name = name, .from = {}, .file = file});
    }
    return {new_handle({.file = std::move(file), .name = name.substr(name.rfind('/') + 1)}), {}};
  }

  /// The absolute name of the file `name` in an open directory.
  [[nodiscard]] std::string full_name(Handle directory, const std::filesystem::path& name) const {
    return directories.full_name(*open.at(directory).directory, name.native());
  }

  /// The names of the files in an open directory, but for lock files.
  [[nodiscard]] std::vector<std::filesystem::path> names_in(Handle directory) const {
    const std::string place = full_name(directory, "");
    std::vector<std::filesystem::path> names;
    for (const auto& [name, file] : disk.visible) {
      if (name.starts_with(place) && name.find('/', place.size()) == std::string::npos) {
        names.emplace_back(name.substr(place.size()));
      }
    }
    return names;
  }

  /// The file of a handle.
  [[nodiscard]] SimulatedFile& file_of(Handle handle) const { return *open.at(handle).file; }

  /// The status of the file with this absolute name.
  [[nodiscard]] SystemResult<FileStatus> status_of_name(const std::string& name) const {
    const auto found = disk.visible.find(name);
    return found == disk.visible.end() ? SystemResult<FileStatus>{{}, system_error(ENOENT)}
                                       : SystemResult<FileStatus>{status_of(*found->second), {}};
  }

  /// The status of what is open.
  [[nodiscard]] FileStatus status_of_open(Handle handle) const {
    const OpenFile& opened = open.at(handle);
    return opened.directory ? SimulatedDirectories::status_of_directory(*opened.directory)
           : opened.lock    ? SimulatedDirectories::status_of_lock_file(*opened.lock)
                            : status_of(*opened.file);
  }

  /// The status of a file.
  [[nodiscard]] static FileStatus status_of(const SimulatedFile& file) {
    FileStatus status = file.status;
    status.size = file.visible->size();
    status.identity = {.device = 3, .inode = reinterpret_cast<std::uintptr_t>(&file)};  // NOLINT(*-reinterpret-cast)
    return status;
  }
};

}  // namespace testing
}  // namespace iqdb
