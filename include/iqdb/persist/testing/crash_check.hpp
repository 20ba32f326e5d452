// check_crashes: checks that an index recovers from every crash. This is the exploration of crash_exploration.hpp,
// small enough to run among other tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "iqdb/index.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/crash_exploration.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// Takes durable indexes through random lives, with the log on and off, under every policy and with every codec. Stops
/// each life and its recovery at every call that changes the simulated disk. From every state tried the index must
/// recover with everything that was acknowledged. With a bit of its files flipped, the index must load whole or be
/// refused. Throws Violation at the first broken promise, and what `subject.make` and its other functions throw.
template <Persistable I>
  requires Index<I> ConformanceReport check_crashes(const Subject<I>& subject, const ConformanceOptions& options = {}) {
    constexpr std::size_t steps = 12;
    constexpr CrashDepths depths = {{{.most_states = 30, .one_in = 1, .one_in_kills = 1},
                                     {.most_states = 8, .one_in = 500, .one_in_kills = 20},
                                     {.most_states = 0, .one_in = 0, .one_in_kills = 0}}};
    const std::size_t dim = persisted_dim(subject.make());
    CrashReport crashes;
    for (std::uint64_t number = 0; number < options.lives; ++number) {
      Random random(options.seed + number);
      Life life = any_life(subject, dim, steps, random);
      for (Step& step : life.steps) {
        for (Mutation& mutation : step.mutations) {
          if (mutation.op == FrameOp::insert && !options.wrong_dimensions) {
            mutation.vector.resize(dim);
          }
        }
      }
      if (options.trace) {
        options.trace("crashes of a life: " + to_string(life));
      }
      CrashExploration<I> exploration(subject, {.seed = options.seed + number, .one_in_bits = 16, .depths = depths});
      try {
        exploration.explore(life);
      } catch (const Violation& violation) {
        throw Violation(std::string("an index does not come back from a crash as it was: ") + violation.what() +
                        "\n  promise: what was acknowledged is there after a crash, and nothing that never was"
                        "\n  look at: does load_from restore all that later mutations depend on? Is the index the same "
                        "wherever it is saved between two mutations?");
      }
      crashes += exploration.report();
    }
    ConformanceReport report;
    report.crash_states = crashes.all_states();
    report.damaged_files = crashes.damages;
    return report;
  }

}  // namespace testing
}  // namespace iqdb
