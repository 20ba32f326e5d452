#include "iqdb/persist/testing/object_log_exploration.hpp"

#include <cstdint>

#include "support/catch.hpp"

TEST_CASE("explore_object_logs: no schedule of clients and faults breaks a promise of the log",
          "[object_log_exploration]") {
  constexpr std::uint64_t seed = 1;
  INFO("schedules from seed " << seed << " on");
  const auto events = iqdb::testing::explore_object_logs(seed, 1500);
  CHECK(events.schedules == 1500);
  // It has met everything that it is for.
  CHECK(events.opened > 1500);
  CHECK(events.refused > 500);
  CHECK(events.acknowledged > 5000);
  CHECK(events.fenced > 500);
  CHECK(events.in_doubt > 500);
  CHECK(events.published > 1500);
  CHECK(events.removed > 500);
  CHECK(events.copied > 50);
  CHECK(events.read > 3000);
  CHECK(events.closed > 100);
}

TEST_CASE("explore_object_logs: a seed repeats a schedule exactly", "[object_log_exploration]") {
  const auto once = iqdb::testing::explore_object_logs(100, 40);
  const auto again = iqdb::testing::explore_object_logs(100, 40);
  CHECK(once == again);
  CHECK_FALSE(once == iqdb::testing::explore_object_logs(200, 40));
}
