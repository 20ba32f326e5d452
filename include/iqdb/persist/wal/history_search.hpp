// Where the state of an index behind a mutation, or at a time, is found: in the index itself, or in an entry of its history.
//
// Invariant: the state that is found holds every mutation up to the one that was asked for, and none behind it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/names.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A time by the system's clock.
using SystemTime = std::chrono::system_clock::time_point;

/// A state of an index that was found.
struct FoundState {
  std::filesystem::path
      path;               ///< its snapshot, beside which its log lies: the index itself, or an entry of its history
  std::uint64_t lsn = 0;  ///< the last mutation that it holds; load it with this as `up_to`
};

namespace history {

// A log beside its snapshot, which is read for what it says of the snapshot.
template <Storage S>
class Candidate {
 public:
  // Opens the log of the snapshot at `path`. Throws PersistError io.
  Candidate(S& storage, const std::filesystem::path& path, const PersistConfig& config)
      : path_(path),
        piece_bytes_(config.buffer_bytes),
        log_(storage.open(log_path(path))),
        snapshot_(log_guard::fingerprint_at(storage, path)) {}

  // Whether the snapshot holds no mutation over `up_to`. False if there is no log, which alone says so. Reads the log only
  // where its header does not say it. Throws PersistError log_mismatch, log_corrupted and others for what is wrong with the
  // two files; io.
  [[nodiscard]] bool holds_none_over(std::uint64_t up_to) {
    if (!log_ || !snapshot_) {
      return false;
    }
    return naming_file(log_path(path_), [&] {
      const LogIdentity identity = identify_log(*log_);
      return !(identity.continues(*snapshot_) && identity.header.base_lsn > up_to) &&
             scan().replay->covered_lsn <= up_to;
    });
  }

  // The last mutation that was logged up to `time`, in milliseconds since 1970 UTC, if the snapshot holds none behind it.
  // Nothing if it does, if there is no log, and if the log does not say. `since` says that the snapshot was there at that time; what
  // stands in front of the first time that the log tells was then logged before. Sets `first_time` to the first time that the log
  // tells, if it tells one. Throws as holds_none_over() does.
  [[nodiscard]] std::optional<std::uint64_t> last_up_to(std::int64_t time, bool since,
                                                        std::optional<std::int64_t>& first_time) {
    if (!log_ || !snapshot_) {
      return std::nullopt;
    }
    return naming_file(log_path(path_), [&]() -> std::optional<std::uint64_t> {
      const LogScan found = scan();
      first_time = found.first_time ? found.first_time : first_time;
      // What stands before the first time was logged no later than that.
      const bool tells = found.first_time || found.mutations == 0;
      if (since ? !tells : !found.first_time || *found.first_time > time) {
        return std::nullopt;
      }
      const std::uint64_t last =
          found.last_time && *found.last_time > time ? last_before_later_time(found, time) : found.end.next_lsn - 1;
      return last >= found.replay->covered_lsn ? std::optional(last) : std::nullopt;
    });
  }

 private:
  LogScan scan() {
    const LogScan found = scan_log(*log_, *snapshot_, piece_bytes_, nullptr, BehindTheEnd::ignored);
    if (!found.replay) {
      recovery::throw_log_mismatch(found.log, *snapshot_, found.mutations);
    }
    return found;
  }

  std::uint64_t last_before_later_time(const LogScan& found, std::int64_t time) {
    FrameReader<typename S::File> reader(*log_, found.log, found.log.first_frame(), piece_bytes_);
    while (const auto frame = reader.next()) {
      const FrameBody body = frame->decoded([&] { return FrameBody(frame->body, found.log.version); });
      if (body.op() == FrameOp::time && body.time() > time) {
        break;
      }
      reader.advance(body.mutations());
    }
    return reader.position().next_lsn - 1;
  }

  std::filesystem::path path_;
  std::size_t piece_bytes_;
  std::optional<typename S::File> log_;
  std::optional<Fingerprint> snapshot_;
};

// The entries of the history of the index at `path` that are whole, oldest first, and behind them the index itself.
template <Storage S>
[[nodiscard]] std::vector<HistoryEntry> states(S& storage, const std::filesystem::path& path) {
  std::vector<HistoryEntry> states;
  for (HistoryEntry& entry : entries(storage, path)) {
    if (entry.has_snapshot && entry.has_log) {
      states.push_back(std::move(entry));
    }
  }
  states.push_back({.path = path});
  return states;
}

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_no_such_time(const std::filesystem::path& path,
                                                                      std::int64_t time,
                                                                      const std::optional<std::int64_t>& first_time) {
  throw_persist_error(
      PersistErrorKind::invalid_config,
      "no state of the index is known to be that of " + utc_text(time) + ": " +
          (first_time
               ? "the logs that are kept say what it was from " + utc_text(*first_time) + " on"
               : std::string("no log that is kept says when its mutations were logged; a writer notes that while "
                             "PersistConfig::history is set")) +
          "; up_to takes the number of a mutation, too",
      {.path = path, .code = {}, .offset = {}});
}

}  // namespace history

/// Where the state of the index at `path`, a resolved name, behind the mutation `up_to` is found: the newest snapshot that
/// holds none behind that, with its log. Returns `path` if there is none. Needs no lock. Throws PersistError for what is wrong
/// with a snapshot or a log that it looks at; io.
template <Storage S>
[[nodiscard]] FoundState state_behind(S& storage, const std::filesystem::path& path, std::uint64_t up_to,
                                      const PersistConfig& config) {
  const std::vector<HistoryEntry> states = history::states(storage, path);
  for (std::size_t at = states.size(); at-- > 0;) {
    const std::filesystem::path& state = states[at].path;
    if constexpr (TellsSnapshotLsn<S>) {
      if (storage.snapshot_lsn(state).value_or(up_to) > up_to) {
        continue;
      }
    }
    if (states.size() == 1 || history::Candidate<S>(storage, state, config).holds_none_over(up_to)) {
      return {.path = state, .lsn = up_to};
    }
  }
  return {.path = path, .lsn = up_to};
}

/// The same for the state at `time`: behind the last mutation that was logged up to then, as the time frames of the logs say
/// to the second. Throws also PersistError invalid_config if the logs that are kept do not say it.
template <Storage S>
[[nodiscard]] FoundState state_at(S& storage, const std::filesystem::path& path, SystemTime time,
                                  const PersistConfig& config) {
  const std::int64_t asked = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count();
  std::optional<std::int64_t> first_time;
  const std::vector<HistoryEntry> states = history::states(storage, path);
  for (std::size_t at = states.size(); at-- > 0;) {
    const std::filesystem::path& state = states[at].path;
    // It took the place of the one before it.
    const bool was_there = at > 0 && static_cast<std::int64_t>(states[at - 1].replaced_at) <= asked;
    if (const auto last = history::Candidate<S>(storage, state, config).last_up_to(asked, was_there, first_time)) {
      return {.path = state, .lsn = *last};
    }
  }
  history::throw_no_such_time(path, asked, first_time);
}

/// The state that `up_to` or `up_to_time` asks for; nothing if none of them is set. Throws as state_behind() and state_at() do.
template <Storage S>
[[nodiscard]] std::optional<FoundState> state_asked_for(S& storage, const std::filesystem::path& path,
                                                        const std::optional<std::uint64_t>& up_to,
                                                        const std::optional<SystemTime>& up_to_time,
                                                        const PersistConfig& config) {
  if (up_to && up_to_time) {
    throw_persist_error(PersistErrorKind::invalid_config, "both up_to and up_to_time are set; set one of them",
                        {.path = path, .code = {}, .offset = {}});
  }
  if (up_to_time) {
    return state_at(storage, path, *up_to_time, config);
  }
  return up_to ? std::optional(state_behind(storage, path, *up_to, config)) : std::nullopt;
}

}  // namespace iqdb
