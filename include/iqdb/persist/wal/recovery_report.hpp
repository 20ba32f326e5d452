// What a load reports about the log.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What load found in the log.
struct RecoveryReport {
  bool log_found = false;               ///< there was a log beside the snapshot
  std::uint32_t log_version = 0;        ///< its format version; 0 if there was none
  std::uint64_t replayed = 0;           ///< mutations applied to the index
  std::uint64_t skipped = 0;            ///< erases of a version-1 log of vectors that were gone already
  std::uint64_t aborted = 0;            ///< mutations skipped because the index had rejected them when they were logged
  std::uint64_t tolerated = 0;          ///< mutations passed over because the index rejects them now
  std::uint64_t dropped_bytes = 0;      ///< bytes behind the last valid record, never known to be durable
  std::filesystem::path torn_log = {};  ///< where the old log is kept if bytes were dropped or mutations tolerated
  std::chrono::nanoseconds elapsed{0};  ///< how long load took
  std::chrono::nanoseconds replay_elapsed{0};  ///< how much of that it took to read and replay the log
};

}  // namespace iqdb
