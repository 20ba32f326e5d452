// Where the files of a log lie.
#pragma once

#include <filesystem>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where the log of the snapshot at `path` lies.
[[nodiscard]] inline std::filesystem::path log_path(std::filesystem::path path) {
  path += ".wal";
  return path;
}

/// Where a log that had a torn tail is kept.
[[nodiscard]] inline std::filesystem::path torn_log_path(std::filesystem::path path) {
  path += ".wal.torn";
  return path;
}

}  // namespace iqdb
