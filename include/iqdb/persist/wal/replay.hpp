// Replays the mutations of a log onto an index, and copies the frames that still count into a new log.
//
// Invariant: the new log holds the mutations that the index took, with the same LSNs. Mutations that it did not take
// are aborted in the new log, or absent if the snapshot of a version-1 log already holds them.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace recovery {

// Replays frames onto an index, and copies them into a new log. One thread may use an object at a time.
template <Index I, Storage S>
class Replay {
 public:
  // `log_end` is where the last valid frame of the log ends. Without it, take() cannot judge a rejection by the index.
  Replay(I& index, NewLog<S>& log, std::uint32_t version, std::optional<std::uint64_t> log_end, RecoveryReport& report)
      : index_(&index), log_(&log), version_(version), log_end_(log_end), report_(&report) {}

  // Replays one frame. `aborted` is the mutation of the frame that an abort behind it names. Returns false if the index
  // rejected a mutation and `log_end` is unknown: whether that is tolerated cannot be decided. Throws PersistError
  // log_corrupted, replay_rejected.
  [[nodiscard]] bool take(const LogFrame& frame, FrameBody& body, std::optional<std::uint64_t> aborted) {
    const std::uint64_t live = aborted ? *aborted - frame.position.next_lsn : body.mutations();
    std::uint64_t done = 0;
    Outcome outcome = Outcome::applied;
    for (std::uint64_t at = 0; at < body.mutations(); ++at) {
      frame.decoded([&] { body.read_next(mutation_); });
      if (at < live && outcome != Outcome::tolerated) {
        outcome = apply(frame);
        if (outcome == Outcome::undecided) {
          return false;
        }
        done += outcome == Outcome::tolerated ? 0 : 1;
      }
    }
    frame.decoded([&] { body.require_end(); });
    report_->aborted += body.mutations() - live;
    report_->tolerated += live - done;
    if (body.mutations() > 0 && outcome != Outcome::skipped) {
      log_->append(frame, body.mutations());
      if (aborted || done < live) {
        log_->append_abort(log_->end().next_lsn - body.mutations() + done);
      }
    }
    return true;
  }

 private:
  enum class Outcome : std::uint8_t { applied, skipped, tolerated, undecided };

  Outcome apply(const LogFrame& frame) {
    try {
      if (mutation_.op == FrameOp::insert) {
        index_->insert(mutation_.id, std::span<const float>(mutation_.vector), std::move(mutation_.metadata));
      } else {
        index_->erase(mutation_.id);
      }
    } catch (...) {
      return log_end_ ? rejected(frame) : Outcome::undecided;
    }
    ++report_->replayed;
    return Outcome::applied;
  }

  // Decides what a rejection by the index means. Called in a catch handler: rethrows the exception to find its type.
  [[nodiscard]] Outcome rejected(const LogFrame& frame) {
    try {
      throw;
    } catch (const IndexError& error) {
      return rejected(frame, error);
    } catch (const std::exception& error) {
      reject(frame, error.what());
    } catch (...) {
      reject(frame, "what is no std::exception");
    }
  }

  [[nodiscard]] Outcome rejected(const LogFrame& frame, const IndexError& error) {
    if (version_ == 1) {
      // A crash between the snapshot and the truncation of its log leaves mutations in both, and version 1 does not
      // mark them: skip those that the snapshot already holds.
      const bool is_repeated = mutation_.op == FrameOp::insert ? error.kind() == IndexErrorKind::duplicate
                                                               : error.kind() == IndexErrorKind::not_found;
      if (is_repeated) {
        ++report_->skipped;
        return Outcome::skipped;
      }
    } else if (frame.end == log_end_) {
      // A crash came after the rejection and before its abort, which would stand behind this frame.
      return Outcome::tolerated;
    }
    reject(frame, error.what());
  }

  // Called in a catch handler: the exception being handled is nested.
  [[noreturn]] void reject(const LogFrame& frame, const char* found) const {
    std::throw_with_nested(PersistError(PersistErrorKind::replay_rejected,
                                        "the index rejects the mutation of vector " + to_string(mutation_.id) +
                                            " that it once took: " + found +
                                            "; is it the same version of the index, made with the same settings?",
                                        {.path = {}, .code = {}, .offset = frame.position.offset}));
  }

  I* index_;
  NewLog<S>* log_;
  std::uint32_t version_;
  std::optional<std::uint64_t> log_end_;
  RecoveryReport* report_;
  Mutation mutation_;
};

}  // namespace recovery

}  // namespace iqdb
