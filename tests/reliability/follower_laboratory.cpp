// Lives of a durable index beside a follower, which catches up before all or some of the calls that the writer makes of the file
// system: it must show a moment of the life each time. Each life is also lived with calls that fail. The lives are those of laboratory.hpp
// with one caller.
//
//   follower_laboratory [looks N [today] | seconds N [today] | life N]
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/follower_exploration.hpp"
#include "laboratory.hpp"

namespace {

using iqdb::testing::FollowerReport;

FollowerReport explore(std::uint64_t number) {
  auto [subject, life, told] = iqdb_test::examination(number);
  // Who looks for the files by their path finds nothing where the directory was exchanged.
  std::erase_if(life.steps, [](const auto& step) { return step.kind == iqdb_test::Step::Kind::exchange; });
  iqdb::testing::FollowerExploration exploration(subject, number);
  constexpr std::uint64_t faults = 20;
  exploration.explore(life, faults);
  return exploration.report();
}

}  // namespace

int main(int argc, char** argv) {
  const auto enough = iqdb_test::enough_from(argc, argv, "looks", 300'000);
  if (!enough) {
    return EXIT_FAILURE;
  }
  const auto report = iqdb_test::examine_lives<FollowerReport>(
      *enough, 0, explore, [](const FollowerReport& so_far) { return so_far.catch_ups; });
  if (!report) {
    return EXIT_FAILURE;
  }
  std::cout << report->lives << " lives, and " << report->faults << " with a call that failed\n"
            << "0 violations in " << report->catch_ups << " looks of a follower, which loaded the files anew "
            << report->reloads << " times and took back " << report->taken_back << " times what it had shown\n";
  return EXIT_SUCCESS;
}
