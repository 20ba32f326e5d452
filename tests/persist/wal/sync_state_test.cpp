// Up to where a log is known to be durable, and since when the rest waits.
#include "iqdb/persist/wal/sync_state.hpp"

#include <chrono>
#include <cstdint>

#include "iqdb/persist/wal/log_identity.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::LogPosition;
using iqdb::SyncState;

LogPosition at(std::uint64_t offset) { return {.offset = offset, .next_lsn = offset / 10}; }

auto time_of(int second) {
  return [second] { return SyncState::Clock::time_point(std::chrono::seconds(second)); };
}

SyncState begun_at(std::uint64_t offset) {
  SyncState state;
  state.begin_log(at(offset));
  return state;
}

}  // namespace

TEST_CASE("Of a log that begins everything is durable and there is nothing to sync", "[sync_state]") {
  SyncState state = begun_at(100);
  CHECK(state.durable() == at(100));
  CHECK_FALSE(state.begin_sync(at(100)));
  CHECK_FALSE(state.oldest());
}

TEST_CASE("A sync makes durable what was appended before it began", "[sync_state]") {
  SyncState state = begun_at(100);
  state.appended(time_of(1));
  REQUIRE(state.begin_sync(at(200)));
  state.appended(time_of(2));
  CHECK(state.durable() == at(100));
  CHECK(state.oldest() == time_of(1)());
  CHECK(state.unsynced_since() == time_of(2)());
  state.end_sync();
  CHECK(state.durable() == at(200));
  CHECK(state.oldest() == time_of(2)());
}

TEST_CASE("The oldest of what no sync covers counts", "[sync_state]") {
  SyncState state = begun_at(100);
  state.appended(time_of(1));
  bool asked = false;
  state.appended([&] {
    asked = true;
    return time_of(2)();
  });
  CHECK(state.oldest() == time_of(1)());
  CHECK_FALSE(asked);
}

TEST_CASE("What was undone is synced although the log ends where it did", "[sync_state]") {
  SyncState state = begun_at(100);
  state.undone();
  CHECK(state.is_undone());
  CHECK(state.begin_sync(at(100)));
  CHECK_FALSE(state.is_undone());
  state.end_sync();
  CHECK_FALSE(state.begin_sync(at(100)));
}
