// Events as a handler sees them.
#include "iqdb/persist/events.hpp"

#include <chrono>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include "support/catch.hpp"
#include "support/returning_child.hpp"

namespace {

using iqdb::Event;
using std::chrono::nanoseconds;

}  // namespace

TEST_CASE("Each kind of event has a name of its own", "[events]") {
  std::set<std::string_view> names;
  for (const Event::Kind kind : {Event::Kind::recovered, Event::Kind::checkpoint_begun, Event::Kind::checkpoint_done,
                                 Event::Kind::checkpoint_failed, Event::Kind::freezing_failed,
                                 Event::Kind::sweep_failed, Event::Kind::slow_sync, Event::Kind::poisoned}) {
    names.insert(to_string(kind));
  }
  CHECK(names.size() == 8);
  CHECK(names.count("unknown") == 0);
  CHECK(to_string(Event::Kind::slow_sync) == "slow_sync");
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

TEST_CASE("A message that cannot be made is no failure of what the event is about and the event has no words",
          "[events]") {
  int called = 0;
  const bool told = iqdb::events::emit(
      [&](const Event& event) {
        ++called;
        CHECK(event.kind == Event::Kind::poisoned);
        CHECK(event.message.empty());
      },
      {.kind = Event::Kind::poisoned}, []() -> std::string { throw std::bad_alloc(); });
  CHECK(told);
  CHECK(called == 1);
}

TEST_CASE("Within a handler nobody is told and that is known", "[events]") {
  int inner = 0;
  bool told = true;
  const auto told_of_nothing = [&](const Event&) { ++inner; };
  const auto text = [] { return std::string("text"); };
  CHECK(iqdb::events::emit(
      [&](const Event&) { told = iqdb::events::emit(told_of_nothing, {.kind = Event::Kind::poisoned}, text); },
      {.kind = Event::Kind::slow_sync}, text));
  CHECK_FALSE(told);
  CHECK(inner == 0);
  CHECK_FALSE(iqdb::events::emit({}, {.kind = Event::Kind::poisoned}, text));
  CHECK(iqdb::events::emit(told_of_nothing, {.kind = Event::Kind::poisoned}, text));
}

TEST_CASE("In a child that a handler has forked the event throws poisoned and in the parent nothing", "[events]") {
  iqdb_test::ReturningChild child;
  const std::string outcome = child.outcomes([&] {
    iqdb::events::emit([&](const Event&) { child.fork(); }, {.kind = Event::Kind::slow_sync},
                       [] { return std::string(); });
  });
  CHECK(outcome == "ok, in the child: poisoned");
  CHECK_FALSE(iqdb::events::in_handler());
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
