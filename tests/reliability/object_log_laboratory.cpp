// Schedules of several clients on a simulated object store: nothing that was acknowledged may be lost, in none of them.
//
//   object_log_laboratory [schedules N [from SEED | today]]    of a log
//   object_log_laboratory [indexes N [from SEED | today]]      of an index
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include "iqdb/persist/testing/object_index_exploration.hpp"
#include "iqdb/persist/testing/object_log_exploration.hpp"
#include "support/days.hpp"
#include "support/late_index.hpp"

namespace {

// Other schedules each day.
std::uint64_t seed_of_today() {
  constexpr std::uint64_t schedules_a_day = 1'000'000'000;
  return schedules_a_day * iqdb_test::days_since_1970();
}

void explore_logs(std::uint64_t seed, std::uint64_t schedules) {
  std::cout << "schedules of a log from seed " << seed << " on\n" << std::flush;
  const auto events = iqdb::testing::explore_object_logs(seed, schedules);
  std::cout << "0 violations in " << events.schedules << " schedules: " << events.acknowledged
            << " groups acknowledged, " << events.in_doubt << " not, " << events.opened << " openings, "
            << events.refused << " refused, " << events.fenced << " writers fenced, " << events.copied << " copied, "
            << events.closed << " closed, " << events.published << " snapshots published, " << events.removed
            << " objects swept, " << events.read << " readings\n";
}

void explore_indexes(std::uint64_t seed, std::uint64_t schedules) {
  std::cout << "schedules of an index from seed " << seed << " on\n" << std::flush;
  const auto events = iqdb::testing::explore_object_indexes(iqdb_test::LateIndex(), seed, schedules);
  std::cout << "0 violations in " << events.schedules << " schedules: " << events.acknowledged
            << " mutations acknowledged, " << events.in_doubt << " in doubt, " << events.rejected << " rejected, "
            << events.opened << " openings, " << events.refused << " refused, " << events.fenced << " writers fenced, "
            << events.checkpoints << " snapshots published, " << events.uploaded << " uploaded in parts, "
            << events.given_up << " uploads given up, " << events.read << " readings, " << events.older
            << " of older states, " << events.kept << " states kept at the end, " << events.followed
            << " times followed, " << events.died << " clients died, " << events.closed << " closed\n";
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 1) {
      explore_logs(1, 800'000);
      explore_indexes(1, 200'000);
      return EXIT_SUCCESS;
    }
    const std::string_view what = argv[1];
    const bool is_index = what == "indexes";
    const bool is_today = argc == 4 && std::string_view(argv[3]) == "today";
    const bool has_seed = argc == 5 && std::string_view(argv[3]) == "from";
    if ((what != "schedules" && !is_index) || (argc != 3 && !is_today && !has_seed)) {
      std::cerr << "usage: object_log_laboratory [schedules|indexes N [from SEED | today]]\n";
      return EXIT_FAILURE;
    }
    const std::uint64_t schedules = std::stoull(argv[2]);
    const std::uint64_t seed = is_today ? seed_of_today() : has_seed ? std::stoull(argv[4]) : 1;
    (is_index ? explore_indexes : explore_logs)(seed, schedules);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
