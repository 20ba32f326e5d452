// Makes the calls of a step of many callers, and requires of each what its caller was told.
//
// While a leader is in the file system, other callers call. No caller has its result before its group is settled, no second
// one leads, and no reader sees what is not logged. Behind a failed sync, a poison or a close nobody is told success.
//
// Beside a checkpoint others go on: at each of its calls of the file system, but in those of its steps that go alone, the
// callers that wait are committed, group by group, before the call is made.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/callers.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/expected_group.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/life_machine.hpp"
#include "iqdb/persist/testing/made_call.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/simulated_index.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// One step of many callers.
template <Persistable I>
  requires Index<I>
class CallersRun {
 public:
  /// How a step ends.
  enum class End : std::uint8_t {
    open,    ///< the index is open
    failed,  ///< a call failed in the file system: the index may be poisoned
    closed,  ///< a caller has closed it in order
    broken   ///< a caller has closed it, and its end was not in order
  };

  /// Everything must outlive this. `index` is taken, and put back when this ends. `mirror` is the index in memory.
  CallersRun(const Subject<I>& subject, const Life& life, const Step& step, bool with_faults, LifeMachine& machine,
             I& mirror, Oracle& oracle, std::optional<SimulatedIndex<I>>& index)
      : subject_(&subject),
        life_(&life),
        step_(&step),
        with_faults_(with_faults),
        machine_(&machine),
        mirror_(&mirror),
        oracle_(&oracle),
        callers_(index, step.most_mutations, most_bytes) {
    machine_->watch([this] { before_call(); });
  }
  CallersRun(const CallersRun&) = delete;
  CallersRun& operator=(const CallersRun&) = delete;
  ~CallersRun() {
    machine_->watch({});
    machine_->checkpoints().place.reset();
  }

  /// Makes every call, and returns when each caller has its result. Throws Violation.
  End run() {
    machine_->forget_failed_sync();
    for (;;) {
      submit_due();
      if (!for_files_.empty() && !for_files_.front()->has_files) {
        use_files();
        continue;
      }
      if (!callers_.may_lead()) {
        if (made_.size() == step_->calls.size()) {
          break;
        }
        submit_next();  // nobody else waits
        continue;
      }
      lead();
    }
    if (std::ranges::any_of(made_, [](const Made& made) { return !made.told; })) {
      throw Violation("a caller waits for ever");
    }
    return end_;
  }

 private:
  using Storage = BasicFileStorage<SimulatedFileSystem>;
  using Ticket = typename Callers<I, Storage>::Ticket;

  using Made = MadeCall<Ticket>;
  using Answer = CallAnswer;

  // Other callers call while the leader, or a checkpoint, is in the file system. Code that catches exceptions surrounds this.
  void before_call() {
    ++calls_;
    if (violation_) {
      return;  // nobody is there any more who could be committed
    }
    try {
      submit_due();
      if (is_beside()) {
        go_on_beside();
      }
      note_place();
      if (group_.empty()) {
        return;
      }
      if (callers_.may_lead()) {
        note("a second caller may lead while a group is in flight");
      }
      if (std::ranges::any_of(group_, [](const Made* made) { return made->is_done(); })) {
        note("a caller has its result before the files do");
      }
      if (!expected_.needs_abort && subject_->contents(callers_.index()) != before_.contents) {
        note("a reader sees a mutation that is not logged yet");
      }
    } catch (const std::exception& error) {
      note(error.what());
    }
  }

  void submit_due() {
    while (made_.size() < step_->calls.size() && step_->calls[made_.size()].behind <= calls_) {
      submit_next();
    }
  }

  void submit_next() {
    Made& made = made_.emplace_back(step_->calls[made_.size()]);
    const std::vector<Mutation>& mutations = made.call->mutations;
    try {
      switch (made.call->kind) {
        case CallerCall::Kind::mutate:
          callers_.submit(made, {.op = mutations.front().op,
                                 .id = mutations.front().id,
                                 .vector = mutations.front().vector,
                                 .metadata = mutations.front().metadata});
          return;
        case CallerCall::Kind::batch:
          callers_.submit(made, {.op = FrameOp::batch, .batch = mutations});
          return;
        case CallerCall::Kind::sync:
          callers_.submit_sync(made);
          return;
        case CallerCall::Kind::checkpoint:
          callers_.submit_checkpoint(made);
          return;
        case CallerCall::Kind::close:
          made.has_files = for_files_.empty();
          made.has_files ? callers_.submit_close(made) : callers_.begin_closing();
          for_files_.push_back(&made);
          return;
        case CallerCall::Kind::checkpoint_beside:
          life_->wal_enabled ? for_files_.push_back(&made) : callers_.submit_checkpoint(made);
          return;
      }
    } catch (const IndexError&) {
      made.told = true;
      if (!is_refused_by_checks(*mirror_, mutations)) {
        note("a call is refused before it waits, and an index in memory takes it: " + to_string(*made.call));
      }
    }
  }

  // The files are free for the first call that waits for them. A checkpoint is made to its end.
  void use_files() {
    Made& made = *for_files_.front();
    made.has_files = true;
    if (made.call->kind == CallerCall::Kind::close) {
      callers_.submit_close(made);
      return;
    }
    const bool others_close = is_closed();
    sync_failed_beside_ = false;
    turns_ = 0;
    checkpoint_ = &made;
    ++machine_->checkpoints().begun;
    std::exception_ptr error;
    try {
      callers_.checkpoint_beside([&](std::function<void()>&& step) { take_turn(made, std::move(step)); });
    } catch (...) {
      error = std::current_exception();
    }
    excuse_sync_beside();
    checkpoint_ = nullptr;
    machine_->checkpoints().place.reset();
    for_files_.pop_front();
    made.told = true;
    require_no_violation();
    conclude_checkpoint(error, others_close);
  }

  // A step of a checkpoint waits until those that wait before it are committed, and goes alone.
  void take_turn(const Made& made, std::function<void()>&& step) {
    require_no_violation();
    Made& turn = turns_made_.emplace_back(*made.call);
    callers_.submit_alone(turn, std::move(step));
    while (!turn.is_done()) {
      try {
        lead();
      } catch (const Violation& violation) {
        note(violation.what());
        throw;
      }
    }
    if (turn.error()) {
      std::rethrow_exception(turn.error());
    }
  }

  // The checkpoint is about to call the file system, and lets others go on.
  void go_on_beside() {
    excuse_sync_beside();
    while (callers_.may_lead()) {
      lead();
    }
  }

  // A checkpoint that could not sync its snapshot beside the others has failed, and nothing else has.
  void excuse_sync_beside() {
    if (machine_->sync_failed() && !callers_.shared().poisoned()) {
      sync_failed_beside_ = true;
      machine_->forget_failed_sync();
    }
  }

  void note_place() {
    if (checkpoint_ != nullptr) {
      machine_->checkpoints().place = place();
      ++machine_->checkpoints().calls.at(place());
    }
  }

  // Of the checkpoint that is under way.
  [[nodiscard]] std::size_t place() const noexcept {
    return 2 * turns_ + (!group_.empty() && is_turn(*group_.front()) ? 1U : 0U);
  }

  void conclude_checkpoint(const std::exception_ptr& error, bool was_closed) {
    switch (answer_of(error)) {
      case Answer::rejected:
        throw Violation("a checkpoint throws what is no PersistError");
      case Answer::failed:
        if (!with_faults_ && !was_closed && !is_closing()) {
          throw Violation("a checkpoint fails though nothing failed below it");
        }
        note_failure();
        return;
      case Answer::done:
        if (was_closed || sync_failed_beside_) {
          throw Violation("a checkpoint succeeds behind a close, or though a sync failed in it");
        }
        ++machine_->checkpoints().completed;
    }
  }

  void lead() {
    before_ = moment();
    callers_.lead([this](const std::vector<Ticket*>& tickets) {
      for (Ticket* ticket : tickets) {
        group_.push_back(static_cast<Made*>(ticket));
      }
      expect();
    });
    const std::vector<Made*> group = std::exchange(group_, {});
    for (Made* made : group) {
      if (!made->is_done()) {
        note("a caller has no result when its group is settled");
      }
      made->told = true;
    }
    require_no_violation();
    if (checkpoint_ != nullptr && !is_turn(*group.front())) {
      ++machine_->checkpoints().groups.at(place());
    }
    group.front()->is_alone() ? conclude_alone(*group.front()) : conclude(group);
    if (!for_files_.empty() && for_files_.front()->told) {
      for_files_.pop_front();  // it was closed
    }
  }

  // A group is about to be committed: what its callers must be told, and what a load may find from now on.
  void expect() {
    expected_ = {.after = before_};
    if (!life_->wal_enabled && is_checkpoint(*group_.front())) {
      oracle_->expect(before_);
    }
    if (is_unusable() || group_.front()->is_alone()) {
      return;
    }
    std::vector<const std::vector<Mutation>*> calls;
    for (const Made* made : group_) {
      calls.push_back(&made->call->mutations);
    }
    expected_ = expected_group(*subject_, *mirror_, calls, before_, life_->wal_enabled);
    for (const Moment& moment : expected_.moments) {
      oracle_->expect(moment);
    }
  }

  // A group of mutations is done.
  void conclude(const std::vector<Made*>& group) {
    const auto answered = [](Answer answer) { return [answer](const Made* made) { return made->answer() == answer; }; };
    const bool failed = std::ranges::any_of(group, answered(Answer::failed));
    const Moment now = moment();
    if (is_unusable()) {
      if (!std::ranges::all_of(group, answered(Answer::failed)) || now != before_) {
        throw Violation(
            "a call that waited while the index was poisoned or closed does not fail, or changes the index");
      }
      return;
    }
    if (!failed && machine_->sync_failed() && std::ranges::any_of(group, answered(Answer::done))) {
      throw Violation("a call succeeds though a sync failed in its group");
    }
    for (std::size_t at = 0; at < group.size(); ++at) {
      require_right(*group[at], expected_.calls[at], failed);
    }
    const bool poisoned = callers_.shared().poisoned();
    // An abort that could not be written leaves the index as it is behind the group.
    const bool aborts_nothing = expected_.needs_abort && with_faults_ && poisoned;
    if (now != expected_.after && !(failed && now == before_)) {
      throw Violation("the index does not hold what one in memory holds after the same calls, one behind the other");
    }
    if (failed || aborts_nothing) {
      if (!aborts_nothing && now != before_) {
        throw Violation("calls that failed have changed the index");
      }
      note_failure();
      if (!is_unusable() && !expected_.moments.empty()) {
        oracle_->withdraw();
      }
      if (!is_unusable()) {
        *mirror_ = copy_of(callers_.index());
      }
      return;
    }
    if (!expected_.moments.empty()) {
      oracle_->acknowledge();
      if (life_->policy.is_always() || expected_.need_not_repeat) {
        oracle_->make_durable();
      }
    }
  }

  // Of a group that `failed`, those calls that were rejected say so, and all others fail.
  void require_right(const Made& made, const ExpectedCall& expected, bool failed) const {
    const Answer answer = made.answer();
    const bool is_right = expected.refused    ? answer == Answer::rejected
                          : expected.rejected ? answer == Answer::rejected || (failed && answer == Answer::failed)
                          : failed            ? answer == Answer::failed
                                              : answer == Answer::done;
    if (!is_right) {
      throw Violation("a caller is told that its call " + std::string(in_words(answer)) + ", but it " +
                      (expected.rejected ? "is rejected"
                       : failed          ? "fails as others of its group"
                                         : "succeeds") +
                      ": " + to_string(*made.call));
    }
    if (answer == Answer::failed && !with_faults_) {
      throw Violation("a call fails though nothing failed below it: " + to_string(*made.call));
    }
  }

  // A call that goes alone is done.
  void conclude_alone(const Made& made) {
    const CallerCall::Kind kind = made.call->kind;
    const Answer answer = made.answer();
    if (moment() != before_) {
      throw Violation("a call that is no mutation has changed the index: " + to_string(*made.call));
    }
    if (answer == Answer::rejected) {
      throw Violation("a call that is no mutation throws what is no PersistError: " + to_string(*made.call));
    }
    const bool was_closed = is_closed();
    if (kind == CallerCall::Kind::close && life_->wal_enabled && !was_closed) {
      end_ = answer == Answer::done ? End::closed : End::broken;
    }
    if (answer == Answer::failed) {
      if (!with_faults_ && !was_closed) {
        throw Violation("a call fails though nothing failed below it: " + to_string(*made.call));
      }
      note_failure();
      return;
    }
    if (kind == CallerCall::Kind::close && was_closed) {
      return;
    }
    if (is_poisoned_ || was_closed || machine_->sync_failed()) {
      throw Violation("a call succeeds behind a failed sync, a poison or a close: " + to_string(*made.call));
    }
    // The first step of a checkpoint makes a copy. Each other one syncs a log that holds everything.
    if (is_turn(made) && ++turns_ == 1 && std::copy_constructible<I>) {
      return;
    }
    if (is_checkpoint(made)) {
      oracle_->acknowledge();
    }
    if (life_->wal_enabled || is_checkpoint(made)) {
      oracle_->make_durable();
    }
  }

  void note_failure() {
    is_poisoned_ = is_poisoned_ || callers_.shared().poisoned();
    if (end_ == End::open) {
      end_ = End::failed;
    }
    if (life_->wal_enabled && machine_->sync_failed() && !is_poisoned_) {
      throw Violation("a failed sync has not poisoned the index");
    }
  }

  void note(const std::string& what) {
    if (!violation_) {
      violation_ = what;
    }
  }

  void require_no_violation() const {
    if (violation_) {
      throw Violation(*violation_);
    }
  }

  [[nodiscard]] bool is_closed() const noexcept { return end_ == End::closed || end_ == End::broken; }
  [[nodiscard]] bool is_unusable() const noexcept { return is_poisoned_ || is_closed(); }

  // Whether a caller waits for the end of a checkpoint to close.
  [[nodiscard]] bool is_closing() const {
    return std::ranges::any_of(for_files_,
                               [](const Made* made) { return made->call->kind == CallerCall::Kind::close; });
  }

  // Whether a checkpoint is in the file system, and none of its steps that go alone.
  [[nodiscard]] bool is_beside() const noexcept { return checkpoint_ != nullptr && group_.empty(); }

  [[nodiscard]] Moment moment() const {
    return {.lsn = callers_.shared().lsn(), .contents = subject_->contents(callers_.index())};
  }

  // Whether this is a step of a checkpoint that others go on beside.
  [[nodiscard]] bool is_turn(const Made& made) const noexcept {
    return life_->wal_enabled && made.call->kind == CallerCall::Kind::checkpoint_beside;
  }

  static bool is_checkpoint(const Made& made) noexcept {
    return made.call->kind == CallerCall::Kind::checkpoint || made.call->kind == CallerCall::Kind::checkpoint_beside;
  }

  // Longer batches go alone.
  static constexpr std::uint64_t most_bytes = 4096;

  const Subject<I>* subject_;
  const Life* life_;
  const Step* step_;
  bool with_faults_;
  LifeMachine* machine_;
  I* mirror_;
  Oracle* oracle_;
  std::deque<Made> turns_made_;  // of checkpoints, that went alone
  std::deque<Made> made_;        // in the order of the step; a call that waits stays where it is
  Callers<I, Storage> callers_;
  std::vector<Made*> group_;  // in flight
  Moment before_;             // the group
  ExpectedGroup expected_;
  std::deque<Made*> for_files_;       // checkpoints and closes: the first one has the files, if it has_files
  const Made* checkpoint_ = nullptr;  // that is under way
  std::size_t turns_ = 0;             // of its steps that go alone, those that are done
  bool sync_failed_beside_ = false;   // of its files, while others went on
  bool is_poisoned_ = false;
  End end_ = End::open;
  std::uint64_t calls_ = 0;  // that have reached the file system in this step
  std::optional<std::string> violation_;
};

}  // namespace testing
}  // namespace iqdb
