// The checkpoint that others go on beside, in a step of many callers: where it is, and which failure is its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>

#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/life_machine.hpp"
#include "iqdb/persist/testing/made_call.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The one checkpoint that may be under way. It counts what it meets, on its machine.
class CheckpointUnderWay {
 public:
  /// `machine` must outlive this.
  explicit CheckpointUnderWay(LifeMachine& machine) noexcept : machine_(&machine) {}
  CheckpointUnderWay(const CheckpointUnderWay&) = delete;
  CheckpointUnderWay& operator=(const CheckpointUnderWay&) = delete;
  ~CheckpointUnderWay() { end(); }

  /// A checkpoint begins.
  void begin() noexcept {
    is_under_way_ = true;
    sync_failed_ = false;
    turns_ = 0;
    reached_ = {};
    ++machine_->checkpoints().begun;
  }

  /// It has ended.
  void end() noexcept {
    is_under_way_ = false;
    machine_->checkpoints().place.reset();
  }

  /// What its caller is told: an exception, or null for success. Returns whether that is success. Throws Violation if it does
  /// not succeed but `must_succeed`, or succeeds but `must_fail`, or a sync of its own failed.
  bool conclude(const std::exception_ptr& error, bool must_succeed, bool must_fail) {
    const CallAnswer answer = answer_of(error);
    if (answer == CallAnswer::rejected) {
      throw Violation("a checkpoint throws what is no PersistError");
    }
    if (answer == CallAnswer::failed) {
      if (must_succeed) {
        throw Violation("a checkpoint fails though nothing failed below it");
      }
      return false;
    }
    if (must_fail || sync_failed_) {
      throw Violation("a checkpoint succeeds behind a close, or though a sync failed in it");
    }
    ++machine_->checkpoints().completed;
    return true;
  }

  [[nodiscard]] explicit operator bool() const noexcept { return is_under_way_; }

  /// It is about to wait for its next step that goes alone: who comes at that place with `behind` 0 waits before it.
  void comes_to_turn(std::uint64_t calls) noexcept { reached_.at(2 * turns_ + 1) = calls; }

  /// One of its steps that go alone is done. Returns whether it is the first.
  bool turn_is_done() noexcept { return turns_++ == 0; }

  /// A group of others is done.
  void group_is_done() noexcept {
    if (is_under_way_) {
      ++machine_->checkpoints().groups.at(2 * turns_);
    }
  }

  /// Somebody calls the file system: the step that goes alone, if `in_turn`, or else the checkpoint or others. They have
  /// called it so many times in this step of the life.
  void is_called(bool in_turn, std::uint64_t calls) noexcept {
    if (is_under_way_) {
      const std::size_t place = 2 * turns_ + (in_turn ? 1U : 0U);
      machine_->checkpoints().place = place;
      ++machine_->checkpoints().calls.at(place);
      reached_.at(place) = reached_.at(place).value_or(calls);
    }
  }

  /// Whether it is time for a call that waits for a place, which may have been passed.
  [[nodiscard]] bool lets(const CallerCall& call, std::uint64_t calls) const noexcept {
    const auto* const reached =
        std::find_if(reached_.begin() + static_cast<std::ptrdiff_t>(*call.place), reached_.end(),
                     [](const std::optional<std::uint64_t>& behind) { return behind.has_value(); });
    return is_under_way_ && reached != reached_.end() && calls >= **reached + call.behind;
  }

  /// A sync that has failed in no group, and in none of its steps that go alone, was its own: it fails, and nothing else does.
  void take_failed_sync(bool is_poisoned) noexcept {
    if (machine_->sync_failed() && !is_poisoned) {
      sync_failed_ = true;
      machine_->forget_failed_sync();
    }
  }

 private:
  LifeMachine* machine_;
  bool is_under_way_ = false;
  bool sync_failed_ = false;
  std::size_t turns_ = 0;                                                  // that are done
  std::array<std::optional<std::uint64_t>, checkpoint_places> reached_{};  // behind so many calls
};

}  // namespace testing
}  // namespace iqdb
