// PersistedIndex: an index, its snapshot, and the log of the mutations since.
//
// Invariants: with the log on, a mutation is applied only after it is logged, and synced as the policy says. No file is
// replaced that this object has not loaded or saved, unless the caller asks for that.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_batch.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/backup.hpp"
#include "iqdb/persist/wal/backup_opened.hpp"
#include "iqdb/persist/wal/checkpoint_schedule.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/load_or_create.hpp"
#include "iqdb/persist/wal/logged_mutation.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/opening.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/save_alone.hpp"
#include "iqdb/persist/wal/save_opened.hpp"
#include "iqdb/persist/wal/watched_checkpoint.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

template <Persistable I, Storage S>
class SharedState;

/// An index together with the file that stores it.
///
///     auto db = iqdb::PersistedIndex<iqdb::FlatIndex>::load_or_create(
///         {.path = "vectors.iqdb", .wal_enabled = true}, iqdb::FlatIndex(128, iqdb::DistanceMetric::cosine));
///     db.insert(1, embedding);    // durable when it returns
///     db.checkpoint();            // folds the log into the snapshot; it is also done by itself
///
/// With the log off, the index is durable as of the last save(). With the log on, every mutation is logged, synced by
/// policy, and then applied. Changes through index_mut() are not logged; the next save() or checkpoint() stores them.
///
/// It can be moved, but not copied. The thread rules are those of a standard container: calls of const members may run
/// concurrently, and index(), poisoned(), config() and recovery() also beside save(), checkpoint() and sync(); any other call
/// needs exclusive use. SharedIndex is for many threads. A call from within a call, as from on_progress, throws PersistError
/// reentered and does nothing.
///
/// With the log on, one object in one process holds the path; in the child of a fork, calls that need the log throw poisoned,
/// and the destructor does nothing. So does a call whose callback (on_progress, on_event) has forked, when the callback returns
/// in the child. With the log off, several objects may save to one path, each only over what it loaded or saved.
template <Persistable I, Storage S = FileStorage>
class PersistedIndex : public InsertOverloads<PersistedIndex<I, S>>, public UpsertOverloads<PersistedIndex<I, S>> {
 public:
  /// Takes an index that was made in memory, to store it where no index is yet.
  ///
  /// With the log off, nothing is written before save(). With it on, the base snapshot and an empty log are written at
  /// once. Throws PersistError would_discard_snapshot if there is a snapshot that holds vectors, unless
  /// config.replace_existing is set; would_discard_log if there is a log that holds mutations; log_mismatch, and what is
  /// wrong with a snapshot or a log that cannot be read; invalid_config or unsupported if `config` cannot be used;
  /// locked, io; and what save_to and on_progress throw.
  static PersistedIndex open_with(I index, PersistConfig config, S storage = {}) {
    OpenedIndex<I, S> opened = created<I>(config, storage, [&] { return std::move(index); });
    return PersistedIndex(std::move(opened), std::move(config), std::move(storage));
  }

  /// Loads the index from its file. With the log on, replays the log and continues it. With it off, writes nothing. With
  /// config.read_only, reads snapshot and log without a lock, and writes nothing.
  ///
  /// Throws PersistError: io if there is no file or it cannot be read; the kinds of load_snapshot if it is not whole;
  /// invalid_config or unsupported if `config` cannot be used. With the log on also the kinds of recover, and locked at
  /// once if another object holds the path. With it off log_present, if a log beside the file holds mutations that it
  /// lacks, and log_mismatch, if the log continues another snapshot. Throws std::bad_alloc.
  static PersistedIndex load(PersistConfig config, S storage = {}) {
    OpenedIndex<I, S> opened = loaded<I>(config, storage);
    return checked(PersistedIndex(std::move(opened), std::move(config), std::move(storage)));
  }

  /// Loads the index from its file. If there is none, stores `empty` there like open_with. Throws as load and open_with
  /// do, and PersistError invalid_config if the file has another dimension or metric than `empty`. A file that exists
  /// but cannot be loaded is never ignored.
  static PersistedIndex load_or_create(PersistConfig config, I empty, S storage = {}) {
    OpenedIndex<I, S> opened = loaded_or_created<I>(config, storage, &empty, [&] { return std::move(empty); });
    return checked(PersistedIndex(std::move(opened), std::move(config), std::move(storage)));
  }

  /// The same for an index that is costly to make: `make()` is called only if there is no file, as for an import. Then
  /// nothing compares a file that is there with what `make` would have returned. Throws what `make` throws, too.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make>, I>
  static PersistedIndex load_or_create(PersistConfig config, Make&& make, S storage = {}) {
    OpenedIndex<I, S> opened = loaded_or_created<I>(config, storage, nullptr, std::forward<Make>(make));
    return checked(PersistedIndex(std::move(opened), std::move(config), std::move(storage)));
  }

  PersistedIndex(PersistedIndex&&) noexcept(std::is_nothrow_move_constructible_v<I>) = default;
  PersistedIndex& operator=(PersistedIndex&& other) noexcept(std::is_nothrow_move_assignable_v<I>) {
    if (this != &other) {
      close_quietly();
      opened_ = std::move(other.opened_);
      config_ = std::move(other.config_);
      storage_ = std::move(other.storage_);
      path_ = std::move(other.path_);
      schedule_ = other.schedule_;
      insert_runs_ = std::move(other.insert_runs_);
    }
    return *this;
  }
  PersistedIndex(const PersistedIndex&) = delete;
  PersistedIndex& operator=(const PersistedIndex&) = delete;

  /// Closes like close(), but reports no failure. What FsyncPolicy::always acknowledged is durable in any case.
  ~PersistedIndex() { close_quietly(); }

  /// The index, for searches.
  [[nodiscard]] const I& index() const noexcept { return opened_.index; }

  /// The index, for changes of its content. They are not logged. With the log on, no mutation can be logged afterwards
  /// before save() or checkpoint() has stored them: a replay would not know what it stood on. Throws PersistError
  /// reentered.
  [[nodiscard]] I& index_mut() {
    CallUnderWay::require_none(in_call_);
    opened_.has_unlogged_changes = true;
    return opened_.index;
  }

  /// Returns `set(index)`, for settings that are no content, as a default for the effort of a search. What `set` changes
  /// beyond that may make the log unusable: use index_mut() for it. Throws PersistError reentered, and what `set` throws.
  template <class Set>
  decltype(auto) tune(Set&& set) {
    const CallUnderWay call(in_call_);
    return std::forward<Set>(set)(opened_.index);
  }

  /// The settings that this object was made with; replace_existing, and with a log take_over, have had their effect, and are false.
  [[nodiscard]] const PersistConfig& config() const noexcept { return config_; }

  /// What load found in the log; empty with the log off.
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return opened_.report; }

  /// The LSN of the last mutation taken; 0 with the log off.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return opened_.log ? opened_.log->writer->lsn() : opened_.lsn; }

  /// The size of the log in bytes, without space prepared ahead; 0 with the log off.
  [[nodiscard]] std::uint64_t log_bytes() const noexcept { return opened_.log ? opened_.log->writer->end().offset : 0; }

  /// What it has done since it was opened, and how it stands. What is about the log is empty after close().
  [[nodiscard]] Stats stats() const {
    Stats stats{.lsn = lsn(), .log_bytes = log_bytes(), .poisoned = poisoned()};
    schedule_.tell(stats);
    if (opened_.log) {
      opened_.log->writer->tell(stats);
    }
    return stats;
  }

  /// Whether nothing can be logged any more, because a failure left the state of the disk unknown, because this process
  /// is a fork, or because this object was closed or moved from. Every mutation, sync, save and checkpoint then throws
  /// PersistError poisoned, whose message says what a load will find. save_copy() stores what is in memory. Always false
  /// with the log off.
  [[nodiscard]] bool poisoned() const {
    // The fork is asked first: in the child nobody can release a lock that a thread of the parent held.
    return is_logged() && (!opened_.log || opened_.log->lock.inherited() || opened_.log->writer->poisoned());
  }

  using InsertOverloads<PersistedIndex>::insert;
  using UpsertOverloads<PersistedIndex>::upsert;

  /// Adds a vector. With the log on it is durable, by policy, when this returns.
  ///
  /// Throws what the index throws; then neither this object nor a later load has the vector. With the log on also
  /// PersistError io or record_too_large, after which nothing has changed (after a failed sync, a load may find the
  /// vector); poisoned; unlogged_changes after index_mut(); and IndexError if the metadata cannot be stored
  /// (check_storable). PersistError read_only; reentered.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) requires Index<I> {
    mutate([&] { check_before_insert(opened_.index, id, vector, metadata); },
           [&](Writer& writer) { write_insert(writer, id, vector, metadata); },
           [&](bool& /*half_done*/) { opened_.index.insert(std::move(id), vector, std::move(metadata)); });
  }

  /// Adds a vector, or replaces the vector and the metadata of that identifier. Durability and exceptions are those of
  /// insert. An index without an upsert of its own erases and inserts. If it rejects the insert after the erase, which
  /// its check_vector or check_insert prevents, the log is poisoned and a load has the old vector; with the log off the
  /// old vector is gone.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) requires Index<I> {
    mutate([&] { check_before_upsert(opened_.index, id, vector, metadata); },
           [&](Writer& writer) { write_upsert(writer, id, vector, metadata); },
           [&](bool& half_done) { upsert_into(opened_.index, std::move(id), vector, std::move(metadata), half_done); });
  }

  /// Removes a vector. Durability and exceptions are those of insert.
  void erase(const VectorId& id) requires Index<I> {
    mutate([&] { check_before_erase(opened_.index, id); }, [&](Writer& writer) { write_erase(writer, id); },
           [&](bool& /*half_done*/) { opened_.index.erase(id); });
  }

  /// Replaces the metadata of a vector, which stays as it is. Durability and exceptions are those of insert.
  void update_metadata(const VectorId& id, std::optional<Metadata> metadata) requires UpdatesMetadata<I> {
    mutate([&] { check_before_update_metadata(opened_.index, id, metadata); },
           [&](Writer& writer) { write_update_metadata(writer, id, metadata); },
           [&](bool& /*half_done*/) { opened_.index.update_metadata(id, std::move(metadata)); });
  }

  /// Applies the mutations of a batch in order. With the log on they are one record and one sync: after a crash all are
  /// there or none. An empty batch does nothing.
  ///
  /// If the index can tell beforehand that it will reject one (check_insert, check_erase, check_vector), none is made.
  /// Otherwise those before it stay, and it and those behind it are not made. An IndexError becomes a BatchError, which
  /// says which mutation it was; other exceptions of the index pass. Also throws what insert throws.
  void apply(const WriteBatch& batch) requires Index<I> {
    const CallUnderWay call(in_call_);
    const std::span<const Mutation> mutations = batch.mutations();
    if (mutations.empty()) {
      return;
    }
    const bool logged = logs_next();
    check_before_batch(opened_.index, mutations, [&](std::size_t at) { batch_errors::rethrow_for(mutations, at); });
    const LsnRange lsns =
        logged ? log(mutations.size(), [&](Writer& writer) { write_batch(writer, mutations); }) : LsnRange();
    measured(mutations.size() == 1,
             [&] { logged_mutation::apply_batch(opened_.index, opened_.log.get(), insert_runs_, mutations, lsns); });
  }

  /// Makes every logged mutation durable now, whatever the policy. Does nothing with the log off. Throws PersistError
  /// poisoned; reentered; and io, after which every call that needs the log throws poisoned.
  void sync() {
    const CallUnderWay call(in_call_);
    if (is_logged()) {
      naming_file(path_, [&] { open_log::usable(opened_.log).writer->sync(); });
    }
  }

  /// Replaces the snapshot by the index as it is now. It is durable when this returns. The log is kept. If it throws,
  /// the file is unchanged, with one exception: if only the sync of its directory failed, the new file is in place and
  /// may not survive a crash.
  ///
  /// Throws PersistError io if a system call fails; poisoned with the log on, or if this was moved from; read_only;
  /// reentered; and what the index's save_to and config.on_progress throw. With the log off also locked if another
  /// holder keeps the lock for 5 seconds; snapshot_changed if the file is not the one that this object loaded or saved;
  /// log_mismatch, and log_present if a log beside the file holds mutations that it lacks.
  SnapshotInfo save() {
    const CallUnderWay call(in_call_);
    const SnapshotInfo info = save_opened(opened_, storage_, path_, config_, false);
    schedule_.saved(info.file_bytes);
    return info;
  }

  /// Saves like save() and begins a new, empty log, so that a load has nothing to replay. Throws as save() does. With
  /// the log off, it is save().
  SnapshotInfo checkpoint() {
    const CallUnderWay call(in_call_);
    return checkpointed(false);
  }

  /// Stores the index as it is in memory under another path, where there is nothing yet: a snapshot without a log. It works
  /// whatever is wrong with the files of this object, so also if poisoned(). Throws PersistError invalid_config for the path
  /// of this object; would_discard_snapshot or would_discard_log if there is a file or a log; poisoned if this was moved
  /// from; locked, reentered, io; and what save_to and on_progress throw.
  SnapshotInfo save_copy(const std::filesystem::path& path) {
    const CallUnderWay call(in_call_);
    return save_copy_at(opened_.index, storage_, storage_.resolve(path), path_, config_);
  }

  /// Copies the files into `directory`, which is created in one that exists: a backup, durable when this returns, which loads
  /// by itself and holds every mutation made before. With the log off, it is save_copy() there. Throws PersistError as
  /// save_copy() does, and unlogged_changes after index_mut().
  BackupInfo backup(const std::filesystem::path& directory, const BackupOptions& options = {}) {
    const CallUnderWay call(in_call_);
    return back_up_opened(opened_, storage_, path_, directory, options, config_, [](auto&& step) { step(); });
  }

  /// Ends in order: makes everything durable, marks the log as closed and releases the path. Only the index can be used
  /// afterwards. With the log off, does nothing. Throws PersistError io, poisoned, reentered; the path is released in
  /// any case.
  void close() {
    const CallUnderWay call(in_call_);
    schedule_.closed();
    close_opened(opened_, path_);
  }

 private:
  friend class SharedState<I, S>;  // it opens and saves the same files in the same way

  PersistedIndex(OpenedIndex<I, S> opened, PersistConfig config, S storage)
      : opened_(std::move(opened)),
        config_(std::move(config)),
        storage_(std::move(storage)),
        path_(std::move(opened_.path)) {
    if (opened_.log) {
      config_.take_over = false;
      schedule_.snapshot_has(opened_.log->writer->header().base.file_bytes);
      schedule_.applied(opened_.report.replay_elapsed);
    }
  }

  // Returns `loaded`, whose log may be long already.
  static PersistedIndex checked(PersistedIndex loaded) {
    loaded.checkpoint_if_due();
    return loaded;
  }

  [[nodiscard]] bool logs_next() const {
    return logged_mutation::begins(config_, opened_.log, opened_.has_unlogged_changes);
  }
  [[nodiscard]] bool is_logged() const noexcept { return config_.wal_enabled && !config_.read_only; }

  template <class WriteBody>
  [[nodiscard]] LsnRange log(std::uint64_t mutations, WriteBody&& write_body) {
    const std::uint64_t first =
        naming_file(path_, [&] { return opened_.log->writer->append(mutations, std::forward<WriteBody>(write_body)); });
    return {.first = first, .last = first + mutations - 1};
  }

  // Makes one mutation. With the log on, `check()` and `write_body(writer)` are called before `apply(half_done)`.
  template <class Check, class WriteBody, class Apply>
  void mutate(Check&& check, WriteBody&& write_body, Apply&& apply) {
    const CallUnderWay call(in_call_);
    LsnRange lsns;
    if (logs_next()) {
      check();
      lsns = log(1, write_body);
    }
    measured(true, [&] { logged_mutation::apply_or_abort(opened_.log.get(), lsns, apply); });
  }

  // Calls `apply()`, which applies the mutations of a record, one or a batch. With the log on, a checkpoint that is due is made
  // behind it.
  template <class Apply>
  void measured(bool is_one, Apply&& apply) {
    logged_mutation::measured(opened_.log ? &schedule_ : nullptr, is_one, std::forward<Apply>(apply),
                              [this] { checkpoint_if_due(); });
  }

  // on_event tells of a failure, which is none of the mutation or the load before it. Throws PersistError poisoned in a child
  // that a callback has forked.
  void checkpoint_if_due() {
    if (opened_.log && schedule_.is_due(opened_.log->writer->end().offset, CheckpointSchedule::Clock::now)) {
      std::function<void(const Progress&)> on_progress;
      on_progress.swap(config_.on_progress);  // it is not told of this one
      try {
        checkpointed(true);
      } catch (...) {
        // The log goes on, or is poisoned, as after a checkpoint that was asked for.
      }
      on_progress.swap(config_.on_progress);
      if (opened_.log->lock.inherited()) {
        naming_file(path_, [] { throw_forked(); });
      }
    }
  }

  SnapshotInfo checkpointed(bool is_automatic) {
    require_savable(opened_, path_, config_);
    return watched_checkpoint(
        config_.on_event, is_automatic, [this](auto&& use) { use(schedule_); }, [this] { return log_bytes(); },
        [&] { return save_opened(opened_, storage_, path_, config_, true); });
  }

  // Also in a handler of another index's events, where close() would be refused.
  void close_quietly() noexcept {
    if (!in_call_) {
      close_opened_quietly(opened_, path_);
    }
  }

  OpenedIndex<I, S> opened_;
  PersistConfig config_;
  S storage_;
  std::filesystem::path path_;  // config_.path with symbolic links resolved
  CheckpointSchedule schedule_{config_.checkpoint};
  InsertRuns insert_runs_{config_.helper_threads};
  bool in_call_ = false;
};

}  // namespace iqdb
