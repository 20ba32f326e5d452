// A snapshot of an empty index with a log beside it, as a load finds them.
#pragma once

#include <cstdint>
#include <filesystem>

#include "system.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

enum class LogEnd : std::uint8_t {
  closed,  ///< the process has closed it
  killed,  ///< the process was killed while it had the log open
};

/// Makes a snapshot at `path`, and a log of `records` inserts.
inline void make_log(const std::filesystem::path& path, std::uint64_t records, LogEnd end) {
  using Database = iqdb::PersistedIndex<NullIndex>;
  const std::filesystem::path made = end == LogEnd::closed ? path : path.parent_path() / "open.iqdb";
  auto database =
      Database::open_with(NullIndex(), {.path = made, .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never()});
  const Records pool;
  for (std::uint64_t key = 0; key < records; ++key) {
    database.insert(key, pool.vector(key));
  }
  if (end == LogEnd::killed) {
    // What lies there now, while the log is open, is what a kill at this moment would leave.
    std::filesystem::copy_file(made, path);
    std::filesystem::copy_file(iqdb::log_path(made), iqdb::log_path(path));
  }
  database.close();
  if (end == LogEnd::killed) {
    std::filesystem::remove(made);
    std::filesystem::remove(iqdb::log_path(made));
    std::filesystem::remove(std::filesystem::path(made) += ".lock");
  }
}

/// Gives a copy of what make_log made, since a load puts a new log in place of the one that it replays.
inline void copy_log(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::copy_file(from, to);
  std::filesystem::copy_file(iqdb::log_path(from), iqdb::log_path(to));
  sync_file(to);
  sync_file(iqdb::log_path(to));
}

}  // namespace iqdb_benchmarks
