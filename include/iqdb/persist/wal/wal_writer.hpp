// Appends frames to a log, syncs them by policy, and handles failures of both.
//
// Invariants: before a frame is appended, every earlier frame stands in the log whole or not at all: the remains of a failed append
// are durably removed. A failed sync is never repeated, since the system may have dropped the pages and then report success: the
// log is poisoned, and nothing is appended to it any more. In a forked child nothing is written, and no mutex is taken.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/stats.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_events.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_poison.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/sync_state.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Appends mutations to a log and makes them durable as the policy says. One thread calls its members. With a periodic policy it
/// syncs in a thread of its own. In the child of a fork, what writes throws PersistError poisoned, and the object must not be
/// destroyed: its thread does not exist there.
template <Storage S>
class LogWriter {
 public:
  /// Uses fsync_policy, log_extent_bytes, history, on_event and slow_sync of `config`. Call go_on_with() first. Throws
  /// PersistError io if the thread cannot be started.
  explicit LogWriter(const PersistConfig& config)
      : policy_(config.fsync_policy), extent_bytes_(config.log_extent_bytes), clock_(config), events_(config) {
    if (policy_.is_periodic()) {
      try {
        flusher_ = std::thread([this] { flush_periodically(); });
      } catch (const std::system_error& error) {
        throw_persist_error(PersistErrorKind::io, "cannot start the thread that syncs the log periodically",
                            {.path = {}, .code = error.code(), .offset = {}});
      }
    }
  }
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  ~LogWriter() { stop_flusher(); }

  /// Appends to `log` from now on. Preconditions: `log` is in place, and the previous log was synced. Allocates no memory: once
  /// a new log is in place, nothing may fail that could have been done earlier.
  void go_on_with(S& storage, NewLog<S>& log) {
    const std::lock_guard one_at_a_time(sync_mutex_);
    const std::lock_guard guard(mutex_);
    log_ = log.open(storage, {.synced = policy_.is_always() ? LogSync::every_write : LogSync::now_and_then,
                              .extent_bytes = extent_bytes_});
    header_ = log.header();
    end_ = log.end();
    clock_.noted(log.last_time());
    state_.begin_log(end_);
  }

  /// Appends a frame of `mutations` mutations, whose body `write_body(writer)` writes, and syncs it if the policy says
  /// so. Returns the LSN of the first one. With a periodic policy it waits first while a mutation that is not known to
  /// be durable is older than the interval. If it throws, the log holds none of them, with one exception: after a failed
  /// sync it may. Throws PersistError io, record_too_large, poisoned; and what `write_body` throws.
  template <class WriteBody>
  std::uint64_t append(std::uint64_t mutations, WriteBody&& write_body) {
    made_in_.require_same();
    std::uint64_t first = 0;
    {
      std::unique_lock guard(mutex_);
      if (policy_.is_periodic() && mutations > 0) {
        // Otherwise a disk that syncs slowly would let any number of mutations be acknowledged and lost.
        synced_.wait(guard, [this] { return poison_.is_set() || !is_overdue(); });
      }
      require_usable();
      first = end_.next_lsn;
      if (mutations > largest_lsn - (first - 1)) {
        throw_persist_error(PersistErrorKind::record_too_large,
                            "the last mutation has the number " + std::to_string(first - 1) + " of at most " +
                                std::to_string(largest_lsn) +
                                ": no log can hold another one; save the index to another path");
      }
      try {
        append_frame(std::forward<WriteBody>(write_body), mutations);
      } catch (...) {
        const bool was_undone = state_.is_undone();
        guard.unlock();
        tell_of_poison();
        if (was_undone) {
          sync_what_was_undone();
        }
        throw;
      }
    }
    if (policy_.is_always()) {
      try {
        sync();
      } catch (...) {
        made_in_.require_same();
        const std::lock_guard guard(mutex_);
        // A load may find these mutations, but they were not acknowledged: lsn() does not count them.
        end_.next_lsn = first;
        throw;
      }
    } else if (policy_.is_periodic()) {
      wake_.notify_one();
    }
    return first;
  }

  /// Records that these mutations of the frame appended last are no part of the state: ascending ranges that do not
  /// touch. If the abort cannot be appended, the log is poisoned: a load could not tell the rejected mutations from those
  /// that the index took. `sync_now` syncs it under every policy, for a rejection that a replay would not repeat. Returns
  /// whether the abort is in the log.
  [[nodiscard]] bool abort(std::span<const LsnRange> rejected, bool sync_now) noexcept {
    try {
      std::ignore = append(0, [&](Writer& writer) { write_abort(writer, rejected); });
      if (sync_now) {
        // Without this sync a power cut could keep the mutation and lose its abort: a load would bring back what was
        // reported as rejected.
        sync();
      }
      return true;
    } catch (...) {
      poison("a rejected mutation could not be marked as such", message_of_current_exception());
      return false;
    }
  }

  /// Durably records that the snapshot with this fingerprint holds the mutations up to `lsn`. Throws PersistError io, poisoned.
  void checkpoint(const Fingerprint& snapshot, std::uint64_t lsn) {
    std::ignore = append(0, [&](Writer& writer) {
      write_checkpoint(writer, snapshot, lsn);
      clock_.note_anew();
    });
    // Under every policy: otherwise a crash could leave the new snapshot in place and a log that does not know it.
    sync();
  }

  /// Makes everything appended so far durable. Throws PersistError poisoned; and io, after which the log is poisoned.
  void sync() {
    made_in_.require_same();
    std::chrono::nanoseconds elapsed{0};
    try {
      elapsed = sync_once();
    } catch (...) {
      tell_of_poison();
      throw;
    }
    events_.tell_of_sync(elapsed);
  }

  /// Ends the log in order: sync, close frame, sync. Nothing may be appended afterwards. Throws PersistError io,
  /// poisoned.
  void close() {
    made_in_.require_same();
    stop_flusher();
    sync();
    // A close frame says that everything before it is durable, so it is written after that sync.
    try {
      log_->finish(encoded(write_close));
    } catch (...) {
      poison("the log could not be closed in order", message_of_current_exception());
      throw;
    }
  }

  /// The LSN of the last mutation appended; the base LSN if none was.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return end_.next_lsn - 1; }

  /// The header of the log.
  [[nodiscard]] const LogHeader& header() const noexcept { return header_; }

  /// Where the log ends: space ahead stands behind that.
  [[nodiscard]] const LogPosition& end() const noexcept { return end_; }

  /// When mutations were logged. Not while another thread appends.
  [[nodiscard]] const LogClock& clock() const noexcept { return clock_; }

  /// Makes every later append and sync throw poisoned, since `what` failed with `error`. The first reason stays. Does nothing
  /// in the child of a fork, where they throw poisoned in any case.
  void poison(const char* what, const char* error) noexcept {
    if (made_in_.inherited()) {
      return;
    }
    poison_quietly(what, error);
    try {
      tell_of_poison();
    } catch (...) {
      // A child that on_event has forked meets the poison of every fork next.
    }
  }

  /// Whether an earlier failure left the state of the disk unknown.
  [[nodiscard]] bool poisoned() const noexcept { return poison_.is_set(); }

  /// Whether this thread is the one of this object, which calls on_event: what destroys the object there would wait for
  /// itself.
  [[nodiscard]] bool is_own_thread() const noexcept { return flusher_.get_id() == std::this_thread::get_id(); }

  /// Fills in what it has done. Any thread may call it. Waits for a write of the log, but for no sync. Does nothing in the
  /// child of a fork.
  void tell(Stats& stats) const {
    if (made_in_.inherited()) {
      return;
    }
    const std::lock_guard guard(mutex_);
    counts_.tell(stats);
    stats.why_poisoned = poison_.why();
  }

  /// Throws PersistError poisoned if poisoned(), and in the child of a fork. Any thread may call it.
  void require_not_poisoned() const {
    made_in_.require_same();
    const std::lock_guard guard(mutex_);
    require_usable();
  }

 private:
  // Syncs unless there is nothing to sync. Returns how long it took.
  std::chrono::nanoseconds sync_once() {
    // One sync at a time: the system reports a failure once, and a second, concurrent sync could see success.
    const std::lock_guard one_at_a_time(sync_mutex_);
    {
      const std::lock_guard guard(mutex_);
      require_usable();
      // Told before the sync starts: what is appended meanwhile may not be covered.
      if (!state_.begin_sync(end_)) {
        return {};
      }
    }
    const auto began = std::chrono::steady_clock::now();
    try {
      log_->sync();
    } catch (...) {
      poison_quietly("a sync of the log failed", message_of_current_exception());
      throw;
    }
    const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - began;
    {
      const std::lock_guard guard(mutex_);
      counts_.syncs.add(elapsed);
      state_.end_sync();
    }
    synced_.notify_all();
    return elapsed;
  }

  // Called with mutex_ held, or when no other thread runs.
  void require_usable() const {
    if (poison_.is_set()) {
      throw_persist_error(PersistErrorKind::poisoned, why_unusable());
    }
  }

  // Called like require_usable().
  [[nodiscard]] std::string why_unusable() const {
    return poison_.advice(policy_, end_.next_lsn - 1, state_.durable().next_lsn - 1);
  }

  // Whether a mutation has not been durable for longer than a periodic policy allows. Called with mutex_ held.
  [[nodiscard]] bool is_overdue() const {
    return state_.oldest() && SyncState::Clock::now() - *state_.oldest() > policy_.interval();
  }

  // Encodes a frame for the end of the log, alone or `behind` the one that was encoded last; valid until the next one. Called
  // with mutex_ held, or when no other thread runs.
  template <class WriteBody>
  [[nodiscard]] std::span<const std::byte> encoded(WriteBody&& write_body, bool behind = false) {
    write_body(encoder_.begin(behind));
    return encoder_.finish(header_.log_id, end_.next_lsn, state_.durable().offset);
  }

  // Called with mutex_ held, or when no other thread runs.
  template <class WriteBody>
  void append_frame(WriteBody&& write_body, std::uint64_t mutations) {
    const std::optional<std::int64_t> time = mutations > 0 ? clock_.due(milliseconds_now) : std::nullopt;
    if (time) {
      std::ignore = encoded([&](Writer& writer) { write_time(writer, *time); });
    }
    const std::span<const std::byte> frames = encoded(std::forward<WriteBody>(write_body), time.has_value());
    try {
      log_->append(frames);
    } catch (...) {
      if (log_->usable()) {
        state_.undone();
      } else {
        poison_.set("half a record could not be removed", message_of_current_exception());
      }
      throw;
    }
    clock_.noted(time);
    end_.offset += frames.size();
    end_.next_lsn += mutations;
    counts_.bytes += frames.size();
    counts_.mutations += mutations;
    counts_.frames += mutations > 0 ? 1 : 0;
    state_.appended(SyncState::Clock::now);
  }

  // Without this sync a crash could bring back a record that was reported as failed: its removal is not durable yet. The part that
  // was never written may be zeros, as the space ahead is, and zeros may complete it. If the sync fails, the log is poisoned.
  void sync_what_was_undone() noexcept {
    try {
      sync();
    } catch (...) {  // it is poisoned now
    }
  }

  void poison_quietly(const char* what, const char* error) noexcept {
    {
      const std::lock_guard guard(mutex_);
      poison_.set(what, error);
    }
    synced_.notify_all();
  }

  // Called without a mutex, once the log may have been poisoned. Throws as LogEvents does.
  void tell_of_poison() {
    if (poison_.is_set()) {
      events_.tell_of_poison([this] {
        const std::lock_guard guard(mutex_);
        return why_unusable();
      });
    }
  }

  void flush_periodically() noexcept {
    std::unique_lock guard(mutex_);
    for (;;) {
      wake_.wait(guard, [this] { return stopping_ || (state_.unsynced_since() && !poison_.is_set()); });
      if (!stopping_) {
        // Sync after half of the interval: the sync itself may take the other half.
        wake_.wait_until(guard, *state_.unsynced_since() + policy_.interval() / 2, [this] { return stopping_; });
      }
      if (stopping_) {
        return;
      }
      guard.unlock();
      try {
        sync();
      } catch (...) {  // it is poisoned now: the next call says so
      }
      if (made_in_.inherited()) {
        std::_Exit(EXIT_FAILURE);  // a child that on_event has forked: it has no other thread
      }
      guard.lock();
    }
  }

  void stop_flusher() noexcept {
    if (flusher_.joinable()) {
      {
        const std::lock_guard guard(mutex_);
        stopping_ = true;
      }
      wake_.notify_one();
      flusher_.join();
    }
  }

  ProcessMark made_in_;
  std::mutex sync_mutex_;     // taken before mutex_
  mutable std::mutex mutex_;  // guards the members below; log_->sync() runs without it
  LogHeader header_;
  LogPosition end_;
  SyncState state_;
  FsyncPolicy policy_;
  std::size_t extent_bytes_;
  LogClock clock_;
  LogEvents events_;
  LogCounts counts_;
  std::optional<typename S::Log> log_;
  FrameEncoder encoder_;
  LogPoison poison_;

  std::condition_variable wake_;    // the thread that syncs waits for work
  std::condition_variable synced_;  // append() waits for a sync
  bool stopping_ = false;
  std::thread flusher_;
};

}  // namespace iqdb
