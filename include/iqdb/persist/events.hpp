// What a program is told of an index as it happens. What it can ask for is in stats.hpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Something that a program would write to its own log. The library itself prints nothing.
struct Event {
  /// What happened.
  enum class Kind : std::uint8_t {
    recovered,          ///< a load replayed mutations, or dropped bytes; `elapsed` is how long that took
    checkpoint_begun,   ///< one that was asked for, or an automatic one
    checkpoint_done,    ///< `bytes` is the size of the snapshot
    checkpoint_failed,  ///< nothing is lost, but the log grows; an automatic one is tried again when it has doubled
    freezing_failed,    ///< the index could not be held still beside mutations: they wait for this checkpoint
    sweep_failed,       ///< older states that the history does not keep any more could not be removed
    slow_sync,          ///< a sync of the log took longer than PersistConfig::slow_sync
    poisoned,           ///< nothing can be logged any more
  };
  Kind kind;                            ///< what happened
  std::string_view message = {};        ///< what happened, in words; valid during the call; empty without memory for it
  std::chrono::nanoseconds elapsed{0};  ///< how long it took, if it is something that takes time
  std::uint64_t bytes = 0;              ///< how many bytes it was about, if any
};

/// The name of a kind of event, as "checkpoint_done".
[[nodiscard]] constexpr std::string_view to_string(Event::Kind kind) noexcept {
  switch (kind) {
    case Event::Kind::recovered:
      return "recovered";
    case Event::Kind::checkpoint_begun:
      return "checkpoint_begun";
    case Event::Kind::checkpoint_done:
      return "checkpoint_done";
    case Event::Kind::checkpoint_failed:
      return "checkpoint_failed";
    case Event::Kind::freezing_failed:
      return "freezing_failed";
    case Event::Kind::sweep_failed:
      return "sweep_failed";
    case Event::Kind::slow_sync:
      return "slow_sync";
    case Event::Kind::poisoned:
      return "poisoned";
  }
  return "unknown";
}

namespace events {

// Whether the thread is in a handler of events.
inline bool& in_handler() noexcept {
  thread_local bool now = false;
  return now;
}

// Calls `on_event` with `event` and the text that `message()` returns, or with no text if that throws. Returns whether there
// was somebody to call: no handler is called within a handler. What a handler throws must not become a failure of what the
// event is about. In a child that the handler has forked, throws PersistError poisoned: there nothing may go on.
template <class Message>
bool emit(const std::function<void(const Event&)>& on_event, Event event, Message&& message) {
  if (!on_event || in_handler()) {
    return false;
  }
  std::string text;
  try {
    text = std::forward<Message>(message)();
  } catch (...) {
    // Without memory for the words the kind has to do.
  }
  event.message = text;
  const ProcessMark here;
  in_handler() = true;
  try {
    on_event(event);
  } catch (...) {
    // The handler's own failure is nobody else's.
  }
  in_handler() = false;
  here.require_same();
  return true;
}

// "1.234 s", for a message.
inline std::string in_seconds(std::chrono::nanoseconds elapsed) {
  const std::string milliseconds =
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count());
  const std::string digits =
      milliseconds.size() < 4 ? std::string(4 - milliseconds.size(), '0') + milliseconds : milliseconds;
  return digits.substr(0, digits.size() - 3) + "." + digits.substr(digits.size() - 3) + " s";
}

}  // namespace events

}  // namespace iqdb
