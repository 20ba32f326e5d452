// When mutations were logged: the time frames of a log.
//
// Invariant: the times in a log never go back, whatever the system's clock does. Between two time frames of one writer lies
// at least a second.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The present time by the system's clock: milliseconds since 1970 UTC.
[[nodiscard]] inline std::int64_t milliseconds_now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_1970).count();
}

/// A time in milliseconds since 1970 UTC as text: "2026-11-29 10:52:24 UTC".
[[nodiscard]] IQDB_PERSIST_INLINE std::string utc_text(std::int64_t milliseconds);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE std::string utc_text(std::int64_t milliseconds) {
  const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(milliseconds)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  const auto two = [](auto number) {
    const std::string digits = std::to_string(number);
    return digits.size() < 2 ? "0" + digits : digits;
  };
  return std::to_string(static_cast<int>(date.year())) + "-" + two(static_cast<unsigned>(date.month())) + "-" +
         two(static_cast<unsigned>(date.day())) + " " + two(clock.hours().count()) + ":" +
         two(clock.minutes().count()) + ":" + two(clock.seconds().count()) + " UTC";
}

#endif  // IQDB_PERSIST_DEFINITIONS

/// Decides when a writer notes the time. One thread uses it.
class LogClock {
 public:
  /// Notes times where config.history is kept.
  explicit LogClock(const PersistConfig& config) noexcept : runs_(config.history.is_on()) {}

  /// The time to note in front of a mutation that is logged at `now()`; nothing if the time noted last still says it to the
  /// second.
  template <class Now>
  [[nodiscard]] std::optional<std::int64_t> due(Now&& now) const {
    if (!runs_) {
      return std::nullopt;
    }
    constexpr std::int64_t second = 1000;
    const std::int64_t present = now();
    if (is_due_) {
      return std::max(present, last_.value_or(present));
    }
    return !last_ || present - second >= *last_ ? std::optional(present) : std::nullopt;
  }

  /// Lets the next mutation note its time in any case. Behind a snapshot, from which a load may begin that sees no time in front of
  /// it.
  void note_anew() noexcept { is_due_ = true; }

  /// The time of the last mutation so far, to note in a new log: the time noted last, or without one that of `now()`, which is
  /// no earlier. Nothing if no times are noted.
  template <class Now>
  [[nodiscard]] std::optional<std::int64_t> so_far(Now&& now) const {
    if (!runs_) {
      return std::nullopt;
    }
    return last_ ? last_ : std::optional(now());
  }

  /// Takes what a time frame says, if there is one.
  void noted(std::optional<std::int64_t> time) noexcept {
    last_ = time ? time : last_;
    is_due_ = is_due_ && !time;
  }

 private:
  bool runs_;
  bool is_due_ = false;
  std::optional<std::int64_t> last_ = {};
};

}  // namespace iqdb
