// Follower exploration: a follower reads beside the writer of a life, and catches up before calls that the writer makes of the
// file system: before all of them, or some. What it shows must each time be a moment of the life, and none before the last acknowledged one.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/fault_exploration.hpp"
#include "iqdb/persist/testing/file_call.hpp"
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

/// Counts of what was explored.
struct FollowerReport {
  std::uint64_t lives = 0;       ///< lives that a follower has read beside
  std::uint64_t faults = 0;      ///< and those of them in which a call failed
  std::uint64_t catch_ups = 0;   ///< how often a follower has looked for more
  std::uint64_t reloads = 0;     ///< how often it has loaded the files anew
  std::uint64_t taken_back = 0;  ///< how many of these took back what it had shown

  /// Adds the counts of another exploration.
  FollowerReport& operator+=(const FollowerReport& other) noexcept {
    lives += other.lives;
    faults += other.faults;
    catch_ups += other.catch_ups;
    reloads += other.reloads;
    taken_back += other.taken_back;
    return *this;
  }
};

/// Explores lives of one index type, whose steps are made by one caller and do not exchange the directory.
template <Persistable I>
  requires Index<I>
class FollowerExploration {
 public:
  /// `subject` must outlive this. Everything random follows from `seed`.
  FollowerExploration(const Subject<I>& subject, std::uint64_t seed) : subject_(&subject), seed_(seed), random_(seed) {}

  /// Runs `life` beside a follower, and then again `faults` times, each time with one call that fails, drawn at random. Throws
  /// Violation; the message contains the life.
  void explore(const Life& life, std::uint64_t faults) {
    const std::size_t calls = live(life, std::nullopt);
    ++report_.lives;
    for (std::uint64_t fault = 0; fault < faults && calls > 0; ++fault) {
      live(life, static_cast<std::size_t>(random_.below(calls)));
      ++report_.faults;
    }
  }

  /// The counts so far.
  [[nodiscard]] const FollowerReport& report() const noexcept { return report_; }

 private:
  using Storage = BasicFileStorage<SimulatedFileSystem>;

  // A follower on one machine.
  struct Reader {
    SimulatedFileSystem machine;
    Follower<I, Storage> follower;

    Reader(const SimulatedFileSystem& on, const PersistConfig& config)
        : machine(on), follower(Follower<I, Storage>::load(config, Storage(on))) {}
  };

  // Returns how many calls the life made.
  std::size_t live(const Life& life, std::optional<std::size_t> failing) {
    std::unique_ptr<Reader> reader;
    std::optional<std::string> violation;
    bool is_looking = false;
    bool sync_failed = false;
    std::size_t calls = 0;
    // Who looks seldom does not see what came and went in between.
    const std::uint64_t looks_one_in = std::uint64_t{1} << random_.below(5);
    LifeRun<I>* running = nullptr;
    const auto look = [&](const std::string& where) {
      is_looking = true;  // the follower makes calls, too
      try {
        look_at(*running, life, sync_failed, reader);
      } catch (const std::exception& error) {
        // Kept, since code that catches exceptions surrounds the calls of a file system.
        violation = violation ? violation : where + ": " + error.what();
      }
      is_looking = false;
    };
    LifeRun<I> run(
        *subject_, life, seed_,
        [&](const FileCallRecord& call) -> Fault {
          if (is_looking) {
            return {};
          }
          if (!violation && random_.one_in(looks_one_in)) {
            look("before call " + std::to_string(calls) + ", " + call.text());
          }
          const bool fails = failing == calls++ && can_fail_with(call.call, EIO);
          sync_failed = sync_failed || (fails && is_sync(call.call));
          return fails ? Fault{system_error(EIO)} : Fault{};
        },
        /*with_faults=*/failing.has_value());
    running = &run;
    try {
      run.run();
      if (!violation) {
        look("at the end");
      }
      run.close();
    } catch (const Violation& found) {
      violation = violation ? violation : found.what();
    }
    give_up(reader);
    if (violation) {
      throw Violation("a follower " + *violation +
                      (failing ? "\n  the fault: call " + std::to_string(*failing) + " fails" : std::string()) +
                      "\n  the life: " + to_string(life) + "\n  the seed: " + std::to_string(seed_));
    }
    return calls;
  }

  // Makes a follower of the machine on which the life goes on, unless there is one, and has it catch up. A sync that failed
  // may have lost, even to processes, what was acknowledged without a sync.
  void look_at(const LifeRun<I>& run, const Life& life, bool sync_failed, std::unique_ptr<Reader>& reader) {
    if (reader && !reader->machine.is(run.machine())) {
      give_up(reader);  // the machine was switched off, or all its processes were killed
    }
    const PersistConfig config = simulated_config(life);
    if (!run.machine().visible().contains(config.path.native())) {
      return;  // not yet, or no more since a sync of the directory failed
    }
    if (!reader) {
      reader = std::make_unique<Reader>(run.machine(), config);
    }
    ++report_.catch_ups;
    const Moment found{.lsn = reader->follower.catch_up(),
                       .contents = reader->follower.read([&](const I& index) { return subject_->contents(index); })};
    const Oracle& oracle = run.oracle();
    const std::size_t first = sync_failed ? oracle.durable() : oracle.acknowledged();
    if (!oracle.find(found, first)) {
      throw Violation(oracle.explain(found, first));
    }
  }

  void give_up(std::unique_ptr<Reader>& reader) {
    if (reader) {
      const FollowerStats stats = reader->follower.stats();
      report_.reloads += stats.reloads;
      report_.taken_back += stats.taken_back;
      reader.reset();
    }
  }

  const Subject<I>* subject_;
  std::uint64_t seed_;
  Random random_;
  FollowerReport report_;
};

}  // namespace testing
}  // namespace iqdb
