// The steps of a checkpoint: a new snapshot beside the log that continues it, then a new log.
//
//   snapshot written and synced -> checkpoint frame, synced -> snapshot renamed, directory synced
//   -> new log written and synced -> renamed, directory synced
//
// Invariant: a crash between any two of them loads to the same state. docs/format.md says why.
#pragma once

#include <exception>
#include <filesystem>
#include <memory>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A log that is open for writing.
template <Storage S>
struct OpenLog {
  typename S::Lock lock;                 ///< held until after the last sync
  std::unique_ptr<LogWriter<S>> writer;  ///< goes first
};

namespace checkpoint {

// Takes a step after which it is not known what is durable if it fails. A failed sync is never tried again: the system
// may have dropped what it could not write.
template <Storage S, class Step>
void or_poison(LogWriter<S>& writer, Step&& step) {
  try {
    std::forward<Step>(step)();
  } catch (const std::exception& error) {
    writer.poison("a snapshot or a log could not be made durable", error.what());
    throw;
  }
}

}  // namespace checkpoint

/// Replaces the snapshot at `path`, a resolved name, by `index`, and notes that in the log, which is kept. If it throws,
/// the old snapshot stands, except where only the sync of the directory failed. Throws as write_snapshot does, and
/// PersistError poisoned.
template <Persistable I, Storage S>
[[nodiscard]] WrittenSnapshot<S> save_beside_log(const I& index, S& storage, const std::filesystem::path& path,
                                                 OpenLog<S>& log, const PersistConfig& config) {
  log.writer->require_not_poisoned();
  WrittenSnapshot<S> written = write_snapshot(index, storage, log.lock, path, config);
  written.info.lsn = log.writer->lsn();
  // Without it the checkpoint frame, and the rename, could reach the disk before the bytes of the snapshot.
  checkpoint::or_poison(*log.writer, [&] { written.file.sync(); });
  // Before the rename: whichever of the two snapshots is there after a crash, the log knows where to go on from it.
  log.writer->checkpoint(written.fingerprint);
  written.file.rename();
  // Without it the new log of a checkpoint could survive a crash and the snapshot that it continues could not.
  checkpoint::or_poison(*log.writer, [&] { written.file.sync_directory(); });
  return written;
}

/// Puts an empty log that continues the snapshot `base`, which holds every mutation so far, over the one at `path`'s
/// side. Throws PersistError io; the old log then stands, or the log is poisoned.
template <Storage S>
void begin_new_log(const Fingerprint& base, S& storage, const std::filesystem::path& path, OpenLog<S>& log,
                   const PersistConfig& config) {
  NewLog<S> created(storage, log_path(path), log.lock, base, log.writer->lsn(), config);
  created.finish();
  // Without it the new name could survive a crash and the header that it leads to could not.
  checkpoint::or_poison(*log.writer, [&] { created.file().sync(); });
  created.file().rename();
  checkpoint::or_poison(*log.writer, [&] {
    // Without it a crash could bring the old log back behind mutations that were acknowledged in the new one.
    created.file().sync_directory();
    log.writer->go_on_with(storage, created);
  });
}

}  // namespace iqdb
