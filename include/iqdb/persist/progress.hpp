// Reports the progress of a call to PersistConfig::on_progress.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace progress {

// Calls `callback`, which may be empty. Throws what it throws, and PersistError poisoned in a child that it has forked.
inline void report(const std::function<void(const Progress&)>& callback, const Progress& progress) {
  if (callback) {
    const ProcessMark here;
    callback(progress);
    here.require_same();
  }
}

}  // namespace progress

/// Counts the bytes of one phase and reports them in steps of 16 MiB.
class ProgressMeter {
 public:
  static constexpr std::uint64_t step = std::uint64_t{16} * 1024 * 1024;

  /// `callback` may be empty, and must outlive this object. `total` is 0 if it is unknown.
  ProgressMeter(const std::function<void(const Progress&)>& callback, Progress::Phase phase, std::uint64_t total)
      : callback_(&callback), progress_{.phase = phase, .done = 0, .total = total} {}

  /// Adds `bytes`. Throws what the callback throws.
  void advance(std::uint64_t bytes) {
    progress_.done += bytes;
    if (progress_.done - reported_ >= step) {
      report();
    }
  }

  /// Reports the end of the phase, with a known total set to the bytes that are done. Throws what the callback throws.
  void finish() {
    if (progress_.total > 0) {
      progress_.total = progress_.done;
    }
    report();
  }

  /// Whether the callback has thrown: that cancels the call whose progress this is.
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }

 private:
  void report() {
    reported_ = progress_.done;
    cancelled_ = true;
    progress::report(*callback_, progress_);
    cancelled_ = false;
  }

  const std::function<void(const Progress&)>* callback_;
  Progress progress_;
  std::uint64_t reported_ = 0;
  bool cancelled_ = false;
};

}  // namespace iqdb
