// When an automatic checkpoint is due.
#include "iqdb/persist/wal/checkpoint_schedule.hpp"

#include <chrono>
#include <cstdint>
#include <stdexcept>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/stats.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::CheckpointPolicy;
using iqdb::CheckpointSchedule;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20U;
constexpr CheckpointSchedule::Clock::time_point begin_of_time = {};

CheckpointSchedule schedule_of(std::uint64_t least_log_bytes = 64 * mebibyte, seconds recovery_time = seconds(10)) {
  return CheckpointSchedule(
      CheckpointPolicy::automatic({.least_log_bytes = least_log_bytes, .recovery_time = recovery_time}));
}

bool is_due(const CheckpointSchedule& schedule, std::uint64_t log_bytes, std::uint64_t snapshot_bytes,
            CheckpointSchedule::Clock::time_point now = begin_of_time) {
  CheckpointSchedule same = schedule;
  same.snapshot_has(snapshot_bytes);
  return same.is_due(log_bytes, [now] { return now; });
}

iqdb::Stats::Checkpoint checkpoint_of(nanoseconds elapsed) { return {.elapsed = elapsed}; }

iqdb::Stats stats_of(const CheckpointSchedule& schedule) {
  iqdb::Stats stats;
  schedule.tell(stats);
  return stats;
}

}  // namespace

TEST_CASE("A checkpoint is due when the log is larger than its bound and than the snapshot", "[checkpoint_schedule]") {
  const CheckpointSchedule schedule = schedule_of();
  CHECK(is_due(schedule, 64 * mebibyte + 1, mebibyte));
  CHECK_FALSE(is_due(schedule, 64 * mebibyte, mebibyte));
  CHECK_FALSE(is_due(schedule, 64 * mebibyte + 1, 65 * mebibyte));
  CHECK(is_due(schedule, 65 * mebibyte + 1, 65 * mebibyte));
}

TEST_CASE("A checkpoint is due when a replay would take too long", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.applied(seconds(10));
  CHECK_FALSE(is_due(schedule, mebibyte, mebibyte));
  schedule.applied(nanoseconds(1));
  CHECK(is_due(schedule, mebibyte, mebibyte));
}

TEST_CASE("How long a replay takes does not count for a log of less than an eighth of the snapshot",
          "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.applied(seconds(1000));
  CHECK_FALSE(is_due(schedule, mebibyte - 1, 8 * mebibyte));
  CHECK(is_due(schedule, mebibyte, 8 * mebibyte));
}

TEST_CASE("With a manual policy no checkpoint is due", "[checkpoint_schedule]") {
  CheckpointSchedule schedule(CheckpointPolicy::manual());
  schedule.applied(seconds(1000));
  CHECK_FALSE(is_due(schedule, 1024 * mebibyte, 0));
}

TEST_CASE("While a checkpoint is under way none is due", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  CHECK_FALSE(is_due(schedule, 1024 * mebibyte, 0));
  schedule.done(checkpoint_of(seconds(0)), false, begin_of_time);
  CHECK(is_due(schedule, 1024 * mebibyte, 0));
}

TEST_CASE("The next checkpoint is due when ten times as long has passed as the last one took",
          "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.done(checkpoint_of(seconds(3)), false, begin_of_time);
  CHECK_FALSE(is_due(schedule, 1024 * mebibyte, 0, begin_of_time + seconds(30) - nanoseconds(1)));
  CHECK(is_due(schedule, 1024 * mebibyte, 0, begin_of_time + seconds(30)));
}

TEST_CASE("After a failure the next checkpoint is due when the log has doubled", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.failed(100 * mebibyte, true);
  CHECK_FALSE(is_due(schedule, 200 * mebibyte - 1, 0));
  CHECK(is_due(schedule, 200 * mebibyte, 0));
  schedule.begin();
  schedule.done(checkpoint_of(seconds(0)), false, begin_of_time);
  CHECK(is_due(schedule, 65 * mebibyte, 0));
}

TEST_CASE("After a checkpoint beside mutations those that came meanwhile are still to be replayed",
          "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.applied(seconds(5));
  schedule.begin();
  schedule.applied(seconds(2));
  schedule.done(checkpoint_of(seconds(0)), true, begin_of_time);
  CHECK(stats_of(schedule).replay_estimate == seconds(2));
}

TEST_CASE("After a checkpoint for which mutations waited nothing is to be replayed", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.applied(seconds(2));  // before they waited
  schedule.done(checkpoint_of(seconds(0)), false, begin_of_time);
  CHECK(stats_of(schedule).replay_estimate == seconds(0));
}

TEST_CASE("A failed checkpoint leaves all that is to be replayed", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.applied(seconds(5));
  schedule.begin();
  schedule.applied(seconds(2));
  schedule.failed(mebibyte, true);
  CHECK(stats_of(schedule).replay_estimate == seconds(7));
}

TEST_CASE("The clock is asked only where a bound is exceeded", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.snapshot_has(mebibyte);
  int asked = 0;
  const auto now = [&asked] {
    ++asked;
    return begin_of_time;
  };
  CHECK_FALSE(schedule.is_due(mebibyte, now));
  CHECK(asked == 0);
  CHECK(schedule.is_due(65 * mebibyte, now));
  CHECK(asked == 1);
}

TEST_CASE("Of mutations that are applied alone one in 17 is measured and counts for all", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  int asked = 0;
  const auto now = [&asked] { return begin_of_time + seconds(2 * asked++); };
  for (unsigned mutation = 1; mutation < CheckpointSchedule::sampled_one_in; ++mutation) {
    schedule.apply_one([] {}, now);
  }
  CHECK(stats_of(schedule).replay_estimate == nanoseconds(0));
  CHECK(asked == 0);
  schedule.apply_one([] {}, now);
  CHECK(stats_of(schedule).replay_estimate == seconds(2 * CheckpointSchedule::sampled_one_in));
}

TEST_CASE("Of a batch all is measured and counts for itself", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  int asked = 0;
  const auto now = [&asked] { return begin_of_time + seconds(2 * asked++); };
  for (int batch = 1; batch <= 3; ++batch) {
    schedule.apply_batch([] {}, now);
    CHECK(stats_of(schedule).replay_estimate == seconds(2 * batch));
  }
}

TEST_CASE("What an index rejects does not count as a time to replay", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  const auto now = [] { return CheckpointSchedule::Clock::now(); };
  const auto reject = [] { throw std::runtime_error("rejected"); };
  for (unsigned mutation = 0; mutation < CheckpointSchedule::sampled_one_in; ++mutation) {
    CHECK_THROWS(schedule.apply_one(reject, now));
    CHECK_THROWS(schedule.apply_batch(reject, now));
  }
  CHECK(stats_of(schedule).replay_estimate == nanoseconds(0));
}

TEST_CASE("A checkpoint that was asked for and fails does not postpone automatic ones", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.failed(100 * mebibyte, false);
  CHECK(is_due(schedule, 100 * mebibyte, 0));
  CHECK(stats_of(schedule).failed_checkpoints == 1);
}

TEST_CASE("A checkpoint that was asked for and fails leaves the postponement of one that was automatic",
          "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.failed(100 * mebibyte, true);
  schedule.begin();
  schedule.failed(100 * mebibyte, false);
  CHECK_FALSE(is_due(schedule, 200 * mebibyte - 1, 0));
}

TEST_CASE("While a thread is asked for a checkpoint none is due", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.ask();
  CHECK_FALSE(is_due(schedule, 1024 * mebibyte, 0));
  schedule.answer();
  CHECK(is_due(schedule, 1024 * mebibyte, 0));
}

TEST_CASE("Behind a save nothing is to be replayed and the size of its snapshot counts", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.snapshot_has(mebibyte);
  schedule.applied(seconds(5));
  schedule.saved(100 * mebibyte);
  const auto now = [] { return begin_of_time; };
  CHECK(stats_of(schedule).replay_estimate == nanoseconds(0));
  CHECK_FALSE(schedule.is_due(100 * mebibyte, now));
  CHECK(schedule.is_due(100 * mebibyte + 1, now));
}

TEST_CASE("Behind a checkpoint the size of its snapshot counts", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.done({.elapsed = seconds(0), .bytes = 100 * mebibyte}, false, begin_of_time);
  CHECK_FALSE(schedule.is_due(100 * mebibyte, [] { return begin_of_time; }));
}

TEST_CASE("The schedule counts what was done and what failed", "[checkpoint_schedule]") {
  CheckpointSchedule schedule = schedule_of();
  schedule.begin();
  schedule.failed(0, true);
  schedule.begin();
  schedule.done({.elapsed = seconds(3), .pause = seconds(1), .bytes = 77}, true, begin_of_time);
  const iqdb::Stats stats = stats_of(schedule);
  CHECK(stats.checkpoints == 1);
  CHECK(stats.failed_checkpoints == 1);
  CHECK(stats.last_checkpoint.elapsed == seconds(3));
  CHECK(stats.last_checkpoint.pause == seconds(1));
  CHECK(stats.last_checkpoint.bytes == 77);
}
