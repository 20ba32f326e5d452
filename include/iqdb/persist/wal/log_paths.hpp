// The names of a log's files.
#pragma once

#include <filesystem>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The name of the log of the snapshot at `path`.
[[nodiscard]] inline std::filesystem::path log_path(std::filesystem::path path) {
  path += ".wal";
  return path;
}

/// The name under which a log with a torn tail is kept.
[[nodiscard]] inline std::filesystem::path torn_log_path(std::filesystem::path path) {
  path += ".wal.torn";
  return path;
}

}  // namespace iqdb
