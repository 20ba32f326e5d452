// Up to where a log is known to be durable, and since when the rest waits.
//
// Invariant: what is appended while a sync runs is not taken for durable when it returns.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_identity.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A state machine without a file, a clock or threads. One thread at a time uses it.
class SyncState {
 public:
  using Clock = std::chrono::steady_clock;

  /// A log begins, which is durable up to its end.
  void begin_log(const LogPosition& end) noexcept {
    *this = SyncState();
    durable_ = end;
  }

  /// Something was appended at `now()`, which is called only if that matters.
  template <class Now>
  void appended(Now&& now) {
    if (!unsynced_since_) {
      unsynced_since_ = std::forward<Now>(now)();
    }
  }

  /// A failed append was undone: that is not durable either.
  void undone() noexcept { undone_ = true; }

  /// Whether a failed append was undone, and no sync has begun since.
  [[nodiscard]] bool is_undone() const noexcept { return undone_; }

  /// A sync begins, of a log that ends there. Returns false if there is nothing to sync; then none begins.
  [[nodiscard]] bool begin_sync(const LogPosition& end) noexcept {
    const bool was_undone = std::exchange(undone_, false);
    syncing_since_ = std::exchange(unsynced_since_, std::nullopt);
    target_ = end;
    if (target_.offset == durable_.offset && !was_undone) {
      syncing_since_.reset();
      return false;
    }
    return true;
  }

  /// The sync has succeeded.
  void end_sync() noexcept {
    durable_ = target_;
    syncing_since_.reset();
  }

  /// Up to there the log is known to be durable.
  [[nodiscard]] const LogPosition& durable() const noexcept { return durable_; }

  /// When the oldest of what no sync covers was appended, if there is any.
  [[nodiscard]] const std::optional<Clock::time_point>& unsynced_since() const noexcept { return unsynced_since_; }

  /// When the oldest of what is not known to be durable was appended. A sync that is under way has made nothing durable yet.
  [[nodiscard]] const std::optional<Clock::time_point>& oldest() const noexcept {
    return syncing_since_ ? syncing_since_ : unsynced_since_;
  }

 private:
  LogPosition durable_;
  LogPosition target_;                               // of the sync that is under way
  std::optional<Clock::time_point> unsynced_since_;  // the oldest that no sync covers
  std::optional<Clock::time_point> syncing_since_;   // the oldest that the running sync covers
  bool undone_ = false;                              // a failed append was undone, and no sync has followed
};

}  // namespace iqdb
