// What a load reports of the log.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What load found in the log.
struct RecoveryReport {
  bool log_found = false;               ///< there was a log beside the snapshot
  std::uint32_t log_version = 0;        ///< its format version; 0 where there was none
  std::uint64_t replayed = 0;           ///< mutations applied to the index
  std::uint64_t skipped = 0;            ///< mutations of a version-1 log that the snapshot held already
  std::uint64_t aborted = 0;            ///< mutations passed over since the index had rejected them
  std::uint64_t tolerated = 0;          ///< mutations at the very end passed over since the index rejects them now
  std::uint64_t dropped_bytes = 0;      ///< behind the last whole record, never known to be durable
  std::filesystem::path torn_log = {};  ///< where the log with those bytes is kept; empty where there were none
  bool foreign_log_replaced = false;    ///< the log continued another snapshot, but held no mutation
  std::chrono::nanoseconds elapsed{0};  ///< how long load took
};

}  // namespace iqdb
