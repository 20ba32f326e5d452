// Sweeping: deletes the objects of a log that no load needs any more.
//
// Invariants: a fence is never deleted. An object is deleted only if it stands in front of a checkpoint C, and the log has a
// later checkpoint whose snapshot holds every mutation in front of C. So whoever reads from the last key back stops at C at the
// latest, and the last two checkpoints stay.
//
// Both checkpoints were in the log when the sweeper saw them, and what makes an object needless stays true. So a sweeper may sleep
// between any two of its requests, and it need not be the writer. What it deletes late is garbage that others stored at swept
// numbers. A fence among that garbage was never a valid one: something stood behind it when its owner listed again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_run.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a sweep did.
struct ObjectSweep {
  std::uint64_t removed = 0;  ///< objects deleted
  std::uint64_t fences = 0;   ///< fences in front of the last two checkpoints, which stay
};

/// Deletes what no load of the index `name` needs. Any number of processes may do that, beside writers and readers. It reads the
/// header of each object. Throws PersistError io if the store does not answer, log_corrupted for an object that is damaged, and
/// what the store throws; what was not deleted then is deleted by the next sweep.
template <ObjectStore S>
ObjectSweep sweep_object_log(S& store, std::string_view name, const ObjectLogOptions& options) {
  const std::vector<std::uint64_t> numbers = list_log_objects(store, name, options);
  ObjectSweep sweep;
  std::optional<std::uint64_t> held;  // the last mutation that a checkpoint holds
  bool is_needless = false;
  for (std::size_t at = numbers.size(); at > 0; --at) {
    const std::uint64_t number = numbers[at - 1];
    const std::string key = log_object_key(name, number);
    const auto begin = asked_again(options, [&] { return store.get(key, 0, log_object_header_bytes); });
    if (!begin) {
      continue;
    }
    const LogObjectHeader header = read_log_object_header(*begin, key, number);
    const bool is_checkpoint = header.kind == LogObjectKind::checkpoint;
    if (is_needless) {
      if (header.kind == LogObjectKind::fence) {
        ++sweep.fences;
      } else {
        store.remove(key);
        ++sweep.removed;
      }
    } else if (is_checkpoint && held && header.base_lsn <= *held) {
      is_needless = true;
    } else if (is_checkpoint) {
      if (auto bytes = asked_again(options, [&] { return store.get(key); })) {
        held = std::max(held.value_or(0), read_log_object(std::move(*bytes), key, number).snapshot.lsn);
      }
    }
  }
  return sweep;
}

}  // namespace iqdb
