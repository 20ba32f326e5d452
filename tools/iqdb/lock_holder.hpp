// Who holds the lock of an index, without touching the lock: a writer that opens meanwhile must not be turned away.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace iqdb_tool {

/// A process that holds a lock.
struct LockHolder {
  std::int64_t process = 0;
  std::string name;  ///< empty if the system does not say
};

/// What is known of a lock.
struct LockState {
  bool file_exists = false;
  std::optional<bool> held;         ///< nothing if the system does not say
  std::vector<LockHolder> holders;  ///< may be empty though the lock is held
};

/// Looks at the lock of the snapshot at `path`. A holder in another container or on another machine is not seen. Throws
/// std::bad_alloc.
[[nodiscard]] LockState look_at_lock(const std::filesystem::path& path);

}  // namespace iqdb_tool
