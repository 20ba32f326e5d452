// Bringing snapshot and log back together: what is replayed onto the index, and the log that goes on from there.
//
// The order is the contract of docs/format.md: sync what was found, read the snapshot, read the log, replay it while
// writing it anew, put the new log in place. Until that last step nothing on disk is changed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

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
  // `log_end` is where the log's last valid frame ends; where that is not known, nothing is said of what the index
  // rejects.
  Replay(I& index, NewLog<S>& log, std::uint32_t version, std::optional<std::uint64_t> log_end, RecoveryReport& report)
      : index_(&index), log_(&log), version_(version), log_end_(log_end), report_(&report) {}

  // Takes one frame; `aborted` is the mutation of it that an abort behind it speaks of. Returns false where the index
  // has rejected something, and whether that is tolerated cannot be said.
  [[nodiscard]] bool take(const LogFrame& frame, FrameBody& body, std::optional<std::uint64_t> aborted) {
    const std::uint64_t live = aborted ? *aborted - frame.position.next_lsn : body.mutations();
    std::uint64_t done = 0;
    Outcome outcome = Outcome::applied;
    for (std::uint64_t at = 0; at < body.mutations(); ++at) {
      frame.decoded([&] { body.read_next(mutation_); });
      if (at < live && outcome != Outcome::tolerated) {
        outcome = apply(frame);
        if (outcome == Outcome::undecided) {
          return false;
        }
        done += outcome == Outcome::tolerated ? 0 : 1;
      }
    }
    frame.decoded([&] { body.require_end(); });
    report_->aborted += body.mutations() - live;
    report_->tolerated += live - done;
    if (body.mutations() > 0 && outcome != Outcome::skipped) {
      log_->append(frame, body.mutations());
      if (aborted || done < live) {
        log_->append_abort(log_->end().next_lsn - body.mutations() + done);
      }
    }
    return true;
  }

 private:
  enum class Outcome : std::uint8_t { applied, skipped, tolerated, undecided };

  Outcome apply(const LogFrame& frame) {
    try {
      if (mutation_.op == FrameOp::insert) {
        index_->insert(mutation_.id, std::span<const float>(mutation_.vector), std::move(mutation_.metadata));
      } else {
        index_->erase(mutation_.id);
      }
    } catch (...) {
      return log_end_ ? rejected(frame) : Outcome::undecided;
    }
    ++report_->replayed;
    return Outcome::applied;
  }

  // In a handler.
  [[nodiscard]] Outcome rejected(const LogFrame& frame) {
    try {
      throw;
    } catch (const IndexError& error) {
      return rejected(frame, error);
    } catch (const std::exception& error) {
      reject(frame, error.what());
    } catch (...) {
      reject(frame, "what is no std::exception");
    }
  }

  [[nodiscard]] Outcome rejected(const LogFrame& frame, const IndexError& error) {
    if (version_ == 1) {
      // A crash between the snapshot and the truncation of its log leaves mutations in both, and version 1 does not
      // tell: what the snapshot holds already is passed over.
      const bool is_repeated = mutation_.op == FrameOp::insert ? error.kind() == IndexErrorKind::duplicate
                                                               : error.kind() == IndexErrorKind::not_found;
      if (is_repeated) {
        ++report_->skipped;
        return Outcome::skipped;
      }
    } else if (frame.end == log_end_) {
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
  std::uint32_t version_;
  std::optional<std::uint64_t> log_end_;
  RecoveryReport* report_;
  Mutation mutation_;
};

// The new log, and what was found in the old one.
template <Storage S>
struct Renewed {
  std::unique_ptr<NewLog<S>> log;
  RecoveryReport report = {};
};

// Replays a log onto an index and writes it anew meanwhile.
template <Storage S>
class LogRenewal {
 public:
  // Of the log at `path`. All of this must outlive it.
  LogRenewal(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, const PersistConfig& config)
      : storage_(&storage), path_(&path), lock_(&lock), config_(&config), helpers_(config.helper_threads) {}

  // A new log, to be written.
  [[nodiscard]] std::unique_ptr<NewLog<S>> begin(const Fingerprint& snapshot, std::uint64_t base_lsn) {
    return std::make_unique<NewLog<S>>(*storage_, *path_, *lock_, snapshot, base_lsn, *config_);
  }

  // Reads a log once, that continues the snapshot which `index` was made of. Nothing where that is not enough: the index
  // rejects something, or the snapshot was saved again behind the first mutations. The index has then taken some of them.
  template <Index I>
  [[nodiscard]] std::optional<Renewed<S>> in_one_pass(I& index, const Fingerprint& snapshot, typename S::File& file,
                                                      const LogIdentity& identity) {
    const LogPosition first = identity.first_frame();
    Renewed<S> renewed{.log = begin(snapshot, first.next_lsn - 1),
                       .report = {.log_found = true, .log_version = identity.version}};
    FrameReader reader(file, identity, first, config_->buffer_bytes, helpers_.if_any());
    FrameOrder order(identity.version);
    Replay replay(index, *renewed.log, identity.version, {}, renewed.report);
    ProgressMeter progress(config_->on_progress, Progress::Phase::replay,
                           file.size() - std::min(file.size(), first.offset));
    while (const auto frame = reader.next()) {
      FrameBody body = order.take(*frame);
      const bool starts_anew = body.op() == FrameOp::checkpoint && body.fingerprint() == snapshot;
      if (starts_anew && frame->position.next_lsn > first.next_lsn) {
        return std::nullopt;
      }
      if (!replay.take(*frame, body, reader.abort_behind(*frame, body.mutations()))) {
        return std::nullopt;
      }
      reader.advance(body.mutations());
      progress.advance(frame->end - frame->position.offset);
    }
    renewed.report.dropped_bytes = reader.torn_bytes();
    if (reader.position().offset > first.offset) {
      progress.finish();
      renewed.log->append_close();
    }
    return renewed;
  }

  // Reads a log twice: to its end, and then once more what is to be replayed onto `index`.
  template <Index I>
  [[nodiscard]] Renewed<S> in_two_passes(I& index, const Fingerprint& snapshot, typename S::File& file) {
    const LogScan scan = scan_log(file, snapshot, config_->buffer_bytes, helpers_.if_any());
    if (!scan.replay && scan.mutations > 0) {
      throw_persist_error(PersistErrorKind::log_mismatch,
                          "the log continues another snapshot and holds " + std::to_string(scan.mutations) +
                              " mutations; put that snapshot back, or move the log away to load this one without it");
    }
    // A log that continues another snapshot has nothing to replay, but its numbers were given.
    const LogPosition first = scan.replay.value_or(scan.end);
    Renewed<S> renewed{.log = begin(snapshot, first.next_lsn - 1),
                       .report = {.log_found = true,
                                  .log_version = scan.log.version,
                                  .dropped_bytes = scan.dropped_bytes,
                                  .foreign_log_replaced = !scan.replay}};
    if (first.offset == scan.end.offset) {
      return renewed;
    }
    FrameReader reader(file, scan.log, first, config_->buffer_bytes, helpers_.if_any());
    Replay replay(index, *renewed.log, scan.log.version, scan.end.offset, renewed.report);
    ProgressMeter progress(config_->on_progress, Progress::Phase::replay, scan.end.offset - first.offset);
    while (reader.position().offset < scan.end.offset) {
      const auto frame = reader.next();
      if (!frame) {
        throw_persist_error(PersistErrorKind::log_corrupted,
                            "the log changed while it was read: a record that was valid is not any more",
                            {.path = {}, .code = {}, .offset = reader.position().offset});
      }
      FrameBody body(frame->body, scan.log.version);
      std::ignore = replay.take(*frame, body, reader.abort_behind(*frame, body.mutations()));
      reader.advance(body.mutations());
      progress.advance(frame->end - frame->position.offset);
    }
    progress.finish();
    renewed.log->append_close();
    return renewed;
  }

 private:
  S* storage_;
  const std::filesystem::path* path_;
  const typename S::Lock* lock_;
  const PersistConfig* config_;
  HelperThreads helpers_;
};

}  // namespace recovery

/// Makes the index of snapshot and log at `path`, a resolved name, under its lock, and puts a new log in place that
/// holds what the old one had beyond the snapshot. Throws PersistError: what load_snapshot throws, then bad_magic,
/// unsupported_version, log_corrupted, log_mismatch, replay_rejected for the log; io. The files are then as they were.
template <Persistable I, Storage S>
  requires Index<I>
[[nodiscard]] Recovered<I, S> recover(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                                      typename S::File snapshot_file, const PersistConfig& config) {
  // What is read may so far live in the page cache alone, written by a process that was killed before it synced.
  // Without these syncs a power cut could take it while what is built on it stays.
  storage.sync(path);
  storage.sync(log_path(path));
  storage.sync_directory(path);

  std::optional<LoadedSnapshot<I>> snapshot = load_snapshot<I>(snapshot_file, config);
  return naming_file(log_path(path), [&]() -> Recovered<I, S> {
    const std::filesystem::path log_name = log_path(path);
    std::optional<typename S::File> old_log = storage.open(log_name);
    recovery::LogRenewal<S> renewal(storage, log_name, lock, config);
    std::optional<recovery::Renewed<S>> renewed;
    if (!old_log) {
      renewed = {.log = renewal.begin(snapshot->fingerprint, 0)};
    } else if (const LogIdentity identity = identify_log(*old_log); identity.continues(snapshot->fingerprint)) {
      renewed = renewal.in_one_pass(snapshot->index, snapshot->fingerprint, *old_log, identity);
      if (!renewed) {
        snapshot.reset();  // before there is another one
        snapshot.emplace(naming_file(path, [&] { return load_snapshot<I>(snapshot_file, config); }));
      }
    }
    if (!renewed) {
      renewed = renewal.in_two_passes(snapshot->index, snapshot->fingerprint, *old_log);
    }
    auto& [log, report] = *renewed;
    log->finish();
    if (report.dropped_bytes > 0) {
      // A second name, not a rename: `path`.wal itself must never stop existing.
      storage.keep(log_name, torn_log_path(path), lock);
      report.torn_log = torn_log_path(path);
    }
    // Once more, now that the temporary file has changed the directory: where the sync of an earlier process failed,
    // the system may take what it could not write for clean, and the sync above for done. Without it a crash could
    // leave the new log beside the snapshot before the one that was read.
    storage.sync_directory(path);
    put_in_place(log->file());
    return {.index = std::move(snapshot->index), .log = std::move(log), .report = std::move(report)};
  });
}

}  // namespace iqdb
