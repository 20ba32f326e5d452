// A checkpoint beside writers: mutations go on while the snapshot is written.
//
//   alone:   freeze the index at mutation n
//   beside:  write snapshot, sync
//   alone:   checkpoint frame (n), sync -> rename snapshot, sync directory
//   beside:  copy the log behind n into a new log
//   alone:   copy the rest, sync -> rename the new log, sync directory -> go on in it
//
// Invariant: after a crash between any two steps, a load returns the same state: what is in the snapshot and the log that
// belong together, with every acknowledged mutation. docs/format.md says why.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/freeze.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_tail.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace checkpoint {

// Does it all while nothing else is done.
template <Persistable I, Storage S>
SnapshotInfo at_once(const I& index, S& storage, const std::filesystem::path& path, OpenLog<S>& log,
                     const PersistConfig& config) {
  const WrittenSnapshot<S> written = save_beside_log(index, storage, path, log, config);
  begin_new_log(written.fingerprint, storage, path, log, /*begins_anew=*/false, config);
  return written.info;
}

// Writes and syncs a snapshot of the index as it is in the step that freezes it, at the end of the log. Returns nothing if
// that needs mutations to wait.
template <Persistable I, Storage S, class Alone>
std::optional<WrittenSnapshot<S>> written_beside(const I& index, S& storage, const std::filesystem::path& path,
                                                 OpenLog<S>& log, const PersistConfig& config,
                                                 std::optional<LogMoment>& at_freeze, Alone&& alone) {
  if (!FrozenSnapshot<I, S>::is_possible(config)) {
    return std::nullopt;
  }
  FrozenSnapshot<I, S> frozen(storage, log.lock, path, config, [&log] { return log.syncs(); });
  bool is_frozen = false;
  alone([&] {
    log.writer->require_not_poisoned();
    at_freeze = LogMoment{.end = log.writer->end(), .clock = log.writer->clock()};
    is_frozen = frozen.freeze(index);
  });
  const auto tell_of_failure = [&config] {
    events::emit(config.on_event, {.kind = Event::Kind::freezing_failed}, [] {
      return std::string(
          "the index could not be held still beside mutations, as the system did not give a process or its memory, or "
          "the process did not end its work; mutations wait for this checkpoint");
    });
  };
  if (!is_frozen) {
    tell_of_failure();
    return std::nullopt;
  }
  std::optional<WrittenSnapshot<S>> written = frozen.write();
  if (written) {
    written->info.lsn = at_freeze->end.next_lsn - 1;
    // Without this sync the checkpoint frame, or the rename, could reach the disk before the snapshot's bytes. If it
    // fails, the file is thrown away, and nothing has changed.
    written->file.sync();
  } else {
    tell_of_failure();
  }
  return written;
}

// Has a file open, so that it is not freed when another one takes its name: that takes long for a large file, and mutations
// wait for the rename.
template <Storage S>
class KeptFromBeingFreed {
 public:
  KeptFromBeingFreed(S& storage, const std::filesystem::path& path, const typename S::Lock& lock) {
    try {
      file_ = storage.open(path, lock);
    } catch (const PersistError&) {
      // Then the rename takes longer.
    }
  }

 private:
  std::optional<typename S::File> file_;
};

// The steps, of which `alone` runs those that must have nothing beside them.
template <Persistable I, Storage S, class Alone>
SnapshotInfo in_steps(const I& index, S& storage, const std::filesystem::path& path, OpenLog<S>& log,
                      const PersistConfig& config, Alone&& alone) {
  std::optional<LogMoment> at_freeze;
  std::optional<WrittenSnapshot<S>> written = written_beside(index, storage, path, log, config, at_freeze, alone);
  if (!written) {
    SnapshotInfo info;
    alone([&] { info = at_once(index, storage, path, log, config); });
    return info;
  }

  LogWriter<S>& writer = *log.writer;
  const KeptFromBeingFreed<S> old_snapshot(storage, path, log.lock);
  // While mutations go on: they are in the log, which keeps both names until a new one takes its place.
  keep_history(storage, path, log.lock, config, written->fingerprint);
  if constexpr (ContinuesLogs<S>) {
    // At once: what others append behind the snapshot's frame would else be taken for what its sync has made durable.
    alone([&] {
      put_snapshot_in_place(*written, writer);
      NewLog<S> continued(storage, log_path(path), log.lock, written->fingerprint, written->info.lsn,
                          writer.header().history_id, config);
      continued.continues(at_freeze->end, writer.end());
      go_on_in(continued, storage, writer);
    });
  } else {
    LogPosition settled;
    alone([&] {
      put_snapshot_in_place(*written, writer);
      settled = writer.end();
    });

    LogTail<S> tail(storage, log_path(path), log.lock, writer.header(), *at_freeze, written->fingerprint, config);
    tail.copy_up_to(settled);
    const KeptFromBeingFreed<S> old_log(storage, log_path(path), log.lock);
    alone([&] {
      writer.require_not_poisoned();
      tail.copy_up_to(writer.end());
      go_on_in(tail.complete(), storage, writer);
    });
  }
  return written->info;
}

}  // namespace checkpoint

/// Replaces the snapshot at `path`, a resolved name, by `index` as it is when this begins, and the log by one that holds
/// the mutations since. `alone(step)` runs `step` while no frame is being written and every frame is settled; between two
/// such steps mutations may go on. Nobody else may use `storage` meanwhile, or close the log. config.freezing says how the
/// index is held still; if that is not possible, one step does everything.
///
/// Throws what write_snapshot throws and PersistError io, poisoned, and std::bad_alloc; then the old snapshot and the old
/// log stand, or the new snapshot and the old log, or the log is poisoned. A load finds every acknowledged mutation in
/// any case.
template <Persistable I, Storage S, class Alone>
SnapshotInfo checkpoint_beside(const I& index, S& storage, const std::filesystem::path& path, OpenLog<S>& log,
                               const PersistConfig& config, Alone&& alone) {
  using Clock = std::chrono::steady_clock;
  std::chrono::nanoseconds pause{0};
  SnapshotInfo info = snapshot::timed([&] {
    return checkpoint::in_steps(index, storage, path, log, config, [&](auto&& step) {
      alone([&] {
        const auto began = Clock::now();
        step();
        pause = std::max(pause, std::chrono::nanoseconds(Clock::now() - began));
      });
    });
  });
  sweep_history(storage, path, log.lock, config);
  info.pause = pause;
  return info;
}

}  // namespace iqdb
