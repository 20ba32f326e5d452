// A checkpoint that is counted and told of, whatever becomes of it.
#include "iqdb/persist/wal/watched_checkpoint.hpp"

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/wal/checkpoint_schedule.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::CheckpointSchedule;
using iqdb::Event;

// A checkpoint of nothing, and what is told of it.
struct Watched {
  CheckpointSchedule schedule{iqdb::CheckpointPolicy::automatic()};
  std::vector<Event::Kind> kinds;
  bool has_words = false;

  template <class Make>
  void make(bool is_automatic, Make&& make) {
    kinds.reserve(3);
    const auto with_schedule = [this](auto&& use) { use(schedule); };
    std::ignore = iqdb::watched_checkpoint(
        [this](const Event& event) {
          kinds.push_back(event.kind);
          has_words = has_words || !event.message.empty();
        },
        is_automatic, with_schedule, [] { return std::uint64_t{1000}; }, make);
  }

  [[nodiscard]] iqdb::Stats stats() const {
    iqdb::Stats stats;
    schedule.tell(stats);
    return stats;
  }
};

}  // namespace

TEST_CASE("A checkpoint that succeeds is told of twice and counted", "[watched_checkpoint]") {
  Watched watched;
  watched.make(true, [] { return iqdb::SnapshotInfo{.file_bytes = 77}; });
  CHECK(watched.kinds == std::vector{Event::Kind::checkpoint_begun, Event::Kind::checkpoint_done});
  CHECK(watched.has_words);
  CHECK(watched.stats().checkpoints == 1);
  CHECK(watched.stats().last_checkpoint.bytes == 77);
}

TEST_CASE("A checkpoint that fails without memory is told of without words and counted", "[watched_checkpoint]") {
  Watched watched;
  CHECK_THROWS_AS(watched.make(true,
                               []() -> iqdb::SnapshotInfo {
                                 throw std::runtime_error("to be sure that the exception needs none either");
                               }),
                  std::runtime_error);
  CHECK(watched.has_words);
  Watched poor;
  poor.kinds.reserve(3);
  CHECK_THROWS_AS(iqdb_test::refusing_allocations_from(
                      1, [&] { poor.make(true, []() -> iqdb::SnapshotInfo { throw std::bad_alloc(); }); }),
                  std::bad_alloc);
  CHECK(poor.kinds == std::vector{Event::Kind::checkpoint_begun, Event::Kind::checkpoint_failed});
  CHECK_FALSE(poor.has_words);
  CHECK(poor.stats().failed_checkpoints == 1);
}
