// Sweeping: deletes the objects of a log that no load needs any more, snapshots likewise, and ends uploads that were given up.
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
#include <set>
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
#include "iqdb/persist/wal/object_snapshot.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a sweep did.
struct ObjectSweep {
  std::uint64_t removed = 0;                     ///< objects deleted
  std::uint64_t fences = 0;                      ///< fences in front of the last two checkpoints, which stay
  std::vector<std::string> kept_snapshots = {};  ///< the keys of the snapshots that a load may begin with
  bool saw_all = true;                           ///< whether these are all: false if what was listed could not be read
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
  std::vector<std::string> needless;
  for (std::size_t at = numbers.size(); at > 0; --at) {
    const std::uint64_t number = numbers[at - 1];
    const std::string key = log_object_key(name, number);
    const auto begin = asked_again(options, [&] { return store.get(key, 0, log_object_header_bytes); });
    if (!begin) {
      sweep.saw_all = sweep.saw_all && is_needless;
      continue;
    }
    const LogObjectHeader header = read_log_object_header(*begin, key, number);
    const bool is_checkpoint = header.kind == LogObjectKind::checkpoint;
    if (is_needless) {
      if (header.kind == LogObjectKind::fence) {
        ++sweep.fences;
      } else {
        needless.push_back(key);
      }
    } else if (is_checkpoint) {
      auto bytes = asked_again(options, [&] { return store.get(key); });
      if (!bytes) {
        sweep.saw_all = false;
        continue;
      }
      const PublishedSnapshot snapshot = read_log_object(std::move(*bytes), key, number).snapshot;
      sweep.kept_snapshots.push_back(snapshot.key);
      is_needless = held && header.base_lsn <= *held;
      held = std::max(held.value_or(0), snapshot.lsn);
    }
  }
  // The oldest first: who follows the log by its numbers, and does not find the next object, looks whether the one before is there.
  std::ranges::reverse(needless);
  for (const std::string& key : needless) {
    store.remove(key);
    ++sweep.removed;
  }
  return sweep;
}

/// Deletes the snapshots of the index `name` that were not published, or that later ones have replaced: all but those in `sweep`, of
/// writers whose fence is not over `fence`. A snapshot that such a writer has not published yet is never published, unless it is
/// the one whose fence is `fence`: that one writes no snapshot meanwhile. Returns how many. Throws PersistError io, and what the
/// store throws.
template <ObjectStore S>
std::uint64_t sweep_object_snapshots(S& store, std::string_view name, std::uint64_t fence, const ObjectSweep& sweep,
                                     const ObjectLogOptions& options) {
  const std::string prefix = object_snapshot_prefix(name);
  std::uint64_t removed = 0;
  if (!sweep.saw_all) {
    return removed;  // an object that is just being stored may name any of them
  }
  object_requests::for_each_key(store, prefix, prefix, options, [&](const std::string& key) {
    const auto made_by = fence_of_object_snapshot(name, key);
    if (made_by && *made_by <= fence && std::ranges::find(sweep.kept_snapshots, key) == sweep.kept_snapshots.end()) {
      store.remove(key);
      ++removed;
    }
  });
  return removed;
}

/// Aborts the uploads of snapshots of the index `name` that were given up: all but those of a snapshot in `sweep`, of writers whose
/// fence is not over `fence`, by the rule of sweep_object_snapshots(). A writer that sleeps meanwhile finds, when it wakes, that its
/// upload has ended, and publishes nothing. Returns how many. Throws PersistError io, and what the store throws.
template <UploadsObjects S>
std::uint64_t sweep_object_uploads(S& store, std::string_view name, std::uint64_t fence, const ObjectSweep& sweep,
                                   const ObjectLogOptions& options) {
  std::uint64_t aborted = 0;
  if (!sweep.saw_all) {
    return aborted;
  }
  ObjectUpload behind;
  // Ids. A store that lists the same uploads again and again must not hold a sweep up for ever.
  std::set<std::string> seen;
  for (;;) {
    const auto uploads = asked_again(
        options, [&] { return store.list_uploads(object_snapshot_prefix(name), behind, options.listed_at_once); });
    const bool has_new =
        std::ranges::any_of(uploads, [&](const ObjectUpload& upload) { return !seen.contains(upload.id); });
    if (!has_new) {
      return aborted;
    }
    for (const ObjectUpload& upload : uploads) {
      seen.insert(upload.id);
      const auto made_by = fence_of_object_snapshot(name, upload.key);
      // A store may list an upload that is completed, and take what it consists of away with it.
      const bool is_needed = std::ranges::find(sweep.kept_snapshots, upload.key) != sweep.kept_snapshots.end();
      if (made_by && *made_by <= fence && !is_needed) {
        store.abort_upload(upload);
        ++aborted;
      }
    }
    behind = uploads.back();
  }
}

}  // namespace iqdb
