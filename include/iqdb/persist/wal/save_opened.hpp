// What is done with the files of an index that is open: saved over, with the log kept or begun anew, and closed.
#pragma once

#include <filesystem>
#include <memory>
#include <tuple>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/logged_mutation.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/opening.hpp"
#include "iqdb/persist/wal/save_alone.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Throws what is known to keep a save from being made: PersistError read_only, and with the log on poisoned. Errors name
/// `path`.
template <Persistable I, Storage S>
void require_savable(const OpenedIndex<I, S>& opened, const std::filesystem::path& path, const PersistConfig& config) {
  if (config.read_only) {
    logged_mutation::throw_read_only(path);
  }
  if (config.wal_enabled) {
    naming_file(path, [&] { open_log::usable(opened.log).writer->require_not_poisoned(); });
  }
}

/// Replaces the snapshot at `path`, a resolved name, by the index; with `begins_log` also the log, if there is one. Mutations
/// wait. If the index was changed without the log, the log begins anew, so that who follows it loads the index anew: from what it
/// has, no log leads to what is saved. Throws as PersistedIndex::save does.
template <Persistable I, Storage S>
SnapshotInfo save_opened(OpenedIndex<I, S>& opened, S& storage, const std::filesystem::path& path,
                         const PersistConfig& config, bool begins_log) {
  return naming_file(path, [&] {
    require_savable(opened, path, config);
    return snapshot::timed([&] {
      if (!config.wal_enabled) {
        return save_without_log(opened.index, storage, path, config, opened.on_disk);
      }
      const bool begins_anew = opened.has_unlogged_changes;
      if constexpr (ContinuesLogs<S>) {
        if (begins_anew) {
          storage.begin_anew(opened.log->lock);
        }
      }
      const WrittenSnapshot<S> written = save_beside_log(opened.index, storage, path, *opened.log, config);
      opened.has_unlogged_changes = false;
      if (begins_log || begins_anew) {
        begin_new_log(written.fingerprint, storage, path, *opened.log, begins_anew, config);
      }
      sweep_history(storage, path, opened.log->lock, config);
      return written.info;
    });
  });
}

/// Ends the log in order, if there is one, and releases the lock. Its last number stays. Throws PersistError io, poisoned;
/// there is no log any more in any case.
template <Persistable I, Storage S>
void close_opened(OpenedIndex<I, S>& opened, const std::filesystem::path& path) {
  if (opened.log) {
    opened.lsn = opened.log->writer->lsn();
    const std::unique_ptr<OpenLog<S>> closed = std::move(opened.log);
    naming_file(path, [&] { closed->writer->close(); });
  }
}

/// The same for a destructor, which has nobody to tell of a failure. If the thread is that of the log, as in a handler of
/// events that ends the program, the log is neither closed nor destroyed: it would wait for its own thread.
template <Persistable I, Storage S>
void close_opened_quietly(OpenedIndex<I, S>& opened, const std::filesystem::path& path) noexcept {
  if (opened.log && opened.log->writer->is_own_thread()) {
    std::ignore = opened.log.release();
    return;
  }
  try {
    close_opened(opened, path);
  } catch (...) {
    // Who wants to know calls close().
  }
}

}  // namespace iqdb
