// The checkpoints of a SharedIndex: those that are asked for, and those that its own thread makes by itself.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/bytes/worker_thread.hpp"
#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint_schedule.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/watched_checkpoint.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Makes the checkpoints of a SharedState. Any thread may call its members, but for those that say who calls them.
template <class State>
class SharedCheckpoints {
 public:
  /// `state` must outlive this.
  explicit SharedCheckpoints(State& state) : state_(&state), config_(std::as_const(state).inner().config()) {
    config_.on_progress = [this](const Progress& progress) {
      state_->require_not_closing();
      if (!is_automatic_) {
        progress::report(std::as_const(*state_).inner().config().on_progress, progress);
      }
    };
  }
  SharedCheckpoints(const SharedCheckpoints&) = delete;
  SharedCheckpoints& operator=(const SharedCheckpoints&) = delete;
  ~SharedCheckpoints() = default;

  /// The settings of the state with another on_progress: it ends a checkpoint that is under way when the state closes, and tells
  /// the program of one that was asked for.
  [[nodiscard]] const PersistConfig& config() const noexcept { return config_; }

  /// The same settings for a copy, of which the program is told. The caller holds state.files().
  [[nodiscard]] const PersistConfig& config_of_copy() noexcept {
    is_automatic_ = false;
    return config_;
  }

  /// Makes a checkpoint now. The caller holds state.files(). Throws as SharedIndex::checkpoint does.
  SnapshotInfo make(bool is_automatic) {
    state_->require_checkpoint_possible();
    is_automatic_ = is_automatic;
    const auto with_schedule = [this](auto&& use) {
      const std::lock_guard guard(state_->mutex());
      use(state_->schedule());
    };
    return watched_checkpoint(
        config_.on_event, is_automatic, with_schedule, [this] { return state_->log_bytes(); },
        [&] { return state_->checkpoint_files(config_); });
  }

  /// Has a thread of this object make a checkpoint. Throws PersistError poisoned after end(); io if there is no thread.
  [[nodiscard]] std::future<SnapshotInfo> make_beside() {
    const auto promise = std::make_shared<std::promise<SnapshotInfo>>();
    std::future<SnapshotInfo> done = promise->get_future();
    const bool runs = run([this, promise] {
      try {
        promise->set_value(state_->checkpoint());
      } catch (...) {
        promise->set_exception(std::current_exception());
      }
    });
    if (!runs) {
      open_log::throw_closed();
    }
    return done;
  }

  /// A group was applied, which took `applying`. Returns whether begin_automatic() must follow. The caller holds
  /// state.mutex().
  [[nodiscard]] bool applied(std::chrono::nanoseconds applying) {
    if (state_->is_logged()) {
      state_->schedule().applied(applying);
    }
    const bool begins = state_->is_checkpoint_due();
    if (begins) {
      state_->schedule().ask();
    }
    return begins;
  }

  /// Has the thread of this object make the checkpoint that the schedule asks for. on_event tells of a failure. The caller holds
  /// no mutex. Throws PersistError poisoned in a child that on_event has forked.
  void begin_automatic() {
    try {
      run([this] { make_automatic(); });
    } catch (...) {
      {
        // There is no thread now. There may be one when the log has doubled.
        const std::lock_guard guard(state_->mutex());
        state_->schedule().answer();
        state_->schedule().failed(state_->log_bytes(), true);
      }
      events::emit(config_.on_event, {.kind = Event::Kind::checkpoint_failed},
                   [] { return std::string("an automatic checkpoint failed: ") + message_of_current_exception(); });
    }
  }

  /// Waits for what is under way, and makes none any more. The thread of this object must not call it.
  void end() noexcept { thread_.end(); }

 private:
  void make_automatic() noexcept {
    const ThreadInCall mark = state_->entered(false);
    try {
      const std::lock_guard one_at_a_time(state_->files());
      if (is_still_due()) {
        make(true);
      }
    } catch (...) {
      // The log goes on, or is poisoned, as after a checkpoint that was asked for.
    }
  }

  // Another checkpoint may have been made before this one had its turn.
  [[nodiscard]] bool is_still_due() {
    const std::lock_guard guard(state_->mutex());
    state_->schedule().answer();
    return state_->is_checkpoint_due();
  }

  bool run(std::function<void()> job) {
    try {
      return thread_.run(std::move(job));
    } catch (const std::system_error& error) {
      throw_persist_error(PersistErrorKind::io, "cannot start the thread that makes checkpoints",
                          {.path = config_.path, .code = error.code(), .offset = {}});
    }
  }

  State* state_;
  PersistConfig config_;       // for a checkpoint
  bool is_automatic_ = false;  // the one that is under way; under state.files()
  WorkerThread thread_;        // declared last: it ends before what it uses
};

}  // namespace iqdb
