#include "iqdb/persist/testing/object_index_exploration.hpp"

#include <cstdint>

#include "support/catch.hpp"
#include "support/late_index.hpp"

TEST_CASE("explore_object_indexes: no schedule of clients and faults breaks a promise of the index",
          "[object_index_exploration]") {
  constexpr std::uint64_t seed = 1;
  INFO("schedules from seed " << seed << " on");
  const auto events = iqdb::testing::explore_object_indexes(iqdb_test::LateIndex(), seed, 400);
  CHECK(events.schedules == 400);
  // It has met everything that it is for.
  CHECK(events.opened > 600);
  CHECK(events.refused > 300);
  CHECK(events.acknowledged > 4000);
  CHECK(events.rejected > 200);
  CHECK(events.fenced > 150);
  CHECK(events.in_doubt > 50);
  CHECK(events.checkpoints > 600);
  CHECK(events.read > 300);
  CHECK(events.older > 100);
  CHECK(events.kept > 300);
  CHECK(events.followed > 300);
  CHECK(events.died > 50);
  CHECK(events.closed > 100);
  CHECK(events.uploaded > 300);
  CHECK(events.given_up > 50);
}

TEST_CASE("explore_object_indexes: a seed repeats a schedule exactly", "[object_index_exploration]") {
  const iqdb_test::LateIndex empty;
  const auto once = iqdb::testing::explore_object_indexes(empty, 100, 20);
  CHECK(once == iqdb::testing::explore_object_indexes(empty, 100, 20));
  CHECK_FALSE(once == iqdb::testing::explore_object_indexes(empty, 200, 20));
}
