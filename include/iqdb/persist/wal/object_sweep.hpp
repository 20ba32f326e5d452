// Sweeping: deletes the objects of a log that no load needs any more, snapshots likewise, and ends uploads that were given up.
//
// Invariants: a fence is never deleted. An object is deleted only if it stands in front of a checkpoint C, and the log has a
// later checkpoint whose snapshot holds every mutation in front of C. So whoever reads from the last key back stops at C at the
// latest, and the last two checkpoints stay. What the history of the last one names stays, too (object_history.hpp).
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
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_snapshot.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a sweeper knows of the log without asking: every object from the number `first` up to `next`, and some fences in front.
struct KnownObjects {
  std::uint64_t first = 0;
  std::uint64_t next = 0;                       ///< `first` if it knows none
  std::vector<std::uint64_t> checkpoints = {};  ///< those of them that are checkpoints, ascending
  std::vector<std::uint64_t> fences = {};       ///< those that are fences, ascending

  /// Whether it is known which kind the object of this number is.
  [[nodiscard]] bool has(std::uint64_t number) const { return (first <= number && number < next) || is_fence(number); }
  [[nodiscard]] bool is_checkpoint(std::uint64_t number) const {
    return std::ranges::binary_search(checkpoints, number);
  }
  [[nodiscard]] bool is_fence(std::uint64_t number) const { return std::ranges::binary_search(fences, number); }
};

/// What a sweep did.
struct ObjectSweep {
  std::uint64_t removed = 0;                     ///< objects of the log deleted
  std::vector<std::uint64_t> fences = {};        ///< fences in front of what is kept, which stay
  std::vector<std::string> kept_snapshots = {};  ///< in order, the keys of the snapshots that a load may begin with
  std::vector<std::string> kept_histories = {};  ///< in order, the keys of the lists that a load may ask for
  bool saw_all = true;                           ///< whether these are all: false if what was listed could not be read
};

namespace object_sweeps {

// The last two checkpoints of a log, and those between them.
struct LastCheckpoints {
  std::optional<std::uint64_t> first = {};  // the number of the first one; nothing if there are fewer than two
  std::optional<LogObject> current = {};    // the one with which a load begins
  std::vector<std::string> snapshots = {};  // of all of them, by their keys
  bool saw_all = true;
};

// The kind of an object, as `known` has it, or as the store. Nothing if it is not there.
template <ReadsObjects S>
[[nodiscard]] std::optional<LogObjectKind> kind_of(S& store, std::string_view name, std::uint64_t number,
                                                   const KnownObjects& known, const ObjectLogOptions& options) {
  if (known.has(number)) {
    return known.is_fence(number)        ? LogObjectKind::fence
           : known.is_checkpoint(number) ? LogObjectKind::checkpoint
                                         : LogObjectKind::frames;
  }
  const std::string key = log_object_key(name, number);
  const auto begin = asked_again(options, [&] { return store.get(key, 0, log_object_header_bytes); });
  return begin ? std::optional(read_log_object_header(*begin, key, number).kind) : std::nullopt;
}

// Looks for them from the last of `numbers` back.
template <ReadsObjects S>
[[nodiscard]] LastCheckpoints last_checkpoints(S& store, std::string_view name,
                                               const std::vector<std::uint64_t>& numbers, const KnownObjects& known,
                                               const ObjectLogOptions& options) {
  LastCheckpoints last;
  for (auto number = numbers.rbegin(); number != numbers.rend() && !last.first; ++number) {
    const auto kind = kind_of(store, name, *number, known, options);
    if (kind && *kind != LogObjectKind::checkpoint) {
      continue;
    }
    auto object = kind ? find_log_object(store, name, *number, options) : std::nullopt;
    // A fence may have come late to its number meanwhile.
    if (!object || object->header.kind != LogObjectKind::checkpoint) {
      last.saw_all = false;
      continue;
    }
    last.snapshots.push_back(object->snapshot.key);
    if (last.current && object->header.base_lsn <= last.current->snapshot.lsn) {
      last.first = *number;
    }
    if (!last.current || object->snapshot.lsn > last.current->snapshot.lsn) {
      last.current = std::move(object);
    }
  }
  return last;
}

}  // namespace object_sweeps

/// Deletes what no load of the index `name` needs, and no older state that is kept. Any number of processes may do that, beside
/// writers and readers. It reads the header of each object but for those that `known` tells. Throws PersistError io if the store
/// does not answer, log_corrupted for an object that is damaged, and what the store throws; what was not deleted then is deleted by
/// the next sweep.
template <ObjectStore S>
ObjectSweep sweep_object_log(S& store, std::string_view name, const ObjectLogOptions& options,
                             const KnownObjects& known = {}) {
  std::vector<std::uint64_t> numbers = list_log_objects(store, name, options);
  const object_sweeps::LastCheckpoints last = object_sweeps::last_checkpoints(store, name, numbers, known, options);
  ObjectSweep sweep{.kept_snapshots = last.snapshots, .saw_all = last.saw_all};
  ObjectHistory history;
  if (last.current) {
    if (auto list = read_object_history(store, name, last.current->snapshot.key, options)) {
      history = *std::move(list);
    } else {
      // Its list was swept because there are later ones, which name what is kept; or it has none.
      const auto again =
          object_sweeps::last_checkpoints(store, name, list_log_objects(store, name, options), known, options);
      if (!again.current || again.current->header.number != last.current->header.number) {
        sweep.saw_all = false;
        return sweep;
      }
    }
  }
  for (const std::string& snapshot : last.snapshots) {
    if (auto key = object_history_key(name, snapshot)) {
      sweep.kept_histories.push_back(*std::move(key));
    }
  }
  std::ranges::sort(sweep.kept_histories);
  std::uint64_t begin = last.first.value_or(0);  // nothing in front of it is needed
  for (const HistoryState& state : history.states) {
    begin = std::min(begin, state.checkpoint.begin);
    sweep.kept_snapshots.push_back(state.checkpoint.snapshot.key);
  }
  std::ranges::sort(sweep.kept_snapshots);
  std::erase_if(numbers, [&](std::uint64_t number) { return number >= begin; });
  // The oldest first: who follows the log by its numbers, and does not find the next object, looks whether the one before is there.
  for (const std::uint64_t number : numbers) {
    const auto kind = object_sweeps::kind_of(store, name, number, known, options);
    if (kind == LogObjectKind::fence) {
      sweep.fences.push_back(number);
    } else if (kind) {
      store.remove(log_object_key(name, number));
      ++sweep.removed;
    }
  }
  return sweep;
}

/// Deletes the snapshots of the index `name` that were not published, or that later ones have replaced, and their lists of older
/// states: all but those in `sweep`, of writers whose fence is not over `fence`. A snapshot that such a writer has not published
/// yet is never published, unless it is the one whose fence is `fence`: that one writes no snapshot meanwhile. Returns how many
/// snapshots. Throws PersistError io, and what the store throws.
template <ObjectStore S>
std::uint64_t sweep_object_snapshots(S& store, std::string_view name, std::uint64_t fence, const ObjectSweep& sweep,
                                     const ObjectLogOptions& options) {
  const std::string prefix = object_snapshot_prefix(name);
  std::uint64_t removed = 0;
  if (!sweep.saw_all) {
    return removed;  // an object that is just being stored may name any of them
  }
  object_requests::for_each_key(store, prefix, prefix, options, [&](const std::string& key) {
    const auto listed = snapshot_of_object_history(name, key);  // if it is a list, that of this snapshot
    const auto made_by = parts_of_object_snapshot(name, listed ? *listed : key);
    const auto& kept = listed ? sweep.kept_histories : sweep.kept_snapshots;
    if (made_by && made_by->fence <= fence && !std::ranges::binary_search(kept, key)) {
      store.remove(key);
      removed += listed ? 0U : 1U;
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
      const auto made_by = parts_of_object_snapshot(name, upload.key);
      // A store may list an upload that is completed, and take what it consists of away with it.
      const bool is_needed = std::ranges::binary_search(sweep.kept_snapshots, upload.key);
      if (made_by && made_by->fence <= fence && !is_needed) {
        store.abort_upload(upload);
        ++aborted;
      }
    }
    behind = uploads.back();
  }
}

}  // namespace iqdb
