// Lives of a durable index, stopped at every call that changes the disk: from every state that the disk may be left in,
// it must come back with everything that was promised. The stories of laboratory.hpp are tried in every state, then
// random lives follow until there are enough.
//
//   crash_laboratory [states N | seconds N | life N]
#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "iqdb/persist/testing/crash_exploration.hpp"
#include "laboratory.hpp"

namespace {

using iqdb::testing::CrashOptions;
using iqdb::testing::CrashReport;

CrashReport explore(std::uint64_t number, const iqdb_test::Examination& examination) {
  CrashOptions options{.seed = number};
  if (!examination.told) {
    options.depths[0].most_states = 2000;
  }
  iqdb::testing::CrashExploration exploration(examination.subject, options);
  exploration.explore(examination.life);
  return exploration.report();
}

}  // namespace

int main(int argc, char** argv) {
  const auto enough = iqdb_test::enough_from(argc, argv, "states", 5'000'000);
  if (!enough) {
    return EXIT_FAILURE;
  }
  const auto report = iqdb_test::examine_lives<CrashReport>(
      *enough, explore, [](const CrashReport& so_far) { return so_far.all_states(); });
  if (!report) {
    return EXIT_FAILURE;
  }
  std::cout << report->lives << " lives\n";
  constexpr const char* crashes[] = {"one crash", "two crashes", "three crashes"};
  for (std::size_t depth = 0; depth < iqdb::testing::most_crashes; ++depth) {
    std::cout << crashes[depth] << ": " << report->states[depth] << " states of " << report->points[depth]
              << " points, of which " << report->sampled_points[depth] << " were sampled\n";
  }
  std::cout << report->damages << " flipped bits\n0 violations in " << report->all_states() << " crash states\n";
  return EXIT_SUCCESS;
}
