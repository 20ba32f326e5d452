// Appending to a log: frames, when they are synced, and what happens when that fails.
//
// Invariants: a frame stands in the log whole or not at all as far as any later frame is concerned: a failed write is
// cut back to its beginning. A failed sync is never tried again, since the system may have dropped the pages and report
// success: the log is poisoned, and nothing is appended to it any more.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/block_stream.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A log file that is whole under its temporary name, or in place: to be appended to.
template <Storage S>
class NewLog {
 public:
  /// Begins a log at `path` that continues the snapshot `base`, which holds the mutations up to `base_lsn`. Of `config`
  /// buffer_bytes and helper_threads are used.
  NewLog(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, Fingerprint base,
         std::uint64_t base_lsn, const PersistConfig& config)
      : file_(storage.replace(path, lock)),
        header_{.log_id = storage.new_log_id(), .base_lsn = base_lsn, .base = base},
        end_{.offset = log_header_bytes, .next_lsn = base_lsn + 1},
        frames_(file_, nothing_checked, buffers_in_block * config.buffer_bytes, std::min(config.helper_threads, 1U)) {
    frames_.write(bytes_of([this](Writer& writer) { write_log_header(writer, header_); }));
  }

  /// Takes over a frame of an older log, of `mutations` mutations. Its body is not summed again: what the new checksum
  /// says of it is what the old one said.
  void append(const LogFrame& frame, std::uint64_t mutations) {
    FrameHeader header = next_header(frame.body);
    header.crc32 =
        rebaser_.rebased(frame.crc32, frame.fields, checksum_of_fields(header_.log_id, header), frame.body.size());
    append(header, frame.body, mutations);
  }

  /// Appends the abort of a mutation of the frame appended last.
  void append_abort(std::uint64_t lsn) {
    append_control([lsn](Writer& writer) { write_abort(writer, lsn); });
  }

  /// Ends what was taken over from an older log.
  void append_close() { append_control(write_close); }

  /// Writes what was appended to the file, before it is put in place; nothing may be appended afterwards.
  void finish() { frames_.finish(); }

  /// The file, to be put in place.
  [[nodiscard]] typename S::Replacement& file() noexcept { return file_; }

  /// The log, once it is in place; this is then empty.
  [[nodiscard]] typename S::Log open(S& storage, LogSync synced) { return storage.open_log(std::move(file_), synced); }

  [[nodiscard]] const LogHeader& header() const noexcept { return header_; }
  [[nodiscard]] const LogPosition& end() const noexcept { return end_; }

 private:
  template <class WriteBody>
  void append_control(WriteBody&& write_body) {
    const std::vector<std::byte> body = bytes_of(std::forward<WriteBody>(write_body));
    FrameHeader header = next_header(body);
    header.crc32 = frame_checksum(header_.log_id, header, body);
    append(header, body, 0);
  }

  // But for the checksum.
  [[nodiscard]] FrameHeader next_header(std::span<const std::byte> body) const noexcept {
    // All of the file is synced before it is put in place: what stands before a frame is durable when it is read.
    return {.body_bytes = static_cast<std::uint32_t>(body.size()),
            .crc32 = 0,
            .lsn = end_.next_lsn,
            .durable = end_.offset};
  }

  void append(const FrameHeader& header, std::span<const std::byte> body, std::uint64_t mutations) {
    frames_.write(encoded(header));
    frames_.write(body);
    end_.offset += FrameHeader::bytes + body.size();
    end_.next_lsn += mutations;
  }

  static constexpr auto nothing_checked = std::numeric_limits<std::uint64_t>::max();  // frames have their own checksums

  typename S::Replacement file_;
  LogHeader header_;
  LogPosition end_;
  Crc32Rebaser rebaser_;
  // In large blocks, and by another thread: a call of the system for each frame would cost more than everything else.
  BlockStream<typename S::Replacement> frames_;
};

/// Appends mutations to a log and makes them durable as its policy says. Used by one thread; with a periodic policy
/// another one of its own syncs.
template <Storage S>
class LogWriter {
 public:
  /// Of `config` the policy and log_extent_bytes are used. Nothing may be called but go_on_with. Throws PersistError io
  /// where the thread cannot be started.
  explicit LogWriter(const PersistConfig& config)
      : extent_bytes_(config.fsync_policy.is_always() ? config.log_extent_bytes : 0), policy_(config.fsync_policy) {
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

  /// Goes on with `log`, which was put in place, instead of the one before, which was synced. Needs no memory: from the
  /// moment when a new log is in place nothing may fail that can be done earlier.
  void go_on_with(S& storage, NewLog<S>& log) {
    const std::lock_guard one_at_a_time(sync_mutex_);
    const std::lock_guard guard(mutex_);
    file_ = log.open(storage, policy_.is_always() ? LogSync::every_write : LogSync::now_and_then);
    header_ = log.header();
    end_ = log.end();
    durable_ = end_.offset;
    prepared_ = end_.offset;
    cut_unsynced_ = false;
    unsynced_since_.reset();
  }

  /// Appends a frame of `mutations` mutations whose body is what `write_body(writer)` writes, and syncs it if the
  /// policy says so; returns the number of the first one. If it throws, none is in the log, but for a sync that failed:
  /// then they may be. Throws PersistError io, record_too_large, poisoned; and what `write_body` throws.
  template <class WriteBody>
  std::uint64_t append(std::uint64_t mutations, WriteBody&& write_body) {
    std::uint64_t first = 0;
    {
      std::unique_lock guard(mutex_);
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
        const bool was_cut_back = cut_unsynced_;
        guard.unlock();
        if (was_cut_back) {
          sync_cut();
        }
        throw;
      }
    }
    if (policy_.is_always()) {
      try {
        sync();
      } catch (...) {
        // A load may find them, but nobody was told that they were taken.
        end_.next_lsn = first;
        throw;
      }
    } else if (policy_.is_periodic()) {
      wake_.notify_one();
    }
    return first;
  }

  /// Says that the index rejected the mutation `lsn`, which is of the frame appended last. If that cannot be said the
  /// log is poisoned: a load could not tell the rejected mutation from one that the index took.
  void abort(std::uint64_t lsn) noexcept {
    try {
      std::ignore = append(0, [lsn](Writer& writer) { write_abort(writer, lsn); });
    } catch (const std::exception& error) {
      poison("a rejected mutation could not be marked as such", error.what());
    }
  }

  /// Says, durably, that the snapshot with this fingerprint holds all mutations so far.
  void checkpoint(const Fingerprint& snapshot) {
    std::ignore = append(0, [&](Writer& writer) { write_checkpoint(writer, snapshot); });
    // Whatever the policy. Without it a crash could leave the new snapshot in place and a log that does not know it.
    sync();
  }

  /// Makes everything appended so far durable. Throws PersistError io, and the log is then poisoned; poisoned.
  void sync() {
    // One sync at a time: the system reports a failure once, and a second sync beside it could see success.
    const std::lock_guard one_at_a_time(sync_mutex_);
    std::uint64_t target = 0;
    {
      const std::lock_guard guard(mutex_);
      require_usable();
      // Taken before the sync starts: what is appended meanwhile may not be covered.
      target = end_.offset;
      unsynced_since_.reset();
      const bool was_cut_back = std::exchange(cut_unsynced_, false);
      if (target == durable_ && !was_cut_back) {
        return;
      }
    }
    try {
      file_->sync();
    } catch (const std::exception& error) {
      poison("a sync of the log failed", error.what());
      throw;
    }
    const std::lock_guard guard(mutex_);
    durable_ = target;
  }

  /// An orderly end: sync, close frame, sync. Nothing may be appended afterwards. Throws PersistError io, poisoned.
  void close() {
    stop_flusher();
    sync();
    const std::uint64_t begin = end_.offset;
    extent_bytes_ = 0;
    append_frame(write_close, 0);
    // No space ahead is needed any more; that it could not be given back is no harm.
    cut_off_if_possible(end_.offset);
    try {
      sync();
    } catch (...) {
      // A close frame says that all before it is durable, which it is; but it is not known whether itself is.
      cut_off_if_possible(begin);
      throw;
    }
  }

  /// The number of the last mutation appended, or of the base if there is none.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return end_.next_lsn - 1; }

  /// From now on nothing may be appended any more: `what` failed, with `error`.
  void poison(const char* what, const char* error) noexcept {
    const std::lock_guard guard(mutex_);
    poison_locked(what, error);
  }

  /// Whether an earlier failure left the state of the disk unknown.
  [[nodiscard]] bool poisoned() {
    const std::lock_guard guard(mutex_);
    return poisoned_;
  }

  /// Throws PersistError poisoned if poisoned().
  void require_not_poisoned() {
    const std::lock_guard guard(mutex_);
    require_usable();
  }

 private:
  // With mutex_ held, or alone.
  void require_usable() const {
    if (poisoned_) {
      throw_persist_error(PersistErrorKind::poisoned,
                          "nothing can be logged any more, since " + reason_ +
                              "; load the index again: it holds everything that was acknowledged");
    }
  }

  // With mutex_ held, or alone.
  template <class WriteBody>
  void append_frame(WriteBody&& write_body, std::uint64_t mutations) {
    write_body(encoder_.begin());
    const auto frame = encoder_.finish(header_.log_id, end_.next_lsn, durable_);
    const std::uint64_t begin = end_.offset;
    prepare(frame.size());
    try {
      file_->write_at(begin, frame);
    } catch (...) {
      cut_back(begin);
      throw;
    }
    end_.offset += frame.size();
    end_.next_lsn += mutations;
    if (!unsynced_since_) {
      unsynced_since_ = std::chrono::steady_clock::now();
    }
  }

  void cut_off_if_possible(std::uint64_t end) noexcept {
    try {
      file_->truncate(end);
    } catch (const std::exception&) {
    }
  }

  void cut_back(std::uint64_t begin) noexcept {
    try {
      file_->truncate(begin);
      prepared_ = begin;
      cut_unsynced_ = true;
    } catch (const std::exception& error) {
      poison_locked("half a record could not be removed", error.what());
    }
  }

  // Without it a crash could undo the cut, and bring back a record that was reported as failed: what was not written of
  // it may be zeros, as the space ahead is, and then it is whole. If it fails the log is poisoned.
  void sync_cut() noexcept {
    try {
      sync();
    } catch (const std::exception&) {
    }
  }

  // With mutex_ held, or alone.
  void poison_locked(const char* what, const char* error) noexcept {
    if (std::exchange(poisoned_, true)) {
      return;  // the first reason stays
    }
    try {
      reason_ = std::string(what) + " (" + error + ")";
    } catch (const std::exception&) {
      reason_.clear();  // out of memory: poisoned all the same
    }
  }

  // Writes zeros ahead, so that a sync has to make bytes durable and not the size of the file as well: on a file system
  // with a journal that is one flush of the device instead of two. A log takes as much space again as it has bytes, up
  // to a limit: a small one must not take a large file.
  void prepare(std::uint64_t frame_bytes) noexcept {
    const std::uint64_t needed = end_.offset + frame_bytes;
    // A frame that fills much of an extent would have most of its bytes written twice, which costs more than the flush.
    constexpr std::uint64_t frames_in_extent = 4;
    if (needed <= prepared_ || frame_bytes > extent_bytes_ / frames_in_extent) {
      return;
    }
    constexpr std::uint64_t smallest = std::uint64_t{16} * 1024;
    const std::uint64_t extent =
        std::clamp<std::uint64_t>(needed, std::min<std::uint64_t>(smallest, extent_bytes_), extent_bytes_);
    try {
      // Behind the frame, which fills the space before that itself.
      file_->write_zeros(needed, extent);
      prepared_ = needed + extent;
    } catch (const std::exception&) {
      // Only a convenience: the frame will say whether the disk is full.
    }
  }

  void flush_periodically() noexcept {
    std::unique_lock guard(mutex_);
    for (;;) {
      wake_.wait(guard, [this] { return stopping_ || (unsynced_since_ && !poisoned_); });
      if (stopping_) {
        return;
      }
      // At half of the interval: the sync itself has the other half.
      const auto due = *unsynced_since_ + policy_.interval() / 2;
      wake_.wait_until(guard, due, [this] { return stopping_; });
      if (stopping_) {
        return;
      }
      guard.unlock();
      try {
        sync();
      } catch (const std::exception&) {
        // It is poisoned now: the next call says so.
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

  std::mutex sync_mutex_;  // taken before mutex_
  std::mutex mutex_;       // guards what is below, but for the file's sync
  LogHeader header_;
  LogPosition end_;
  std::uint64_t durable_ = 0;   // up to this offset the file is known to be on stable storage
  std::uint64_t prepared_ = 0;  // up to this offset it holds frames or zeros
  std::size_t extent_bytes_;    // how many zeros are written ahead at most
  FsyncPolicy policy_;
  std::optional<typename S::Log> file_;
  FrameEncoder encoder_;
  bool cut_unsynced_ = false;  // the file was cut back since the last sync
  bool poisoned_ = false;
  std::string reason_;

  std::condition_variable wake_;
  bool stopping_ = false;
  std::optional<std::chrono::steady_clock::time_point> unsynced_since_;
  std::thread flusher_;
};

}  // namespace iqdb
