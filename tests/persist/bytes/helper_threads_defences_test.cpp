// HelperThreads where memory runs out.
#include <atomic>
#include <cstddef>
#include <new>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

TEST_CASE("Where memory runs out while helpers begin those that have begun do the next job and end",
          "[helper_threads]") {
  std::size_t refused = 0;
  // Every allocation in turn is the one that fails.
  for (std::size_t failing = 1;; ++failing) {
    iqdb::HelperThreads helpers(3);
    std::atomic<std::size_t> worked = 0;
    const auto work = [&] { ++worked; };
    bool is_refused = false;
    iqdb_test::refusing_allocation(failing, [&] {
      try {
        helpers.run(work);
      } catch (const std::bad_alloc&) {
        is_refused = true;
      }
    });
    if (!is_refused) {
      CHECK(worked == 4);
      break;
    }
    ++refused;
    worked = 0;
    helpers.run(work);
    CHECK(worked >= 1);
    CHECK(worked == helpers.count() + 1);
  }
  CHECK(refused >= 3);
}
