// Runs a life on a simulated machine, with an oracle that knows at each call what a load may find.
//
// An index in memory gets the same mutations as the durable index. Its content is the expected content.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/mutation.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A durable index on a simulated machine.
template <Persistable I>
using SimulatedIndex = PersistedIndex<I, BasicFileStorage<SimulatedFileSystem>>;

/// The settings of a simulated index: small buffers and no threads, so that a simulation is fast and repeats exactly.
[[nodiscard]] inline PersistConfig simulated_config(const Life& life) {
  return {.path = "/index",
          .wal_enabled = life.wal_enabled,
          .fsync_policy = life.policy,
          .compression = life.compression,
          .buffer_bytes = 4096,
          .helper_threads = 0,
          .log_extent_bytes = life.log_extent_bytes};
}

/// The index of `life` on `machine`, made by subject.make() if the machine does not hold it yet.
template <Persistable I>
[[nodiscard]] SimulatedIndex<I> open_index(const Subject<I>& subject, const Life& life, const PersistConfig& config,
                                           const SimulatedFileSystem& machine) {
  return SimulatedIndex<I>::load_or_create(
      config, subject.make, BasicFileStorage<SimulatedFileSystem>(machine, {.direct_io = life.direct_io}));
}

/// The index's LSN and contents.
template <Persistable I>
[[nodiscard]] Moment moment_of(const Subject<I>& subject, const SimulatedIndex<I>& index) {
  return {.lsn = index.lsn(), .contents = subject.contents(index.index())};
}

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
        plan_(std::move(plan)),
        with_faults_(with_faults),
        random_(seed),
        machine_(DiskState{}, random_.next()),
        mirror_(subject.make()),
        oracle_({.lsn = 0, .contents = subject.contents(mirror_)}) {}
  LifeRun(const LifeRun&) = delete;
  LifeRun& operator=(const LifeRun&) = delete;
  ~LifeRun() { machine_.plan({}); }

  /// Runs the life to its end, or until a fault ends it. Throws Violation.
  void run() {
    go_on(machine_);
    for (step_ = 0; index_ && step_ < life_->steps.size(); ++step_) {
      take(life_->steps[step_]);
    }
  }

  /// The current machine: a kill or a power cut replaces it.
  [[nodiscard]] const SimulatedFileSystem& machine() const noexcept { return machine_; }

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
    sync_failed_ = false;
    try {
      std::forward<Action>(action)();
      if (sync_failed_) {
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
    machine_.plan({});
    machine_ = std::move(machine);
    machine_.plan([this](FileCallRecord call) {
      call.number = calls_++;
      const Fault fault = plan_ && !is_unplanned_ ? plan_(call) : Fault{};
      sync_failed_ = sync_failed_ || (is_sync(call.call) && fault.error && fault.error != std::errc::interrupted);
      return fault;
    });
    const Answer answer = attempt([&] { index_.emplace(open_index(*subject_, *life_, config_, machine_)); });
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
        go_on(machine_);
        return;
      case Step::Kind::drop:
        end();
        forget_what_faults_may_have_lost();
        go_on(machine_);
        return;
      case Step::Kind::kill:
        forget_what_faults_may_have_lost();
        go_on(machine_.after_kill());
        return;
      case Step::Kind::power_cut:
        oracle_.forget_volatile();
        go_on(SimulatedFileSystem(CrashStates(machine_, random_.next()).any(random_), random_.next()));
        return;
      case Step::Kind::restore:
        forget_what_faults_may_have_lost();
        if (!life_->wal_enabled) {
          // The load syncs nothing then, so nothing would ever be promised about unsynced copies.
          go_on(machine_.after_kill());
          return;
        }
        // Nothing is promised until the load has synced the copies.
        is_unplanned_ = true;
        go_on(machine_.after_restore());
        is_unplanned_ = false;
        return;
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
    const bool refused = is_refused_by_checks(step);
    bool rejected = refused;
    try {
      for (const Mutation& mutation : step.mutations) {
        if (!refused) {
          make_mutation(mirror_, mutation);
        }
      }
    } catch (const std::exception&) {
      rejected = true;
    }
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

  // Whether the index's own checks refuse the mutations before they are logged: then none is made.
  [[nodiscard]] bool is_refused_by_checks(const Step& step) const {
    try {
      check_before_batch(mirror_, std::span<const Mutation>(step.mutations), [](std::size_t) { throw; });
      return false;
    } catch (const IndexError&) {
      return true;
    }
  }

  template <class Action>
  void save(Action&& action) {
    if (!life_->wal_enabled) {
      oracle_.expect({.lsn = 0, .contents = subject_->contents(index_->index())});
    }
    if (unchanged_by(std::forward<Action>(action)) == Answer::done) {
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
      if (sync_failed_) {
        fail("a failed sync has not poisoned the index");
      }
      return false;
    }
    const Moment before = moment_of(*subject_, *index_);
    const Mutation insert = insert_of(*subject_, persisted_dim(index_->index()), 900000);
    const bool all = is_refused([&] { index_->sync(); }) && is_refused([&] { make_mutation(*index_, insert); }) &&
                     is_refused([&] { index_->erase(insert.id); }) &&
                     is_refused([&] { index_->apply(batch_of({insert})); }) && is_refused([&] { index_->save(); }) &&
                     is_refused([&] { index_->checkpoint(); });
    if (!all) {
      fail("a poisoned index takes a call");
    }
    if (moment_of(*subject_, *index_) != before) {
      fail("a call that a poisoned index refused has changed it");
    }
    poisoned_ = true;
    index_.reset();
    return true;
  }

  template <class Action>
  static bool is_refused(Action&& action) {
    try {
      std::forward<Action>(action)();
    } catch (const PersistError& error) {
      return error.kind() == PersistErrorKind::poisoned;
    }
    return false;
  }

  const Subject<I>* subject_;
  const Life* life_;
  PersistConfig config_;
  FaultPlan plan_;
  bool with_faults_;
  Random random_;
  SimulatedFileSystem machine_;
  I mirror_;
  Oracle oracle_;
  std::size_t calls_ = 0;
  std::size_t step_ = 0;
  bool begun_ = false;
  bool is_unplanned_ = false;  // the plan is not asked
  bool sync_failed_ = false;   // in the present call
  bool poisoned_ = false;
  std::optional<SimulatedIndex<I>> index_;
};

}  // namespace testing
}  // namespace iqdb
