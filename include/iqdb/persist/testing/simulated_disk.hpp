// A simulated disk: files and names, what processes see of them, what is durable, and what is not synced yet.
//
// Each file, and each directory, has a state that processes see and one that the disk holds. A write is volatile until
// its file is synced. A create, rename, link or remove is volatile until its directory is synced.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/disk_model.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_names.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A disk in memory. Its owner ensures that one thread uses it at a time.
struct SimulatedDisk {
  /// A disk that holds `contents` durably. Everything random follows from `seed`.
  SimulatedDisk(const DiskState& contents, std::uint64_t seed)
      : visible(names_of(contents)), synced(visible), random(seed) {}

  NameTable visible;                            ///< what processes see
  NameTable synced;                             ///< what is durable
  std::vector<NameChange> unsynced;             ///< the unsynced changes of names, in order
  SharedBytes discarded;                        ///< the bytes of the last file that lost its name
  std::shared_ptr<SimulatedFile> last_written;  ///< the file of the last change, if that was a write
  Random random;                                ///< decides how far a failed sync got

  /// The bytes of every file that processes see.
  [[nodiscard]] DiskState contents() const {
    DiskState all;
    for (const auto& [name, file] : visible) {
      all[name] = file->visible;
    }
    return all;
  }

  /// A copy of the disk, with the same synced and unsynced state, that shares no file with this one.
  [[nodiscard]] SimulatedDisk duplicate(std::uint64_t seed) const {
    SimulatedDisk next(DiskState{}, seed);
    std::map<const SimulatedFile*, std::shared_ptr<SimulatedFile>> copies;
    const auto duplicate_of = [&copies](const std::shared_ptr<SimulatedFile>& file) {
      std::shared_ptr<SimulatedFile>& copy = copies[file.get()];
      if (!copy) {
        copy = std::make_shared<SimulatedFile>(*file);
      }
      return copy;
    };
    for (const auto& [name, file] : visible) {
      next.visible[name] = duplicate_of(file);
    }
    for (const auto& [name, file] : synced) {
      next.synced[name] = duplicate_of(file);
    }
    for (NameChange change : unsynced) {
      change.file = duplicate_of(change.file);
      next.unsynced.push_back(std::move(change));
    }
    next.discarded = discarded;
    return next;
  }

  /// Makes everything visible volatile, as if nobody had ever synced it.
  void lose_every_sync() {
    synced.clear();
    for (const auto& [name, file] : visible) {
      file->synced = std::make_shared<const std::vector<std::byte>>();
      file->unsynced.push_back({.kind = FileChange::Kind::write, .offset = 0, .bytes = *file->visible});
      unsynced.push_back({.kind = NameChange::Kind::add, .name = name, .from = {}, .file = file});
    }
  }

  /// Makes a change of a file's bytes.
  void change_file(const std::shared_ptr<SimulatedFile>& file, FileChange change) {
    // The disk or a copy of this machine may share the bytes.
    auto content = std::make_shared<std::vector<std::byte>>(*file->visible);
    make_change(*content, change);
    file->visible = std::move(content);
    last_written = change.kind == FileChange::Kind::write ? file : nullptr;
    file->unsynced.push_back(std::move(change));
  }

  /// Makes a change of a name.
  void change_names(NameChange change) {
    const auto loser = visible.find(change.name);
    if (loser != visible.end()) {
      discarded = loser->second->visible;
    }
    make_change(visible, change);
    // The whole directory is written at once, including what a failed sync had kept back.
    for (NameChange& earlier : unsynced) {
      if (directory_of(earlier.name) == directory_of(change.name)) {
        earlier.kept_clean = false;
      }
    }
    unsynced.push_back(std::move(change));
    last_written.reset();
  }

  /// Gives the file at `from` the name `to` in the same directory, in addition or instead, as `kind` says.
  std::error_code add_name(const std::string& from, const std::string& to, NameChange::Kind kind) {
    const auto found = visible.find(from);
    if (found == visible.end()) {
      return system_error(ENOENT);
    }
    if (kind == NameChange::Kind::add && visible.contains(to)) {
      return system_error(EEXIST);
    }
    const std::shared_ptr<SimulatedFile> file = found->second;
    if (const auto other = visible.find(to); other != visible.end() && other->second == file) {
      return {};  // a rename between two names of one file does nothing and keeps both
    }
    change_names({.kind = kind, .name = to, .from = from, .file = file});
    return {};
  }

  /// Gives each of two directories the name of the other, durably and at once.
  void exchange_directories(const std::string& one, const std::string& other) {
    const auto moved = [&](const std::string& name) {
      const std::string_view directory = directory_of(name);
      const auto in = [&name](const std::string& place) {
        return (place == "/" ? "" : place) + name.substr(name.rfind('/'));
      };
      return directory == one ? in(other) : directory == other ? in(one) : name;
    };
    for (NameTable* names : {&visible, &synced}) {
      NameTable after;
      for (const auto& [name, file] : *names) {
        after[moved(name)] = file;
      }
      *names = std::move(after);
    }
    for (NameChange& change : unsynced) {
      change.name = moved(change.name);
      change.from = moved(change.from);
    }
  }

  /// Makes a file's bytes durable. If `fault` fails the sync, but not with EINTR, some of them may still reach the
  /// disk, and later reads are as its FailedSync says.
  void sync_file(SimulatedFile& file, const Fault& fault) {
    last_written.reset();
    if (!fault.error) {
      file.synced = with_all_changes(file);
      file.unsynced.clear();
      return;
    }
    if (loses_nothing(fault)) {
      return;
    }
    // What has reached the disk is decided here. A later sync must not change it.
    const SharedBytes before = file.synced;
    file.synced = FileOutcomes(file, discarded, random.next()).any(random);
    file.unsynced.clear();
    switch (fault.failed_sync) {
      case FailedSync::kept_clean:
        file.lost_some = true;
        return;
      case FailedSync::dropped: {
        auto content = std::make_shared<std::vector<std::byte>>(*file.synced);
        content->resize(file.visible->size());
        file.visible = std::move(content);
        file.lost_some = false;
        file.unsynced.push_back({.kind = FileChange::Kind::truncate, .offset = file.visible->size(), .bytes = {}});
        return;
      }
      case FailedSync::reverted:
        file.visible = file.synced = before;
        file.lost_some = false;
        return;
    }
  }

  /// As sync_file, for the names in a directory.
  void sync_names(const std::string& directory, const Fault& fault) {
    last_written.reset();
    const auto is_of_it = [&](const NameChange& change) { return directory_of(change.name) == directory; };
    if (loses_nothing(fault)) {
      return;
    }
    if (fault.error && fault.failed_sync == FailedSync::kept_clean) {
      for (NameChange& change : unsynced) {
        change.kept_clean = change.kept_clean || is_of_it(change);
      }
      return;
    }
    if (!fault.error) {
      const auto is_written = [&](const NameChange& change) { return is_of_it(change) && !change.kept_clean; };
      for (const NameChange& change : unsynced) {
        if (is_written(change)) {
          make_change(synced, change);
        }
      }
      std::erase_if(unsynced, is_written);
      return;
    }
    // Names are read only from the directory, so dropped is the same as reverted.
    std::erase_if(unsynced, is_of_it);
    std::erase_if(visible, [&](const auto& entry) { return directory_of(entry.first) == directory; });
    for (const auto& [name, file] : synced) {
      if (directory_of(name) == directory) {
        visible[name] = file;
      }
    }
  }

 private:
  // Names that share their bytes are names of one file.
  static NameTable names_of(const DiskState& contents) {
    NameTable names;
    std::map<const void*, std::shared_ptr<SimulatedFile>> files;
    for (const auto& [name, bytes] : contents) {
      std::shared_ptr<SimulatedFile>& file = files[bytes.get()];
      if (!file) {
        file = std::make_shared<SimulatedFile>();
        file->visible = file->synced = bytes;
      }
      names[name] = file;
    }
    return names;
  }

  static bool loses_nothing(const Fault& fault) { return fault.error == std::errc::interrupted; }
};

}  // namespace testing
}  // namespace iqdb
