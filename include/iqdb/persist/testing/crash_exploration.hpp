// Crash exploration: stops a life at every call that changes the disk, makes every state that the disk may then be in,
// and requires that the index recovers from each of them with everything that was promised.
//
// The check of one state: load. The result must be a moment of the life, and none before the last one that was
// acknowledged as durable. Then three inserts, close, load: the result must be the same with the inserts. Recovery
// itself is stopped and explored in the same way, and so is the recovery from that.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/history_check.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/life_run.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/simulated_index.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// How many crashes in a row are explored: of the life, of the recovery from it, and of the recovery from that.
inline constexpr std::size_t most_crashes = 3;

/// How thoroughly crash points are explored.
struct CrashDepth {
  std::uint64_t most_states = 65536;  ///< from a point with more states, this many are drawn at random
  std::uint64_t one_in = 1;           ///< one in so many recoveries from a power cut is stopped; 0: none
  std::uint64_t one_in_kills = 1;     ///< the same for recoveries from a kill, which are few
};

/// The depth for a crash of the life, of the recovery from it, and of the recovery from that.
using CrashDepths = std::array<CrashDepth, most_crashes>;

/// The settings of a crash exploration.
struct CrashOptions {
  std::uint64_t seed = 1;  ///< repeats an exploration exactly
  /// One in so many synced bits is flipped; 0: none.
  std::uint64_t one_in_bits = 1;
  /// How many older states a crash may leave beside those that a history keeps.
  std::size_t older_states_too_many = 1;
  /// How thoroughly each crash is explored.
  CrashDepths depths = {{{},
                         {.most_states = 64, .one_in = 500, .one_in_kills = 8},
                         {.most_states = 8, .one_in = 2000, .one_in_kills = 100}}};
};

/// Counts of what was explored.
struct CrashReport {
  std::uint64_t lives = 0;                           ///< lives that were stopped everywhere
  std::array<std::uint64_t, most_crashes> points{};  ///< calls at which a life or a recovery was stopped
  std::array<std::uint64_t, most_crashes>
      states{};  ///< states loaded after one, two and three crashes, each once in a life
  std::array<std::uint64_t, most_crashes> sampled_points{};  ///< points of which only some states were tried

  std::uint64_t damages = 0;        ///< synced bits that were flipped, one at a time
  CheckpointsBeside checkpoints{};  ///< what checkpoints have met that others go on beside; `tried` are states

  /// The sum of all states.
  [[nodiscard]] std::uint64_t all_states() const noexcept { return states[0] + states[1] + states[2]; }

  /// Adds the counts of another exploration.
  CrashReport& operator+=(const CrashReport& other) noexcept {
    lives += other.lives;
    damages += other.damages;
    checkpoints += other.checkpoints;
    for (std::size_t depth = 0; depth < most_crashes; ++depth) {
      points[depth] += other.points[depth];
      states[depth] += other.states[depth];
      sampled_points[depth] += other.sampled_points[depth];
    }
    return *this;
  }
};

/// Explores lives of one index type.
template <Persistable I>
  requires Index<I>
class CrashExploration {
 public:
  /// `subject` must outlive this.
  CrashExploration(const Subject<I>& subject, const CrashOptions& options)
      : subject_(&subject), options_(options), random_(options.seed) {}
  CrashExploration(const CrashExploration&) = delete;
  CrashExploration& operator=(const CrashExploration&) = delete;
  ~CrashExploration() = default;

  /// Runs `life` and stops it at every call that changes the disk, and at its end. Throws Violation; the message
  /// contains the life, where it was stopped, and what the disk held.
  void explore(const Life& life) {
    seen_.clear();
    LifeRun<I>* running = nullptr;
    LifeRun<I> run(
        *subject_, life, random_.next(),
        [&](const FileCallRecord& call) {
          if (changes_disk(call.call)) {
            const std::uint64_t states = report_.all_states();
            stop_at(running->machine_to_load(), life, running->oracle(), before(call));
            if (const auto place = running->checkpoints().place) {
              report_.checkpoints.tried.at(*place) += report_.all_states() - states;
            }
          }
          return Fault{};
        },
        /*with_faults=*/false);
    running = &run;
    reporting(life, [&] {
      run.run();
      damage(run.machine(), life, run.oracle(), /*was_closed=*/false);
      run.close();
      stop_at(run.machine(), life, run.oracle(), "at the end");
      damage(run.machine(), life, run.oracle(), /*was_closed=*/true);
    });
    ++report_.lives;
    report_.checkpoints += run.checkpoints();
  }

  /// Stops a life here and examines every state that `machine` may be left in. Throws Violation.
  void explore(const SimulatedFileSystem& machine, const Life& life, const Oracle& oracle, const std::string& where) {
    reporting(life, [&] { stop_at(machine, life, oracle, where); });
  }

  /// The counts so far.
  [[nodiscard]] const CrashReport& report() const noexcept { return report_; }

 private:
  template <class Action>
  void reporting(const Life& life, Action&& action) {
    violation_.reset();
    trail_.clear();
    try {
      std::forward<Action>(action)();
    } catch (const Violation& violation) {
      note(violation.what());
    }
    if (violation_) {
      throw Violation(*violation_ + "\n  the life: " + to_string(life) +
                      "\n  the seed: " + std::to_string(options_.seed));
    }
  }

  static std::string before(const FileCallRecord& call) {
    return "before call " + std::to_string(call.number) + ", " + call.text();
  }

  // Keeps the first violation instead of throwing it, because code that catches exceptions surrounds the calls of a
  // file system.
  void note(const std::string& what) {
    if (!violation_) {
      violation_ = what;
      std::for_each(trail_.rbegin(), trail_.rend(),
                    [this](const std::string& place) { violation_->append("\n  ").append(place); });
    }
  }

  // Crashes here, after trail_.size() earlier crashes.
  void stop_at(const SimulatedFileSystem& machine, const Life& life, const Oracle& oracle, const std::string& where) {
    const std::size_t depth = trail_.size();
    if (violation_ || depth >= most_crashes) {
      return;
    }
    ++report_.points[depth];
    const std::optional<std::uint64_t> oldest = oldest_kept(life, machine);
    const auto at = [&](std::string_view what) { return "crash " + where + ": " + std::string(what); };

    const auto lay_out = [&](const DiskState& disk, const std::string& which) {
      if (violation_ || !seen_.insert(key_of(disk, oracle)).second) {
        return;
      }
      ++report_.states[depth];
      trail_.push_back(at("the power is cut, " + which));
      examine(SimulatedFileSystem(disk, random_.next()), life, oracle, oracle.durable(), oldest,
              depth + 1 < most_crashes ? options_.depths[depth + 1].one_in : 0);
      trail_.pop_back();
    };
    const CrashStates states(machine, options_.seed);
    if (states.count() > 1) {  // or else a kill leaves what a power cut leaves
      trail_.push_back(at("the process is killed"));
      examine(machine.after_kill(), life, oracle, oracle.acknowledged(), oldest,
              depth + 1 < most_crashes ? options_.depths[depth + 1].one_in_kills : 0);
      trail_.pop_back();
    }
    const std::uint64_t most = options_.depths[depth].most_states;
    if (states.count() <= most) {
      for (std::uint64_t number = 0; number < states.count(); ++number) {
        lay_out(states.at(number), "state " + std::to_string(number) + " of " + std::to_string(states.count()));
      }
    } else {
      ++report_.sampled_points[depth];
      lay_out(states.everything(), "all that was not synced is there");
      for (std::uint64_t draw = 0; draw < most; ++draw) {
        lay_out(states.any(random_), "draw " + std::to_string(draw));
      }
    }
    const std::size_t last_write = states.last_write_bytes();
    for (std::size_t bytes = 0; bytes < last_write; ++bytes) {
      const std::size_t chosen = last_write <= most ? bytes : static_cast<std::size_t>(random_.below(last_write));
      lay_out(states.with_prefix_of_last_write(chosen),
              "the last write has " + std::to_string(chosen) + " of its bytes");
      if (bytes >= most) {
        break;
      }
    }
  }

  static std::uint64_t key_of(const DiskState& disk, const Oracle& oracle) {
    std::uint64_t key = oracle.durable() * 1000003 + oracle.moments().size();
    const auto add = [&key](std::string_view bytes) {
      key = Random(key ^ std::hash<std::string_view>()(bytes)).next();
    };
    for (const auto& [name, bytes] : disk) {
      add(name);
      add({reinterpret_cast<const char*>(bytes->data()),
           bytes->size()});  // NOLINT(*-reinterpret-cast): chars alias all
    }
    add(oracle.moments().back().contents);
    return key;
  }

  // Loads what `machine` holds and goes on with it. Before the crash a history reached back to the mutation `oldest`. One in
  // `one_in` of these recoveries is stopped in turn; 0: none.
  void examine(SimulatedFileSystem machine, const Life& life, const Oracle& outer, std::size_t first,
               std::optional<std::uint64_t> oldest, std::uint64_t one_in) {
    std::optional<Oracle> oracle;
    if (one_in != 0 && random_.one_in(one_in)) {
      oracle = outer;
      if (first < outer.acknowledged()) {
        oracle->forget_volatile();
      }
      machine.plan([&](const FileCallRecord& call) {
        if (changes_disk(call.call)) {
          stop_at(machine, life, *oracle, "of the recovery " + before(call));
        }
        return Fault{};
      });
    }
    try {
      load_and_go_on(machine, life, outer, first, oldest, oracle);
    } catch (const std::exception& error) {
      note(error.what());
    }
    machine.plan({});
  }

  void load_and_go_on(const SimulatedFileSystem& machine, const Life& life, const Oracle& outer, std::size_t first,
                      std::optional<std::uint64_t> oldest, std::optional<Oracle>& oracle) {
    PersistConfig config = simulated_config(life);
    config.fsync_policy = FsyncPolicy::always();
    SimulatedIndex<I> index = open_index(*subject_, life, config, machine);
    Moment moment = moment_of(*subject_, index);
    const auto which = outer.find(moment, first);
    if (!which) {
      throw Violation(outer.explain(moment, first));
    }
    if (oldest) {
      require_history(*subject_, life, outer, *which, *oldest, options_.older_states_too_many, machine, random_);
    }
    if (oracle) {
      life.wal_enabled ? oracle->settle(*which) : oracle->read(*which);
    }
    // Identifiers that the index does not hold: after another crash it may hold some of an earlier recovery.
    const std::uint64_t first_number = 1000 * (trail_.size() + 1);
    for (std::uint64_t number = first_number; number < first_number + 3; ++number) {
      const Mutation insert = insert_of(*subject_, persisted_dim(index.index()), number);
      if (oracle && life.wal_enabled) {
        I expected = copy_of(index.index());
        make_unless_rejected(expected, insert);
        oracle->expect({.lsn = moment.lsn + 1, .contents = subject_->contents(expected)});
      }
      make_unless_rejected(index, insert);
      moment = moment_of(*subject_, index);
      if (oracle && life.wal_enabled) {
        oracle->acknowledge();
        oracle->make_durable();
      }
    }
    if (!life.wal_enabled) {
      if (oracle) {
        oracle->expect(moment);
      }
      index.save();
    }
    index.close();
    const Moment again = moment_of(*subject_, open_index(*subject_, life, config, machine));
    if (again != moment) {
      throw Violation("after a recovery, three inserts and an orderly end a load gives number " +
                      std::to_string(again.lsn) + (again.contents == moment.contents ? "" : " and other contents") +
                      "; expected number " + std::to_string(moment.lsn));
    }
  }

  // Flips every synced bit, one at a time. A load must report an error or give everything that was promised. There is
  // one exception if the log did not end in order: bytes that no later record proves durable may look like a torn tail,
  // and the load drops and reports them. With FsyncPolicy::always this is the last record.
  void damage(const SimulatedFileSystem& machine, const Life& life, const Oracle& oracle, bool was_closed) {
    const DiskState disk = CrashStates(machine, options_.seed).nothing_unsynced();
    const std::size_t durable = oracle.durable();
    for (const auto& [name, bytes] : disk) {
      for (std::size_t bit = 0; bit < bytes->size() * 8 && !violation_; ++bit) {
        if (options_.one_in_bits == 0 || !random_.one_in(options_.one_in_bits)) {
          continue;
        }
        auto damaged = std::make_shared<std::vector<std::byte>>(*bytes);
        (*damaged)[bit / 8] ^= std::byte{1} << (bit % 8);
        DiskState other = disk;
        other[name] = std::move(damaged);
        ++report_.damages;
        std::string answer;
        try {
          const SimulatedIndex<I> index =
              open_index(*subject_, life, simulated_config(life), SimulatedFileSystem(other, bit));
          const Moment found = moment_of(*subject_, index);
          const bool looks_torn = !was_closed && durable > 0 && index.recovery().dropped_bytes > 0;
          const std::size_t first = !looks_torn ? durable : life.policy.is_always() ? durable - 1 : 0;
          if (!(looks_torn ? oracle.held(found.contents, first) : oracle.find(found, first).has_value())) {
            answer = oracle.explain(found, durable) + ", or an error";
          }
        } catch (const PersistError&) {
          continue;  // the expected answer
        } catch (const std::exception& error) {
          answer = std::string("a load throws what is no PersistError: ") + error.what();
        }
        if (!answer.empty()) {
          std::string what = "bit " + std::to_string(bit % 8) + " of byte " + std::to_string(bit / 8) + " of ";
          what.append(name).append(was_closed ? " is flipped after an orderly end"
                                              : " is flipped while the index is open");
          note(what.append(", and ").append(answer));
        }
      }
    }
  }

  // A full index may reject an insert.
  template <class M>
  static void make_unless_rejected(M& index, const Mutation& mutation) {
    try {
      make_mutation(index, mutation);
    } catch (const IndexError&) {
      return;
    }
  }

  const Subject<I>* subject_;
  CrashOptions options_;
  Random random_;
  CrashReport report_;
  std::unordered_set<std::uint64_t> seen_;  // states of this life that were examined
  std::vector<std::string> trail_;          // the crashes so far
  std::optional<std::string> violation_;
};

}  // namespace testing
}  // namespace iqdb
