// A log on an object store that is open for writing, and what is on its way into it.
//
// Invariants: one put is in flight, whichever thread makes it. What was appended is put in its order. A snapshot is published
// behind everything that was appended before, and behind the list of the older states that it keeps. A close is put only where the
// last frame in front of it is settled: by a writer that has loaded the index, or behind another close.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_sweep.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What the holder of a log has of it. append() may be called beside the other members; of these, several threads may call each.
template <ObjectStore S>
class HeldObjectLog {
 public:
  /// Opens the log of the index `name` for writing. Throws as open_object_log() does.
  HeldObjectLog(const S& store, std::string name, bool take_over, ObjectLogOptions options)
      : store_(std::make_unique<S>(store)), name_(std::move(name)), options_(std::move(options)) {
    OpenedObjectLog<S> opened = open_object_log(*store_, name_, take_over, options_);
    const std::vector<LogObject>& objects = opened.run.objects;
    const ObjectLogPosition& own = opened.writer.position();
    fence_ = own.fence;
    known_.first = objects.empty() ? own.fence : objects.front().header.number;
    for (const LogObject& object : objects) {
      takes_note(object.header.kind, object.header.number);
    }
    takes_note(LogObjectKind::fence, own.fence);
    put_.push_back({.number = own.fence, .base_lsn = own.next_lsn - 1});
    last_ = opened.run.last_checkpoint();
    is_settled_ = objects.empty() || opened.run.is_closed();
    opened_ = std::move(opened.run);
    writer_.emplace(std::move(opened.writer));
  }

  HeldObjectLog(const HeldObjectLog&) = delete;
  HeldObjectLog& operator=(const HeldObjectLog&) = delete;
  ~HeldObjectLog() = default;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const ObjectLogOptions& options() const noexcept { return options_; }

  /// The number of the fence with which it was opened.
  [[nodiscard]] std::uint64_t fence() const noexcept { return fence_; }

  /// Whether this process is a fork of the one that opened it.
  [[nodiscard]] bool inherited() const noexcept { return made_in_.inherited(); }

  /// Whether something can be written.
  [[nodiscard]] bool usable() const {
    const std::lock_guard one_put(put_mutex_);
    return is_whole_ && writer_->usable();
  }

  /// The number of the last mutation that was put.
  [[nodiscard]] std::uint64_t last_lsn() const {
    const std::lock_guard one_put(put_mutex_);
    return writer_->position().next_lsn - 1;
  }

  /// The log as it was when it was opened, once; later as the store has it. Throws PersistError as read_object_run() does.
  [[nodiscard]] ObjectRun run() {
    const std::lock_guard one_put(put_mutex_);
    if (opened_) {
      return std::move(*std::exchange(opened_, std::nullopt));
    }
    return read_object_run(*store_, name_, options_);
  }

  /// The snapshot that a load begins with; nothing if none was published.
  [[nodiscard]] std::optional<PublishedSnapshot> snapshot() const {
    const std::lock_guard one_put(put_mutex_);
    return last_ ? std::optional(last_->snapshot) : std::nullopt;
  }

  /// What it knows of the log without asking.
  [[nodiscard]] KnownObjects known_objects() const {
    const std::lock_guard one_put(put_mutex_);
    KnownObjects known = known_;
    known.next = writer_->position().next_number;
    return known;
  }

  /// Takes note of fences that a sweep has met.
  void learn_fences(const std::vector<std::uint64_t>& fences) {
    const std::lock_guard one_put(put_mutex_);
    for (const std::uint64_t fence : fences) {
      if (!known_.has(fence)) {
        known_.fences.push_back(fence);
      }
    }
    std::ranges::sort(known_.fences);
  }

  /// Says which older states the snapshots that follow keep. None: those that the one before keeps.
  void keep_history(const HistoryPolicy& policy) {
    const std::lock_guard one_put(put_mutex_);
    policy_ = policy;
  }

  /// Takes frames, to be put with those that follow. A checkpoint frame is not put, but says what publish() publishes. Throws
  /// std::bad_alloc; and what flush() throws if much is waiting.
  void append(std::span<const std::byte> frames) {
    std::size_t waiting = 0;
    {
      const std::lock_guard guard(waiting_mutex_);
      const auto body = last_body(frames);
      if (static_cast<FrameOp>(body.front()) == FrameOp::checkpoint) {
        const FrameBody checkpoint(body, log_version);
        announced_ = {
            .key = {}, .fingerprint = checkpoint.fingerprint(), .lsn = checkpoint.checkpoint_lsn().value_or(0)};
        return;
      }
      waiting_.insert(waiting_.end(), frames.begin(), frames.end());
      waiting = waiting_.size();
    }
    // Else a log that is never synced would fill the memory.
    if (waiting >= most_waiting_bytes) {
      flush();
    }
  }

  /// Puts what was appended as one object. It is durable when this returns. Throws PersistError as ObjectLogWriter::append() does;
  /// nothing can be written afterwards.
  void flush() {
    const std::lock_guard one_put(put_mutex_);
    flush_held();
  }

  /// Puts a fence behind what was appended: who follows the log loads the index anew at the checkpoint that is published next. Throws
  /// as flush() does.
  void begin_anew() {
    const std::lock_guard one_put(put_mutex_);
    flush_held();
    const PutObject own{.number = writer_->position().next_number, .base_lsn = writer_->position().next_lsn - 1};
    // Behind the fence nothing may fail.
    put_.reserve(put_.size() + 1);
    known_.fences.reserve(known_.fences.size() + 1);
    writer_->fence();
    put_.push_back(own);
    takes_note(LogObjectKind::fence, own.number);
  }

  /// Publishes the snapshot under `key`: as the last checkpoint frame says if that one speaks of it, else as one that holds every
  /// mutation of the log. Does nothing for one that holds less than the one before: no load would begin with it. Throws PersistError
  /// as ObjectLogWriter::publish() does; log_corrupted if the list of older states is damaged.
  void publish(const std::string& key, const Fingerprint& fingerprint) {
    const std::lock_guard one_put(put_mutex_);
    flush_held();
    LogCheckpoint next{.number = writer_->position().next_number,
                       .begin = writer_->position().next_number,
                       .snapshot = {.key = key, .fingerprint = fingerprint, .lsn = writer_->position().next_lsn - 1}};
    {
      const std::lock_guard guard(waiting_mutex_);
      if (announced_ && announced_->fingerprint == fingerprint) {
        next.snapshot.lsn = announced_->lsn;
      }
      announced_.reset();
    }
    if (last_ && next.snapshot.lsn < last_->snapshot.lsn) {
      return;
    }
    const PutObject own{.number = next.number, .base_lsn = writer_->position().next_lsn - 1};
    std::size_t needless = put_.size();  // for a load from the snapshot
    if (own.base_lsn > next.snapshot.lsn) {
      // A load needs what was put from the last object on in front of which the snapshot ends.
      const auto behind = std::ranges::upper_bound(put_, next.snapshot.lsn, {}, &PutObject::base_lsn);
      needless = static_cast<std::size_t>(behind - put_.begin()) - 1;
      next.begin = put_[needless].number;
    }
    ObjectHistory history;
    if (const auto list = object_history_key(name_, key)) {
      history = history_of(next.snapshot);
      // Before the checkpoint: whoever reads that must find the list.
      const ObjectBytes bytes = encode_object_history(history);
      asked_again(options_, [&] { store_->put(*list, bytes); });
    }
    // Behind the publication nothing may fail.
    put_.reserve(put_.size() + 1);
    known_.checkpoints.reserve(known_.checkpoints.size() + 1);
    writer_->publish(next.snapshot);
    put_.erase(put_.begin(), put_.begin() + static_cast<std::ptrdiff_t>(needless));
    put_.push_back(own);
    known_.checkpoints.push_back(next.number);
    history_ = std::move(history);
    last_ = std::move(next);
    is_settled_ = true;
  }

  /// Closes the log if it was closed, or a snapshot was published, and nothing was appended since. Else somebody has to take it
  /// over, and says what its last frame comes to. Throws PersistError as close() does.
  void give_up() {
    const std::lock_guard one_put(put_mutex_);
    if (is_settled_ && is_whole_ && writer_->usable()) {
      writer_->close();
    }
  }

  /// Ends the log: who opens it next need not take it over. Throws PersistError as ObjectLogWriter::close() does.
  void close() {
    const std::lock_guard one_put(put_mutex_);
    flush_held();
    writer_->close();
  }

 private:
  // An object that was put.
  struct PutObject {
    std::uint64_t number = 0;
    std::uint64_t base_lsn = 0;
  };

  static constexpr std::size_t most_waiting_bytes = std::size_t{1} << 20U;

  // The body of the first of these frames, and how many bytes it has with its header.
  static std::span<const std::byte> first_body(std::span<const std::byte> frames) {
    const FrameHeader header = read_frame_header(frames.first<FrameHeader::bytes>());
    return frames.subspan(FrameHeader::bytes, header.body_bytes);
  }

  static std::span<const std::byte> last_body(std::span<const std::byte> frames) {
    for (;;) {
      const auto body = first_body(frames);
      frames = frames.subspan(FrameHeader::bytes + body.size());
      if (frames.empty()) {
        return body;
      }
    }
  }

  // Throws PersistError invalid_payload unless the first of these frames goes on with the numbers of the log.
  void require_next(std::span<const std::byte> frames) const {
    const std::uint64_t lsn = read_frame_header(frames.first<FrameHeader::bytes>()).lsn;
    const std::uint64_t next = writer_->position().next_lsn;
    if (lsn != next) {
      throw_persist_error(PersistErrorKind::invalid_payload,
                          "nothing was written to the log: the next mutation was given the number " +
                              std::to_string(lsn) + ", but the log goes on with " + std::to_string(next) +
                              "; this is a defect of the library: report it, and load the index again");
    }
  }

  void takes_note(LogObjectKind kind, std::uint64_t number) {
    if (kind == LogObjectKind::fence) {
      known_.fences.push_back(number);
    } else if (kind == LogObjectKind::checkpoint) {
      known_.checkpoints.push_back(number);
    }
  }

  // The older states that the snapshot `next` keeps. Called with put_mutex_ held.
  [[nodiscard]] ObjectHistory history_of(const PublishedSnapshot& next) {
    if (!last_) {
      return {.policy = policy_};
    }
    if (!history_) {
      history_ = read_object_history(*store_, name_, last_->snapshot.key, options_).value_or(ObjectHistory());
    }
    // Many snapshots of what has not changed would push out the older states.
    const bool is_same = last_->snapshot.fingerprint == next.fingerprint && last_->snapshot.lsn == next.lsn;
    return history_behind(*history_, is_same ? std::nullopt : last_, policy_, milliseconds_now());
  }

  // Called with put_mutex_ held.
  void flush_held() {
    if (!is_whole_) {
      throw_persist_error(PersistErrorKind::poisoned,
                          "nothing can be written to " + log_objects::log_words(name_) +
                              " any more: what was appended last could not be written; open it "
                              "again");
    }
    is_whole_ = false;  // until what is taken is in the log: behind what is missing nothing may follow
    std::vector<std::byte> frames;
    {
      const std::lock_guard guard(waiting_mutex_);
      frames.swap(waiting_);
    }
    if (!frames.empty()) {
      is_settled_ = false;
      std::vector<std::span<const std::byte>> bodies;
      for (std::span<const std::byte> rest = frames; !rest.empty();) {
        bodies.push_back(first_body(rest));
        rest = rest.subspan(FrameHeader::bytes + bodies.back().size());
      }
      require_next(frames);
      put_.push_back({.number = writer_->position().next_number, .base_lsn = writer_->position().next_lsn - 1});
      writer_->append(bodies);
    }
    is_whole_ = true;
  }

  mutable std::mutex put_mutex_;  // one put is in flight. Taken before waiting_mutex_
  std::unique_ptr<S> store_;
  std::string name_;
  ObjectLogOptions options_;
  std::optional<ObjectRun> opened_;
  std::optional<ObjectLogWriter<S>> writer_;
  std::uint64_t fence_ = 0;
  std::optional<LogCheckpoint> last_;     // the one with which a load begins
  std::optional<ObjectHistory> history_;  // of the last one; nothing before it is needed
  HistoryPolicy policy_ = HistoryPolicy::none();
  std::vector<PutObject> put_;  // by it, from where a load from the last checkpoint begins on
  KnownObjects known_;          // but for the end
  bool is_settled_ = false;     // and nothing was appended since
  bool is_whole_ = true;

  std::mutex waiting_mutex_;
  std::vector<std::byte> waiting_;              // frames
  std::optional<PublishedSnapshot> announced_;  // by a checkpoint frame

  ProcessMark made_in_;
};

}  // namespace iqdb
