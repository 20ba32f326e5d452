// What is known of an index on an object store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "object_place.hpp"
#include "output.hpp"

namespace iqdb_tool {

/// A log on an object store, as it was read.
struct ObjectLogFacts {
  std::uint64_t first_object = 0;          ///< the number of the first object that a load reads
  std::uint64_t last_object = 0;           ///< that of the last one
  std::uint64_t writer = 0;                ///< the number of its last writer's fence
  std::uint64_t history_id = 0;            ///< random; while it stays the same, an LSN names the same mutation
  std::uint64_t covered_lsn = 0;           ///< the last mutation that the snapshot holds
  std::uint64_t lsn = 0;                   ///< the last mutation of the log
  bool closed = false;                     ///< its last writer has ended in order
  std::optional<iqdb::LogScan> scan = {};  ///< nothing if it holds neither a snapshot nor a mutation

  /// Mutations that the snapshot lacks, without those that were taken back.
  [[nodiscard]] std::uint64_t mutations() const { return scan ? scan->mutations : 0; }
  [[nodiscard]] std::uint64_t aborted() const { return scan ? scan->aborted : 0; }
};

/// What the objects of a run come to. Throws PersistError log_corrupted if no writer makes them.
[[nodiscard]] ObjectLogFacts facts_of(iqdb::ObjectRun run, const ObjectPlace& place);

/// The same as JSON.
[[nodiscard]] Json json_of(const ObjectLogFacts& log);

/// Prints them as fields.
void print_log(Output& out, const ObjectLogFacts& log);

/// iqdb info of the address of an index on an object store.
ExitCode info_of_objects(Output& out, const std::string& address);

}  // namespace iqdb_tool
