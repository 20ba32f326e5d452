// Creates the two files of an index: its base snapshot, and an empty log.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/open_log.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace creation {

// The number behind which the mutations of a new index are numbered.
template <Storage S>
[[nodiscard]] std::uint64_t last_lsn([[maybe_unused]] S& storage, [[maybe_unused]] const typename S::Lock& lock) {
  if constexpr (ContinuesLogs<S>) {
    return storage.last_lsn(lock);
  } else {
    return 0;
  }
}

}  // namespace creation

/// Creates snapshot and log of `index` at `path`, a resolved name, under its lock. What is there is replaced if
/// require_replaceable allows it. Returns the log. Throws what require_replaceable and write_snapshot throw, and
/// PersistError io.
template <Persistable I, Storage S>
[[nodiscard]] std::unique_ptr<OpenLog<S>> create_files(const I& index, S& storage, const std::filesystem::path& path,
                                                       typename S::Lock lock, const PersistConfig& config) {
  std::ignore = require_replaceable<I>(storage, path, config, &lock);
  WrittenSnapshot<S> base = write_snapshot(index, storage, lock, path, config);
  keep_history(storage, path, lock, config, base.fingerprint);
  if constexpr (ReplacesLogs<S>) {
    // Durably, and before the snapshot: a crash must not leave a new snapshot beside a log that continues another one.
    storage.remove(log_path(path), lock);
  }
  // Everything else that may fail comes before the first file is in place.
  NewLog<S> log(storage, log_path(path), lock, base.fingerprint, creation::last_lsn(storage, lock), std::nullopt,
                config);
  log.append_time_so_far(LogClock(config));
  log.finish();
  std::unique_ptr<OpenLog<S>> opened = open_log::prepared<S>(std::move(lock), config);
  // The base snapshot, then the log: between the two there is no log, which means an empty one.
  put_in_place(base.file);
  if constexpr (ReplacesLogs<S>) {
    put_in_place(log.file());
  }
  opened->writer->go_on_with(storage, log);
  sweep_history(storage, path, opened->lock, config);
  return opened;
}

}  // namespace iqdb
