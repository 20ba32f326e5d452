// A call of a SharedIndex: what its own thread does before it waits for a leader, and what it has behind that.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/sleeping_thread.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/commit_queue.hpp"
#include "iqdb/persist/wal/group_commit.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A call that waits in the queue, on the stack of its thread.
struct SharedCall : CommitQueue<SharedCall>::Entry, MutationCall {
  SleepingThread thread = {};
  bool sleeps = false;  ///< whether its thread must be woken. Under the mutex of the queue

  /// Runs the step of a call that goes alone, and keeps what it throws. Called by the leader.
  template <class Step>
  void run(Step&& step) noexcept {
    try {
      std::forward<Step>(step)();
    } catch (...) {
      error = std::current_exception();
    }
  }

  /// Throws what the call failed with.
  void rethrow() const {
    if (error) {
      std::rethrow_exception(error);
    }
  }
};

/// A call that goes alone: a step, and what it returns.
template <class Step>
class SharedStepCall : public SharedCall {
 public:
  using Result = std::invoke_result_t<Step>;

  /// `step` must outlive this.
  explicit SharedStepCall(Step& step) noexcept : step_(&step) {}

  /// Called by the leader.
  void run() noexcept {
    SharedCall::run([this] {
      if constexpr (std::is_void_v<Result>) {
        (*step_)();
      } else {
        result_.emplace((*step_)());
      }
    });
  }

  /// What the step returned, or throws what it threw. Called once, when it is done.
  Result result() {
    rethrow();
    if constexpr (!std::is_void_v<Result>) {
      return std::move(*result_);
    }
  }

 private:
  Step* step_;
  std::optional<std::conditional_t<std::is_void_v<Result>, std::monostate, Result>> result_ = {};
};

namespace shared_calls {

// The threads that sleep, and can go on when a group is settled. It allocates nothing: it makes a chain of the group's calls, which
// is not to be gone through any more.
class Sleepers {
 public:
  // Called under the mutex of the queue. `next` is the next leader, or null.
  template <class Group>
  Sleepers(SharedCall* next, const Group& group) noexcept : next_(next != nullptr && next->sleeps ? next : nullptr) {
    SharedCall** end = &settled_;
    for (auto at = group.begin(); at != group.end();) {
      SharedCall& call = *at;
      ++at;
      if (call.sleeps) {
        *end = &call;
        end = &call.next;
      }
    }
    *end = nullptr;
  }

  // Wakes them. Called once, without the mutex: a call is gone as soon as its thread is awake.
  void wake() noexcept {
    // First, so that its disk is not idle while this thread wakes the others.
    if (next_ != nullptr) {
      next_->thread.wake();
    }
    while (settled_ != nullptr) {
      std::exchange(settled_, settled_->next)->thread.wake();
    }
  }

 private:
  SharedCall* next_;
  SharedCall* settled_ = nullptr;
};

// Whether readers may look at an index of type I while these calls are applied. Between the erase and the insert of which
// an upsert is made a reader would find neither vector: an index without an upsert of its own is kept from readers then.
template <Index I, class Calls>
[[nodiscard]] bool may_be_read_meanwhile(const Calls& calls) noexcept {
  if constexpr (!ConcurrentReads<I>) {
    return false;
  } else if constexpr (Upsertable<I>) {
    return true;
  } else {
    const auto is_upsert = [](const auto& mutation) { return mutation.op == FrameOp::upsert; };
    for (const MutationCall& call : calls) {
      if (is_upsert(call) || std::ranges::any_of(call.batch, is_upsert)) {
        return false;
      }
    }
    return true;
  }
}

}  // namespace shared_calls

/// A call of mutations, with the memory that it needs until it is done.
class SharedMutationCall : public SharedCall {
 public:
  /// Prepares the call; `logged` says that it needs a record. Throws what is wrong with it whatever the index holds, so that
  /// it costs other calls nothing. Looks at nothing that mutations change. `call` refers to what the caller owns.
  template <Index I>
  void prepare(const I& index, MutationCall&& call, bool logged) {
    group_commit::check_without_state(index, call);
    static_cast<MutationCall&>(*this) = std::move(call);
    if (op == FrameOp::batch) {
      ids_of_batch_.reserve(batch.size());
      for (const Mutation& mutation : batch) {
        ids_of_batch_.push_back(std::hash<VectorId>()(mutation.id));
      }
      ids = ids_of_batch_;
    } else {
      id_of_one_ = std::hash<VectorId>()(id);
      ids = std::span(&id_of_one_, 1);
    }
    if (logged) {
      encoded = encoder_->encode(*this);
    }
    QueuedCall::bytes = encoded.size();
    QueuedCall::mutations = size();
  }

 private:
  EncoderLoan encoder_;
  std::vector<std::size_t> ids_of_batch_;
  std::size_t id_of_one_ = 0;
};

}  // namespace iqdb
