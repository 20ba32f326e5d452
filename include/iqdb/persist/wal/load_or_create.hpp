// Opens the index at a path: loads what is there, creates what is not.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/creation.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/opening.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace opening {

// Stores an index at `path`, where none is yet: at once with the log on, whose lock is `lock`, else with the first save.
// This is what config.replace_existing was for.
template <Persistable I, Storage S>
[[nodiscard]] OpenedIndex<I, S> stored(I index, S& storage, const std::filesystem::path& path,
                                       std::optional<typename S::Lock> lock, PersistConfig& config) {
  // The name is copied before the files are in place: behind that nothing may fail.
  OpenedIndex<I, S> opened{.index = std::move(index), .path = path};
  if (lock) {
    opened.log = create_files(opened.index, storage, path, std::move(*lock), config);
  } else {
    opened.on_disk = {.fingerprint = require_replaceable<I>(storage, path, config),
                      .may_be_anything = config.replace_existing};
  }
  config.replace_existing = false;
  return opened;
}

// Tells config.on_event what a load found in the log, if that is more than an index would know without it. Throws PersistError
// poisoned in a child that on_event has forked.
inline void tell_of_recovery(const PersistConfig& config, const RecoveryReport& report) {
  if (report.replayed == 0 && report.tolerated == 0 && report.dropped_bytes == 0) {
    return;
  }
  events::emit(config.on_event, {.kind = Event::Kind::recovered, .elapsed = report.replay_elapsed}, [&] {
    std::string text = "a load replayed " + std::to_string(report.replayed) + " mutations of the log in " +
                       events::in_seconds(report.replay_elapsed);
    if (report.dropped_bytes > 0) {
      text += "; it dropped " + std::to_string(report.dropped_bytes) +
              " bytes behind the last valid record, which were never known to be durable";
    }
    if (report.tolerated > 0) {
      text += "; it passed over " + std::to_string(report.tolerated) + " mutations that the index rejects";
    }
    return report.torn_log.empty() ? text : text + "; the old log is kept as '" + path_text(report.torn_log) + "'";
  });
}

// Loads the index from `file`, the snapshot at `path`, unless `alike` is not like it. Without a lock in a store in which each snapshot
// has a log, both may be replaced while this reads them: then it begins again.
template <Persistable I, Storage S>
[[nodiscard]] OpenedIndex<I, S> loaded_from(S& storage, const std::filesystem::path& path,
                                            std::optional<typename S::Lock> lock, typename S::File file,
                                            const PersistConfig& config, const I* alike) {
  const auto load = [&](typename S::File&& snapshot) {
    if (alike != nullptr) {
      require_alike(snapshot::read_header_of(snapshot, std::string_view(PersistTraits<I>::index_type)), *alike);
    }
    return open_existing<I>(storage, path, std::move(lock), std::move(snapshot), config);
  };
  if constexpr (ContinuesLogs<S>) {
    if (!lock) {
      std::optional<typename S::File> next = std::move(file);
      return read_only::until_they_fit([&] {
        std::optional<typename S::File> snapshot = next ? std::exchange(next, std::nullopt) : storage.open(path);
        return load(std::move(snapshot.value()));  // a snapshot is replaced, and never removed
      });
    }
  }
  return load(std::move(file));
}

// Loads the file. If there is none, returns `otherwise(path, lock)`.
template <Persistable I, Storage S, class Otherwise>
[[nodiscard]] OpenedIndex<I, S> loaded_or(const PersistConfig& config, S& storage, const I* alike,
                                          Otherwise&& otherwise) {
  const auto started = std::chrono::steady_clock::now();
  check<I>(config, false);
  require_history_possible<S>(config);
  const std::filesystem::path path = storage.resolve(config.path);
  return naming_file(path, [&]() -> OpenedIndex<I, S> {
    std::optional<typename S::Lock> lock = lock_of(config, storage, path);
    auto file = lock ? storage.open(path, *lock) : storage.open(path);
    if (!file) {
      if (!config.wal_enabled) {
        std::ignore = refuse_log(storage, path, std::nullopt, config.buffer_bytes);
      }
      return std::forward<Otherwise>(otherwise)(path, std::move(lock));
    }
    std::filesystem::path name = path;  // copied before the last step of the load, behind which nothing may fail
    OpenedIndex<I, S> opened = loaded_from<I>(storage, path, std::move(lock), std::move(*file), config, alike);
    opened.report.elapsed = std::chrono::steady_clock::now() - started;
    opened.path = std::move(name);
    tell_of_recovery(config, opened.report);
    return opened;
  });
}

}  // namespace opening

/// Stores the index that `make()` returns at config.path, where none is yet. Throws as PersistedIndex::open_with does.
template <Persistable I, Storage S, class Make>
[[nodiscard]] OpenedIndex<I, S> created(PersistConfig& config, S& storage, Make&& make) {
  opening::check<I>(config, true);
  require_history_possible<S>(config);
  const std::filesystem::path path = storage.resolve(config.path);
  return naming_file(path, [&] {
    auto lock = opening::lock_of(config, storage, path);
    return opening::stored<I>(std::forward<Make>(make)(), storage, path, std::move(lock), config);
  });
}

/// Loads the index at config.path. Throws as PersistedIndex::load does.
template <Persistable I, Storage S>
[[nodiscard]] OpenedIndex<I, S> loaded(const PersistConfig& config, S& storage) {
  return opening::loaded_or<I>(config, storage, nullptr, [&](const auto& /*path*/, auto /*lock*/) -> OpenedIndex<I, S> {
    throw_persist_error(
        PersistErrorKind::io, "cannot load the index; check the path, or save one first",
        {.path = config.path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
  });
}

/// Loads the index at config.path, which must have the dimension and the metric of `alike`, unless that is null. If there
/// is none, stores the one that `make()` returns. Throws as PersistedIndex::load_or_create does.
template <Persistable I, Storage S, class Make>
[[nodiscard]] OpenedIndex<I, S> loaded_or_created(PersistConfig& config, S& storage, const I* alike, Make&& make) {
  return opening::loaded_or<I>(config, storage, alike, [&](const auto& path, auto lock) {
    opening::check<I>(config, true);
    return opening::stored<I>(std::forward<Make>(make)(), storage, path, std::move(lock), config);
  });
}

}  // namespace iqdb
