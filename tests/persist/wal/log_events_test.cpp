// What a log tells the program of.
#include "iqdb/persist/wal/log_events.hpp"

#include <chrono>
#include <string>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/events.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::Event;
using iqdb::LogEvents;
using iqdb::PersistConfig;

std::string no_words() { return {}; }

}  // namespace

TEST_CASE("Poison that is met within a handler is told of by who meets it next", "[log_events]") {
  int told = 0;
  PersistConfig config;
  config.on_event = [&](const Event&) { ++told; };
  LogEvents events(config);
  iqdb::events::emit([&](const Event&) { events.tell_of_poison(no_words); }, {.kind = Event::Kind::slow_sync},
                     no_words);
  CHECK(told == 0);
  events.tell_of_poison(no_words);
  events.tell_of_poison(no_words);
  CHECK(told == 1);
}

TEST_CASE("A sync is slow when it takes longer than the setting", "[log_events]") {
  int told = 0;
  PersistConfig config;
  config.slow_sync = std::chrono::milliseconds(5);
  config.on_event = [&](const Event& event) {
    ++told;
    CHECK(event.elapsed == std::chrono::nanoseconds(5'000'001));
  };
  const LogEvents events(config);
  events.tell_of_sync(std::chrono::nanoseconds(5'000'000));
  CHECK(told == 0);
  events.tell_of_sync(std::chrono::nanoseconds(5'000'001));
  CHECK(told == 1);
}
