// Runs a life on a simulated machine, with an oracle that knows at each call what a load may find: an index in memory gets the
// same mutations as the durable index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/testing/callers_run.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/disturbances.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/life_machine.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/simulated_index.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/mutation.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// One life, on a machine of its own.
template <Persistable I>
  requires Index<I>
class LifeRun {
 public:
  /// `subject` and `life` must outlive this. `plan` decides about each call of the life. Calls are counted from 0 over
  /// the whole life, except those of a load of unsynced copies. `plan` may look at machine() and oracle().
  /// `with_faults` says whether `plan` fails calls.
  LifeRun(const Subject<I>& subject, const Life& life, std::uint64_t seed, FaultPlan plan, bool with_faults)
      : subject_(&subject),
        life_(&life),
        config_(simulated_config(life)),
        with_faults_(with_faults),
        random_(seed),
        machine_(std::move(plan), random_.next()),
        mirror_(subject.make()),
        oracle_({.lsn = 0, .contents = subject.contents(mirror_)}) {
    config_.on_progress = [this](const Progress&) {
      if (calls_back_) {
        require_reentered(*subject_, *index_, machine_.now());
      }
    };
  }
  LifeRun(const LifeRun&) = delete;
  LifeRun& operator=(const LifeRun&) = delete;
  ~LifeRun() { machine_.end_plan(); }

  /// Runs the life to its end, or until a fault ends it. Throws Violation.
  void run() {
    go_on(machine_.now());
    for (step_ = 0; index_ && step_ < life_->steps.size(); ++step_) {
      take(life_->steps[step_]);
    }
  }

  /// The current machine: a kill or a power cut replaces it.
  [[nodiscard]] const SimulatedFileSystem& machine() const noexcept { return machine_.now(); }

  /// The current machine with its directories in their places, as it is loaded after a crash: the machine itself, or, if
  /// they are exchanged, a copy.
  [[nodiscard]] SimulatedFileSystem machine_to_load() const {
    if (!is_exchanged_) {
      return machine();
    }
    SimulatedFileSystem in_order = machine().after_kill();
    in_order.exchange_directories(config_.path.parent_path(), elsewhere);
    return in_order;
  }

  /// What checkpoints that others go on beside have met.
  [[nodiscard]] const CheckpointsBeside& checkpoints() const noexcept { return machine_.checkpoints(); }

  /// What a load may find now.
  [[nodiscard]] const Oracle& oracle() const noexcept { return oracle_; }

  /// Whether a fault has poisoned the index.
  [[nodiscard]] bool poisoned() const noexcept { return poisoned_; }

  /// Destroys the index.
  void end() { index_.reset(); }

  /// Closes the index, if it is still open.
  void close() {
    if (index_ && attempt([&] { index_->close(); }) == Answer::done && life_->wal_enabled) {
      oracle_.make_durable();
    }
    index_.reset();
  }

  /// The current step, in words.
  [[nodiscard]] std::string where() const {
    if (!begun_) {
      return "at the beginning";
    }
    return step_ < life_->steps.size() ? "in step " + std::to_string(step_ + 1) + ", " + to_string(life_->steps[step_])
                                       : "at the end";
  }

 private:
  enum class Answer : std::uint8_t { done, rejected, failed };

  [[noreturn]] void fail(const std::string& message) const { throw Violation(message + " (" + where() + ")"); }

  // Makes a call of the durable index and returns how it ends. A failure is a Violation unless faults were planned.
  template <class Action>
  Answer attempt(Action&& action) {
    machine_.forget_failed_sync();
    try {
      std::forward<Action>(action)();
      if (machine_.sync_failed()) {
        fail("a call succeeds though a sync failed in it");
      }
      return Answer::done;
    } catch (const Violation&) {
      throw;
    } catch (const PersistError& error) {
      if (!with_faults_) {
        fail(std::string("a call fails though nothing failed below it: ") + error.what());
      }
      return Answer::failed;
    } catch (const std::exception&) {
      return Answer::rejected;
    }
  }

  // Continues with the index on `machine`, which holds what a process left there.
  void go_on(SimulatedFileSystem machine) {
    index_.reset();
    machine_.replace(std::move(machine));
    load();
  }

  void load() {
    const Answer answer = attempt([&] { index_.emplace(open_index(*subject_, *life_, config_, machine_.now())); });
    if (answer == Answer::rejected) {
      fail("a load throws what is no PersistError");
    }
    if (answer == Answer::failed) {
      return;
    }
    const Moment found = moment_of(*subject_, *index_);
    const auto which = oracle_.find(found, oracle_.acknowledged());
    if (!which) {
      fail(oracle_.explain(found, oracle_.acknowledged()));
    }
    // With the log off, a load syncs nothing.
    life_->wal_enabled ? oracle_.settle(*which) : oracle_.read(*which);
    mirror_ = copy_of(index_->index());
    begun_ = true;
  }

  void take(const Step& step) {
    if (!life_->wal_enabled && (step.kind == Step::Kind::exchange || step.kind == Step::Kind::lose_lock)) {
      return;
    }
    switch (step.kind) {
      case Step::Kind::mutate:
        mutate(step, [&] { make_mutation(*index_, step.mutations.front()); });
        return;
      case Step::Kind::batch:
        mutate(step, [&] { index_->apply(batch_of(step.mutations)); });
        return;
      case Step::Kind::sync:
        if (unchanged_by([&] { index_->sync(); }) == Answer::done && life_->wal_enabled) {
          oracle_.make_durable();
        }
        return;
      case Step::Kind::save:
        save([&] { index_->save(); });
        return;
      case Step::Kind::checkpoint:
        save([&] { index_->checkpoint(); });
        return;
      case Step::Kind::reopen:
        close();
        forget_what_faults_may_have_lost();
        go_on(machine_.now());
        return;
      case Step::Kind::drop:
        end();
        forget_what_faults_may_have_lost();
        go_on(machine_.now());
        return;
      case Step::Kind::kill:
        forget_what_faults_may_have_lost();
        go_on(machine().after_kill());
        return;
      case Step::Kind::power_cut:
        oracle_.forget_volatile();
        go_on(SimulatedFileSystem(CrashStates(machine(), random_.next()).any(random_), random_.next()));
        return;
      case Step::Kind::restore:
        forget_what_faults_may_have_lost();
        // Nothing is promised until the load has synced the copies. With the log off it syncs nothing.
        machine_.set_planned(!life_->wal_enabled);
        go_on(life_->wal_enabled ? machine().after_restore() : machine().after_kill());
        machine_.set_planned(true);
        return;
      case Step::Kind::exchange:
        exchange(step);
        return;
      case Step::Kind::lose_lock:
        lose_lock();
        return;
      case Step::Kind::call_back:
        calls_back_ = true;
        save([&] { index_->save(); });
        calls_back_ = false;
        return;
      case Step::Kind::mix_backups: {
        const DiskState earlier = machine().visible();
        save([&] { index_->checkpoint(); });
        in_this_step(
            [&] { require_no_mixture(*subject_, *life_, oracle_, earlier, machine().visible(), with_faults_); });
        return;
      }
      case Step::Kind::together:
        together(step);
        return;
    }
  }

  // The log goes on where it is: its directory is held, whatever its name.
  void exchange(const Step& step) {
    machine_.now().exchange_directories(config_.path.parent_path(), elsewhere);
    is_exchanged_ = true;
    in_this_step([&] { require_stale(*subject_, *index_, machine(), with_faults_); });
    for (const Mutation& mutation : step.mutations) {
      if (index_) {
        mutate({.kind = Step::Kind::mutate, .mutations = {mutation}}, [&] { make_mutation(*index_, mutation); });
      }
    }
    machine_.now().exchange_directories(config_.path.parent_path(), elsewhere);
    is_exchanged_ = false;
  }

  void lose_lock() {
    machine_.now().remove_lock_file(config_.path.native() + ".lock");
    in_this_step([&] { require_stale(*subject_, *index_, machine(), with_faults_); });
    std::optional<SimulatedIndex<I>> former = std::exchange(index_, std::nullopt);
    forget_what_faults_may_have_lost();
    load();
    if (index_) {
      in_this_step([&] { require_stale(*subject_, *former, machine(), with_faults_); });
    }
    // The system reports a failed sync to every process that has the file open.
    machine_.set_repeats_failed_sync(machine_.sync_failed());
    former.reset();
    machine_.set_repeats_failed_sync(false);
  }

  void together(const Step& step) {
    using Run = CallersRun<I>;
    typename Run::End end{};
    in_this_step([&] { end = Run(*subject_, *life_, step, with_faults_, machine_, mirror_, oracle_, index_).run(); });
    if (end == Run::End::failed) {
      is_poisoned();
    } else if (end != Run::End::open) {
      forget_what_faults_may_have_lost();
      go_on(machine_.now());
    }
  }

  // Makes a check whose Violation lacks the step.
  template <class Check>
  void in_this_step(Check&& check) {
    try {
      std::forward<Check>(check)();
    } catch (const Violation& violation) {
      fail(violation.what());
    }
  }

  // A failed sync may have lost, even to processes, what was acknowledged without a sync.
  void forget_what_faults_may_have_lost() noexcept {
    if (with_faults_) {
      oracle_.forget_volatile();
    }
  }

  template <class Action>
  void mutate(const Step& step, Action&& action) {
    const Moment before = moment_of(*subject_, *index_);
    const bool refused = is_refused_by_checks(mirror_, step.mutations);
    const bool rejected = refused || !takes_all(mirror_, step.mutations);
    const bool logged = life_->wal_enabled && !refused && !step.mutations.empty();
    const Moment after{.lsn = before.lsn + (logged ? step.mutations.size() : 0),
                       .contents = subject_->contents(mirror_)};
    if (logged) {
      oracle_.expect(after);
    }
    const Answer answer = attempt(std::forward<Action>(action));
    if (answer == Answer::failed) {
      if (moment_of(*subject_, *index_) != before) {
        fail("a mutation that failed has changed the index");
      }
      if (!is_poisoned()) {
        oracle_.withdraw();
        mirror_ = copy_of(index_->index());
      }
      return;
    }
    if ((answer == Answer::rejected) != rejected) {
      fail(rejected ? "the index takes a mutation that one in memory rejects"
                    : "the index rejects a mutation that one in memory takes");
    }
    if (moment_of(*subject_, *index_) != after) {
      fail("the index does not hold what one in memory holds after the same mutations");
    }
    // Nothing was promised about a rejected mutation whose abort could not be written.
    if (!logged || (rejected && with_faults_ && is_poisoned())) {
      return;
    }
    oracle_.acknowledge();
    if (life_->policy.is_always()) {
      oracle_.make_durable();
    }
  }

  template <class Action>
  void save(Action&& action) {
    if (!life_->wal_enabled) {
      oracle_.expect({.lsn = 0, .contents = subject_->contents(index_->index())});
    }
    if (unchanged_by(std::forward<Action>(action)) == Answer::done) {
      oracle_.saved();
      oracle_.acknowledge();
      oracle_.make_durable();
    }
  }

  // Makes a call that must leave memory unchanged, whether it succeeds or fails.
  template <class Action>
  Answer unchanged_by(Action&& action) {
    const Moment before = moment_of(*subject_, *index_);
    const Answer answer = attempt(std::forward<Action>(action));
    if (answer == Answer::rejected) {
      fail("a call that is no mutation throws what is no PersistError");
    }
    if (moment_of(*subject_, *index_) != before) {
      fail("a call that is no mutation has changed the index");
    }
    if (answer == Answer::failed) {
      is_poisoned();
    }
    return answer;
  }

  // Whether the index is poisoned. It must then answer every call with that error, and its life is over.
  bool is_poisoned() {
    if (!life_->wal_enabled) {
      return false;
    }
    if (!index_->poisoned()) {
      if (machine_.sync_failed()) {
        fail("a failed sync has not poisoned the index");
      }
      return false;
    }
    in_this_step([&] { require_all_refused(*subject_, *index_, PersistErrorKind::poisoned, " of a poisoned index"); });
    poisoned_ = true;
    index_.reset();
    return true;
  }

  static constexpr const char* elsewhere = "/elsewhere";  // the other directory, in which there is nothing

  const Subject<I>* subject_;
  const Life* life_;
  PersistConfig config_;
  bool with_faults_;
  Random random_;
  LifeMachine machine_;
  I mirror_;
  Oracle oracle_;
  std::size_t step_ = 0;
  bool begun_ = false;
  bool poisoned_ = false;
  bool is_exchanged_ = false;  // the directory
  bool calls_back_ = false;    // the callback calls the index
  std::optional<SimulatedIndex<I>> index_;
};

}  // namespace testing
}  // namespace iqdb
