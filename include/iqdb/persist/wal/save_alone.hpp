// Saves an index that has no log: over the file that it was loaded from, or under another path.
//
// Invariant: a file that somebody else has put in place meanwhile is not replaced.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What an object without a log knows of its file.
struct SnapshotOnDisk {
  std::optional<Fingerprint> fingerprint = {};  ///< what it loaded or saved; nothing if there was no file
  bool may_be_anything = false;                 ///< whether the first save may replace any snapshot
};

namespace save_alone {

inline constexpr std::chrono::milliseconds patience{5000};  // how long a save waits for another holder

// Throws PersistError snapshot_changed if the snapshot at `path` is not the expected one.
template <Storage S>
void require_unchanged(S& storage, const std::filesystem::path& path, const std::optional<Fingerprint>& expected,
                       const typename S::Lock& lock) {
  std::optional<Fingerprint> found;
  bool readable = true;
  try {
    found = log_guard::fingerprint_at(storage, path, &lock);
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::io) {
      throw;
    }
    readable = false;
  }
  if (readable && found == expected) {
    return;
  }
  const auto described = [](const std::optional<Fingerprint>& snapshot) {
    return snapshot ? "a snapshot of " + std::to_string(snapshot->file_bytes) + " bytes with the checksum " +
                          hexadecimal(snapshot->region_crc32)
                    : std::string("no file");
  };
  throw_persist_error(PersistErrorKind::snapshot_changed,
                      "somebody else changed the file since this object loaded or saved it: found " +
                          (readable ? described(found) : std::string("what is no snapshot")) + ", expected " +
                          described(expected) +
                          "; a save would discard what they saved: keep this index by save_copy(), and load the file "
                          "again",
                      {.path = path, .code = {}, .offset = {}});
}

// Throws PersistError would_discard_snapshot or would_discard_log if there is a snapshot or a log where `what` would lie.
template <Storage S>
void require_nothing_there(S& storage, const std::filesystem::path& path, const typename S::Lock* lock,
                           std::string_view what) {
  const auto refuse = [&](PersistErrorKind kind, const std::string& found) {
    throw_persist_error(kind,
                        std::string(what) + " would replace " + found + "; choose a path at which there is nothing",
                        {.path = path, .code = {}, .offset = {}});
  };
  if (log_guard::opened(storage, path, lock)) {
    refuse(PersistErrorKind::would_discard_snapshot, "a file that is there");
  }
  if (log_guard::opened(storage, log_path(path), lock)) {
    refuse(PersistErrorKind::would_discard_log, "a log that is there");
  }
}

}  // namespace save_alone

/// Saves `index` to `path`, a resolved name, where no log is written. Waits 5 seconds for another holder of the lock.
/// Throws PersistError poisoned if `path` is empty, as that of an object that was moved from;
/// locked; snapshot_changed if the file is not the one in `on_disk`; what refuse_log throws; and as
/// save_snapshot does. Sets `on_disk` to what is there now.
template <Persistable I, Storage S>
SnapshotInfo save_without_log(const I& index, S& storage, const std::filesystem::path& path,
                              const PersistConfig& config, SnapshotOnDisk& on_disk) {
  if (path.empty()) {
    open_log::throw_closed();
  }
  const auto lock = open_log::locked(storage, path, save_alone::patience, config);
  if (!on_disk.may_be_anything) {
    save_alone::require_unchanged(storage, path, on_disk.fingerprint, lock);
  }
  const std::optional<Fingerprint> continued = on_disk.may_be_anything ? std::nullopt : on_disk.fingerprint;
  const bool has_log = refuse_log(storage, path, continued, config.buffer_bytes, &lock);
  WrittenSnapshot<S> written = write_snapshot(index, storage, lock, path, config);
  // Otherwise the rename could reach the disk before the bytes, and after a crash the name would lead to an empty file.
  written.file.sync();
  keep_history(storage, path, lock, config, written.fingerprint);
  if (has_log) {
    // Before the rename: beside the new snapshot, an old log would be one that continues another snapshot.
    storage.remove(log_path(path), lock);
  }
  written.file.rename();
  // Also if the next step fails: the file that is there is the one that this object wrote.
  on_disk = {.fingerprint = written.fingerprint, .may_be_anything = false};
  // Otherwise a crash could undo the rename after the caller was told that the file is there.
  written.file.sync_directory();
  sweep_history(storage, path, lock, config);
  return written.info;
}

/// Saves `index` to `path`, a resolved name that is not `own`, at which there is nothing yet. Throws PersistError
/// poisoned if `own` is empty; invalid_config, would_discard_snapshot, would_discard_log, locked; and as save_snapshot does.
template <Persistable I, Storage S>
SnapshotInfo save_copy_at(const I& index, S& storage, const std::filesystem::path& path,
                          const std::filesystem::path& own, const PersistConfig& config) {
  if (own.empty()) {
    open_log::throw_closed();
  }
  return naming_file(path, [&] {
    if (path == own) {
      throw_persist_error(
          PersistErrorKind::invalid_config,
          "the copy would replace the files of this index itself; choose a path at which there is nothing");
    }
    if constexpr (ContinuesLogs<S>) {
      save_alone::require_nothing_there<S>(storage, path, nullptr,
                                           "the copy");  // before it is somebody's fence that is put
    }
    const auto lock = open_log::locked(storage, path, std::chrono::milliseconds::zero(), config);
    save_alone::require_nothing_there(storage, path, &lock, "the copy");
    return save_snapshot(index, storage, lock, path, config);
  });
}

}  // namespace iqdb
