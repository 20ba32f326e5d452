// Events as a handler sees them, and how durations are counted.
#include "iqdb/persist/events.hpp"

#include <chrono>
#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include "support/catch.hpp"

namespace {

using iqdb::DurationCounts;
using iqdb::Event;
using std::chrono::nanoseconds;

}  // namespace

TEST_CASE("Each kind of event has a name of its own", "[events]") {
  std::set<std::string_view> names;
  for (const Event::Kind kind :
       {Event::Kind::recovered, Event::Kind::checkpoint_begun, Event::Kind::checkpoint_done,
        Event::Kind::checkpoint_failed, Event::Kind::freezing_failed, Event::Kind::slow_sync, Event::Kind::poisoned}) {
    names.insert(to_string(kind));
  }
  CHECK(names.size() == 7);
  CHECK(names.count("unknown") == 0);
  CHECK(to_string(Event::Kind::slow_sync) == "slow_sync");
}

TEST_CASE("A duration is counted in the bucket of its power of two", "[events]") {
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

TEST_CASE("Each bucket begins where the one before it ends", "[events]") {
  for (std::size_t bucket = 1; bucket + 1 < DurationCounts::bucket_count; ++bucket) {
    CAPTURE(bucket);
    DurationCounts counts;
    counts.add(DurationCounts::least(bucket));
    counts.add(DurationCounts::least(bucket + 1) - nanoseconds(1));
    CHECK(counts.buckets()[bucket] == 2);
  }
}

TEST_CASE("The last bucket takes whatever is longer and the first what a clock that went back says", "[events]") {
  DurationCounts counts;
  counts.add(std::chrono::hours(24 * 365));
  counts.add(nanoseconds(-5));
  CHECK(counts.buckets().back() == 1);
  CHECK(counts.buckets().front() == 1);
}

TEST_CASE("Without a handler no message is made", "[events]") {
  bool made = false;
  iqdb::events::emit({}, {.kind = Event::Kind::poisoned}, [&] {
    made = true;
    return std::string();
  });
  CHECK_FALSE(made);
}

TEST_CASE("What a handler throws ends with it", "[events]") {
  int called = 0;
  const auto on_event = [&](const Event&) {
    ++called;
    throw std::runtime_error("no room for a line");
  };
  for (int round = 0; round < 2; ++round) {
    iqdb::events::emit(on_event, {.kind = Event::Kind::poisoned}, [] { return std::string("text"); });
  }
  CHECK(called == 2);
}

TEST_CASE("A message that cannot be made is no failure of what the event is about", "[events]") {
  int called = 0;
  iqdb::events::emit([&](const Event&) { ++called; }, {.kind = Event::Kind::poisoned},
                     []() -> std::string { throw std::bad_alloc(); });
  CHECK(called == 0);
}

TEST_CASE("A handler gets its message and what the event says", "[events]") {
  std::string message;
  iqdb::events::emit(
      [&](const Event& event) {
        message = event.message;
        CHECK(event.elapsed == nanoseconds(7));
        CHECK(event.bytes == 9);
      },
      {.kind = Event::Kind::checkpoint_done, .elapsed = nanoseconds(7), .bytes = 9},
      [] { return std::string("done"); });
  CHECK(message == "done");
}

TEST_CASE("A duration in a message has milliseconds", "[events]") {
  CHECK(iqdb::events::in_seconds(nanoseconds(0)) == "0.000 s");
  CHECK(iqdb::events::in_seconds(std::chrono::milliseconds(7)) == "0.007 s");
  CHECK(iqdb::events::in_seconds(std::chrono::milliseconds(12345)) == "12.345 s");
}
