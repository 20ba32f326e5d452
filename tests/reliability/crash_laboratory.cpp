// Lives of a durable index, stopped at every call that changes the disk: from every state that the disk may be left in,
// it must come back with everything that was promised. The stories of laboratory.hpp are tried in every state, then
// random lives follow until there are enough. Then come the lives of many callers, of lives_of_callers.hpp, and those of
// lives_beside_checkpoints.hpp, in the same way.
//
//   crash_laboratory [states N [one | many | beside | today] | seconds N [one | many | beside | today] | life N]
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "iqdb/persist/testing/crash_exploration.hpp"
#include "laboratory.hpp"
#include "lives_beside_checkpoints.hpp"

namespace {

using iqdb::testing::CrashOptions;
using iqdb::testing::CrashReport;
using iqdb_test::Enough;

// One state of so many is one of many callers.
constexpr std::uint64_t part_of_callers = 10;

template <class I>
CrashReport explore(std::uint64_t number, const iqdb_test::Examination<I>& examination) {
  CrashOptions options{.seed = number};
  if (number >= iqdb_test::first_of_callers) {
    // Many lives are worth more than all states of some.
    options.depths[0].most_states = 300;
    options.depths[1] = {.most_states = 24, .one_in = 500, .one_in_kills = 16};
  } else if (!examination.told) {
    options.depths[0].most_states = 2000;
  }
  iqdb::testing::CrashExploration exploration(examination.subject, options);
  exploration.explore(examination.life);
  return exploration.report();
}

// Examines lives and says what was found. Returns whether nothing was.
template <class Examine>
bool examine(const char* whose, const Enough& enough, std::uint64_t first, Examine&& examine_life) {
  const auto report =
      iqdb_test::examine_lives<CrashReport>(enough, first, std::forward<Examine>(examine_life),
                                            [](const CrashReport& so_far) { return so_far.all_states(); });
  if (!report) {
    return false;
  }
  std::cout << report->lives << " lives of " << whose << '\n';
  constexpr const char* crashes[] = {"one crash", "two crashes", "three crashes"};
  for (std::size_t depth = 0; depth < iqdb::testing::most_crashes; ++depth) {
    std::cout << crashes[depth] << ": " << report->states[depth] << " states of " << report->points[depth]
              << " points, of which " << report->sampled_points[depth] << " were sampled\n";
  }
  iqdb_test::print_checkpoints(report->checkpoints, "states");
  std::cout << report->damages << " flipped bits\n0 violations in " << report->all_states() << " crash states\n"
            << std::flush;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const auto enough = iqdb_test::enough_from(argc, argv, "states", 5'000'000);
  if (!enough) {
    return EXIT_FAILURE;
  }
  const bool holds = iqdb_test::examine_all(
      *enough, part_of_callers,
      [](std::uint64_t number, const auto& examination) { return explore(number, examination); },
      [](const char* whose, const Enough& part, std::uint64_t first, auto&& examine_life) {
        return examine(whose, part, first, examine_life);
      });
  return holds ? EXIT_SUCCESS : EXIT_FAILURE;
}
