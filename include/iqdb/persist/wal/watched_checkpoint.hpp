// A checkpoint that is counted, and that the program is told of.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint_schedule.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Makes a checkpoint: `make()` does it. Tells the schedule and `on_event`. `with_schedule(use)` calls `use(schedule)` while
/// nobody else uses the schedule; `log_bytes()` returns the size of the log. Throws what `make` throws. In a child that a
/// callback has forked, throws PersistError poisoned, or what `make` throws, and calls none of the functions any more: they may
/// take a lock.
template <class WithSchedule, class LogBytes, class Make>
SnapshotInfo watched_checkpoint(const std::function<void(const Event&)>& on_event, bool is_automatic,
                                WithSchedule&& with_schedule, LogBytes&& log_bytes, Make&& make) {
  const auto text = [is_automatic](std::string_view what) {
    return std::string(is_automatic ? "an automatic checkpoint" : "a checkpoint").append(what);
  };
  const ProcessMark here;
  with_schedule([](CheckpointSchedule& schedule) { schedule.begin(); });
  SnapshotInfo info;
  try {
    events::emit(on_event, {.kind = Event::Kind::checkpoint_begun}, [&] { return text(" begins"); });
    info = std::forward<Make>(make)();
  } catch (...) {
    if (here.inherited()) {
      throw;
    }
    with_schedule([&](CheckpointSchedule& schedule) { schedule.failed(log_bytes(), is_automatic); });
    events::emit(on_event, {.kind = Event::Kind::checkpoint_failed},
                 [&] { return text(" failed: ") + message_of_current_exception(); });
    throw;
  }
  with_schedule([&](CheckpointSchedule& schedule) {
    schedule.done({.when = std::chrono::system_clock::now(),
                   .elapsed = info.elapsed,
                   .pause = info.pause,
                   .bytes = info.file_bytes},
                  info.frozen != Freezing::by_waiting, CheckpointSchedule::Clock::now());
  });
  events::emit(
      on_event, {.kind = Event::Kind::checkpoint_done, .elapsed = info.elapsed, .bytes = info.file_bytes}, [&] {
        return text(" of ") + std::to_string(info.vectors) + " vectors was done in " +
               events::in_seconds(info.elapsed) + "; the snapshot has " + std::to_string(info.file_bytes) + " bytes";
      });
  return info;
}

}  // namespace iqdb
