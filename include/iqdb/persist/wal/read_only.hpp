// Loads an index from snapshot and log without writing anything, also while another process writes them.
//
// Invariant: what is returned was the state at one moment. The log is opened first, then the snapshot. If they do not
// fit, or the log looks damaged, both are opened anew: a writer may have replaced one of them, or be writing a record.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_marks.hpp"
#include "iqdb/persist/wal/history_search.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An index in memory, and what its log said.
template <Persistable I>
struct ReadOnlyState {
  I index;
  RecoveryReport report;
  std::uint64_t lsn = 0;  ///< the last mutation that the index holds; 0 if there is no log
};

namespace read_only {

// What was read, for who goes on from there.
template <Storage S>
struct ReadFiles {
  std::optional<typename S::File> log = {};  // nothing if there is none
  Fingerprint snapshot = {};
  recovery::ReplayEnd end = {};  // of the log
  FrameMarks marks = {};         // of the log, from its first frame on or from where the replay began
  bool tolerated = false;        // a mutation of the last frame was passed over, as the index rejects it
};

// Fills in `read`, unless it is null.
template <Persistable I, Storage S>
[[nodiscard]] ReadOnlyState<I> load_once(S& storage, const std::filesystem::path& path, const PersistConfig& config,
                                         ReadFiles<S>* read = nullptr) {
  std::optional<typename S::File> log_file = storage.open(log_path(path));
  std::optional<typename S::File> file = storage.open(path);
  if (!file) {
    throw_persist_error(
        PersistErrorKind::io, "cannot load the index; check the path",
        {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
  }
  recovery::BaseSnapshot<I, S> snapshot{.path = path, .file = std::move(*file)};
  snapshot.load(config);
  recovery::Replayed<S> replayed{};
  [[maybe_unused]] FrameMarks* const marks = read != nullptr ? &read->marks : nullptr;
  if (log_file) {
    if constexpr (GrowingFile<typename S::File>) {
      log_file->refresh();  // a writer that ends, or undoes an append, cuts it off
    }
    if constexpr (Index<I>) {
      replayed = naming_file(log_path(path), [&] {
        return recovery::LogReplay<I, S>(snapshot, nullptr, config, marks).replayed(*log_file);
      });
    } else {
      refuse_log(storage, path, snapshot.loaded->fingerprint, config.buffer_bytes);
    }
  }
  if (read != nullptr) {
    read->log = std::move(log_file);
    read->snapshot = snapshot.loaded->fingerprint;
    read->end = replayed.end;
    read->tolerated = replayed.report.tolerated > 0;
  }
  return {.index = std::move(snapshot.loaded->index), .report = std::move(replayed.report), .lsn = replayed.last_lsn};
}

// Returns `attempt()`, which opens the log and then the snapshot. If they do not fit, or the log looks damaged, it is called
// again: a writer may have been between the two, or in the middle of a record. Throws what the last attempt throws.
template <class Attempt>
auto until_they_fit(Attempt attempt) {
  constexpr int most_tries = 8;
  std::chrono::milliseconds pause{1};
  std::optional<std::uint64_t> damaged_at;
  for (int tries = 1;; ++tries) {
    try {
      return attempt();
    } catch (const PersistError& error) {
      // What the writer wrote meanwhile settles that.
      const bool is_damage = error.kind() == PersistErrorKind::log_corrupted;
      const bool stays = is_damage && damaged_at && damaged_at == error.offset();
      // A mutation that the index rejects is aborted by the writer in a moment.
      const bool may_pass = error.kind() == PersistErrorKind::log_mismatch ||
                            error.kind() == PersistErrorKind::replay_rejected || is_damage;
      if (!may_pass || stays || tries == most_tries) {
        throw;
      }
      damaged_at = is_damage ? error.offset() : std::nullopt;
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds{50});
  }
}

// Throws PersistError invalid_config: the newest older state that could hold `up_to` ends at `last`.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_not_in_history(std::uint64_t up_to, std::uint64_t last) {
  throw_persist_error(PersistErrorKind::invalid_config,
                      "up_to is " + std::to_string(up_to) + ", but the history has the states up to " +
                          std::to_string(last) + ", and the snapshot beside it has no log that gives it a number");
}

}  // namespace read_only

/// Loads the index of `path`, a resolved name, without a lock; with config.up_to or config.up_to_time from its history, if only
/// that has the state. Throws what recover throws, except what only writing can meet; io if there is no snapshot; and
/// invalid_config for a state that is not there.
template <Persistable I, Storage S>
[[nodiscard]] ReadOnlyState<I> load_read_only(S& storage, const std::filesystem::path& path,
                                              const PersistConfig& config) {
  const auto asked_for = [&] { return state_asked_for(storage, path, config.up_to, config.up_to_time, config); };
  return read_only::until_they_fit([&] {
    for (;;) {
      const std::optional<FoundState> from = asked_for();
      if (!from) {
        return read_only::load_once<I>(storage, path, config);
      }
      PersistConfig up_to_there = config;
      up_to_there.up_to = from->lsn;
      try {
        ReadOnlyState<I> state = read_only::load_once<I>(storage, from->path, up_to_there);
        if (from->path != path && state.lsn < from->lsn) {
          read_only::throw_not_in_history(from->lsn, state.lsn);
        }
        return state;
      } catch (const PersistError&) {
        // A checkpoint may have moved the state into the history.
        if (asked_for()->path == from->path) {
          throw;
        }
      }
    }
  });
}

}  // namespace iqdb
