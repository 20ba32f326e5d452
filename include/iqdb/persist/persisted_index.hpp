// PersistedIndex: an index, its snapshot, and the log of the mutations since.
//
// Invariant: with the log on, a mutation is applied only after it is logged, and synced as the policy says.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/recovery.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An index together with the file that stores it.
///
///     auto db = iqdb::PersistedIndex<iqdb::FlatIndex>::load_or_create(
///         {.path = "vectors.iqdb", .wal_enabled = true},
///         [] { return iqdb::FlatIndex(128, iqdb::DistanceMetric::cosine); });
///     db.insert(1, embedding);    // durable when it returns
///     db.checkpoint();            // now and then: folds the log into the snapshot
///
/// With the log off, the index is durable as of the last save(). With the log on, every mutation is logged, synced by
/// policy, and then applied. Changes through index_mut() are not logged; the next save() or checkpoint() stores them.
///
/// It can be moved, but not copied. The thread rules are those of a standard container: calls of const members may run
/// concurrently; any other call needs exclusive use. With the log on, one object in one process holds the path; in the
/// child of a fork, calls that need the log throw poisoned, and the destructor does nothing. With the log off, several
/// objects, threads and processes may save to the same path; the file is always a whole snapshot of one of them.
template <Persistable I, Storage S = FileStorage>
class PersistedIndex : public InsertOverloads<PersistedIndex<I, S>> {
 public:
  /// Takes an index that was made in memory.
  ///
  /// With the log off, no file is read or written before save(). With it on, the base snapshot and an empty log are
  /// written at once. An older snapshot is replaced, but a log that holds mutations is not: would_discard_log. Throws
  /// PersistError invalid_config or unsupported if `config` cannot be used, locked, io; and what save_to and
  /// on_progress throw.
  static PersistedIndex open_with(I index, PersistConfig config, S storage = {}) {
    check(config);
    const std::filesystem::path path = storage.resolve(config.path);
    return naming_file(path, [&] {
      PersistedIndex opened(std::move(index), std::move(config), std::move(storage), path);
      if (opened.config_.wal_enabled) {
        opened.create_files(opened.storage_.lock(path, std::chrono::milliseconds::zero()));
      }
      return opened;
    });
  }

  /// Loads the index from its file. With the log on, replays the log and continues it. With it off, writes nothing.
  ///
  /// Throws PersistError: io if there is no file or it cannot be read; the kinds of load_snapshot if it is not whole;
  /// invalid_config or unsupported if `config` cannot be used. With the log on also the kinds of recover, and locked at
  /// once if another object holds the path. With it off log_present, if a log beside the file holds mutations that it
  /// lacks.
  static PersistedIndex load(PersistConfig config, S storage = {}) {
    return load_if_there(config, storage, [&](const auto& /*path*/, auto& /*lock*/) -> PersistedIndex {
      throw_persist_error(
          PersistErrorKind::io, "cannot load the index; check the path, or save one first",
          {.path = config.path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
    });
  }

  /// Loads the index from its file. If there is none, continues like open_with, with the index that `make()` returns.
  /// Throws as load and open_with do, and what `make` throws. A file that exists but cannot be loaded is never ignored.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make>, I>
  static PersistedIndex load_or_create(PersistConfig config, Make&& make, S storage = {}) {
    return load_if_there(
        config, storage, [&](const std::filesystem::path& path, std::optional<typename S::Lock>& lock) {
          PersistedIndex created(std::forward<Make>(make)(), std::move(config), std::move(storage), path);
          if (lock) {
            created.create_files(std::move(*lock));
          }
          return created;
        });
  }

  PersistedIndex(PersistedIndex&&) noexcept(std::is_nothrow_move_constructible_v<I>) = default;
  PersistedIndex& operator=(PersistedIndex&& other) noexcept(std::is_nothrow_move_assignable_v<I>) {
    if (this != &other) {
      close_quietly();
      index_ = std::move(other.index_);
      config_ = std::move(other.config_);
      storage_ = std::move(other.storage_);
      path_ = std::move(other.path_);
      report_ = std::move(other.report_);
      logging_ = std::move(other.logging_);
      last_lsn_ = other.last_lsn_;
    }
    return *this;
  }
  PersistedIndex(const PersistedIndex&) = delete;
  PersistedIndex& operator=(const PersistedIndex&) = delete;

  /// Closes like close(), but does not report failures. What was acknowledged under FsyncPolicy::always is durable in
  /// any case.
  ~PersistedIndex() { close_quietly(); }

  /// The index, for searches.
  [[nodiscard]] const I& index() const noexcept { return index_; }

  /// The index, for changes. They are not logged.
  [[nodiscard]] I& index_mut() noexcept { return index_; }

  /// The settings that this object was made with.
  [[nodiscard]] const PersistConfig& config() const noexcept { return config_; }

  /// What load found in the log; empty with the log off.
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return report_; }

  /// The LSN of the last mutation taken; 0 with the log off.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return logging_ ? logging_->writer->lsn() : last_lsn_; }

  /// Whether nothing can be logged any more, because a failure left the state of the disk unknown, or this object was
  /// closed or moved from. Every mutation, sync, save and checkpoint then throws PersistError poisoned. Loading the
  /// index again recovers everything that was acknowledged. Always false with the log off.
  [[nodiscard]] bool poisoned() const { return config_.wal_enabled && (!logging_ || logging_->writer->poisoned()); }

  using InsertOverloads<PersistedIndex>::insert;

  /// Adds a vector. With the log on it is durable, by policy, when this returns.
  ///
  /// Throws what the index throws; then neither this object nor a later load has the vector. With the log on also
  /// PersistError io or record_too_large, after which nothing has changed (after a failed sync, a load may find the
  /// vector); poisoned; and IndexError if the metadata cannot be stored (check_storable).
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) requires Index<I> {
    if (!config_.wal_enabled) {
      index_.insert(std::move(id), vector, std::move(metadata));
      return;
    }
    check_storable(metadata);
    const std::uint64_t lsn = log(1, [&](Writer& writer) { write_insert(writer, id, vector, metadata); });
    apply_or_abort(lsn, [&] { index_.insert(std::move(id), vector, std::move(metadata)); });
  }

  /// Removes a vector. Durability and exceptions are those of insert.
  void erase(const VectorId& id) requires Index<I> {
    if (!config_.wal_enabled) {
      index_.erase(id);
      return;
    }
    const std::uint64_t lsn = log(1, [&](Writer& writer) { write_erase(writer, id); });
    apply_or_abort(lsn, [&] { index_.erase(id); });
  }

  /// Applies the mutations of a batch in order. With the log on they are one record and one sync: after a crash all are
  /// there or none. If the index rejects one, its exception passes, those before it stay, and those behind it are not
  /// applied. An empty batch does nothing.
  void apply(const WriteBatch& batch) requires Index<I> {
    if (batch.size() == 0) {
      return;
    }
    std::uint64_t lsn = 0;
    if (config_.wal_enabled) {
      lsn = log(batch.size(), [&](Writer& writer) { write_batch(writer, batch.mutations()); });
    }
    for (const Mutation& mutation : batch.mutations()) {
      apply_or_abort(lsn, [&] {
        if (mutation.op == FrameOp::insert) {
          index_.insert(mutation.id, std::span<const float>(mutation.vector), copied(mutation.metadata));
        } else {
          index_.erase(mutation.id);
        }
      });
      ++lsn;
    }
  }

  /// Makes every logged mutation durable now, whatever the policy. Does nothing with the log off. Throws PersistError
  /// poisoned; and io, after which every call that needs the log throws poisoned.
  void sync() {
    if (config_.wal_enabled) {
      naming_file(path_, [&] { logging().writer->sync(); });
    }
  }

  /// Replaces the snapshot by the index as it is now. It is durable when this returns. The log is kept. If it throws,
  /// the file is unchanged, with one exception: if only the sync of its directory failed, the new file is in place and
  /// may not survive a crash.
  ///
  /// Throws PersistError io if a system call fails; poisoned with the log on, or if this was moved from; and what the
  /// index's save_to and config.on_progress throw. With the log off also locked if another holder keeps the lock for 5
  /// seconds, and log_present if a log beside the file holds mutations that it lacks; save() may then be called again.
  SnapshotInfo save() {
    const auto started = std::chrono::steady_clock::now();
    return naming_file(path_, [&] {
      SnapshotInfo info = config_.wal_enabled ? save_logged().info : save_alone();
      info.elapsed = std::chrono::steady_clock::now() - started;
      return info;
    });
  }

  /// Saves like save() and begins a new, empty log, so that a load has nothing to replay. Throws as save() does. With
  /// the log off, it is save().
  SnapshotInfo checkpoint() {
    if (!config_.wal_enabled) {
      return save();
    }
    const auto started = std::chrono::steady_clock::now();
    return naming_file(path_, [&] {
      const WrittenSnapshot<S> saved = save_logged();
      begin_new_log(saved.fingerprint, storage_, path_, *logging_, config_);
      SnapshotInfo info = saved.info;
      info.elapsed = std::chrono::steady_clock::now() - started;
      return info;
    });
  }

  /// Ends in order: makes everything durable, marks the log as closed and releases the path. Only the index can be used
  /// afterwards. With the log off, does nothing. Throws PersistError io, poisoned; the path is released in any case.
  void close() {
    last_lsn_ = lsn();
    if (std::unique_ptr<OpenLog<S>> closing = std::move(logging_)) {
      if (closing->lock.inherited()) {
        // A fork: the files are the parent's, and the thread that syncs them does not exist in this process, so these
        // objects must not be destroyed.
        std::ignore = closing.release();
        throw_forked();
      }
      naming_file(path_, [&] { closing->writer->close(); });
    }
  }

 private:
  static constexpr std::chrono::milliseconds patience{5000};  // how long save() waits for another holder

  PersistedIndex(I index, PersistConfig config, S storage, std::filesystem::path path)
      : index_(std::move(index)), config_(std::move(config)), storage_(std::move(storage)), path_(std::move(path)) {}

  static void check(const PersistConfig& config) {
    validate(config);
    if (config.wal_enabled && !Index<I>) {
      throw_persist_error(
          PersistErrorKind::unsupported,
          "PersistConfig::wal_enabled is set, but the index has no insert and erase that could be logged; "
          "set it to false and call save(), or give it what concept iqdb::Index asks for",
          {.path = config.path, .code = {}, .offset = {}});
    }
  }

  // Loads the file. If there is none, returns `otherwise(path, lock)`.
  template <class Otherwise>
  static PersistedIndex load_if_there(PersistConfig& config, S& storage, Otherwise&& otherwise) {
    const auto started = std::chrono::steady_clock::now();
    check(config);
    const std::filesystem::path path = storage.resolve(config.path);
    return naming_file(path, [&]() -> PersistedIndex {
      std::optional<typename S::Lock> lock;
      if (config.wal_enabled) {
        lock = storage.lock(path, std::chrono::milliseconds::zero());
      }
      auto file = lock ? storage.open(path, *lock) : storage.open(path);
      if (!file) {
        if (!config.wal_enabled) {
          std::ignore = refuse_log(storage, path, PersistErrorKind::log_present, config.buffer_bytes);
        }
        return std::forward<Otherwise>(otherwise)(path, lock);
      }
      if constexpr (Index<I>) {
        if (config.wal_enabled) {
          std::unique_ptr<OpenLog<S>> logging = prepare_logging(std::move(*lock), config);
          std::filesystem::path name = path;
          // The last step of recover() puts the new log in place. Nothing behind it may fail: the report of what it
          // found would be lost.
          Recovered<I, S> recovered = recover<I>(storage, path, logging->lock, std::move(*file), config);
          PersistedIndex loaded(std::move(recovered.index), std::move(config), std::move(storage), std::move(name));
          loaded.start_logging(std::move(logging), *recovered.log);
          loaded.report_ = std::move(recovered.report);
          loaded.report_.elapsed = std::chrono::steady_clock::now() - started;
          return loaded;
        }
      }
      I index = std::move(load_snapshot<I>(*file, config).index);
      std::ignore = refuse_log(storage, path, PersistErrorKind::log_present, config.buffer_bytes);
      return PersistedIndex(std::move(index), std::move(config), std::move(storage), path);
    });
  }

  // The base snapshot, then the log: between the two there is no log, which means an empty one.
  void create_files(typename S::Lock lock) {
    discard_empty_log(storage_, path_, lock, PersistErrorKind::would_discard_log, config_.buffer_bytes);
    // Everything else that may fail comes before the first file is in place.
    WrittenSnapshot<S> base = write_snapshot(index_, storage_, lock, path_, config_);
    NewLog<S> log(storage_, log_path(path_), lock, base.fingerprint, 0, config_);
    log.finish();
    std::unique_ptr<OpenLog<S>> logging = prepare_logging(std::move(lock), config_);
    put_in_place(base.file);
    put_in_place(log.file());
    start_logging(std::move(logging), log);
  }

  static std::unique_ptr<OpenLog<S>> prepare_logging(typename S::Lock lock, const PersistConfig& config) {
    auto writer = std::make_unique<LogWriter<S>>(config);
    return std::make_unique<OpenLog<S>>(OpenLog<S>{.lock = std::move(lock), .writer = std::move(writer)});
  }

  void start_logging(std::unique_ptr<OpenLog<S>> logging, NewLog<S>& log) {
    logging->writer->go_on_with(storage_, log);
    logging_ = std::move(logging);
  }

  OpenLog<S>& logging() {
    if (!logging_) {
      throw_moved_from();
    }
    if (logging_->lock.inherited()) {
      throw_forked();
    }
    return *logging_;
  }

  [[noreturn]] static void throw_moved_from() {
    throw_persist_error(PersistErrorKind::poisoned, "the index was closed or moved from; load it again");
  }

  [[noreturn]] static void throw_forked() {
    throw_persist_error(PersistErrorKind::poisoned,
                        "this process is a fork of the one that has the index open; open it after the fork, in one of "
                        "them");
  }

  template <class WriteBody>
  std::uint64_t log(std::uint64_t mutations, WriteBody&& write_body) {
    return naming_file(path_, [&] { return logging().writer->append(mutations, std::forward<WriteBody>(write_body)); });
  }

  // Applies a logged mutation. If the index throws, appends an abort, and the exception passes unchanged.
  template <class Apply>
  void apply_or_abort(std::uint64_t lsn, Apply&& apply) {
    try {
      std::forward<Apply>(apply)();
    } catch (...) {
      if (logging_) {
        logging_->writer->abort(lsn);
      }
      throw;
    }
  }

  SnapshotInfo save_alone() {
    if (path_.empty()) {
      throw_moved_from();
    }
    const auto lock = storage_.lock(path_, patience);
    // Before the rename: beside the new snapshot, an old log would be one that continues another snapshot.
    discard_empty_log(storage_, path_, lock, PersistErrorKind::log_present, config_.buffer_bytes);
    return save_snapshot(index_, storage_, lock, path_, config_);
  }

  WrittenSnapshot<S> save_logged() { return save_beside_log(index_, storage_, path_, logging(), config_); }

  void close_quietly() noexcept {
    try {
      close();
    } catch (const std::exception&) {
      // A caller that wants to know calls close().
    }
  }

  I index_;
  PersistConfig config_;
  S storage_;
  std::filesystem::path path_;  // config_.path with symbolic links resolved
  RecoveryReport report_;
  std::unique_ptr<OpenLog<S>> logging_;  // null with the log off, or after close
  std::uint64_t last_lsn_ = 0;           // the last LSN before close
};

}  // namespace iqdb
