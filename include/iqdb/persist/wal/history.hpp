// The history of an index: the snapshots that were replaced, each with the log that continued it, under second names.
//
//   keep:   second name of the log -> second name of the snapshot -> sync the directory; then the snapshot may be replaced
//   sweep:  once its successors are in place, remove an entry that is too old: its snapshot, then its log
//
// Invariants: a snapshot is replaced only when it has a second name, durably, and so has the log that leads from it to its
// successor. So there is no mutation in what is kept at which the index cannot be loaded. A crash leaves at most one entry
// too many. Nobody writes into an entry: it is a database of its own, which loads to read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/history_paths.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/names.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A state of an index that was replaced.
struct HistoryEntry {
  std::uint64_t replaced_at = 0;  ///< when: milliseconds since 1970 UTC, and more than that of the entry before it
  std::filesystem::path path =
      {};                     ///< its snapshot: load it with read_only, or make an index of it with `iqdb restore`
  bool has_snapshot = false;  ///< false for what a crash left of an entry that was removed
  bool has_log = false;       ///< whether a log continues it
};

namespace history {

// The entries of the history of the index at `path` among the names of its directory, oldest first; also what is left of
// some.
[[nodiscard]] IQDB_PERSIST_INLINE std::vector<HistoryEntry> among(const std::vector<std::filesystem::path>& names,
                                                                  const std::filesystem::path& path);

// Whether `policy` keeps at the time `now` a state that was replaced at `replaced_at`, where there are `left` with those behind it.
[[nodiscard]] inline bool is_kept(std::size_t left, std::uint64_t replaced_at, const HistoryPolicy& policy,
                                  std::uint64_t now) {
  const auto span = static_cast<std::uint64_t>(policy.span().count());
  // A state shows the index up to the moment at which it was replaced.
  return left <= policy.count() || (span > 0 && replaced_at >= now - std::min(now, span));
}

// Of `entries`, oldest first, those that `policy` gives up at the time `now`.
[[nodiscard]] IQDB_PERSIST_INLINE std::vector<HistoryEntry> given_up(const std::vector<HistoryEntry>& entries,
                                                                     const HistoryPolicy& policy, std::uint64_t now);

// The present time: milliseconds since 1970 UTC.
[[nodiscard]] inline std::uint64_t now() { return static_cast<std::uint64_t>(milliseconds_now()); }

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE std::vector<HistoryEntry> among(const std::vector<std::filesystem::path>& names,
                                                    const std::filesystem::path& path) {
  const std::string index = path_text(path.filename());
  std::vector<history_paths::Member> members;
  for (const std::filesystem::path& name : names) {
    if (const auto member = history_paths::parsed(path_text(name), index)) {
      members.push_back(*member);
    }
  }
  std::sort(members.begin(), members.end(),
            [](const auto& one, const auto& other) { return one.replaced_at < other.replaced_at; });
  std::vector<HistoryEntry> entries;
  for (const history_paths::Member& member : members) {
    if (entries.empty() || entries.back().replaced_at != member.replaced_at) {
      entries.push_back({.replaced_at = member.replaced_at, .path = history_paths::entry(path, member.replaced_at)});
    }
    (member.is_log ? entries.back().has_log : entries.back().has_snapshot) = true;
  }
  return entries;
}

IQDB_PERSIST_INLINE std::vector<HistoryEntry> given_up(const std::vector<HistoryEntry>& entries,
                                                       const HistoryPolicy& policy, std::uint64_t now) {
  std::size_t states = 0;  // a log without its snapshot is none
  for (const HistoryEntry& entry : entries) {
    states += entry.has_snapshot ? 1U : 0U;
  }
  std::vector<HistoryEntry> rest;
  for (const HistoryEntry& entry : entries) {
    const bool is_given_up = !entry.has_snapshot || !is_kept(states, entry.replaced_at, policy, now);
    states -= entry.has_snapshot ? 1U : 0U;
    if (is_given_up) {
      rest.push_back(entry);
    }
  }
  return rest;
}

#endif  // IQDB_PERSIST_DEFINITIONS

// The entries of the history of the index at `path`, a resolved name. Reads the directory that `lock` holds, or that of the
// path. Throws PersistError io.
template <Storage S>
[[nodiscard]] std::vector<HistoryEntry> entries(S& storage, const std::filesystem::path& path,
                                                const typename S::Lock* lock = nullptr) {
  if constexpr (ListsStoredFiles<S>) {
    return among(lock != nullptr ? storage.names(*lock) : storage.names_beside(path), path);
  } else {
    return {};
  }
}

// Removes an entry durably, or what is left of it. Throws PersistError io.
template <Storage S>
void remove(S& storage, const HistoryEntry& entry, const typename S::Lock& lock) {
  // The snapshot first: without its log it would be an entry whose mutations have no numbers.
  storage.remove(entry.path, lock);
  storage.remove(log_path(entry.path), lock);
}

// The fingerprint of a snapshot; nothing if there is none, or what is no snapshot. Throws PersistError io.
template <Storage S>
[[nodiscard]] std::optional<Fingerprint> fingerprint_of(S& storage, const std::filesystem::path& path,
                                                        const typename S::Lock& lock) {
  try {
    return log_guard::fingerprint_at(storage, path, &lock);
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::io) {
      throw;
    }
    return std::nullopt;
  }
}

// Gives the snapshot at `path` and its log second names, unless the snapshot `successor` holds the same. Throws as keep_history().
template <Storage S>
void keep(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, const Fingerprint& successor) {
  const std::optional<Fingerprint> present = history::fingerprint_of(storage, path, lock);
  if (!present || *present == successor) {
    return;
  }
  const std::vector<HistoryEntry> entries = history::entries(storage, path, &lock);
  std::uint64_t number = history::now();
  if (!entries.empty()) {
    number = std::max(number, entries.back().replaced_at + 1);
    if (history::fingerprint_of(storage, entries.back().path, lock) == present) {
      // From an attempt that did not replace the snapshot. Many of these would push out the older states.
      history::remove(storage, entries.back(), lock);
    }
  }
  const std::filesystem::path entry = history_paths::entry(path, number);
  const bool has_log = storage.open(log_path(path), lock).has_value();
  if (has_log) {
    storage.keep(log_path(path), log_path(entry), lock);
  }
  storage.keep(path, entry, lock);
  // Without this sync the rename that follows could survive a crash, and the second names not: this state would be gone. If
  // it fails, nothing is renamed, and nothing that was acknowledged rests on it: the index need not be poisoned.
  storage.sync_directory(lock);
}

}  // namespace history

/// Throws PersistError unsupported if config.history asks for what a store cannot do.
template <Storage S>
void require_history_possible(const PersistConfig& config) {
  if (!ListsStoredFiles<S> && config.history.is_on()) {
    throw_persist_error(PersistErrorKind::unsupported,
                        "PersistConfig::history is set, but this store cannot list its files; leave it out",
                        {.path = config.path, .code = {}, .offset = {}});
  }
}

/// Gives the snapshot at `path`, a resolved name, and its log second names, if config.history asks for it: both are about to
/// be replaced, the snapshot by the one with the fingerprint `successor`. Does nothing if that holds the same. Throws
/// PersistError io; then the history is as it was, or has one entry too many.
template <Storage S>
void keep_history(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                  const PersistConfig& config, const Fingerprint& successor) {
  if constexpr (ContinuesLogs<S>) {
    storage.keep_history(lock, config.history);
  } else if (config.history.is_on()) {
    history::keep(storage, path, lock, successor);
  }
}

/// Removes what config.history does not ask to keep; in a store that continues its logs, also what no load needs. A failure is an
/// event, and nothing else: what could not be removed is tried again the next time. Throws PersistError poisoned in a child that
/// on_event has forked.
template <Storage S>
void sweep_history(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                   const PersistConfig& config) {
  try {
    if constexpr (ContinuesLogs<S>) {
      storage.sweep(lock);
    } else if (config.history.is_on()) {
      // The oldest goes first, so that a crash leaves the newer ones.
      for (const HistoryEntry& entry :
           history::given_up(history::entries(storage, path, &lock), config.history, history::now())) {
        history::remove(storage, entry, lock);
      }
    }
  } catch (const std::exception& error) {
    events::emit(config.on_event, {.kind = Event::Kind::sweep_failed}, [&] {
      return "older states of the index could not be removed: " + std::string(error.what()) +
             "; they take space until a later checkpoint removes them";
    });
  }
}

}  // namespace iqdb
