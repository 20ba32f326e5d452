// Makes the calls of several callers of a SharedIndex in one thread, in any order.
//
// Everything is the code of SharedIndex (SharedState) but for two things: its callers do not wait, and the caller of this says who goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/shared_state.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/commit_queue.hpp"
#include "iqdb/persist/wal/group_commit.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// Has no clock decide what is a group: how long mutations take, on a machine that is busy, then makes no group small.
struct GroupsWithoutClock {
  /// The bounds of a group of so many bytes and mutations.
  [[nodiscard]] static GroupBounds bounds(std::uint64_t bytes, std::uint64_t mutations) noexcept {
    return {.bytes = bytes, .mutations = mutations, .applying = std::chrono::hours(24)};
  }

  /// From now on only bytes and mutations bound a group of `index`, a SharedIndex. No call may have been made of it.
  template <class Shared>
  static void set_for(Shared& index) {
    using Queue = std::remove_reference_t<decltype(index.state_->queue())>;
    index.state_->queue() = Queue(bounds(GroupBounds().bytes, GroupBounds().mutations));
  }
};

/// A SharedIndex whose calls are submitted and led one at a time.
template <class I, class S>
class Callers {
 public:
  using Shared = SharedState<I, S>;  ///< what is driven

  /// One call. It stays where it is until it is done.
  class Ticket : SharedMutationCall {
   public:
    /// Whether its caller has its result.
    [[nodiscard]] bool is_done() const noexcept { return this->stage == QueuedCall::Stage::done; }

    /// Why it failed; null if it succeeded. Precondition: is_done().
    [[nodiscard]] std::exception_ptr error() const noexcept { return MutationCall::error; }

   private:
    friend Callers;

    std::function<void()> step_;  // of a call that goes alone
  };

  /// Takes the index out of `index`, and puts it back when this ends. `index` must hold one, and must outlive this.
  /// `most_mutations` and `most_bytes` bound a group.
  Callers(std::optional<PersistedIndex<I, S>>& index, std::uint64_t most_mutations, std::uint64_t most_bytes)
      : origin_(&index), shared_(std::move(*index)) {
    // A life repeats exactly.
    shared_.queue() = Queue(GroupsWithoutClock::bounds(most_bytes, most_mutations));
  }
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;
  ~Callers() {
    shared_.queue() = Queue();  // calls that were never led
    **origin_ = std::move(shared_.inner());
  }

  /// A caller calls. Throws what the call throws before it waits: then it is not submitted.
  void submit(Ticket& ticket, MutationCall mutations) {
    shared_.require_ready();
    shared_.prepare(ticket, std::move(mutations));
    submit(ticket);
  }

  /// A caller calls SharedIndex::sync.
  void submit_sync(Ticket& ticket) {
    submit_alone(ticket, [this] { shared_.inner().sync(); });
  }

  /// A caller calls SharedIndex::checkpoint, where nothing goes on beside it.
  void submit_checkpoint(Ticket& ticket) {
    submit_alone(ticket, [this] { static_cast<void>(shared_.inner().checkpoint()); });
  }

  /// A caller calls what `call`, which must outlive this, says: mutations, sync, checkpoint where nothing goes on beside it, or
  /// close.
  void submit(Ticket& ticket, const CallerCall& call) {
    const std::vector<Mutation>& mutations = call.mutations;
    switch (call.kind) {
      case CallerCall::Kind::mutate:
        return submit(ticket, {.op = mutations.front().op,
                               .id = mutations.front().id,
                               .vector = mutations.front().vector,
                               .metadata = mutations.front().metadata});
      case CallerCall::Kind::batch:
        return submit(ticket, {.op = FrameOp::batch, .batch = mutations});
      case CallerCall::Kind::sync:
        return submit_sync(ticket);
      case CallerCall::Kind::checkpoint:
      case CallerCall::Kind::checkpoint_beside:
        return submit_checkpoint(ticket);
      case CallerCall::Kind::close:
        return submit_close(ticket);
    }
  }

  /// A caller calls SharedIndex::checkpoint, with the log on, and this returns or throws when it is done. Each of its steps
  /// that has no other call beside it is given to `take_turn(step)`: that submits it, and returns or throws when it is done.
  template <class TakeTurn>
  void checkpoint_beside(TakeTurn&& take_turn) {
    shared_.require_ready();
    const PersistConfig& config = shared_.checkpoints().config();
    naming_file(config.path, [&] {
      static_cast<void>(shared_.checkpoint_in_turns(config, [&](auto&& step) { take_turn([&] { step(); }); }));
    });
  }

  /// A step goes alone.
  void submit_alone(Ticket& ticket, std::function<void()>&& step) {
    shared_.require_ready();
    ticket.alone = true;
    ticket.step_ = std::move(step);
    submit(ticket);
  }

  /// A caller is about to call SharedIndex::close while a checkpoint is under way: submit_close() follows when that is done.
  void begin_closing() noexcept { shared_.begin_closing(); }

  /// A caller calls SharedIndex::close. With the log off, which has no file to be closed, nothing happens, so that a life
  /// goes on with the same index.
  void submit_close(Ticket& ticket) {
    submit_alone(ticket, [this] {
      if (shared_.inner().config().wal_enabled) {
        shared_.close_files();
      }
    });
  }

  /// Whether one of the callers that wait may lead.
  [[nodiscard]] bool may_lead() {
    const std::lock_guard guard(shared_.mutex());
    return shared_.queue().next_leader() != nullptr;
  }

  /// The first caller that waits leads a group to its end. `begin(tickets)` gets the calls of the group, in their order,
  /// before they are committed; it must not throw. Precondition: may_lead().
  template <class Begin>
  void lead(Begin&& begin) {
    std::unique_lock guard(shared_.mutex());
    auto& leader = static_cast<Ticket&>(*shared_.queue().next_leader());
    shared_.lead_group(guard, [&](const auto& group) {
      std::vector<Ticket*> tickets;
      for (auto& call : group) {
        tickets.push_back(&static_cast<Ticket&>(call));
      }
      std::forward<Begin>(begin)(std::as_const(tickets));
      if (leader.step_) {
        leader.run(leader.step_);
        return CommittedGroup();
      }
      return shared_.commit_calls(group);
    });
  }

  /// The index.
  [[nodiscard]] const Shared& shared() const noexcept { return shared_; }

  /// The index in memory, as a reader sees it.
  [[nodiscard]] const I& index() const noexcept { return shared_.index(); }

 private:
  using Queue = CommitQueue<typename Shared::Call>;

  void submit(Ticket& ticket) {
    const std::lock_guard guard(shared_.mutex());
    shared_.queue().submit(ticket);
  }

  std::optional<PersistedIndex<I, S>>* origin_;
  Shared shared_;
};

}  // namespace testing
}  // namespace iqdb
