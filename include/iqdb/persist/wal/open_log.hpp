// A log that is open for writing, with the lock that keeps other writers out.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <tuple>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A log that is open for writing. In the child of a fork its writer is not destroyed: the thread that syncs does not exist
/// there.
template <Storage S>
struct OpenLog {
  OpenLog(typename S::Lock held, std::unique_ptr<LogWriter<S>> made) noexcept
      : lock(std::move(held)), writer(std::move(made)) {}
  OpenLog(const OpenLog&) = delete;
  OpenLog& operator=(const OpenLog&) = delete;
  ~OpenLog() {
    if (lock.inherited()) {
      std::ignore = writer.release();
    }
  }

  /// How often the log was synced so far. Any thread may ask.
  [[nodiscard]] std::uint64_t syncs() const {
    Stats stats;
    writer->tell(stats);
    return stats.syncs.count();
  }

  typename S::Lock lock;                 ///< held until after the last sync
  std::unique_ptr<LogWriter<S>> writer;  ///< declared last, so that it is destroyed before the lock is released
};

namespace open_log {

// The lock of `path`, for which it waits up to `patience`, also from whom does not give it back if config.take_over says so. Throws
// PersistError locked; io.
template <Storage S>
[[nodiscard]] typename S::Lock locked(S& storage, const std::filesystem::path& path, std::chrono::milliseconds patience,
                                      [[maybe_unused]] const PersistConfig& config) {
  if constexpr (ContinuesLogs<S>) {
    return storage.lock(path, patience, config.take_over);
  } else {
    return storage.lock(path, patience);
  }
}

// A log whose writer has no file yet. Everything that may fail is done: once a new log is in place, the writer only has
// to be told.
template <Storage S>
[[nodiscard]] std::unique_ptr<OpenLog<S>> prepared(typename S::Lock lock, const PersistConfig& config) {
  auto writer = std::make_unique<LogWriter<S>>(config);
  return std::make_unique<OpenLog<S>>(std::move(lock), std::move(writer));
}

// Throws PersistError poisoned, since the object has no log any more.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_closed() {
  throw_persist_error(PersistErrorKind::poisoned, "the index was closed or moved from; load it again");
}

// The log, unless the object was closed. Throws PersistError poisoned. In the child of a fork the writer refuses its calls.
template <Storage S>
[[nodiscard]] OpenLog<S>& usable(const std::unique_ptr<OpenLog<S>>& log) {
  if (!log) {
    throw_closed();
  }
  return *log;
}

}  // namespace open_log

}  // namespace iqdb
