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
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
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

namespace recovery {

// Replays the log in `file` onto the index of `snapshot`, in one pass if that is enough. `load()` makes the index of the
// snapshot anew, and sets `snapshot` to it. Throws what LogReplay and `load` throw.
template <Index I, ReadableFile F, class BeginLog, class Load>
[[nodiscard]] auto replayed(LogReplay<BeginLog>& replay, std::optional<LoadedSnapshot<I>>& snapshot, F& file,
                            Load&& load) {
  const auto reload = [&] {
    snapshot.reset();  // before there is another one
    load();
  };
  const LogIdentity identity = identify_log(file);
  if (identity.continues(snapshot->fingerprint) && !replay.ends_early()) {
    if (auto done = replay.in_one_pass(snapshot->index, snapshot->fingerprint, file, identity)) {
      return std::move(*done);
    }
    reload();
  }
  return replay.in_two_passes(snapshot->index, snapshot->fingerprint, file, reload);
}

}  // namespace recovery

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

  std::optional<LoadedSnapshot<I>> snapshot;
  const auto load = [&] {
    snapshot.emplace(naming_file(path, [&] { return load_snapshot<I>(snapshot_file, config); }));
  };
  load();
  return naming_file(log_path(path), [&]() -> Recovered<I, S> {
    const std::filesystem::path log_name = log_path(path);
    const auto begin_log = [&](const Fingerprint& base, std::uint64_t base_lsn, std::optional<std::uint64_t> history) {
      return std::make_unique<NewLog<S>>(storage, log_name, lock, base, base_lsn, history, config);
    };
    std::optional<typename S::File> old_log = storage.open(log_name, lock);
    recovery::LogReplay replay(begin_log, config);
    auto renewed = old_log ? recovery::replayed<I>(replay, snapshot, *old_log, load)
                           : recovery::Replayed<NewLog<S>>{.log = begin_log(snapshot->fingerprint, 0, {})};
    auto& [log, report, last_lsn] = renewed;
    if (renewed.lost_mutations()) {
      // Who reads beside this process must not take the mutations that will get these numbers for those it has seen.
      log->begin_history(storage.new_log_id());
    }
    log->finish();
    if (renewed.lost_mutations()) {
      // A second name, not a rename: there must be no moment without `path`.wal.
      storage.keep(log_name, torn_log_path(path), lock);
      report.torn_log = torn_log_path(path);
    }
    // Once more, now that the temporary file has changed the directory. If an earlier process's sync of the directory
    // failed, the system may mark the changes that it could not write as clean, and the sync above then does nothing.
    // Without this sync a crash could leave the new log beside an older snapshot than the one read.
    storage.sync_directory(lock);
    put_in_place(log->file());
    return {.index = std::move(snapshot->index), .log = std::move(log), .report = std::move(report)};
  });
}

}  // namespace iqdb
