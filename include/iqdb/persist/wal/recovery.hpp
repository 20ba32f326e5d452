// Recovery: loads the snapshot, replays the log onto the index, and replaces the log by one that holds what was
// replayed.
//
// The order is the contract of docs/format.md: sync the files that are there, read the snapshot, read the log and
// replay it while the new log is written, put the new log in place. Until that last step the snapshot and the log are
// unchanged.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The index that snapshot and log describe, and its new log, which is in place.
template <Persistable I, Storage S>
struct Recovered {
  I index;
  std::unique_ptr<NewLog<S>> log;
  RecoveryReport report;
};

/// Loads the index from snapshot and log at `path`, a resolved name, under its lock. Puts a new log in place that holds
/// what the old one held beyond the snapshot. Throws PersistError: what load_snapshot throws, then bad_magic,
/// unsupported_version, log_corrupted, log_mismatch, replay_rejected, unsupported for the log; io; std::bad_alloc; and
/// what config.on_progress throws. If it throws, the snapshot is unchanged, and the log holds what it held.
template <Persistable I, Storage S>
  requires Index<I>
[[nodiscard]] Recovered<I, S> recover(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                                      typename S::File snapshot_file, const PersistConfig& config) {
  // The files may so far be in the page cache only, written by a process that was killed before it synced. Without
  // these syncs a power cut could remove them while what this load builds on them stays.
  storage.sync(path, lock);
  storage.sync(log_path(path), lock);
  storage.sync_directory(lock);

  recovery::BaseSnapshot<I, S> snapshot{.path = path, .file = std::move(snapshot_file)};
  snapshot.load(config);
  const recovery::NewLogPlace<S> place{.storage = &storage, .path = log_path(path), .lock = &lock};
  return naming_file(place.path, [&]() -> Recovered<I, S> {
    std::optional<typename S::File> old_log = storage.open(place.path, lock);
    recovery::Replayed<S> renewed =
        old_log ? recovery::LogReplay<I, S>(snapshot, &place, config).replayed(*old_log)
                : recovery::Replayed<S>{.log = place.begin(snapshot.loaded->fingerprint, 0, {}, config)};
    auto& [log, report, last_lsn, end] = renewed;
    if (renewed.lost_mutations()) {
      // Who reads beside this process must not take the mutations that will get these numbers for those it has seen.
      log->begin_history(storage.new_log_id());
    }
    if (log->end().offset == log_header_bytes) {
      log->append_time_so_far(LogClock(config));
    }
    log->finish();
    if constexpr (ReplacesLogs<S>) {
      if (renewed.lost_mutations()) {
        // A second name, not a rename: there must be no moment without `path`.wal.
        storage.keep(place.path, torn_log_path(path), lock);
        report.torn_log = torn_log_path(path);
      }
      // Once more, now that the temporary file has changed the directory. If an earlier process's sync of the directory
      // failed, the system may mark the changes that it could not write as clean, and the sync above then does nothing.
      // Without this sync a crash could leave the new log beside an older snapshot than the one read.
      storage.sync_directory(lock);
      put_in_place(log->file());
    }
    return {.index = std::move(snapshot.loaded->index), .log = std::move(log), .report = std::move(report)};
  });
}

}  // namespace iqdb
