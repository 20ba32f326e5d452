// Opens the files of an index that are there: with the log on, with it off, or only to read.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "iqdb/explain_index.hpp"
#include "iqdb/index.hpp"
#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/recovery.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/save_alone.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace opening {

// True. For a type that is an Index but for the signature of its insert or its erase, the compiler says so: with the log
// on it would be refused only when the program runs.
template <class I>
consteval bool explained() {
  if constexpr (MistakenForIndex<I>) {
    return explain_index<I>();
  }
  return true;
}

}  // namespace opening

/// An index that was loaded, and what goes on with its files.
template <Persistable I, Storage S>
struct OpenedIndex {
  static_assert(opening::explained<I>());

  I index;
  RecoveryReport report = {};
  std::unique_ptr<OpenLog<S>> log = {};  ///< null with the log off
  SnapshotOnDisk on_disk = {};           ///< with the log off
  bool has_unlogged_changes = false;     ///< the index was changed without the log, and no save has followed
  std::uint64_t lsn = 0;                 ///< with read_only, the last mutation
  std::filesystem::path path = {};       ///< PersistConfig::path with symbolic links resolved
};

namespace opening {

// Throws PersistError if an index of type I cannot be opened with `config`; `creates` says that it is to be stored. Throws
// reentered in a handler of events.
template <class I>
void check(const PersistConfig& config, bool creates) {
  CallUnderWay::require_none(false);  // but a handler of events
  validate(config);
  if (config.wal_enabled && !Index<I>) {
    throw_persist_error(
        PersistErrorKind::unsupported,
        std::string("PersistConfig::wal_enabled is set, but the index has no ") + missing_of_index<I>() +
            " that could be logged; set it to false and call save(), or give the index what concept iqdb::Index asks "
            "for, of which static_assert(iqdb::explain_index<I>()) tells more",
        {.path = config.path, .code = {}, .offset = {}});
  }
  if (creates && config.read_only) {
    throw_persist_error(PersistErrorKind::read_only,
                        "an index was to be stored, but PersistConfig::read_only is set; use load, or set it to false",
                        {.path = config.path, .code = {}, .offset = {}});
  }
}

// With the log on, the lock of `path`, which must be free unless config.take_over is set. Throws PersistError locked; io;
// unsupported for a take-over that a store does not know.
template <Storage S>
[[nodiscard]] std::optional<typename S::Lock> lock_of(const PersistConfig& config, S& storage,
                                                      const std::filesystem::path& path) {
  if (config.take_over && !ContinuesLogs<S>) {
    throw_persist_error(
        PersistErrorKind::unsupported,
        "PersistConfig::take_over is set, but in this store a lock ends with the process that holds it, and "
        "nobody else can end it; leave it out");
  }
  if (!config.wal_enabled || config.read_only) {
    return std::nullopt;
  }
  return open_log::locked(storage, path, std::chrono::milliseconds::zero(), config);
}

// Throws PersistError invalid_config unless the snapshot with this header has the dimension and the metric of `alike`.
template <Persistable I>
void require_alike(const FileHeader& header, const I& alike) {
  const auto described = [](std::uint64_t dim, DistanceMetric metric) {
    return "dimension " + std::to_string(dim) + " and metric " + std::string(to_string(metric));
  };
  const std::uint64_t dim = persisted_dim(alike);
  const DistanceMetric metric = persisted_metric(alike);
  if (header.dim != dim || header.metric != metric) {
    throw_persist_error(PersistErrorKind::invalid_config,
                        "the file holds an index of " + described(header.dim, header.metric) +
                            ", but the one that was passed has " + described(dim, metric) +
                            "; pass one that is like the file, or another path");
  }
}

}  // namespace opening

/// Loads the index from `file`, the snapshot at `path`, a resolved name. With the log on `lock` is its lock. Throws what
/// recover, load_snapshot and refuse_log throw, and with config.read_only what load_read_only throws.
template <Persistable I, Storage S>
[[nodiscard]] OpenedIndex<I, S> open_existing(S& storage, const std::filesystem::path& path,
                                              std::optional<typename S::Lock> lock, typename S::File file,
                                              const PersistConfig& config) {
  if (config.read_only) {
    ReadOnlyState<I> state = load_read_only<I>(storage, path, config);
    return {.index = std::move(state.index), .report = std::move(state.report), .lsn = state.lsn};
  }
  if constexpr (Index<I>) {
    if (config.wal_enabled) {
      std::unique_ptr<OpenLog<S>> log = open_log::prepared<S>(std::move(*lock), config);
      // The last step of recover() puts the new log in place. Nothing behind it may fail: the report of what it found
      // would be lost.
      Recovered<I, S> recovered = recover<I>(storage, path, log->lock, std::move(file), config);
      log->writer->go_on_with(storage, *recovered.log);
      return {.index = std::move(recovered.index), .report = std::move(recovered.report), .log = std::move(log)};
    }
  }
  LoadedSnapshot<I> snapshot = load_snapshot<I>(file, config);
  std::ignore = refuse_log(storage, path, snapshot.fingerprint, config.buffer_bytes);
  return {.index = std::move(snapshot.index), .on_disk = {.fingerprint = snapshot.fingerprint}};
}

}  // namespace iqdb
