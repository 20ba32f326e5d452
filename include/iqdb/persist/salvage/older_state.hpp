// An older state of a history, from which logs lead to the present: what a salvage begins with where the snapshot is lost.
//
// Invariant: each log is whole and leads to the snapshot that the next one continues, so that no mutation is missing between them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/memory_size.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/salvage/log_application.hpp"
#include "iqdb/persist/salvage/log_frames.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/salvage/salvage_report.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_paths.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// A whole snapshot of a history, and the logs that lead from it to the snapshot of the index, oldest first.
template <class I>
struct OlderState {
  std::filesystem::path path;
  LoadedSnapshot<I> snapshot;
  std::vector<std::unique_ptr<const SalvagedLog>> logs;

  /// Makes the mutations of the logs in the snapshot's index, and counts them in `report`. Returns the last one that the index
  /// then holds; nothing if the first log does not continue the snapshot.
  [[nodiscard]] std::optional<std::uint64_t> lead_on(SalvageReport& report) {
    const SalvageOptions options;
    std::optional<std::uint64_t> covered = covered_by(*logs.front(), snapshot.fingerprint, true);
    for (std::size_t number = 0; covered && number < logs.size(); ++number) {
      LogApplication<I>(snapshot.index, *logs[number], options, report).apply(*covered);
      for (const SalvagedFrame& frame : logs[number]->frames()) {
        covered = std::max(*covered, frame.first_lsn + frame.mutations - 1);
      }
    }
    return covered;
  }
};

/// All bytes of a file. Throws PersistError io, and std::bad_alloc.
template <class F>
[[nodiscard]] std::vector<std::byte> all_bytes(F& file) {
  std::vector<std::byte> bytes(memory_size(file.size()));
  read_shared(file, 0, bytes, nullptr);
  return bytes;
}

/// The newest entry of the history of the index at `path`, a resolved name, whose snapshot is whole, and whose logs lead to the
/// snapshot that `present` continues; without a `present` log, to the newest entry's end. Nothing if there is none. Throws
/// PersistError io; std::bad_alloc.
template <Persistable I, Storage S>
[[nodiscard]] std::optional<OlderState<I>> newest_older_state(S& storage, const std::filesystem::path& path,
                                                              const SalvagedLog* present, const PersistConfig& config) {
  std::vector<std::unique_ptr<const SalvagedLog>> logs;  // newest first
  const auto leads_on = [&](const SalvagedLog& log) {
    const SalvagedLog* const next = logs.empty() ? present : logs.back().get();
    const std::vector<Fingerprint> named = log.fingerprints();
    // Damage with no record behind it is what a crash left: the record of the next snapshot stands before that.
    return std::ranges::none_of(log.damages(), &LogDamage::has_frame_behind) &&
           log.header().state == HeaderState::whole &&
           (next == nullptr || std::ranges::find(named, next->header().log.header.base) != named.end());
  };
  std::vector<HistoryEntry> entries = history::entries(storage, path);
  for (; !entries.empty(); entries.pop_back()) {
    const HistoryEntry& entry = entries.back();
    auto file = storage.open(entry.path);
    auto log_file = storage.open(log_path(entry.path));
    if (!file || !log_file) {
      continue;  // what a crash left of an entry: the one before it leads on
    }
    auto log = std::make_unique<const SalvagedLog>(all_bytes(*log_file));
    if (!leads_on(*log)) {
      return std::nullopt;
    }
    logs.push_back(std::move(log));
    try {
      LoadedSnapshot<I> snapshot = load_snapshot<I>(*file, config);
      std::ranges::reverse(logs);
      return OlderState<I>{.path = entry.path, .snapshot = std::move(snapshot), .logs = std::move(logs)};
    } catch (const PersistError& error) {
      if (error.kind() == PersistErrorKind::io) {
        throw;
      }
    }
  }
  return std::nullopt;
}

}  // namespace salvage

}  // namespace iqdb
