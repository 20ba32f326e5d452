// Schedules of several clients of a log on a simulated object store: nothing that was acknowledged may be lost, in none of them.
//
//   object_log_laboratory [schedules N [from SEED | today]]
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include "iqdb/persist/testing/object_log_exploration.hpp"
#include "support/days.hpp"

namespace {

// Other schedules each day.
std::uint64_t seed_of_today() {
  constexpr std::uint64_t schedules_a_day = 1'000'000'000;
  return schedules_a_day * iqdb_test::days_since_1970();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const bool is_told = argc >= 3 && std::string_view(argv[1]) == "schedules";
    const bool is_today = argc == 4 && std::string_view(argv[3]) == "today";
    const bool has_seed = argc == 5 && std::string_view(argv[3]) == "from";
    if (argc != 1 && !(is_told && (argc == 3 || is_today || has_seed))) {
      std::cerr << "usage: object_log_laboratory [schedules N [from SEED | today]]\n";
      return EXIT_FAILURE;
    }
    const std::uint64_t schedules = is_told ? std::stoull(argv[2]) : 170'000;
    const std::uint64_t seed = is_today ? seed_of_today() : has_seed ? std::stoull(argv[4]) : 1;
    std::cout << "schedules from seed " << seed << " on\n" << std::flush;
    const auto events = iqdb::testing::explore_object_logs(seed, schedules);
    std::cout << "0 violations in " << events.schedules << " schedules: " << events.acknowledged
              << " groups acknowledged, " << events.in_doubt << " not, " << events.opened << " openings, "
              << events.refused << " refused, " << events.fenced << " writers fenced, " << events.copied << " copied, "
              << events.closed << " closed, " << events.published << " snapshots published, " << events.removed
              << " objects swept, " << events.read << " readings\n";
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
