// How durations are counted.
#include "iqdb/persist/stats.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "support/catch.hpp"

namespace {

using iqdb::DurationCounts;
using std::chrono::nanoseconds;

}  // namespace

TEST_CASE("A duration is counted in the bucket of its power of two", "[stats]") {
  DurationCounts counts;
  for (const std::int64_t elapsed : {0, 1, 2, 3, 4, 1023, 1024}) {
    counts.add(nanoseconds(elapsed));
  }
  CHECK(counts.count() == 7);
  CHECK(counts.total() == nanoseconds(2057));
  CHECK(counts.longest() == nanoseconds(1024));
  CHECK(counts.buckets()[0] == 1);   // 0
  CHECK(counts.buckets()[1] == 1);   // 1
  CHECK(counts.buckets()[2] == 2);   // 2, 3
  CHECK(counts.buckets()[3] == 1);   // 4
  CHECK(counts.buckets()[10] == 1);  // 512 to 1023
  CHECK(counts.buckets()[11] == 1);  // 1024
}

TEST_CASE("Each bucket begins where the one before it ends", "[stats]") {
  for (std::size_t bucket = 1; bucket + 1 < DurationCounts::bucket_count; ++bucket) {
    CAPTURE(bucket);
    DurationCounts counts;
    counts.add(DurationCounts::least(bucket));
    counts.add(DurationCounts::least(bucket + 1) - nanoseconds(1));
    CHECK(counts.buckets()[bucket] == 2);
  }
}

TEST_CASE("The last bucket takes whatever is longer and the first what a clock that went back says", "[stats]") {
  DurationCounts counts;
  counts.add(std::chrono::hours(24 * 365));
  counts.add(nanoseconds(-5));
  CHECK(counts.buckets().back() == 1);
  CHECK(counts.buckets().front() == 1);
}
