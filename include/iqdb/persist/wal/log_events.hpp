// What a log counts, and what it tells the program of.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What was done to a log, and to those before it.
struct LogCounts {
  std::uint64_t mutations = 0;  ///< that were appended
  std::uint64_t frames = 0;     ///< of mutations
  std::uint64_t bytes = 0;      ///< that were appended
  DurationCounts syncs = {};

  /// Fills in what is known here.
  void tell(Stats& stats) const {
    stats.mutations = mutations;
    stats.groups = frames;
    stats.logged_bytes = bytes;
    stats.syncs = syncs;
  }
};

/// Tells PersistConfig::on_event of a log. Any thread may call its members, but none that holds a mutex: the program does
/// what it likes. They throw PersistError poisoned in a child that on_event has forked.
class LogEvents {
 public:
  explicit LogEvents(const PersistConfig& config) : on_event_(config.on_event), slow_sync_(config.slow_sync) {}

  /// Tells of a sync, if it was slow.
  void tell_of_sync(std::chrono::nanoseconds elapsed) const {
    if (elapsed > slow_sync_) {
      events::emit(on_event_, {.kind = Event::Kind::slow_sync, .elapsed = elapsed}, [&] {
        return "a sync of the log took " + events::in_seconds(elapsed) + ", longer than PersistConfig::slow_sync, " +
               events::in_seconds(slow_sync_);
      });
    }
  }

  /// Tells what `message()` returns, the first time that there is somebody to tell.
  template <class Message>
  void tell_of_poison(Message&& message) {
    if (!told_of_poison_.exchange(true)) {
      // A thread that is in a handler is not heard: the next one that meets the poison tells of it.
      told_of_poison_ = events::emit(on_event_, {.kind = Event::Kind::poisoned}, std::forward<Message>(message));
    }
  }

 private:
  std::function<void(const Event&)> on_event_;
  std::chrono::nanoseconds slow_sync_;
  std::atomic<bool> told_of_poison_ = false;
};

}  // namespace iqdb
