// Who holds the lock of an index, without touching the lock: a writer that opens meanwhile must not be turned away.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"

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

/// Who holds a lock, for people: "process 12 (server)", or empty if the system does not name one.
[[nodiscard]] std::string holders_text(const LockState& lock);

/// Returns `work()`. If the index at `path` is locked, the error that leaves also names who holds it.
template <class Work>
decltype(auto) naming_holder(const std::filesystem::path& path, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const iqdb::PersistError& error) {
    const std::string holders =
        error.kind() == iqdb::PersistErrorKind::locked ? holders_text(look_at_lock(path)) : std::string();
    if (holders.empty()) {
      throw;
    }
    iqdb::throw_persist_error(error.kind(),
                              "the index is held by " + holders + ", and nothing was changed; end it first",
                              {.path = path, .code = {}, .offset = {}});
  }
}

}  // namespace iqdb_tool
