// The writer of a log on an object store, and how one is opened.
//
// Invariants: one put is in flight. A number is never tried with other bytes: who does not know what became of a put writes
// nothing more. Nothing is acknowledged by a writer behind whose fence another one stands. Nothing but a fence is put at a number
// that the writer has not reached object by object, from its own fence on.
//
// So the numbers from a fence on are its writer's, up to the next fence, which is the only place where it can learn that it has
// been displaced. Why:
//
// - Two puts in flight: the second is stored, the first is not, its writer dies. Behind a gap, everything is lost; or both of two
//   writers are told success for numbers on either side of the new fence.
// - The writer gives up on a number and goes on: what it reported as failed is stored later, in front of, or in place of, what it
//   acknowledges then.
// - The opener lists, and falls asleep. Others go on and sweep the number behind its listing. It wakes, and its fence is stored at
//   that number, in front of a log that goes on without noticing. So it lists again behind its fence, and begins anew if anything
//   is there.
// - A fence is swept. A writer that slept since it was displaced wakes, and puts its next object just there: "stored".
// - The condition of opening is part of what is begun anew: the log that was closed when an opener looked may have a writer by the
//   time it has lost the race for the fence.
// - The store ignores the condition of a put: each of two writers overwrites what the other has acknowledged. So the fence is put
//   twice, and the second put must find it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where a writer stands in its log.
struct ObjectLogPosition {
  std::uint64_t fence = 0;        ///< the number of its last fence
  std::uint64_t next_number = 0;  ///< of the next object
  std::uint64_t next_lsn = 1;     ///< of the next mutation
  std::uint64_t history_id = 0;   ///< of the log

  friend bool operator==(const ObjectLogPosition&, const ObjectLogPosition&) = default;
};

/// Writes to the log of an index. One thread uses it at a time. Each call returns when what it wrote is durable.
///
/// If a call throws, and usable() is then true, it wrote nothing. Else what it wrote may be in the log, now or later, and nothing
/// more can be written: the log is opened again. `fenced` says that another one has opened it meanwhile.
template <ObjectStore S>
class ObjectLogWriter {
 public:
  /// Writes to the log of the index `name` from `position` on. The fence that it names must stand in the log, and be one's own:
  /// open_object_log() sees to that. `store` must outlive this.
  ObjectLogWriter(S& store, std::string name, const ObjectLogPosition& position, ObjectLogOptions options)
      : store_(&store), name_(std::move(name)), position_(position), options_(std::move(options)) {}

  /// Where it stands.
  [[nodiscard]] const ObjectLogPosition& position() const noexcept { return position_; }

  /// Whether it can write. False after close(), and once a call has failed of which it is not known what it wrote.
  [[nodiscard]] bool usable() const noexcept { return state_ == State::open; }

  /// Appends frames with these bodies as one object, and returns the numbers of their mutations; of control frames alone a range
  /// without any. There is at least one body; none is a checkpoint or a close. Throws PersistError record_too_large if a
  /// body is too large or no number is left, and what is wrong with a body that is none: then nothing was written. Throws fenced,
  /// io, and what the store throws: see above; poisoned unless usable(), and in
  /// the child of a fork.
  LsnRange append(std::span<const std::span<const std::byte>> bodies) {
    const std::uint64_t first = position_.next_lsn;
    const std::uint64_t mutations = mutations_in(bodies);
    if (mutations > largest_lsn - (first - 1)) {
      throw_persist_error(PersistErrorKind::record_too_large,
                          "no number is left for a mutation of this log; save the index under another name");
    }
    put(LogObjectKind::frames, [&](const LogObjectHeader& header) { return encode_log_object(header, bodies); });
    position_.next_lsn += mutations;
    return {.first = first, .last = first + mutations - 1};
  }

  /// Publishes a snapshot, which is in the store under its key, durably: from now on a load begins with it. Throws as append();
  /// also PersistError invalid_config for a key that is not valid, or if the log does not have its last mutation.
  void publish(const PublishedSnapshot& snapshot) {
    require_object_key(snapshot.key);
    if (snapshot.lsn >= position_.next_lsn) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the snapshot " + printable(snapshot.key, log_objects::largest_printed_key) +
                              " cannot be published: it holds mutations up to " + std::to_string(snapshot.lsn) +
                              ", but the next one of the log is " + std::to_string(position_.next_lsn) +
                              "; publish it in the log that it was made of");
    }
    put(LogObjectKind::checkpoint,
        [&](const LogObjectHeader& header) { return encode_log_checkpoint(header, snapshot); });
  }

  /// Puts a fence of its own: who follows the log loads the index anew at a checkpoint that is put next. Throws as append().
  void fence() {
    put(LogObjectKind::fence, [](const LogObjectHeader& header) { return encode_log_object(header, {}); });
    position_.fence = position_.next_number - 1;
  }

  /// Ends the log: who opens it next need not take it over. Throws as append(). Nothing can be written afterwards.
  void close() {
    put(LogObjectKind::close, [](const LogObjectHeader& header) { return encode_log_close(header); });
    state_ = State::closed;
  }

 private:
  enum class State : std::uint8_t { open, closed, in_doubt, fenced };

  // How many mutations a group holds.
  static std::uint64_t mutations_in(std::span<const std::span<const std::byte>> bodies) {
    std::uint64_t mutations = 0;
    bool is_group = !bodies.empty();
    for (const std::span<const std::byte> body : bodies) {
      const FrameBody decoded(body, log_version);
      is_group = is_group && decoded.op() != FrameOp::checkpoint && decoded.op() != FrameOp::close;
      mutations += decoded.mutations();
    }
    if (!is_group) {
      throw_persist_error(
          PersistErrorKind::invalid_payload,
          "cannot append this to a log: a group has one frame or more, and none that publishes a snapshot or "
          "closes the log; use publish() or close() for that");
    }
    return mutations;
  }

  [[nodiscard]] std::string key_of(std::uint64_t number) const { return log_object_key(name_, number); }

  [[nodiscard]] std::string words() const { return log_objects::log_words(name_); }

  template <class Encode>
  void put(LogObjectKind kind, Encode&& encode) {
    made_in_.require_same();
    require_usable();
    const LogObjectHeader header{.nonce = options_.nonce(),
                                 .number = position_.next_number,
                                 .base_lsn = position_.next_lsn - 1,
                                 .fence = kind == LogObjectKind::fence ? position_.next_number : position_.fence,
                                 .history_id = position_.history_id,
                                 .kind = kind};
    const ObjectBytes bytes = encode(header);
    // From the first request on, whatever is thrown leaves open what is in the log.
    state_ = State::in_doubt;
    if (settle_put(*store_, key_of(header.number), header.number, bytes, options_) == ObjectOwner::other) {
      state_ = State::fenced;
      throw_persist_error(
          PersistErrorKind::fenced,
          "another writer has taken over " + words() + " at number " + std::to_string(header.number) +
              ", and has everything that was acknowledged here; end this object. What was to be written "
              "now is not acknowledged: where a request was repeated, it may have been stored all the "
              "same, so read the index before you do it again");
    }
    state_ = State::open;
    ++position_.next_number;
  }

  void require_usable() const {
    if (state_ == State::open) {
      return;
    }
    throw_persist_error(
        PersistErrorKind::poisoned,
        "nothing can be written to " + words() + " any more: " +
            (state_ == State::closed   ? "it was closed; open it again"
             : state_ == State::fenced ? "another writer has taken it over; end this object"
                                       : "it is not known whether its object " + std::to_string(position_.next_number) +
                                             " was stored; open it again"));
  }

  S* store_;
  std::string name_;
  ObjectLogPosition position_;
  ObjectLogOptions options_;
  State state_ = State::open;
  ProcessMark made_in_;  // the child of a fork would write under the numbers of its parent
};

/// A log that was opened for writing.
template <ObjectStore S>
struct OpenedObjectLog {
  ObjectRun run;              ///< what it held
  ObjectLogWriter<S> writer;  ///< writes behind that
};

namespace object_logs {

// Throws PersistError locked unless the log may be opened.
inline void require_free(const ObjectRun& run, std::string_view name, bool take_over) {
  if (run.objects.empty() || run.is_closed() || take_over) {
    return;
  }
  throw_persist_error(PersistErrorKind::locked,
                      log_objects::log_words(name) + " was not closed: its writer, whose fence is number " +
                          std::to_string(run.objects.back().header.fence) +
                          ", may be at work; if it is not, or shall end, open the log with take_over. Nothing that it "
                          "acknowledged is lost by that, and it can acknowledge nothing afterwards");
}

// Throws PersistError unsupported if the store stores an object under the key of the fence once more.
template <PutsObjectsIfAbsent S>
void require_condition(S& store, const std::string& key, std::span<const std::byte> fence,
                       const ObjectLogOptions& options) {
  for (unsigned failures = 1;; ++failures) {
    const PutOutcome outcome = store.put_if_absent(key, fence);
    if (outcome == PutOutcome::was_there) {
      return;
    }
    if (outcome == PutOutcome::stored) {
      throw_persist_error(
          PersistErrorKind::unsupported,
          "the store has put the object " + printable(key, log_objects::largest_printed_key) +
              " twice: it ignores that a put was to store nothing where something is, so two writers would "
              "overwrite one another; use a store that honours this condition");
    }
    if (failures >= options.most_attempts) {
      throw_persist_error(PersistErrorKind::io,
                          "cannot find out whether the store honours the condition of a put (it does not "
                          "answer; see that it can be reached, and open the log again)");
    }
    options.pause(failures);
  }
}

// Ends the log of a writer that has done nothing, if the store lets it.
template <ObjectStore S>
void close_quietly(ObjectLogWriter<S>& writer) {
  try {
    writer.close();
  } catch (const std::exception&) {
    // Who opens the log next has to take it over.
  }
}

}  // namespace object_logs

/// Opens the log of the index `name` for writing, and creates it if there is none. Afterwards no other writer can acknowledge
/// anything. Nothing is written unless the log is closed, or there is none, or `take_over` is set. `store` must outlive the result.
/// Throws PersistError locked where take_over is needed, or others open the log again and again; invalid_config for a name that
/// is not valid; log_corrupted; unsupported if the store does not honour the condition of a put; io if the store does not answer:
/// then a fence of this call may end another writer; and what the store throws.
template <ObjectStore S>
[[nodiscard]] OpenedObjectLog<S> open_object_log(S& store, const std::string& name, bool take_over,
                                                 const ObjectLogOptions& options = {}) {
  require_object_key(log_object_key(name, 0));
  std::optional<ObjectRun> known;
  for (unsigned beginnings = 1; beginnings <= options.most_beginnings; ++beginnings) {
    // Behind a race that was lost only what is new is read: else a writer at work would be ahead again each time.
    ObjectRun run = known && extend_object_run(store, name, *known, options) ? std::move(*known)
                                                                             : read_object_run(store, name, options);
    known.reset();
    object_logs::require_free(run, name, take_over);
    const std::uint64_t number = run.next_number();
    const std::uint64_t history = run.objects.empty() ? options.nonce() : run.objects.back().header.history_id;
    const ObjectBytes fence = encode_log_object({.nonce = options.nonce(),
                                                 .number = number,
                                                 .base_lsn = run.next_lsn() - 1,
                                                 .fence = number,
                                                 .history_id = history,
                                                 .kind = LogObjectKind::fence},
                                                {});
    const std::string key = log_object_key(name, number);
    if (settle_put(store, key, number, fence, options) == ObjectOwner::other) {
      known = std::move(run);
      continue;
    }
    ObjectLogWriter<S> writer(
        store, name, {.fence = number, .next_number = number + 1, .next_lsn = run.next_lsn(), .history_id = history},
        options);
    try {
      if (list_log_objects(store, name, options, number + 1).empty()) {
        // Only here: a sweeper that had seen another object at a swept number may delete a fence that was put there since.
        object_logs::require_condition(store, key, fence, options);
        return {.run = std::move(run), .writer = std::move(writer)};
      }
    } catch (const PersistError& error) {
      // Else a log without a writer would have to be taken over.
      if (error.kind() == PersistErrorKind::io && (run.objects.empty() || run.is_closed())) {
        object_logs::close_quietly(writer);
      }
      throw;
    }
  }
  throw_persist_error(PersistErrorKind::locked,
                      "cannot open " + log_objects::log_words(name) + " for writing: each of " +
                          std::to_string(options.most_beginnings) +
                          " times another one was faster, a writer that is at work or one who opens it; try again");
}

}  // namespace iqdb
