// SharedIndex: a durable index that many threads use.
//
// Invariants: the calls of all threads are committed in one order, one group at a time. A reader sees each mutation whole or
// not at all, and waits only while mutations are applied, never for a write, a sync or a snapshot.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/fair_mutex.hpp"
#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/commit_queue.hpp"
#include "iqdb/persist/wal/group_commit.hpp"
#include "iqdb/persist/wal/logged_mutation.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An index together with the file that stores it, for many threads.
///
///     auto db = iqdb::SharedIndex<iqdb::FlatIndex>::load_or_create(
///         {.path = "vectors.iqdb", .wal_enabled = true}, iqdb::FlatIndex(128, iqdb::DistanceMetric::cosine));
///     db.insert(1, embedding);           // from any thread; durable when it returns
///     auto hits = db.search(embedding);  // beside it
///
/// Every member may be called from any thread at any time, but for the destructor. Mutations that wait while another one
/// is written are written together, with one sync. Readers and the writer alternate: neither starves the other.
///
/// A call from within a call of the same object throws PersistError reentered and does nothing, as from on_progress or
/// from the function passed to read(). Only a read within a read is let pass. A function passed to read() must not wait for
/// another thread that uses this object: a writer that waits between the two would block both for ever.
///
/// It can neither be copied nor moved; a function may return it, and `new SharedIndex<I>(SharedIndex<I>::load(config))`
/// makes one that a pointer holds. In the child of a fork every call throws poisoned with the log on; with the log off the
/// child must not use the object, since a thread of the parent may have held its locks.
template <Persistable I, Storage S = FileStorage>
class SharedIndex : public InsertOverloads<SharedIndex<I, S>>, public UpsertOverloads<SharedIndex<I, S>> {
  static_assert(Index<I>, "SharedIndex<I> makes the mutations of I by itself: I needs what concept Index asks for");

 public:
  /// As PersistedIndex::open_with.
  static SharedIndex open_with(I index, PersistConfig config, S storage = {}) {
    return SharedIndex(Inner::open_with(std::move(index), std::move(config), std::move(storage)));
  }

  /// As PersistedIndex::load.
  static SharedIndex load(PersistConfig config, S storage = {}) {
    return SharedIndex(Inner::load(std::move(config), std::move(storage)));
  }

  /// As PersistedIndex::load_or_create with an empty index.
  static SharedIndex load_or_create(PersistConfig config, I empty, S storage = {}) {
    return SharedIndex(Inner::load_or_create(std::move(config), std::move(empty), std::move(storage)));
  }

  /// As PersistedIndex::load_or_create with a function that makes the index.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make>, I>
  static SharedIndex load_or_create(PersistConfig config, Make&& make, S storage = {}) {
    return SharedIndex(Inner::load_or_create(std::move(config), std::forward<Make>(make), std::move(storage)));
  }

  SharedIndex(const SharedIndex&) = delete;
  SharedIndex& operator=(const SharedIndex&) = delete;

  /// Closes like close(), but does not report failures. No other thread may be in a call, or make one. In the child of a
  /// fork, with the log on, it does nothing.
  ~SharedIndex() {
    if (inherited()) {
      // Threads of the parent may have been in the middle of calls, or wait for a condition variable: here it would
      // wait for them, for ever, to be destroyed.
      std::ignore = closed_log_.release();
      return;
    }
    try {
      close();
    } catch (...) {
      // A caller that wants to know calls close().
    }
    std::destroy_at(&inner_);
    std::destroy_at(&content_);
  }

  using InsertOverloads<SharedIndex>::insert;
  using UpsertOverloads<SharedIndex>::upsert;

  /// Adds a vector. It is applied, and durable by policy, when this returns. Throws as PersistedIndex::insert does.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    commit({.op = FrameOp::insert, .id = std::move(id), .vector = vector, .metadata = std::move(metadata)});
  }

  /// Adds a vector, or replaces the one of that identifier. Throws as PersistedIndex::upsert does.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    commit({.op = FrameOp::upsert, .id = std::move(id), .vector = vector, .metadata = std::move(metadata)});
  }

  /// Removes a vector. Throws as PersistedIndex::erase does.
  void erase(VectorId id) { commit({.op = FrameOp::erase, .id = std::move(id)}); }

  /// Applies the mutations of a batch in order, as one record. Throws as PersistedIndex::apply does. Readers see a batch
  /// whole, unless it has more than 1,024 mutations, or so many that readers would wait for more than about 5 ms: then
  /// they are let in between its parts.
  void apply(const WriteBatch& batch) {
    if (batch.size() == 0) {
      require_ready();
      return;
    }
    commit({.op = FrameOp::batch, .batch = batch.mutations()});
  }

  /// The nearest vectors, beside other readers. Throws what the index throws; PersistError reentered.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query,
                                        const SearchParams& params = {}) const requires Searchable<I> {
    return read([&](const I& index) { return index.search(query, params); });
  }

  /// Returns `look(index)`, beside other readers. The index does not change meanwhile. What `look` returns must not refer to
  /// the index, which changes again when this returns. Throws what `look` throws; PersistError reentered.
  template <class Look>
  auto read(Look&& look) const {
    static_assert(!std::is_reference_v<std::invoke_result_t<Look, const I&>>,
                  "read() lets nobody keep a reference into the index, which other threads change: return a copy");
    if (ThreadInCall::is_reading(this)) {
      return std::forward<Look>(look)(index());
    }
    require_ready();
    const ThreadInCall mark(this, true);
    const std::shared_lock guard(content_);
    return std::forward<Look>(look)(index());
  }

  /// Returns `set(index)`, for settings that are no content, while nobody else uses the index. As PersistedIndex::tune.
  template <class Set>
  auto tune(Set&& set) {
    static_assert(!std::is_reference_v<std::invoke_result_t<Set, I&>>,
                  "tune() lets nobody keep a reference into the index, which other threads change: return a copy");
    return alone([&] {
      const std::lock_guard guard(content_);
      return std::forward<Set>(set)(inner_.opened_.index);
    });
  }

  /// Makes every logged mutation durable now, whatever the policy. Throws as PersistedIndex::sync does.
  void sync() {
    alone([&] { inner_.sync(); });
  }

  /// Replaces the snapshot by the index as it is, and begins a new log. Readers go on meanwhile; mutations wait. Throws as
  /// PersistedIndex::checkpoint does. config.on_progress is called by this thread.
  SnapshotInfo checkpoint() {
    return alone([&] { return inner_.checkpoint(); });
  }

  /// As PersistedIndex::save_copy. Readers go on meanwhile; mutations wait.
  SnapshotInfo save_copy(const std::filesystem::path& path) {
    return alone([&] { return inner_.save_copy(path); });
  }

  /// Ends in order, behind every call that was made before. Only reads can be made afterwards. With the log off, does
  /// nothing. Throws PersistError io, poisoned, reentered; the path is released in any case.
  void close() {
    alone([&] {
      if (!inner_.opened_.log) {
        return;
      }
      inner_.opened_.lsn = inner_.lsn();
      // It stays, without its lock: other threads ask it whether this process is a fork.
      closed_log_ = std::move(inner_.opened_.log);
      is_closed_ = true;
      const typename S::Lock released = std::move(closed_log_->lock);
      naming_file(inner_.path_, [&] { closed_log_->writer->close(); });
    });
  }

  /// The LSN of the last mutation that was committed; 0 with the log off.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return lsn_; }

  /// The size of the log in bytes, without space prepared ahead; 0 with the log off.
  [[nodiscard]] std::uint64_t log_bytes() const noexcept { return log_bytes_; }

  /// As PersistedIndex::poisoned.
  [[nodiscard]] bool poisoned() const {
    return log_ != nullptr && (inherited() || is_closed_ || log_->writer->poisoned());
  }

  /// What load found in the log; empty with the log off.
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return inner_.recovery(); }

  /// The settings that this object was made with.
  [[nodiscard]] const PersistConfig& config() const noexcept { return inner_.config(); }

 private:
  using Inner = PersistedIndex<I, S>;

  // A call that waits in the queue, on the stack of its thread.
  struct Call : CommitQueue<Call>::Entry, MutationCall {
    std::condition_variable wake = {};
  };

  explicit SharedIndex(Inner inner) : content_(), inner_(std::move(inner)), log_(inner_.opened_.log.get()) {
    publish();
  }

  [[nodiscard]] const I& index() const noexcept { return inner_.opened_.index; }

  // Whether this process is a fork of the one that has the log open. Asked first: in the child nobody can release a lock
  // that a thread of the parent held.
  [[nodiscard]] bool inherited() const noexcept { return log_ != nullptr && log_->lock.inherited(); }

  // Throws PersistError poisoned in a fork, reentered in a call of this object.
  void require_ready() const {
    if (inherited()) {
      naming_file(inner_.path_, [] { open_log::throw_forked(); });
    }
    CallUnderWay::require_none(ThreadInCall::is_in(this));
  }

  void commit(MutationCall&& mutations) {
    require_ready();
    const ThreadInCall mark(this, false);
    if (inner_.config_.read_only) {
      logged_mutation::throw_read_only(inner_.path_);
    }
    {
      // Here, so that what is wrong with this call costs the others nothing.
      const std::shared_lock guard(content_);
      group_commit::check_without_state(index(), mutations);
    }
    const EncoderLoan encoder;
    std::vector<std::size_t> ids_of_batch;
    std::size_t id = 0;
    Call call;
    static_cast<MutationCall&>(call) = std::move(mutations);
    if (call.op == FrameOp::batch) {
      ids_of_batch.reserve(call.batch.size());
      for (const Mutation& mutation : call.batch) {
        ids_of_batch.push_back(std::hash<VectorId>()(mutation.id));
      }
      call.ids = ids_of_batch;
    } else {
      id = std::hash<VectorId>()(call.id);
      call.ids = std::span(&id, 1);
    }
    if (log_ != nullptr) {
      call.encoded = encoder->encode(call);
    }
    call.bytes = call.encoded.size();
    call.mutations = call.size();
    wait_or_lead(call, [&](const auto& group) { return commit_calls(group); });
    if (call.error) {
      std::rethrow_exception(call.error);
    }
  }

  // Runs `step` when no group is in flight, and before any call that is made later.
  template <class Step>
  std::invoke_result_t<Step> alone(Step&& step) {
    require_ready();
    const ThreadInCall mark(this, false);
    Call call;
    call.alone = true;
    if constexpr (std::is_void_v<std::invoke_result_t<Step>>) {
      wait_or_lead(call, [&](const auto&) {
        run(call, step);
        return CommittedGroup();
      });
      if (call.error) {
        std::rethrow_exception(call.error);
      }
    } else {
      std::optional<std::invoke_result_t<Step>> result;
      wait_or_lead(call, [&](const auto&) {
        run(call, [&] { result.emplace(step()); });
        return CommittedGroup();
      });
      if (call.error) {
        std::rethrow_exception(call.error);
      }
      return std::move(*result);
    }
  }

  template <class Step>
  void run(Call& call, Step&& step) noexcept {
    try {
      step();
    } catch (...) {
      call.error = std::current_exception();
    }
  }

  // Returns when the call is done. If it comes to be the first one that waits, `lead(group)` commits its group.
  template <class Lead>
  void wait_or_lead(Call& call, Lead&& lead) {
    std::unique_lock guard(mutex_);
    queue_.submit(call);
    call.wake.wait(guard, [&] { return call.stage == QueuedCall::Stage::done || queue_.next_leader() == &call; });
    if (call.stage == QueuedCall::Stage::done) {
      return;
    }
    const auto group = queue_.lead();
    guard.unlock();
    const CommittedGroup committed = lead(group);
    publish();
    guard.lock();
    for (Call& other : group) {
      other.wake.notify_one();  // it looks at its stage when this thread lets the mutex go
    }
    queue_.settle(committed.applied, committed.applying);
    if (Call* next = queue_.next_leader()) {
      next->wake.notify_one();
    }
  }

  template <class Group>
  CommittedGroup commit_calls(const Group& group) noexcept {
    LogWriter<S>* writer = nullptr;
    if (log_ != nullptr) {
      try {
        naming_file(inner_.path_, [&] { open_log::usable(inner_.opened_.log).writer->require_not_poisoned(); });
      } catch (...) {
        group_commit::fail_all(group);
        return {};
      }
      writer = log_->writer.get();
    }
    return commit_group(inner_.opened_.index, writer, inner_.path_, group, queue_.most_mutations(), [&](auto&& apply) {
      const std::lock_guard guard(content_);
      apply();
    });
  }

  // For those who ask without waiting. Called while no group is in flight but this thread's.
  void publish() noexcept {
    lsn_ = inner_.lsn();
    log_bytes_ = inner_.log_bytes();
  }

  // In unions, so that the destructor can leave them alone. Their members are private as the unions are.
  // NOLINTBEGIN(readability-identifier-naming)
  union {
    mutable FairMutex content_;  // of the index
  };
  union {
    Inner inner_;  // its index: under content_; everything else: by the leader
  };
  // NOLINTEND(readability-identifier-naming)
  std::mutex mutex_;  // of the queue; never held while anything is written, applied or called
  CommitQueue<Call> queue_;
  const OpenLog<S>* log_;                   // null with the log off; lives as long as this object
  std::unique_ptr<OpenLog<S>> closed_log_;  // the same, after close()
  std::atomic<bool> is_closed_ = false;
  std::atomic<std::uint64_t> lsn_ = 0;
  std::atomic<std::uint64_t> log_bytes_ = 0;
};

}  // namespace iqdb
