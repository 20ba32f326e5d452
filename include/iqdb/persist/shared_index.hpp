// SharedIndex: a durable index that many threads use. What they share is in shared_state.hpp.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/shared_reads.hpp"
#include "iqdb/persist/shared_state.hpp"
#include "iqdb/persist/snapshot/freeze.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/backup.hpp"
#include "iqdb/persist/wal/group_commit.hpp"
#include "iqdb/persist/wal/load_or_create.hpp"
#include "iqdb/persist/wal/opening.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace testing {
struct GroupsWithoutClock;
}  // namespace testing

/// An index together with the file that stores it, for many threads.
///
///     auto db = iqdb::SharedIndex<iqdb::FlatIndex>::load_or_create(
///         {.path = "vectors.iqdb", .wal_enabled = true}, iqdb::FlatIndex(128, iqdb::DistanceMetric::cosine));
///     db.insert(1, embedding);           // from any thread; durable when it returns
///     auto hits = db.search(embedding);  // beside it
///
/// Every member may be called from any thread at any time, but for the destructor. Mutations that wait while another one
/// is written are written together, with one sync. Readers and the writer alternate: neither starves the other. The const
/// members of the index are called by several threads at once, and its check_vector also beside a mutation.
///
/// A thread of the object makes checkpoints by itself, as config.checkpoint says: the log does not grow for ever. With the
/// log off, mutations are stored by checkpoint() alone.
///
/// A call from within a call of the same object throws PersistError reentered and does nothing, as from on_progress or
/// from the function passed to read(). Only a read within a read is let pass. No function that is passed in may wait for
/// another thread that uses this object: that thread may wait for the function's end.
///
/// It can neither be copied nor moved; a function may return it, and `new SharedIndex<I>(SharedIndex<I>::load(config))`
/// makes one that a pointer holds. In the child of a fork every call throws poisoned, and the destructor does nothing. So does a
/// call whose callback has forked, when the callback returns in the child; a thread of this object ends such a child.
template <Persistable I, Storage S = FileStorage>
class SharedIndex : public InsertOverloads<SharedIndex<I, S>>,
                    public UpsertOverloads<SharedIndex<I, S>>,
                    public SharedReads<SharedIndex<I, S>, I> {
  static_assert(Index<I>, "SharedIndex<I> makes the mutations of I by itself: I needs what concept Index asks for");

 public:
  /// As PersistedIndex::open_with. Also throws PersistError invalid_config if config.freezing names a way that this type
  /// of index or store does not offer; load and load_or_create do, too.
  static SharedIndex open_with(I index, PersistConfig config, S storage = {}) {
    freeze::check<I, S>(config);
    OpenedIndex<I, S> opened = created<I>(config, storage, [&] { return std::move(index); });
    return SharedIndex(std::move(opened), std::move(config), std::move(storage));
  }

  /// As PersistedIndex::load.
  static SharedIndex load(PersistConfig config, S storage = {}) {
    freeze::check<I, S>(config);
    OpenedIndex<I, S> opened = loaded<I>(config, storage);
    return SharedIndex(std::move(opened), std::move(config), std::move(storage));
  }

  /// As PersistedIndex::load_or_create with an empty index.
  static SharedIndex load_or_create(PersistConfig config, I empty, S storage = {}) {
    freeze::check<I, S>(config);
    OpenedIndex<I, S> opened = loaded_or_created<I>(config, storage, &empty, [&] { return std::move(empty); });
    return SharedIndex(std::move(opened), std::move(config), std::move(storage));
  }

  /// As PersistedIndex::load_or_create with a function that makes the index.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make>, I>
  static SharedIndex load_or_create(PersistConfig config, Make&& make, S storage = {}) {
    freeze::check<I, S>(config);
    OpenedIndex<I, S> opened = loaded_or_created<I>(config, storage, nullptr, std::forward<Make>(make));
    return SharedIndex(std::move(opened), std::move(config), std::move(storage));
  }

  SharedIndex(const SharedIndex&) = delete;
  SharedIndex& operator=(const SharedIndex&) = delete;

  /// Closes like close(), but does not report failures. No other thread may be in a call, or make one.
  ~SharedIndex() {
    if (state_->must_stay()) {
      std::ignore = state_.release();
      return;
    }
    try {
      state_->end();
    } catch (...) {
      // A caller that wants to know calls close().
    }
  }

  using InsertOverloads<SharedIndex>::insert;
  using UpsertOverloads<SharedIndex>::upsert;

  /// Adds a vector. It is applied, and with the log on durable by policy, when this returns. Throws as
  /// PersistedIndex::insert does.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    state_->commit(
        MutationCall{.op = FrameOp::insert, .id = std::move(id), .vector = vector, .metadata = std::move(metadata)});
  }

  /// Adds a vector, or replaces the one of that identifier. Throws as PersistedIndex::upsert does.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    state_->commit(
        MutationCall{.op = FrameOp::upsert, .id = std::move(id), .vector = vector, .metadata = std::move(metadata)});
  }

  /// Removes a vector. Throws as PersistedIndex::erase does.
  void erase(VectorId id) { state_->commit(MutationCall{.op = FrameOp::erase, .id = std::move(id)}); }

  /// Replaces the metadata of a vector, which stays as it is. Throws as PersistedIndex::update_metadata does.
  void update_metadata(VectorId id, std::optional<Metadata> metadata) requires UpdatesMetadata<I> {
    state_->commit(MutationCall{.op = FrameOp::metadata, .id = std::move(id), .metadata = std::move(metadata)});
  }

  /// Applies the mutations of a batch in order, as one record. Throws as PersistedIndex::apply does. Readers see a batch
  /// whole, unless it takes more than about 5 ms to apply: then they are let in between its parts.
  void apply(const WriteBatch& batch) {
    if (batch.size() == 0) {
      state_->require_ready();
      return;
    }
    state_->commit(MutationCall{.op = FrameOp::batch, .batch = batch.mutations()});
  }

  /// Returns `look(index)`, beside other readers. The index does not change meanwhile, unless it states concurrent_reads. What
  /// `look` returns must not refer to the index, which changes again when this returns. Keep `look` short: a mutation waits
  /// for it, and readers that come later wait for that mutation; for an export there is save_copy(). Throws what `look`
  /// throws; PersistError reentered.
  template <class Look>
  auto read(Look&& look) const {
    static_assert(!std::is_reference_v<std::invoke_result_t<Look, const I&>>,
                  "read() lets nobody keep a reference into the index, which other threads change: return a copy");
    return state_->read(std::forward<Look>(look));
  }

  /// Returns `set(index)`, for settings that are no content, while nobody else uses the index. As PersistedIndex::tune.
  template <class Set>
  auto tune(Set&& set) {
    static_assert(!std::is_reference_v<std::invoke_result_t<Set, I&>>,
                  "tune() lets nobody keep a reference into the index, which other threads change: return a copy");
    return state_->tune(std::forward<Set>(set));
  }

  /// Makes every logged mutation durable now, whatever the policy. Throws as PersistedIndex::sync does.
  void sync() { state_->sync(); }

  /// Replaces the snapshot by the index as it is when this begins, and the log by one that holds the mutations since.
  /// Readers go on meanwhile, and so do mutations, unless the index can only be held still by waiting (config.freezing;
  /// the result says how it was done). A second checkpoint waits for the first. Throws as PersistedIndex::checkpoint does;
  /// no acknowledged mutation is lost. config.on_progress is called by this thread.
  SnapshotInfo checkpoint() { return state_->checkpoint(); }

  /// The same in a thread of this object, which also calls config.on_progress. The result holds what checkpoint() returns or
  /// throws; it may be thrown away, and it outlives this object. Throws PersistError poisoned after close(), reentered, and
  /// io if there is no thread.
  std::future<SnapshotInfo> checkpoint_async() { return state_->checkpoint_async(); }

  /// As PersistedIndex::save_copy. Readers go on meanwhile; mutations wait.
  SnapshotInfo save_copy(const std::filesystem::path& path) { return state_->save_copy(path); }

  /// As PersistedIndex::backup: it holds every mutation that was committed before the call. Readers and mutations go on
  /// meanwhile, a checkpoint waits. config.on_progress is called by this thread; close() ends it, and it throws poisoned.
  BackupInfo backup(const std::filesystem::path& directory, const BackupOptions& options = {}) {
    return state_->backup(directory, options);
  }

  /// Ends in order, behind every call that was made before; a checkpoint that is under way ends without its snapshot. Only
  /// reads can be made afterwards. Throws PersistError io, poisoned, reentered; the path is released in any case.
  void close() { state_->close(); }

  /// The LSN of the last mutation that was committed; 0 with the log off. Waits for nothing.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return state_->lsn(); }

  /// The size of the log in bytes, without space prepared ahead; 0 with the log off. Waits for nothing.
  [[nodiscard]] std::uint64_t log_bytes() const noexcept { return state_->log_bytes(); }

  /// As PersistedIndex::poisoned. Waits for nothing.
  [[nodiscard]] bool poisoned() const noexcept { return state_->poisoned(); }

  /// What it has done since it was opened, and how it stands. May wait for a write of the log, but for no sync and no
  /// checkpoint. Throws PersistError poisoned in the child of a fork.
  [[nodiscard]] Stats stats() const { return state_->stats(); }

  /// How many threads wait at this moment. Waits for nothing. Throws PersistError poisoned in the child of a fork.
  [[nodiscard]] WaitingThreads waiting() const { return state_->waiting(); }

  /// What load found in the log; empty with the log off.
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return std::as_const(*state_).inner().recovery(); }

  /// The settings that this object was made with; replace_existing has had its effect, and is false.
  [[nodiscard]] const PersistConfig& config() const noexcept { return std::as_const(*state_).inner().config(); }

 private:
  friend struct testing::GroupsWithoutClock;

  SharedIndex(OpenedIndex<I, S> opened, PersistConfig config, S storage)
      : state_(std::make_unique<SharedState<I, S>>(std::move(opened), std::move(config), std::move(storage))) {}

  std::unique_ptr<SharedState<I, S>> state_;  // never null
};

}  // namespace iqdb
