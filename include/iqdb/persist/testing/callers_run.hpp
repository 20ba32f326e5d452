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
#include "iqdb/persist/testing/checkpoint_under_way.hpp"
#include "iqdb/persist/testing/expected_group.hpp"
#include "iqdb/persist/testing/files_in_turn.hpp"
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
        checkpoint_(machine),
        callers_(index, step.most_mutations, most_bytes) {
    machine_->watch([this] { before_call(); });
  }
  CallersRun(const CallersRun&) = delete;
  CallersRun& operator=(const CallersRun&) = delete;
  ~CallersRun() { machine_->watch({}); }

  /// Makes every call, and returns when each caller has its result. Throws Violation.
  End run() {
    machine_->forget_failed_sync();
    for (;;) {
      submit_due();
      if (Made* next = files_.next()) {
        use_files(*next);
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
    try {
      require_no_violation();  // else nobody is there any more who could be committed
      checkpoint_.is_called(!group_.empty() && is_turn(*group_.front()), calls_);
      submit_due();
      if (group_.empty()) {
        return checkpoint_ ? go_on_beside() : void();
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
    while (made_.size() < step_->calls.size() && is_due(step_->calls[made_.size()])) {
      submit_next();
    }
  }

  [[nodiscard]] bool is_due(const CallerCall& call) const noexcept {
    return call.place ? checkpoint_.lets(call, calls_) : call.behind <= calls_;
  }

  void submit_next() {
    Made& made = made_.emplace_back(step_->calls[made_.size()]);
    try {
      const bool is_close = made.call->kind == CallerCall::Kind::close;
      const bool needs_files = is_close || is_checkpoint(made);
      if (needs_files) {
        files_.wait(made);
      }
      if (needs_files && files_.has(CallerCall::Kind::checkpoint_beside)) {
        return is_close ? callers_.begin_closing() : void();
      }
      made.has_files = true;
      callers_.submit(made, *made.call);
    } catch (const IndexError&) {
      made.told = true;
      if (!is_refused_by_checks(*mirror_, made.call->mutations)) {
        note("a call is refused before it waits, and an index in memory takes it: " + to_string(*made.call));
      }
    }
  }

  // The files are free for a call that has waited for them. A checkpoint is made to its end.
  void use_files(Made& made) {
    if (!is_turn(made)) {
      callers_.submit(made, *made.call);
      return;
    }
    checkpoint_.begin();
    std::exception_ptr error;
    try {
      callers_.checkpoint_beside([&](std::function<void()>&& step) { take_turn(made, std::move(step)); });
    } catch (...) {
      error = std::current_exception();
    }
    checkpoint_.take_failed_sync(callers_.shared().poisoned());
    checkpoint_.end();
    made.told = true;
    require_no_violation();
    const bool may_fail = with_faults_ || is_closed() || files_.has(CallerCall::Kind::close);
    if (!checkpoint_.conclude(error, !may_fail, is_closed())) {
      note_failure();
    }
  }

  // A step of a checkpoint waits until those that wait before it are committed, and goes alone.
  void take_turn(const Made& made, std::function<void()>&& step) {
    require_no_violation();
    checkpoint_.comes_to_turn(calls_);
    submit_due();
    Made& turn = turns_made_.emplace_back(*made.call);
    callers_.submit_alone(turn, std::move(step));
    while (!turn.is_done()) {
      try {
        lead();
      } catch (const Violation& violation) {
        note(violation.what());  // whatever becomes of the checkpoint now
        throw;
      }
    }
    if (turn.error()) {
      std::rethrow_exception(turn.error());
    }
  }

  // A checkpoint is about to call the file system, and others go on.
  void go_on_beside() {
    checkpoint_.take_failed_sync(callers_.shared().poisoned());
    while (callers_.may_lead()) {
      lead();
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
    if (!is_turn(*group.front())) {
      checkpoint_.group_is_done();
    }
    group.front()->is_alone() ? conclude_alone(*group.front()) : conclude(group);
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
      require_right(*group[at], expected_.calls[at], failed, with_faults_);
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
    if (is_turn(made) && checkpoint_.turn_is_done() && std::copy_constructible<I>) {
      return;
    }
    if (is_checkpoint(made)) {
      oracle_->acknowledge();
    } else if (!life_->wal_enabled) {
      return;
    }
    oracle_->make_durable();
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
  CheckpointUnderWay checkpoint_;
  std::deque<Made> turns_made_;  // of checkpoints, that went alone
  std::deque<Made> made_;        // in the order of the step; a call that waits stays where it is
  Callers<I, Storage> callers_;
  std::vector<Made*> group_;  // in flight
  Moment before_;             // the group
  ExpectedGroup expected_;
  FilesInTurn<Made> files_;
  bool is_poisoned_ = false;
  End end_ = End::open;
  std::uint64_t calls_ = 0;  // that have reached the file system in this step
  std::optional<std::string> violation_;
};

}  // namespace testing
}  // namespace iqdb
