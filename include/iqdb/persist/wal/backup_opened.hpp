// A backup of an index that is open.
#pragma once

#include <filesystem>
#include <tuple>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/backup.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/logged_mutation.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/opening.hpp"
#include "iqdb/persist/wal/save_alone.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Copies the index at `path`, a resolved name, into `directory`. `alone(step)` runs `step` while every frame is settled and
/// the index does not change; mutations may go on otherwise, but no other call may use `storage` or close the log. Throws as
/// PersistedIndex::backup does.
template <Persistable I, Storage S, class Alone>
  requires ReplacesLogs<S> BackupInfo back_up_opened(OpenedIndex<I, S>& opened, S& storage,
                                                     const std::filesystem::path& path,
                                                     const std::filesystem::path& directory, BackupOptions options,
                                                     const PersistConfig& config, Alone&& alone) {
    const std::filesystem::path to = backup::path_in(storage, directory, path);
    if (config.read_only) {
      return back_up_files(storage, path, to, options, config);
    }
    if (const auto state = state_asked_for(storage, path, options.up_to, options.up_to_time, config)) {
      if (state->path != path) {
        return back_up_files(storage, path, to, options, config);
      }
      options.up_to = state->lsn;
    }
    if (!config.wal_enabled) {
      if (options.up_to) {
        backup::throw_no_log();
      }
      return backup::timed([&] {
        const std::filesystem::path copy = storage.resolve(to);
        SnapshotInfo info;
        alone([&] { info = save_copy_at(opened.index, storage, copy, path, config); });
        return BackupInfo{.path = copy, .snapshot_bytes = info.file_bytes};
      });
    }
    const auto end = [&] {
      LogPosition log_end;
      alone([&] {
        std::ignore = logged_mutation::begins(config, opened.log, opened.has_unlogged_changes);
        log_end = opened.log->writer->end();
      });
      return log_end;
    };
    const OpenLog<S>& log = naming_file(path, [&]() -> OpenLog<S>& { return open_log::usable(opened.log); });
    return back_up_held(
        storage, path, log.lock, end, [&log] { return log.syncs(); }, to, options, config);
  }

/// A backup copies files. Throws PersistError unsupported: this store has none.
template <Persistable I, Storage S, class Alone>
  requires ContinuesLogs<S>
[[noreturn]] BackupInfo back_up_opened(OpenedIndex<I, S>& /*opened*/, S& /*storage*/, const std::filesystem::path& path,
                                       const std::filesystem::path& /*directory*/, const BackupOptions& /*options*/,
                                       const PersistConfig& /*config*/, Alone&& /*alone*/) {
  throw_persist_error(PersistErrorKind::unsupported,
                      "a backup copies files, and this store has none; store the index under another name with "
                      "save_copy(), or let the store keep versions of its objects",
                      {.path = path, .code = {}, .offset = {}});
}

}  // namespace iqdb
