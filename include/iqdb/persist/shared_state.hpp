// What the threads of a SharedIndex share: the index, its files, and the queue in which calls wait.
//
// Invariants: the calls of all threads are committed in one order, one group at a time. A reader sees each mutation whole or
// not at all, and waits only while mutations are applied, never for a write, a sync or a snapshot. In a forked child nothing
// is locked, waited for or destroyed: a thread that does not exist there may have held a lock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "iqdb/persist/bytes/fair_mutex.hpp"
#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/commit_delay.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/shared_call.hpp"
#include "iqdb/persist/shared_checkpoints.hpp"
#include "iqdb/persist/shared_entry.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/backup.hpp"
#include "iqdb/persist/wal/backup_opened.hpp"
#include "iqdb/persist/wal/checkpoint_beside.hpp"
#include "iqdb/persist/wal/checkpoint_schedule.hpp"
#include "iqdb/persist/wal/commit_queue.hpp"
#include "iqdb/persist/wal/group_commit.hpp"
#include "iqdb/persist/wal/logged_mutation.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/opening.hpp"
#include "iqdb/persist/wal/save_opened.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The work of a SharedIndex, whose members say what each call promises. Here, too, every member may be called from any
/// thread, but for those that say who calls them.
template <Persistable I, Storage S>
class SharedState : public SharedEntry<S> {
 public:
  using Inner = PersistedIndex<I, S>;  ///< the index and its files

  using Call = SharedCall;
  using Entry = SharedEntry<S>;  ///< who may call
  using Entry::entered;
  using Entry::inherited;
  using Entry::is_logged;
  using Entry::is_reading;
  using Entry::log;
  using Entry::require_not_inherited;
  using Entry::require_ready;

  /// Takes an index that was opened, whose log may be long already.
  SharedState(OpenedIndex<I, S> opened, PersistConfig config, S storage)
      : SharedState(Inner(std::move(opened), std::move(config), std::move(storage))) {
    if (is_checkpoint_due()) {
      schedule().ask();
      checkpoints_.begin_automatic();
    }
  }

  explicit SharedState(Inner inner) : inner_(std::move(inner)) {
    Entry::is_for(inner_.opened_.log.get(), inner_.path_);
    publish();
  }

  /// Commits a call, by this thread or another.
  void commit(MutationCall&& mutations) {
    require_ready();
    const ThreadInCall mark = entered(false);
    SharedMutationCall call;
    prepare(call, std::move(mutations));
    wait_or_lead(call, [&](const auto& group) { return commit_calls(group); });
    call.rethrow();
  }

  /// Returns `look(index)`, beside other readers.
  template <class Look>
  auto read(Look&& look) const {
    if (is_reading()) {
      return std::forward<Look>(look)(index());
    }
    require_ready();
    const ThreadInCall mark = entered(true);
    const FairMutex::Reading guard(content_);
    return std::forward<Look>(look)(index());
  }

  /// Returns `set(index)`, while nobody else uses the index.
  template <class Set>
  auto tune(Set&& set) {
    return alone([&] {
      const FairMutex::Writing guard(content_);
      return std::forward<Set>(set)(inner_.opened_.index);
    });
  }

  void sync() {
    alone([&] { inner_.sync(); });
  }

  SnapshotInfo checkpoint() {
    return with_files([&] { return checkpoints_.make(false); });
  }

  std::future<SnapshotInfo> checkpoint_async() {
    require_ready();
    return checkpoints_.make_beside();
  }

  SnapshotInfo save_copy(const std::filesystem::path& path) {
    return with_files([&] { return in_turn([&] { return inner_.save_copy(path); }); });
  }

  BackupInfo backup(const std::filesystem::path& directory, const BackupOptions& options) {
    return with_files([&] {
      return back_up_opened(inner_.opened_, inner_.storage_, inner_.path_, directory, options,
                            checkpoints_.config_of_copy(), [&](auto&& step) { in_turn(step); });
    });
  }

  void close() {
    require_ready();
    end();
  }

  /// Closes as the destructor does: also in a handler of another index's events. The thread must be in no call of this.
  void end() {
    const ThreadInCall mark = entered(false);
    begin_closing();
    checkpoints_.end();
    const std::lock_guard one_at_a_time(files_);
    in_turn([&] { close_files(); });
  }

  [[nodiscard]] bool poisoned() const noexcept {
    return is_logged() && (inherited() || is_closed_ || log().writer->poisoned());
  }
  [[nodiscard]] std::uint64_t lsn() const noexcept { return lsn_; }
  [[nodiscard]] std::uint64_t log_bytes() const noexcept { return log_bytes_; }

  [[nodiscard]] Stats stats() {
    require_not_inherited();
    const FairMutex::LongestWaits waits = content_.longest_waits();
    Stats stats{.lsn = lsn_,
                .log_bytes = log_bytes_,
                .longest_read_wait = waits.reader,
                .longest_write_wait = waits.writer,
                .poisoned = poisoned()};
    if (is_logged()) {
      log().writer->tell(stats);
    }
    const std::lock_guard guard(mutex_);
    inner_.schedule_.tell(stats);
    return stats;
  }

  [[nodiscard]] WaitingThreads waiting() {
    require_not_inherited();
    const FairMutex::Waiting content = content_.waiting();
    const std::lock_guard guard(mutex_);
    return {.calls = queue_.waiting(),
            .readers = static_cast<std::size_t>(content.readers),
            .writers = static_cast<std::size_t>(content.writers)};
  }

  /// The index and its files, of which only what never changes may be asked.
  [[nodiscard]] const Inner& inner() const noexcept { return inner_; }

  // ---- The steps of a call, for a test that makes the calls of many threads in one thread, in any order.

  /// What the call's own thread does before the call waits. Throws what is wrong with the call whatever the index holds.
  void prepare(SharedMutationCall& call, MutationCall&& mutations) const {
    if (inner_.config_.read_only) {
      logged_mutation::throw_read_only(inner_.path_);
    }
    call.prepare(index(), std::move(mutations), is_logged());
  }

  /// Commits the group that begins with the first call that waits. `guard` holds the queue's mutex, but not while
  /// `lead(group)` commits, nor afterwards.
  template <class Lead>
  void lead_group(std::unique_lock<std::mutex>& guard, Lead&& lead) {
    const auto group = queue_.lead();
    bool begins_checkpoint = false;
    delay_.measure([&] {
      guard.unlock();
      const CommittedGroup committed = std::forward<Lead>(lead)(group);
      require_not_inherited();  // a callback may have forked: in the child nobody may be left to give a mutex back
      publish();
      guard.lock();
      queue_.settle(committed.applied, committed.applying);
      begins_checkpoint = checkpoints_.applied(committed.applying);
    });
    shared_calls::Sleepers sleepers(queue_.next_leader(), group);
    guard.unlock();  // who of the group is awake returns now, and its call is gone
    sleepers.wake();
    if (begins_checkpoint) {
      checkpoints_.begin_automatic();
    }
  }

  /// Called by the leader.
  template <class Group>
  CommittedGroup commit_calls(const Group& group) noexcept {
    LogWriter<S>* writer = nullptr;
    try {
      naming_file(inner_.path_, [&] {
        if (is_closed_) {
          open_log::throw_closed();
        }
        if (is_logged()) {
          writer = open_log::usable(inner_.opened_.log).writer.get();
          writer->require_not_poisoned();
        }
      });
    } catch (...) {
      group_commit::fail_all(group);
      return {};
    }
    const std::uint64_t whole = queue_.most_mutations();  // only a leader changes it
    const bool readers_stay = shared_calls::may_be_read_meanwhile<I>(group);
    const auto alone = [&](auto&& apply) {
      std::optional<FairMutex::Writing> guard;
      if (!readers_stay) {
        guard.emplace(content_);
      }
      // By the clock, and not by a number of mutations: nobody knows how long the next one takes.
      const auto end = std::chrono::steady_clock::now() + GroupBounds().applying;
      apply([&] { return std::chrono::steady_clock::now() >= end; });
    };
    return commit_group(inner_.opened_.index, writer, inner_.path_, group, whole, alone, &inner_.insert_runs_);
  }

  /// From now on a checkpoint that is under way ends as soon as it can: somebody closes.
  void begin_closing() noexcept { closing_ = true; }

  /// Called by the leader.
  void close_files() {
    is_closed_ = true;
    if (!inner_.opened_.log) {
      return;
    }
    inner_.opened_.lsn = inner_.lsn();
    // It stays, without its lock: other threads ask it whether this process is a fork.
    closed_log_ = std::move(inner_.opened_.log);
    const typename S::Lock released = std::move(closed_log_->lock);
    {
      const std::lock_guard guard(mutex_);
      schedule().closed();
    }
    naming_file(inner_.path_, [&] { closed_log_->writer->close(); });
  }

  /// Runs `step` when no group is in flight, and before any call that is made later. Throws what it throws.
  template <class Step>
  std::invoke_result_t<Step> in_turn(Step&& step) {
    SharedStepCall<std::remove_reference_t<Step>> call(step);
    call.alone = true;
    wait_or_lead(call, [&](const auto& /*group*/) {
      call.run();
      return CommittedGroup();
    });
    return call.result();
  }

  /// The index, and all of it with its files, for the leader.
  [[nodiscard]] const I& index() const noexcept { return inner_.opened_.index; }
  [[nodiscard]] Inner& inner() noexcept { return inner_; }

  /// Throws what is known to keep a checkpoint from being made. The caller holds files().
  void require_checkpoint_possible() const {
    naming_file(inner_.path_, [&] {
      if (is_closed_) {
        open_log::throw_closed();
      }
      require_not_closing();
      require_savable(inner_.opened_, inner_.path_, inner_.config_);
    });
  }

  /// Makes a checkpoint. The caller holds files().
  SnapshotInfo checkpoint_files(const PersistConfig& config) {
    return naming_file(inner_.path_, [&] {
      return !is_logged()
                 ? in_turn([&] { return save_opened(inner_.opened_, inner_.storage_, inner_.path_, config, true); })
                 : checkpoint_in_turns(config, [&](auto&& step) { in_turn(step); });
    });
  }

  /// What the thread of a checkpoint does, with the log on. `alone(step)` makes `step` a call that goes alone, and returns or
  /// throws when that is done. One at a time.
  template <class Alone>
  SnapshotInfo checkpoint_in_turns(const PersistConfig& config, Alone&& alone) {
    return checkpoint_beside(index(), inner_.storage_, inner_.path_, open_log::usable(inner_.opened_.log), config,
                             std::forward<Alone>(alone));
  }

  /// Throws PersistError poisoned from the moment at which close() is called.
  void require_not_closing() const {
    if (closing_) {
      throw_persist_error(PersistErrorKind::poisoned,
                          "the index is being closed, and the checkpoint ended without its snapshot");
    }
  }

  /// Whether an automatic checkpoint is due. The caller holds mutex().
  [[nodiscard]] bool is_checkpoint_due() const {
    return is_logged() && !log().writer->poisoned() &&
           inner_.schedule_.is_due(log_bytes_, CheckpointSchedule::Clock::now);
  }

  /// When checkpoints are due. The caller holds mutex().
  [[nodiscard]] CheckpointSchedule& schedule() noexcept { return inner_.schedule_; }

  /// Its checkpoints.
  [[nodiscard]] SharedCheckpoints<SharedState>& checkpoints() noexcept { return checkpoints_; }

  /// Held by a checkpoint, a copy, and close(). It is taken before mutex().
  [[nodiscard]] std::mutex& files() noexcept { return files_; }

  /// The queue and its mutex, which is never held while anything is written, applied or called.
  [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }
  [[nodiscard]] CommitQueue<Call>& queue() noexcept { return queue_; }

 private:
  // Returns `step()`, beside which no checkpoint, copy or close is made.
  template <class Step>
  std::invoke_result_t<Step> with_files(Step&& step) {
    require_ready();
    const ThreadInCall mark = entered(false);
    const std::lock_guard one_at_a_time(files_);
    return std::forward<Step>(step)();
  }

  template <class Step>
  std::invoke_result_t<Step> alone(Step&& step) {
    require_ready();
    const ThreadInCall mark = entered(false);
    return in_turn(std::forward<Step>(step));
  }

  // Returns when the call is done. If it comes to be the first one that waits, `lead(group)` commits its group.
  template <class Lead>
  void wait_or_lead(Call& call, Lead&& lead) {
    std::unique_lock guard(mutex_);
    queue_.submit(call);
    delay_.submitted();
    const auto may_go_on = [&] { return call.stage == QueuedCall::Stage::done || queue_.next_leader() == &call; };
    delay_.await_settled(guard, may_go_on);
    if (!may_go_on()) {
      call.sleeps = true;
      guard.unlock();
      call.thread.sleep();
      if (call.stage == QueuedCall::Stage::done) {
        return;  // without the mutex, which all others of the group would need, too
      }
      guard.lock();
      call.sleeps = false;
    }
    if (call.stage != QueuedCall::Stage::done) {
      delay_.await_more(guard, queue_.missing());
      lead_group(guard, std::forward<Lead>(lead));
    }
  }

  // For those who ask without waiting. Called while no group is in flight but this thread's.
  void publish() noexcept {
    lsn_ = inner_.lsn();
    log_bytes_ = inner_.log_bytes();
  }

  mutable FairMutex content_;  // of the index
  std::mutex files_;           // of the store: one checkpoint, copy or close at a time. Taken before mutex_
  std::mutex mutex_;           // of the queue and of inner_.schedule_
  CommitQueue<Call> queue_;
  CommitDelay delay_;                       // under mutex_
  Inner inner_;                             // its index: under content_; everything else: by the leader
  std::unique_ptr<OpenLog<S>> closed_log_;  // the same, after close()
  std::atomic<bool> closing_ = false;       // a checkpoint that is under way shall end
  std::atomic<bool> is_closed_ = false;
  std::atomic<std::uint64_t> lsn_ = 0;
  std::atomic<std::uint64_t> log_bytes_ = 0;
  SharedCheckpoints<SharedState> checkpoints_{*this};  // declared last: its thread ends before what it uses
};

}  // namespace iqdb
