// Lives of a durable index in which every call of the file system is made to fail in every way that it can, once and
// for good: what is acknowledged must be true, what fails must have changed nothing.
//
//   fault_laboratory [faults N | seconds N | life N]
#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "iqdb/persist/testing/fault_exploration.hpp"
#include "laboratory.hpp"

namespace {

using iqdb::testing::FaultReport;

FaultReport explore(std::uint64_t number, const iqdb_test::Examination& examination) {
  iqdb::testing::FaultExploration exploration(examination.subject, {.seed = number});
  exploration.explore(examination.life);
  return exploration.report();
}

}  // namespace

int main(int argc, char** argv) {
  const auto enough = iqdb_test::enough_from(argc, argv, "faults", 50'000);
  if (!enough) {
    return EXIT_FAILURE;
  }
  const auto report =
      iqdb_test::examine_lives<FaultReport>(*enough, explore, [](const FaultReport& so_far) { return so_far.faults; });
  if (!report) {
    return EXIT_FAILURE;
  }
  std::cout << report->lives << " lives of " << report->calls << " calls; " << report->faults << " faults, of which "
            << report->poisoned << " poisoned the index\n"
            << report->crashes.all_states() << " crash states behind a fault\n0 violations in " << report->faults
            << " faults\n";
  return EXIT_SUCCESS;
}
