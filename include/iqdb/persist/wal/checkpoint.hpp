// The steps of a checkpoint: write a new snapshot, which the log continues, then replace the log by an empty one.
//
//   write snapshot, sync -> checkpoint frame, sync -> rename snapshot, sync directory
//   -> write new log, sync -> rename it, sync directory
//
// Invariant: after a crash between any two steps, a load returns the same state. docs/format.md says why.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace checkpoint {

// Runs a step whose failure leaves it unknown what is durable. If `step` throws, the log is poisoned and the exception
// passes. A failed sync is never repeated: the system may have dropped the pages that it could not write.
template <Storage S, class Step>
void or_poison(LogWriter<S>& writer, Step&& step) {
  try {
    std::forward<Step>(step)();
  } catch (...) {
    writer.poison("a snapshot or a log could not be made durable", message_of_current_exception());
    throw;
  }
}

// Gives a new file its name. If that fails and the file may have the name all the same, the log is poisoned: the writer
// would go on in a file without a name.
template <Storage S>
void rename_or_poison(LogWriter<S>& writer, typename S::Replacement& file) {
  try {
    file.rename();
  } catch (...) {
    if (file.in_doubt()) {
      writer.poison("a rename may have been done though it was reported as failed", message_of_current_exception());
    }
    throw;
  }
}

// Appends a checkpoint frame for a snapshot that is synced under its temporary name, and gives it its name. The log holds
// the mutations behind written.info.lsn. Throws PersistError io, poisoned; then the old snapshot stands, or the log is
// poisoned.
template <Storage S>
void put_snapshot_in_place(WrittenSnapshot<S>& written, LogWriter<S>& writer) {
  // Before the rename: after a crash either snapshot may be in place, and the log must say for both where replay
  // starts.
  writer.checkpoint(written.fingerprint, written.info.lsn);
  rename_or_poison(writer, written.file);
  // Without this sync the new log of a checkpoint could survive a crash while the snapshot that it continues is lost.
  or_poison(writer, [&] { written.file.sync_directory(); });
}

// Ends a new log that holds what the writer's log holds behind the snapshot, and goes on in it. Throws PersistError io; then
// the old log stands, or the log is poisoned.
template <Storage S>
void go_on_in(NewLog<S>& created, S& storage, LogWriter<S>& writer) {
  created.finish();
  if constexpr (ReplacesLogs<S>) {
    // Without this sync the new name could survive a crash while the log's bytes are lost.
    or_poison(writer, [&] { created.file().sync(); });
    rename_or_poison(writer, created.file());
    // Without this sync a crash could restore the old log, and lose mutations that were acknowledged in the new one.
    or_poison(writer, [&] { created.file().sync_directory(); });
  }
  or_poison(writer, [&] { writer.go_on_with(storage, created); });
}

}  // namespace checkpoint

/// Replaces the snapshot at `path`, a resolved name, by `index`, and appends a checkpoint frame to the log. The log is
/// kept. If it throws, the old snapshot stands, with one exception: if only the sync of the directory failed, the new
/// snapshot is in place and may not survive a crash. Throws as write_snapshot does, and PersistError poisoned.
template <Persistable I, Storage S>
[[nodiscard]] WrittenSnapshot<S> save_beside_log(const I& index, S& storage, const std::filesystem::path& path,
                                                 OpenLog<S>& log, const PersistConfig& config) {
  log.writer->require_not_poisoned();
  // Taken before the index is written: the checkpoint frame must not claim a mutation that the snapshot lacks.
  const std::uint64_t lsn = log.writer->lsn();
  WrittenSnapshot<S> written = write_snapshot(index, storage, log.lock, path, config);
  written.info.lsn = lsn;
  if (log.writer->lsn() != lsn) {
    throw_persist_error(PersistErrorKind::reentered,
                        "the index took a mutation while its snapshot was written; let no callback and no other thread "
                        "change an index that is being saved, and save again");
  }
  if constexpr (ContinuesLogs<S>) {
    written.file.sync();  // nothing names it yet: if that fails, nothing is in doubt
  } else {
    // Without this sync the checkpoint frame, or the rename, could reach the disk before the snapshot's bytes.
    checkpoint::or_poison(*log.writer, [&] { written.file.sync(); });
  }
  keep_history(storage, path, log.lock, config, written.fingerprint);
  checkpoint::put_snapshot_in_place(written, *log.writer);
  return written;
}

/// Replaces the log of the snapshot at `path` by an empty one that continues `base`, and with `begins_anew` has another history id.
/// Precondition: the snapshot `base`
/// holds every mutation so far. Throws PersistError io; then the old log stands, or the log is poisoned.
template <Storage S>
void begin_new_log(const Fingerprint& base, S& storage, const std::filesystem::path& path, OpenLog<S>& log,
                   bool begins_anew, const PersistConfig& config) {
  const std::optional<std::uint64_t> history_id =
      begins_anew ? std::nullopt : std::optional(log.writer->header().history_id);
  NewLog<S> created(storage, log_path(path), log.lock, base, log.writer->lsn(), history_id, config);
  created.append_time_so_far(log.writer->clock());
  checkpoint::go_on_in(created, storage, *log.writer);
}

}  // namespace iqdb
