// Lives of a durable index in which every call of the file system is made to fail in every way that it can, once and
// for good: what is acknowledged must be true, what fails must have changed nothing. Then come the lives of many callers,
// of lives_of_callers.hpp, and those of lives_beside_checkpoints.hpp.
//
//   fault_laboratory [faults N [one | many | beside | today] | seconds N [one | many | beside | today] | life N]
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "iqdb/persist/testing/fault_exploration.hpp"
#include "laboratory.hpp"
#include "lives_beside_checkpoints.hpp"

namespace {

using iqdb::testing::FaultReport;
using iqdb_test::Enough;

// One fault of so many is one of many callers.
constexpr std::uint64_t part_of_callers = 5;

template <class I>
FaultReport explore(std::uint64_t number, const iqdb_test::Examination<I>& examination) {
  iqdb::testing::FaultExploration exploration(examination.subject, {.seed = number});
  exploration.explore(examination.life);
  return exploration.report();
}

// Examines lives and says what was found. Returns whether nothing was.
template <class Examine>
bool examine(const char* whose, const Enough& enough, std::uint64_t first, Examine&& examine_life) {
  const auto report = iqdb_test::examine_lives<FaultReport>(enough, first, std::forward<Examine>(examine_life),
                                                            [](const FaultReport& so_far) { return so_far.faults; });
  if (!report) {
    return false;
  }
  iqdb_test::print_checkpoints(report->checkpoints, "faults");
  std::cout << report->lives << " lives of " << whose << ", of " << report->calls << " calls; " << report->faults
            << " faults, of which " << report->poisoned << " poisoned the index\n"
            << report->crashes.all_states() << " crash states behind a fault\n0 violations in " << report->faults
            << " faults\n"
            << std::flush;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const auto enough = iqdb_test::enough_from(argc, argv, "faults", 50'000);
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
