// Bringing snapshot and log back together: what is replayed onto the index, and the log that goes on from there.
//
// The order is the contract of docs/format.md: sync what was found, read the snapshot, read the log, replay it while
// writing it anew, put the new log in place. Until that last step nothing on disk is changed.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/format.hpp"
#include "iqdb/persist/helper_threads.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot.hpp"
#include "iqdb/persist/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal_format.hpp"
#include "iqdb/persist/wal_reader.hpp"
#include "iqdb/persist/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What load found in the log.
struct RecoveryReport {
  bool log_found = false;               ///< there was a log beside the snapshot
  std::uint32_t log_version = 0;        ///< its format version; 0 where there was none
  std::uint64_t replayed = 0;           ///< mutations applied to the index
  std::uint64_t skipped = 0;            ///< mutations of a version-1 log that the snapshot held already
  std::uint64_t aborted = 0;            ///< mutations passed over since the index had rejected them
  std::uint64_t tolerated = 0;          ///< mutations at the very end passed over since the index rejects them now
  std::uint64_t dropped_bytes = 0;      ///< behind the last whole record, never known to be durable
  std::filesystem::path torn_log = {};  ///< where the log with those bytes is kept; empty where there were none
  bool foreign_log_replaced = false;    ///< the log continued another snapshot, but held no mutation
  std::chrono::nanoseconds elapsed{0};  ///< how long load took
};

/// Where the log of the snapshot at `path` lies.
[[nodiscard]] inline std::filesystem::path log_path(std::filesystem::path path) {
  path += ".wal";
  return path;
}

/// Where a log that had a torn tail is kept.
[[nodiscard]] inline std::filesystem::path torn_log_path(std::filesystem::path path) {
  path += ".wal.torn";
  return path;
}

/// An index as snapshot and log have it, and the log that it goes on with, which is in place.
template <Persistable I, Storage S>
struct Recovered {
  I index;
  std::unique_ptr<NewLog<S>> log;
  RecoveryReport report;
};

namespace recovery {

// Replays the log's mutations onto an index, and takes those that it holds over into a new log.
template <Index I, Storage S>
class Replay {
 public:
  Replay(I& index, NewLog<S>& log, const LogScan& scan, RecoveryReport& report)
      : index_(&index), log_(&log), scan_(&scan), report_(&report) {}

  // Takes one frame; `aborted` is the mutation of it that an abort behind it speaks of. Returns how many it holds.
  std::uint64_t take(const LogFrame& frame, std::optional<std::uint64_t> aborted) {
    FrameBody body(frame.body, scan_->log.version);
    if (body.mutations() == 0) {
      return 0;
    }
    const std::uint64_t first = frame.position.next_lsn;
    const std::uint64_t live = aborted ? *aborted - first : body.mutations();
    std::uint64_t done = 0;
    bool kept = true;
    for (; done < live; ++done) {
      body.read_next(mutation_);
      const Outcome outcome = apply(frame);
      if (outcome == Outcome::tolerated) {
        break;
      }
      kept = outcome == Outcome::applied;
    }
    report_->aborted += body.mutations() - live;
    report_->tolerated += live - done;
    if (kept) {
      log_->append(frame, body.mutations());
      if (aborted || done < live) {
        log_->append_abort(log_->end().next_lsn - body.mutations() + done);
      }
    }
    return body.mutations();
  }

 private:
  enum class Outcome : std::uint8_t { applied, skipped, tolerated };

  Outcome apply(const LogFrame& frame) {
    try {
      if (mutation_.op == FrameOp::insert) {
        index_->insert(mutation_.id, std::span<const float>(mutation_.vector), std::move(mutation_.metadata));
      } else {
        index_->erase(mutation_.id);
      }
    } catch (const IndexError& error) {
      return rejected(frame, error);
    } catch (const std::exception& error) {
      reject(frame, error.what());
    } catch (...) {
      reject(frame, "what is no std::exception");
    }
    ++report_->replayed;
    return Outcome::applied;
  }

  Outcome rejected(const LogFrame& frame, const IndexError& error) {
    if (scan_->log.version == 1) {
      // A crash between the snapshot and the truncation of its log leaves mutations in both, and version 1 does not
      // tell: what the snapshot holds already is passed over.
      const bool is_repeated = mutation_.op == FrameOp::insert ? error.kind() == IndexErrorKind::duplicate
                                                               : error.kind() == IndexErrorKind::not_found;
      if (is_repeated) {
        ++report_->skipped;
        return Outcome::skipped;
      }
    } else if (frame.end == scan_->end.offset) {
      // The crash came between the rejection and its abort, which would stand behind.
      return Outcome::tolerated;
    }
    reject(frame, error.what());
  }

  // In a handler: nests what is being handled.
  [[noreturn]] void reject(const LogFrame& frame, const char* found) const {
    std::throw_with_nested(PersistError(PersistErrorKind::replay_rejected,
                                        "the index rejects the mutation of vector " + to_string(mutation_.id) +
                                            " that it once took: " + found +
                                            "; is it the same version of the index, made with the same settings?",
                                        {.path = {}, .code = {}, .offset = frame.position.offset}));
  }

  I* index_;
  NewLog<S>* log_;
  const LogScan* scan_;
  RecoveryReport* report_;
  Mutation mutation_;
};

}  // namespace recovery

/// Makes the index of snapshot and log at `path`, a resolved name, under its lock, and puts a new log in place that
/// holds what the old one had beyond the snapshot. Throws PersistError: what load_snapshot throws, then bad_magic,
/// unsupported_version, log_corrupted, log_mismatch, replay_rejected for the log; io. The files are then as they were.
template <Persistable I, Storage S>
  requires Index<I>
[[nodiscard]] Recovered<I, S> recover(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                                      typename S::File snapshot_file, const PersistConfig& config) {
  RecoveryReport report;
  // What is read may so far live in the page cache alone, written by a process that was killed before it synced.
  // Without these syncs a power cut could take it while what is built on it stays.
  storage.sync(path);
  storage.sync(log_path(path));
  storage.sync_directory(path);

  LoadedSnapshot<I> snapshot = load_snapshot<I>(std::move(snapshot_file), config);
  return naming_file(log_path(path), [&]() -> Recovered<I, S> {
    std::optional<typename S::File> old_log = storage.open(log_path(path));
    std::optional<LogScan> scan;
    HelperThreads helpers(config.helper_threads);
    if (old_log) {
      scan = scan_log(*old_log, snapshot.fingerprint, config.buffer_bytes, helpers.if_any());
      report.log_found = true;
      report.log_version = scan->log.version;
      report.dropped_bytes = scan->dropped_bytes;
      if (!scan->replay && scan->mutations > 0) {
        throw_persist_error(PersistErrorKind::log_mismatch,
                            "the log continues another snapshot and holds " + std::to_string(scan->mutations) +
                                " mutations; put that snapshot back, or move the log away to load this one without it");
      }
      report.foreign_log_replaced = !scan->replay;
    }

    // A log that continues another snapshot has nothing to replay, but its numbers were given.
    const LogPosition begin = scan ? scan->replay.value_or(scan->end) : LogPosition{};
    auto log =
        std::make_unique<NewLog<S>>(storage, log_path(path), lock, snapshot.fingerprint, begin.next_lsn - 1, config);
    if (scan && begin.offset < scan->end.offset) {
      FrameReader reader(*old_log, scan->log, begin, config.buffer_bytes, helpers.if_any());
      recovery::Replay replay(snapshot.index, *log, *scan, report);
      ProgressMeter progress(config.on_progress, Progress::Phase::replay, scan->end.offset - begin.offset);
      while (reader.position().offset < scan->end.offset) {
        const auto frame = reader.next();
        if (!frame) {
          throw_persist_error(PersistErrorKind::log_corrupted,
                              "the log changed while it was read: a record that was valid is not any more",
                              {.path = {}, .code = {}, .offset = reader.position().offset});
        }
        const bool is_last = frame->end == scan->end.offset;
        reader.advance(replay.take(*frame, is_last ? std::nullopt : reader.abort_behind(*frame)));
        progress.advance(frame->end - frame->position.offset);
      }
      progress.finish();
      log->append_close();
    }
    log->finish();
    if (report.dropped_bytes > 0) {
      // A second name, not a rename: `path`.wal itself must never stop existing.
      storage.keep(log_path(path), torn_log_path(path), lock);
      report.torn_log = torn_log_path(path);
    }
    // Once more, now that the temporary file has changed the directory: where the sync of an earlier process failed,
    // the system may take what it could not write for clean, and the sync above for done. Without it a crash could
    // leave the new log beside the snapshot before the one that was read.
    storage.sync_directory(path);
    put_in_place(log->file());
    return {.index = std::move(snapshot.index), .log = std::move(log), .report = std::move(report)};
  });
}

}  // namespace iqdb
