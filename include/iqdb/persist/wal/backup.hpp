// Copies a snapshot with its log into another directory while they are in use: a backup, which loads by itself.
//
//   lock the place -> new log, sync -> copy or link of the snapshot, sync -> rename the log -> rename the snapshot
//   -> sync the directory
//
// Invariants: the copy holds every mutation that was acknowledged before it began, and none without those before it.
// After a crash there is the whole backup, or no snapshot: a load never finds an older state than was asked for. The copy
// is a history of its own: who follows the original does not go on in it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/snapshot/verify.hpp"
#include "iqdb/persist/storage/duplicate.hpp"
#include "iqdb/persist/storage/sparing_file.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/backup_pace.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/history_search.hpp"
#include "iqdb/persist/wal/log_copy.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/save_alone.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How a backup is made.
struct BackupOptions {
  /// Whether the snapshot of the backup may be the same file under a second name, or share its blocks, where the file system
  /// can do that. It costs no time and no space, since this library never writes into a snapshot. Nobody else may do that
  /// either: `cp` over one of the two files would change both. And it is no second copy of the bytes: false makes one.
  bool links = true;
  /// Whether the backup is read again, and its checksums are compared, before it is called one.
  bool verifies = false;
  /// The last mutation that the backup holds, by its LSN; all of them without it.
  std::optional<std::uint64_t> up_to = {};
  /// In place of `up_to`: the backup holds what was logged up to this time, to the second, as a history says.
  std::optional<std::chrono::system_clock::time_point> up_to_time = {};
};

/// What a backup holds.
struct BackupInfo {
  std::filesystem::path path;           ///< its snapshot: load it as PersistConfig::path
  std::uint64_t lsn = 0;                ///< the LSN of the last mutation that it holds; 0 without a log
  std::uint64_t snapshot_bytes = 0;     ///< the size of its snapshot
  std::uint64_t log_bytes = 0;          ///< the size of its log; 0 if there is none
  bool linked = false;                  ///< its snapshot is the original's file under a second name
  std::chrono::nanoseconds elapsed{0};  ///< how long it took
};

namespace backup {

// Where the backup of `source` lies in a directory, which is created if the store can do that.
template <Storage S>
[[nodiscard]] std::filesystem::path path_in([[maybe_unused]] S& storage, const std::filesystem::path& directory,
                                            const std::filesystem::path& source) {
  if constexpr (DuplicatesStoredFiles<S>) {
    storage.create_directory(directory);
  }
  return directory / source.filename();
}

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_no_log() {
  throw_persist_error(PersistErrorKind::invalid_config,
                      "up_to names a mutation, but there is no log; leave it out to copy the snapshot");
}

// A place for a backup, which is locked until this is destroyed.
template <Storage S>
class Place {
 public:
  // Locks `path` for a backup of the index at `source`. Throws PersistError invalid_config if that is the same;
  // would_discard_snapshot or would_discard_log if there is an index; locked; io. `storage` must outlive this.
  Place(S& storage, const std::filesystem::path& source, const std::filesystem::path& path)
      : storage_(&storage), path_(resolved(storage, source, path)), lock_(storage.lock(path_, no_patience)) {
    save_alone::require_nothing_there(storage, path_, &lock_, "the backup");
  }

  // Copies a snapshot, and a log that continues it, from files that are open. A log with a settled end is copied up to
  // there; another one up to its last valid frame. If it throws, nothing of the backup is left, but for a backup whose last
  // sync failed. Throws PersistError log_mismatch, log_corrupted, io, unsupported.
  [[nodiscard]] BackupInfo fill(typename S::File& snapshot_file, typename S::File* log_file, Writers writers,
                                const BackupOptions& options, const PersistConfig& config) {
    const Fingerprint snapshot = fingerprint(snapshot::read_header_of(snapshot_file), snapshot_file.size());
    // Before the log is copied: a checkpoint of another process takes the last name of the snapshot away meanwhile.
    std::optional<Duplicate<S>> copy =
        options.links ? linked_duplicate(*storage_, snapshot_file, path_, lock_) : std::nullopt;
    BackupInfo info{.path = path_, .snapshot_bytes = snapshot_file.size()};
    std::optional<NewLog<S>> log;
    if (log_file != nullptr) {
      copy_log(*log_file, snapshot_file, snapshot, writers, options, config, log, info);
    } else if (options.up_to) {
      throw_no_log();
    }
    ProgressMeter progress(config.on_progress, Progress::Phase::save, snapshot_file.size());
    if (!copy) {
      copy.emplace(duplicate(*storage_, snapshot_file, path_, lock_, options.links,
                             [&](typename S::Replacement& file, std::uint64_t bytes) {
                               progress.advance(bytes);
                               writers.make_room(file, bytes);
                             }));
    }
    info.linked = copy->linked;
    progress.finish();  // now: what on_progress throws must not be about a backup that is there
    // Without these syncs the names could survive a crash while the bytes are lost.
    if (log) {
      log->file().sync();
    }
    copy->file.sync();
    put_in_place(log ? &log->file() : nullptr, copy->file);
    if (options.verifies) {
      verify(snapshot, log ? std::optional(log->end()) : std::nullopt, config);
    }
    return info;
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] const typename S::Lock& lock() const noexcept { return lock_; }

 private:
  static constexpr std::chrono::milliseconds no_patience{0};

  static std::filesystem::path resolved(S& storage, const std::filesystem::path& source,
                                        const std::filesystem::path& path) {
    std::filesystem::path resolved = storage.resolve(path);
    if (resolved == source) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the backup would lie where the index itself lies; choose another directory",
                          {.path = std::move(resolved), .code = {}, .offset = {}});
    }
    return resolved;
  }

  // Which frames of a log are copied: from where, which mutations, and up to where.
  struct CopiedPart {
    LogIdentity log;
    LogPosition from;
    CopiedMutations mutations;
    LogPosition last;
  };

  static CopiedPart part_to_copy(typename S::File& file, const Fingerprint& snapshot,
                                 const std::optional<LogPosition>& settled_end,
                                 const std::optional<std::uint64_t>& up_to, const PersistConfig& config) {
    const LogIdentity identity = identify_log(file);
    if (settled_end && !up_to && identity.version >= 2 && identity.continues(snapshot)) {
      // Nothing is to be looked for: all of it belongs to the snapshot, and it is settled.
      return {.log = identity,
              .from = identity.first_frame(),
              .mutations = {.covered_lsn = identity.header.base_lsn},
              .last = *settled_end};
    }
    // Behind the end of a log that is written, a frame may be half there.
    const LogScan scan = scan_log(file, snapshot, config.buffer_bytes, nullptr,
                                  settled_end ? BehindTheEnd::ignored : BehindTheEnd::examined);
    if (!scan.replay) {
      recovery::throw_log_mismatch(scan.log, snapshot, scan.mutations);
    }
    if (scan.log.version == 1) {
      throw_persist_error(
          PersistErrorKind::unsupported,
          "the log is of version 1, whose mutations only the index can tell apart; load the index once, "
          "which writes the log anew, and make the backup then");
    }
    const LogPosition last = settled_end.value_or(scan.end);
    const std::uint64_t covered = scan.replay->covered_lsn;
    if (up_to && (*up_to < covered || *up_to >= last.next_lsn)) {
      throw_persist_error(PersistErrorKind::invalid_config, "up_to is " + std::to_string(*up_to) +
                                                                ", but the snapshot and its log have the states from " +
                                                                std::to_string(covered) + " to " +
                                                                std::to_string(last.next_lsn - 1));
    }
    return {.log = scan.log,
            .from = scan.replay->from,
            .mutations = {.covered_lsn = covered,
                          .up_to = up_to.value_or(CopiedMutations::all),
                          .time_before = scan.replay->time_before},
            .last = last};
  }

  void copy_log(typename S::File& file, const typename S::File& like, const Fingerprint& snapshot, Writers& writers,
                const BackupOptions& options, const PersistConfig& config, std::optional<NewLog<S>>& log,
                BackupInfo& info) {
    const CopiedPart part = part_to_copy(file, snapshot, writers.settled_end, options.up_to, config);
    const bool is_held = writers.settled_end.has_value();
    if (!is_held && !writers.pace) {
      writers.pace.emplace(appends_to(*storage_, writers.log, file, part.last.offset));
    }
    log.emplace(*storage_, replace_like(*storage_, log_path(path_), lock_, like), snapshot, part.mutations.covered_lsn,
                std::nullopt, in_pieces(config));
    LogCopy<S> copy(*log, part.log, part.mutations);
    FrameReader<typename S::File> reader(file, part.log, part.from, config.buffer_bytes);
    bool is_settled = is_held;
    while (reader.position().offset < part.last.offset) {
      const auto frame = reader.next();
      if (!frame) {
        fail(reader.position(), part.last, is_held);
      }
      const std::uint64_t copied = log->end().offset;
      reader.advance(copy.take(*frame));
      // A frame with another one behind it is settled.
      is_settled = is_held || log->end().offset == copied;
      writers.make_room(log->file(), log->end().offset - copied);
    }
    if (reader.position() != part.last) {
      fail(reader.position(), part.last, is_held);
    }
    info.lsn = std::min(part.mutations.up_to, part.last.next_lsn - 1);
    if (is_settled && log->end().offset != log_header_bytes) {
      // Without this frame a load would take the last copied frame for one that a crash may have left unsettled.
      log->append_close();
    }
    log->finish();
    info.log_bytes = log->end().offset;
  }

  // Who reads without the lock may meet a record that is taken back, and tries again.
  [[noreturn, gnu::cold, gnu::noinline]] static void fail(const LogPosition& found, const LogPosition& expected,
                                                          bool is_held) {
    throw_persist_error(is_held ? PersistErrorKind::io : PersistErrorKind::log_corrupted,
                        "the log changed while it was copied: it was read up to byte " + std::to_string(found.offset) +
                            ", but it was written up to byte " + std::to_string(expected.offset) +
                            "; the index is as it was: make the backup again",
                        {.path = {}, .code = {}, .offset = found.offset});
  }

  // The log first: a snapshot without its log would load as an older state.
  void put_in_place(typename S::Replacement* log, typename S::Replacement& snapshot) {
    if (log != nullptr) {
      log->rename();
      try {
        // Without this sync a crash could keep the snapshot's name and lose the log's.
        log->sync_directory();
        snapshot.rename();
      } catch (...) {
        if (!snapshot.in_doubt()) {  // otherwise it may be there, and the log with it
          remove_quietly(log_path(path_));
        }
        throw;
      }
    } else {
      snapshot.rename();
    }
    // Otherwise a crash could undo the rename after the caller was told that there is a backup.
    snapshot.sync_directory();
  }

  void verify(const Fingerprint& snapshot, const std::optional<LogPosition>& log_end, const PersistConfig& config) {
    try {
      std::optional<typename S::File> file = storage_->open(path_, lock_);
      if (!file || !(fingerprint(snapshot::verified(*file, config).header, file->size()) == snapshot)) {
        throw_persist_error(PersistErrorKind::checksum_mismatch,
                            "the snapshot of the backup is not the one that was copied");
      }
      if (log_end) {
        std::optional<typename S::File> log = storage_->open(log_path(path_), lock_);
        if (!log || scan_log(*log, snapshot, config.buffer_bytes).end != *log_end) {
          throw_persist_error(PersistErrorKind::log_corrupted, "the log of the backup is not what was copied");
        }
      }
    } catch (...) {
      // The snapshot first: the log alone is no index.
      remove_quietly(path_);
      remove_quietly(log_path(path_));
      throw;
    }
  }

  void remove_quietly(const std::filesystem::path& path) noexcept {
    try {
      storage_->remove(path, lock_);
    } catch (...) {
      // What made it necessary is what the caller is told.
    }
  }

  S* storage_;
  std::filesystem::path path_;
  typename S::Lock lock_;
};

// Returns `make()`, and how long it took.
template <class Make>
[[nodiscard]] BackupInfo timed(Make&& make) {
  const auto began = std::chrono::steady_clock::now();
  BackupInfo info = std::forward<Make>(make)();
  info.elapsed = std::chrono::steady_clock::now() - began;
  return info;
}

// Opens a file of the pair that is copied. Throws PersistError io if it is not there.
template <Storage S>
[[nodiscard]] typename S::File opened(S& storage, const std::filesystem::path& path, const typename S::Lock* lock) {
  std::optional<typename S::File> file = lock != nullptr ? storage.open(path, *lock) : storage.open(path);
  if (!file) {
    throw_persist_error(
        PersistErrorKind::io, "cannot copy the file; check the path",
        {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
  }
  return std::move(*file);
}

}  // namespace backup

/// Copies the index at `path`, a resolved name, to `to`, without a lock and beside a writer, which gets disk and processor for most
/// of the time while it appends to the log. Throws PersistError invalid_config if that is the same path or for an up_to or an
/// up_to_time that the files do not hold; would_discard_snapshot or would_discard_log if there is an index; locked, log_mismatch,
/// log_corrupted, unsupported, io; and what config.on_progress throws.
template <Storage S>
BackupInfo back_up_files(S& storage, const std::filesystem::path& path, const std::filesystem::path& to,
                         const BackupOptions& options, const PersistConfig& config) {
  return backup::timed([&] {
    backup::Place<S> place(storage, path, to);
    return read_only::until_they_fit([&] {
      const std::optional<FoundState> state = state_asked_for(storage, path, options.up_to, options.up_to_time, config);
      const std::filesystem::path& from = state ? state->path : path;
      BackupOptions up_to_there = options;
      up_to_there.up_to = state ? std::optional(state->lsn) : std::nullopt;
      std::optional<typename S::File> log = storage.open(log_path(from));
      typename S::File snapshot = backup::opened(storage, from, nullptr);
      if constexpr (GrowingFile<typename S::File>) {
        if (log) {
          log->refresh();  // a writer that ends, or undoes an append, cuts it off
        }
      }
      backup::Writers writers{.log = log_path(path)};
      std::optional<typename S::File> appended;
      if (from != path) {
        appended = storage.open(log_path(path));
        if (appended) {
          writers.pace.emplace(backup::appends_to(storage, log_path(path), *appended));
        }
      }
      return naming_file(
          from, [&] { return place.fill(snapshot, log ? &*log : nullptr, std::move(writers), up_to_there, config); });
    });
  });
}

/// The same for who holds the lock of `path`, and keeps its files from being replaced meanwhile. `end()` is where the log
/// ended at a moment behind the call's begin at which every frame was settled; the log may be appended to beside this. `syncs()`
/// says how often it was synced so far: for as long as that goes on, its writers get disk and processor for most of the time.
template <Storage S, class End, class Syncs>
BackupInfo back_up_held(S& storage, const std::filesystem::path& path, const typename S::Lock& held, End&& end,
                        Syncs&& syncs, const std::filesystem::path& to, const BackupOptions& options,
                        const PersistConfig& config) {
  return backup::timed([&] {
    backup::Place<S> place(storage, path, to);
    backup::Writers writers{.settled_end = end(), .pace = Pace(std::forward<Syncs>(syncs))};
    typename S::File log = backup::opened(storage, log_path(path), &held);
    typename S::File snapshot = backup::opened(storage, path, &held);
    return naming_file(path, [&] { return place.fill(snapshot, &log, std::move(writers), options, config); });
  });
}

}  // namespace iqdb
