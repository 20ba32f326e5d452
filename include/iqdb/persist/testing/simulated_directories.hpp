// The directories and the lock files of a simulated machine. A directory keeps its identity when its name changes, so who
// has it open keeps it; and a lock file keeps its identity, and its lock, when it loses its name.
//
// Directories exist as soon as they are named. The disk does not hold lock files: a lock dies with its process.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// Directories and lock files by their identity. Its owner ensures that one thread uses it at a time.
class SimulatedDirectories {
 public:
  /// What stays the same when a name changes.
  using Id = std::uint64_t;

  /// The directory with this name. It is made if there is none.
  Id at(const std::string& name) {
    const auto [found, is_new] = by_name_.try_emplace(name, next_);
    if (is_new) {
      names_[next_++] = name;
    }
    return found->second;
  }

  /// Whether a directory of this name was ever asked for.
  [[nodiscard]] bool has(const std::string& name) const { return by_name_.contains(name); }

  /// The absolute name of the file `name` in a directory.
  [[nodiscard]] std::string full_name(Id directory, const std::string& name) const {
    const std::string& place = names_.at(directory);
    return place == "/" ? place + name : place + "/" + name;
  }

  /// The present name of a directory.
  [[nodiscard]] const std::string& name_of(Id directory) const { return names_.at(directory); }

  /// Gives each of two directories the name of the other.
  void exchange(const std::string& one, const std::string& other) {
    const Id first = at(one);
    const Id second = at(other);
    std::swap(names_.at(first), names_.at(second));
    std::swap(by_name_.at(one), by_name_.at(other));
  }

  /// The lock file of this name, or nothing if nobody has taken its lock.
  [[nodiscard]] std::optional<Id> lock_file(Id directory, const std::string& name) const {
    const auto found = lock_files_.find({directory, name});
    return found == lock_files_.end() ? std::nullopt : std::optional(found->second);
  }

  /// Takes the lock on the lock file of this name, which is made if there is none. Returns nothing if it is held.
  std::optional<Id> take_lock(Id directory, const std::string& name) {
    const auto [found, is_new] = lock_files_.try_emplace({directory, name}, next_);
    next_ += is_new ? 1U : 0U;
    return locked_.insert(found->second).second ? std::optional(found->second) : std::nullopt;
  }

  /// Releases a lock.
  void release_lock(Id lock) { locked_.erase(lock); }

  /// Takes the name from a lock file. Who holds its lock keeps it, on a file without a name.
  void remove_lock_file(Id directory, const std::string& name) { lock_files_.erase({directory, name}); }

  /// The status of a directory.
  [[nodiscard]] static FileStatus status_of_directory(Id directory) {
    return {.directory = true, .identity = {.device = 1, .inode = directory}};
  }

  /// The status of a lock file.
  [[nodiscard]] static FileStatus status_of_lock_file(Id lock) {
    return {.regular = true, .identity = {.device = 2, .inode = lock}};
  }

 private:
  std::map<std::string, Id> by_name_;
  std::map<Id, std::string> names_;
  std::map<std::pair<Id, std::string>, Id> lock_files_;
  std::set<Id> locked_;
  Id next_ = 1;
};

}  // namespace testing
}  // namespace iqdb
