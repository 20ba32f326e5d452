// Fault exploration: makes every call of a life to the file system fail, in every way that the call can.
//
// A life may end early after a fault, but must keep every promise. A call that reports success has kept its promise. A
// call that fails has changed nothing. A failed sync poisons the index. No file stays open, and no temporary file
// remains. Everything that was acknowledged is present after a load, after a kill and after a power cut.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/crash_exploration.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/life_run.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// One way in which a call fails.
struct FaultKind {
  /// For `failing_calls`: all later calls.
  static constexpr std::uint64_t for_good = std::numeric_limits<std::uint64_t>::max();

  int error = 0;                                 ///< the system's error number; 0 for a call that is only cut short
  std::optional<std::size_t> most_bytes = {};    ///< the bytes that a short call moves; later calls fail
  FailedSync failed_sync = FailedSync::dropped;  ///< for a sync
  std::uint64_t failing_calls = 1;               ///< how many calls fail, from this one on, of those that can

  /// Whether the fault loses nothing. The caller must then go on, and nobody may notice the fault.
  [[nodiscard]] bool is_harmless() const noexcept { return error == 0 || error == EINTR; }

  /// The fault in words: "Input/output error, for good".
  [[nodiscard]] std::string text() const {
    std::string words = most_bytes ? "cut short to " + std::to_string(*most_bytes) + " bytes" : std::string();
    if (error != 0) {
      words += (most_bytes ? ", then " : "") + system_error(error).message();
    }
    if (failed_sync == FailedSync::kept_clean) {
      words += ", pages kept but clean";
    } else if (failed_sync == FailedSync::reverted) {
      words += ", reverted";
    }
    return words + (failing_calls == for_good ? ", for good"
                    : failing_calls == 1      ? ", once"
                                              : ", " + std::to_string(failing_calls) + " times");
  }
};

/// Whether a call can fail with this error number.
[[nodiscard]] constexpr bool can_fail_with(FileCall call, int error) noexcept {
  const bool opens = call == FileCall::open || call == FileCall::open_to_write || call == FileCall::create ||
                     call == FileCall::open_directory || call == FileCall::lock;
  const bool takes_space = call == FileCall::create || call == FileCall::write || call == FileCall::rename ||
                           call == FileCall::link || call == FileCall::lock || is_sync(call);
  switch (error) {
    case EIO:
      return call != FileCall::unlock;
    case EINTR:
      return call != FileCall::unlock && call != FileCall::close;
    case EMFILE:
      return opens;
    case ENOSPC:
    case EDQUOT:
      return takes_space;
    default:
      return false;
  }
}

/// Every way in which this call can fail.
[[nodiscard]] inline std::vector<FaultKind> faults_of(const FileCallRecord& call) {
  std::vector<FaultKind> all;
  for (const int error : {EIO, ENOSPC, EDQUOT, EMFILE, EINTR}) {
    if (!can_fail_with(call.call, error)) {
      continue;
    }
    const bool loses = is_sync(call.call) && error != EINTR;
    for (const FailedSync model : {FailedSync::dropped, FailedSync::kept_clean, FailedSync::reverted}) {
      if (model != FailedSync::dropped && !loses) {
        continue;
      }
      all.push_back({.error = error, .failed_sync = model});
      // A call that is interrupted for good never ends.
      if (error != EINTR) {
        all.push_back({.error = error, .failed_sync = model, .failing_calls = FaultKind::for_good});
      }
    }
  }
  if ((call.call == FileCall::write || call.call == FileCall::read) && call.bytes > 1) {
    all.push_back({.most_bytes = 1});
    all.push_back({.most_bytes = call.bytes - 1});
  }
  if (call.call == FileCall::write && call.bytes > 1) {
    // A full disk writes a part and then nothing more. A disk with a momentary failure does not write the rest, and the
    // part that it wrote cannot be cut off.
    for (const std::size_t part : {call.bytes / 2, call.bytes - 1}) {
      all.push_back({.error = ENOSPC, .most_bytes = part});
      all.push_back({.error = ENOSPC, .most_bytes = part, .failing_calls = FaultKind::for_good});
      all.push_back({.error = EIO, .most_bytes = part, .failing_calls = 2});
    }
  }
  return all;
}

/// The settings of a fault exploration.
struct FaultOptions {
  std::uint64_t seed = 1;  ///< repeats an exploration exactly
  /// How thoroughly crashes after any fault are explored, at each later call and at the end.
  CrashDepths crashes = {{{.most_states = 3},
                          {.most_states = 2, .one_in = 300, .one_in_kills = 300},
                          {.most_states = 0, .one_in = 0, .one_in_kills = 0}}};
  /// As above, at the end of a life with one failed sync: a later load may still read what that sync has lost.
  CrashDepths crashes_after_failed_sync = {{{.most_states = 16},
                                            {.most_states = 64, .one_in = 100, .one_in_kills = 1},
                                            {.most_states = 0, .one_in = 0, .one_in_kills = 0}}};
};

/// Counts of what was explored.
struct FaultReport {
  std::uint64_t lives = 0;          ///< lives whose calls were each made to fail
  std::uint64_t calls = 0;          ///< their calls
  std::uint64_t faults = 0;         ///< runs with one fault each
  std::uint64_t poisoned = 0;       ///< runs that poisoned the index
  CrashReport crashes;              ///< crashes after a fault
  CheckpointsBeside checkpoints{};  ///< what checkpoints have met that others go on beside; `tried` are faults

  /// Adds the counts of another exploration.
  FaultReport& operator+=(const FaultReport& other) noexcept {
    lives += other.lives;
    calls += other.calls;
    faults += other.faults;
    poisoned += other.poisoned;
    crashes += other.crashes;
    checkpoints += other.checkpoints;
    return *this;
  }
};

/// Explores lives of one index type.
template <Persistable I>
  requires Index<I>
class FaultExploration {
 public:
  /// `subject` must outlive this.
  FaultExploration(const Subject<I>& subject, const FaultOptions& options)
      : subject_(&subject),
        seed_(options.seed),
        crashes_(subject, {.seed = options.seed, .older_states_too_many = one_not_removed, .depths = options.crashes}),
        crashes_after_failed_sync_(subject, {.seed = options.seed,
                                             .older_states_too_many = one_not_removed,
                                             .depths = options.crashes_after_failed_sync}) {}

  /// Runs `life` once for every fault of every call. Throws Violation; the message contains the life and the fault.
  void explore(const Life& life) {
    std::vector<FileCallRecord> calls;
    std::vector<std::optional<std::size_t>> places;  // of checkpoints
    {
      const LifeRun<I>* running = nullptr;
      LifeRun<I> run(
          *subject_, life, seed_,
          [&](const FileCallRecord& call) {
            calls.push_back(call);
            places.push_back(running->checkpoints().place);
            return Fault{};
          },
          /*with_faults=*/false);
      running = &run;
      run.run();
      run.close();
      report_.checkpoints += run.checkpoints();
    }
    for (std::size_t at = 0; at < calls.size(); ++at) {
      const FileCallRecord& call = calls[at];
      for (const FaultKind& fault : faults_of(call)) {
        try {
          live_with(life, call, fault);
        } catch (const Violation& violation) {
          throw Violation(std::string(violation.what()) + "\n  the fault: call " + std::to_string(call.number) + ", " +
                          call.text() + ": " + fault.text() + "\n  the life: " + to_string(life) +
                          "\n  the seed: " + std::to_string(seed_));
        }
        ++report_.faults;
        if (places[at]) {
          ++report_.checkpoints.tried.at(*places[at]);
        }
      }
      ++report_.calls;
    }
    ++report_.lives;
  }

  /// The counts so far.
  [[nodiscard]] FaultReport report() const {
    FaultReport report = report_;
    report.crashes = crashes_.report();
    report.crashes += crashes_after_failed_sync_.report();
    return report;
  }

 private:
  void live_with(const Life& life, const FileCallRecord& failing, const FaultKind& fault) {
    std::optional<std::string> violation;
    std::uint64_t left = fault.failing_calls;
    LifeRun<I>* running = nullptr;
    LifeRun<I> run(
        *subject_, life, seed_,
        [&](const FileCallRecord& call) -> Fault {
          if (call.number > failing.number && changes_disk(call.call) && !violation) {
            try {
              explore_crash(crashes_, *running, life);
            } catch (const Violation& found) {
              violation = found.what();  // the caller of this catches exceptions
            }
          }
          return answer(call, failing, fault, left);
        },
        /*with_faults=*/!fault.is_harmless());
    running = &run;
    run.run();
    run.close();
    if (violation) {
      throw Violation(*violation);
    }
    if (run.machine().open_files() != 0) {
      throw Violation(std::to_string(run.machine().open_files()) + " files are open at the end");
    }
    // A power cut may bring a removed temporary file back, and so may a file system that reverts a directory.
    const bool power_was_cut =
        std::ranges::any_of(life.steps, [](const Step& step) { return step.kind == Step::Kind::power_cut; });
    // What a process cannot look at it does not remove: it may be another's.
    const bool could_not_look = (failing.call == FileCall::status || failing.call == FileCall::status_of_open) &&
                                failing.file.ends_with(".tmp");
    if (fault.failing_calls == 1 && failing.call != FileCall::remove && failing.call != FileCall::sync_directory &&
        !could_not_look && !power_was_cut) {
      for (const auto& [name, bytes] : run.machine().visible()) {
        if (name.ends_with(".tmp")) {
          throw Violation("the temporary file " + name + " is left at the end");
        }
      }
    }
    const bool thorough = is_sync(failing.call) && fault.error == EIO && fault.failing_calls == 1;
    explore_crash(thorough ? crashes_after_failed_sync_ : crashes_, run, life);
    report_.poisoned += run.poisoned() ? 1U : 0U;
  }

  // After a fault, processes may also have lost what was acknowledged without a sync.
  static void explore_crash(CrashExploration<I>& crashes, const LifeRun<I>& run, const Life& life) {
    Oracle oracle = run.oracle();
    oracle.forget_volatile();
    crashes.explore(run.machine_to_load(), life, oracle, "behind the fault");
  }

  // `left` counts down the calls that are still to fail.
  static Fault answer(const FileCallRecord& call, const FileCallRecord& failing, const FaultKind& fault,
                      std::uint64_t& left) {
    if (call.number == failing.number && fault.most_bytes) {
      return {.most_bytes = fault.most_bytes};
    }
    if (call.number < failing.number || left == 0 || !can_fail_with(call.call, fault.error)) {
      return {};
    }
    left -= fault.failing_calls == FaultKind::for_good ? 0U : 1U;
    return {.error = system_error(fault.error), .failed_sync = fault.failed_sync};
  }

  // An older state that a call could not remove is there until the next checkpoint, beside the one of a crash.
  static constexpr std::size_t one_not_removed = 2;

  const Subject<I>* subject_;
  std::uint64_t seed_;
  CrashExploration<I> crashes_;
  CrashExploration<I> crashes_after_failed_sync_;
  FaultReport report_;
};

}  // namespace testing
}  // namespace iqdb
