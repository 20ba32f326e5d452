// Recovery: loads the snapshot, replays the log onto the index, and replaces the log by one that holds what was
// replayed.
//
// The order is the contract of docs/format.md: sync the files that are there, read the snapshot, read the log and
// replay it while the new log is written, put the new log in place. Until that last step the snapshot and the log are
// unchanged.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/replay.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The index that snapshot and log describe, and its new log, which is in place.
template <Persistable I, Storage S>
struct Recovered {
  I index;
  std::unique_ptr<NewLog<S>> log;
  RecoveryReport report;
};

namespace recovery {

// The new log, and a report on the old one.
template <Storage S>
struct Renewed {
  std::unique_ptr<NewLog<S>> log;
  RecoveryReport report = {};
};

// Replays a log onto an index, and writes the new log while it reads.
template <Storage S>
class LogRenewal {
 public:
  // For the log at `path`. All arguments must outlive this object.
  LogRenewal(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, const PersistConfig& config)
      : storage_(&storage), path_(&path), lock_(&lock), config_(&config), helpers_(config.helper_threads) {}

  // Begins a new log.
  [[nodiscard]] std::unique_ptr<NewLog<S>> begin(const Fingerprint& snapshot, std::uint64_t base_lsn) {
    return std::make_unique<NewLog<S>>(*storage_, *path_, *lock_, snapshot, base_lsn, *config_);
  }

  // Reads once a log that continues the snapshot from which `index` was loaded. Returns nothing if one pass is not
  // enough: the index rejects a mutation, or a checkpoint of this snapshot stands behind some mutations. The index then
  // holds some of the mutations, and must be loaded again. Throws PersistError log_corrupted; io.
  template <Index I>
  [[nodiscard]] std::optional<Renewed<S>> in_one_pass(I& index, const Fingerprint& snapshot, typename S::File& file,
                                                      const LogIdentity& identity) {
    const LogPosition first = identity.first_frame();
    Renewed<S> renewed{.log = begin(snapshot, first.next_lsn - 1),
                       .report = {.log_found = true, .log_version = identity.version}};
    FrameReader reader(file, identity, first, config_->buffer_bytes, helpers_.if_any());
    FrameOrder order(identity.version);
    Replay replay(index, *renewed.log, identity.version, {}, renewed.report);
    ProgressMeter progress(config_->on_progress, Progress::Phase::replay,
                           file.size() - std::min(file.size(), first.offset));
    while (const auto frame = reader.next()) {
      FrameBody body = order.take(*frame);
      const bool starts_anew = body.op() == FrameOp::checkpoint && body.fingerprint() == snapshot;
      if (starts_anew && frame->position.next_lsn > first.next_lsn) {
        return std::nullopt;
      }
      if (!replay.take(*frame, body, reader.abort_behind(*frame, body.mutations()))) {
        return std::nullopt;
      }
      reader.advance(body.mutations());
      progress.advance(frame->end - frame->position.offset);
    }
    renewed.report.dropped_bytes = reader.torn_bytes();
    if (reader.position().offset > first.offset) {
      progress.finish();
      renewed.log->append_close();
    }
    return renewed;
  }

  // Reads a log to its end, then reads again the part that is replayed onto `index`. Throws PersistError log_mismatch,
  // log_corrupted, replay_rejected; io.
  template <Index I>
  [[nodiscard]] Renewed<S> in_two_passes(I& index, const Fingerprint& snapshot, typename S::File& file) {
    const LogScan scan = scan_log(file, snapshot, config_->buffer_bytes, helpers_.if_any());
    if (!scan.replay && scan.mutations > 0) {
      throw_persist_error(PersistErrorKind::log_mismatch,
                          "the log continues another snapshot and holds " + std::to_string(scan.mutations) +
                              " mutations; put that snapshot back, or move the log away to load this one without it");
    }
    // A log that continues another snapshot has nothing to replay, but its LSNs were used: the new log does not use
    // them again.
    const LogPosition first = scan.replay.value_or(scan.end);
    Renewed<S> renewed{.log = begin(snapshot, first.next_lsn - 1),
                       .report = {.log_found = true,
                                  .log_version = scan.log.version,
                                  .dropped_bytes = scan.dropped_bytes,
                                  .foreign_log_replaced = !scan.replay}};
    if (first.offset == scan.end.offset) {
      return renewed;
    }
    FrameReader reader(file, scan.log, first, config_->buffer_bytes, helpers_.if_any());
    Replay replay(index, *renewed.log, scan.log.version, scan.end.offset, renewed.report);
    ProgressMeter progress(config_->on_progress, Progress::Phase::replay, scan.end.offset - first.offset);
    while (reader.position().offset < scan.end.offset) {
      const auto frame = reader.next();
      if (!frame) {
        throw_persist_error(PersistErrorKind::log_corrupted,
                            "the log changed while it was read: a record that was valid is not any more",
                            {.path = {}, .code = {}, .offset = reader.position().offset});
      }
      FrameBody body(frame->body, scan.log.version);
      std::ignore = replay.take(*frame, body, reader.abort_behind(*frame, body.mutations()));
      reader.advance(body.mutations());
      progress.advance(frame->end - frame->position.offset);
    }
    progress.finish();
    renewed.log->append_close();
    return renewed;
  }

 private:
  S* storage_;
  const std::filesystem::path* path_;
  const typename S::Lock* lock_;
  const PersistConfig* config_;
  HelperThreads helpers_;
};

}  // namespace recovery

/// Loads the index from snapshot and log at `path`, a resolved name, under its lock. Puts a new log in place that holds
/// what the old one held beyond the snapshot. Throws PersistError: what load_snapshot throws, then bad_magic,
/// unsupported_version, log_corrupted, log_mismatch, replay_rejected for the log; io; and what config.on_progress
/// throws. If it throws, the snapshot is unchanged, and the log holds what it held.
template <Persistable I, Storage S>
  requires Index<I>
[[nodiscard]] Recovered<I, S> recover(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                                      typename S::File snapshot_file, const PersistConfig& config) {
  // The files may so far be in the page cache only, written by a process that was killed before it synced. Without
  // these syncs a power cut could remove them while what this load builds on them stays.
  storage.sync(path, lock);
  storage.sync(log_path(path), lock);
  storage.sync_directory(lock);

  std::optional<LoadedSnapshot<I>> snapshot = load_snapshot<I>(snapshot_file, config);
  return naming_file(log_path(path), [&]() -> Recovered<I, S> {
    const std::filesystem::path log_name = log_path(path);
    std::optional<typename S::File> old_log = storage.open(log_name, lock);
    recovery::LogRenewal<S> renewal(storage, log_name, lock, config);
    std::optional<recovery::Renewed<S>> renewed;
    if (!old_log) {
      renewed = {.log = renewal.begin(snapshot->fingerprint, 0)};
    } else if (const LogIdentity identity = identify_log(*old_log); identity.continues(snapshot->fingerprint)) {
      renewed = renewal.in_one_pass(snapshot->index, snapshot->fingerprint, *old_log, identity);
      if (!renewed) {
        snapshot.reset();  // before there is another one
        snapshot.emplace(naming_file(path, [&] { return load_snapshot<I>(snapshot_file, config); }));
      }
    }
    if (!renewed) {
      renewed = renewal.in_two_passes(snapshot->index, snapshot->fingerprint, *old_log);
    }
    auto& [log, report] = *renewed;
    log->finish();
    if (report.dropped_bytes > 0) {
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
