// Replays the mutations of a log onto an index, and copies the frames that still count into a new log, if there is one.
//
// Invariant: the new log holds the mutations that the index took, with the same LSNs. Mutations that it did not take
// are aborted in the new log, or absent if the snapshot of a version-1 log already holds them. Insertions that follow one
// another may be applied together. No mutation passes another one, and each ends as if it were applied alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace recovery {

// What a replay does with the mutations of a log.
struct ReplayRules {
  std::uint32_t version = log_version;                              // of the log
  std::uint64_t covered_lsn = 0;                                    // mutations up to this one are in the snapshot
  std::uint64_t up_to = std::numeric_limits<std::uint64_t>::max();  // mutations over this one are left out
  std::optional<std::uint64_t> log_end = {};     // where the last frame ends; without it, no rejection is judged
  bool skip_rejected = false;                    // PersistConfig::skip_rejected
  std::optional<std::int64_t> time_before = {};  // what the last time frame before the first one taken says
  std::vector<std::uint64_t> passed_over = {};   // mutations that are known to be rejected, in ascending order
};

// Replays frames onto an index. One thread may use an object at a time.
template <Index I, Storage S>
class Replay {
 public:
  // All arguments must outlive this object. Without a `log`, nothing is copied. `helpers` are lent to the index.
  Replay(I& index, NewLog<S>* log, const ReplayRules& rules, RecoveryReport& report, HelperThreads& helpers)
      : index_(&index), log_(log), rules_(&rules), report_(&report), helpers_(&helpers), time_(rules.time_before) {}

  enum class Taken : std::uint8_t {
    done,
    undecided,  // the index rejected a mutation, and where the log ends is unknown: nobody can say what that means
    half_done,  // half_done_lsn() was rejected when half of it was applied: the index must be loaded anew
  };

  // Replays one frame. Its last insertions may wait for those of the next one, or for settle(). `aborted` are the
  // mutations of the frame that an abort behind it names. Throws PersistError log_corrupted, unsupported, and
  // replay_rejected, also for an insertion that waited; std::bad_alloc.
  [[nodiscard]] Taken take(const LogFrame& frame, FrameBody& body, std::span<const LsnRange> aborted) {
    if (body.mutations() == 0) {
      frame.decoded([&] { body.require_end(); });
      if (body.op() == FrameOp::time) {
        time_ = body.time();  // written in front of the next mutation: without one, the last time is enough
      }
      return Taken::done;
    }
    const std::uint64_t first = frame.position.next_lsn;
    if (first <= rules_->covered_lsn || first > rules_->up_to) {
      return Taken::done;
    }
    not_applied_.clear();
    passed_over_ = 0;
    Outcome outcome = Outcome::applied;
    bool rest_is_passed_over = false;
    for (std::uint64_t lsn = first; lsn < first + body.mutations() && lsn <= rules_->up_to; ++lsn) {
      frame.decoded([&] { body.read_next(mutation_); });
      if (!aborted.empty() && aborted.front().last < lsn) {
        aborted = aborted.subspan(1);
      }
      if (!aborted.empty() && aborted.front().first <= lsn) {
        ++report_->aborted;
        leave_out(lsn);
        continue;
      }
      outcome = rest_is_passed_over ? Outcome::tolerated : gather_or_apply(frame, lsn);
      if (outcome == Outcome::undecided || outcome == Outcome::half_done) {
        half_done_lsn_ = lsn;
        return outcome == Outcome::undecided ? Taken::undecided : Taken::half_done;
      }
      if (outcome == Outcome::tolerated) {
        ++report_->tolerated;
        ++passed_over_;
        leave_out(lsn);
        rest_is_passed_over = frame.end == rules_->log_end;
      }
    }
    if (first + body.mutations() - 1 <= rules_->up_to) {
      frame.decoded([&] { body.require_end(); });
    }
    copy(frame, body.mutations(), outcome);
    return Taken::done;
  }

  // Applies the insertions that wait. Call it when all frames are taken. Returns done or undecided. Throws what take()
  // throws.
  [[nodiscard]] Taken settle() { return apply_run() == Outcome::undecided ? Taken::undecided : Taken::done; }

  // Ends the new log in order, and says when the last mutation was logged if `clock` notes times. Call it behind settle().
  void finish(const LogClock& clock) {
    if (log_ != nullptr) {
      write_time();
      if (!log_->last_time()) {
        log_->append_time_so_far(clock);
      }
      log_->append_close();
    }
  }

  // The mutation at which take() stopped.
  [[nodiscard]] std::uint64_t half_done_lsn() const noexcept { return half_done_lsn_; }

 private:
  enum class Outcome : std::uint8_t {
    applied,
    replaced,   // version 1: an insert replaced the vector of its identifier
    skipped,    // version 1: the snapshot holds what the mutation did
    tolerated,  // rejected, and passed over
    undecided,
    half_done,
  };

  void leave_out(std::uint64_t lsn) { append_range(not_applied_, {.first = lsn, .last = lsn}); }

  void write_time() {
    if (time_) {
      log_->append_time(*time_);
      time_.reset();
    }
  }

  void copy(const LogFrame& frame, std::uint64_t mutations, Outcome outcome) {
    if (log_ == nullptr || outcome == Outcome::skipped || (outcome == Outcome::tolerated && rules_->version == 1)) {
      return;
    }
    write_time();
    if (outcome == Outcome::replaced) {
      // Both halves, so that a replay of the new log does the same with every index.
      log_->append_body(2, [&](Writer& writer) {
        writer.write_le(static_cast<std::uint8_t>(FrameOp::batch));
        writer.write_le(std::uint32_t{2});
        write_erase(writer, mutation_.id);
        writer.write(frame.body);
      });
      return;
    }
    log_->append(frame, mutations);
    if (!not_applied_.empty()) {
      log_->append_abort(not_applied_, passed_over_);
    }
  }

  // Whether the mutation may be applied later, with others. Not where it may be rejected and the replay goes on: what is
  // tolerated depends on the frame.
  [[nodiscard]] bool can_wait(const LogFrame& frame) const noexcept {
    return mutation_.op == FrameOp::insert && rules_->version != 1 && !rules_->skip_rejected &&
           frame.end != rules_->log_end;
  }

  Outcome gather_or_apply(const LogFrame& frame, std::uint64_t lsn) {
    if constexpr (InsertsMany<I>) {
      if (can_wait(frame) && !offsets_.empty() && run_.takes(Insertion::of(mutation_))) {
        return gathered(frame);
      }
      if (apply_run() == Outcome::undecided) {
        return Outcome::undecided;
      }
      if (can_wait(frame)) {
        run_.begin(index_->dim());
        if (run_.takes(Insertion::of(mutation_))) {
          return gathered(frame);
        }
      }
    }
    return apply(frame, lsn);
  }

  static constexpr std::uint64_t none_passed_over = 0;  // for an insertion: only upserts are passed over

  Outcome gathered(const LogFrame& frame) {
    run_.add(std::move(mutation_.id), mutation_.vector, std::move(mutation_.metadata));
    offsets_.push_back(frame.position.offset);
    return Outcome::applied;
  }

  // Applies the insertions that wait. Returns applied or undecided.
  Outcome apply_run() {
    Outcome outcome = Outcome::applied;
    if constexpr (InsertsMany<I>) {
      if (offsets_.size() > 1 && insert_run(*index_, run_, *helpers_)) {
        report_->replayed += offsets_.size();
      } else {
        std::swap(mutation_, row_);  // it is read, and comes behind the run
        for (std::size_t row = 0; row < offsets_.size() && outcome == Outcome::applied; ++row) {
          run_.take_out(row, mutation_);
          LogFrame frame;
          frame.position.offset = offsets_[row];
          outcome = apply(frame, none_passed_over);
        }
        std::swap(mutation_, row_);
      }
      offsets_.clear();
    }
    return outcome;
  }

  Outcome apply(const LogFrame& frame, std::uint64_t lsn) {
    if (std::ranges::binary_search(rules_->passed_over, lsn)) {
      return Outcome::tolerated;
    }
    bool half_done = false;
    Outcome outcome = Outcome::applied;
    try {
      as_logged(*index_,
                [&](auto& index) { apply_mutation(index, mutation_, std::move(mutation_.metadata), half_done); });
    } catch (const std::bad_alloc&) {
      throw;  // memory that runs out says nothing about the log
    } catch (const PersistError&) {
      throw;
    } catch (...) {
      if (!rules_->log_end) {
        return Outcome::undecided;
      }
      outcome = rejected(frame);
    }
    if (outcome == Outcome::replaced) {
      replace(frame);
    }
    if (outcome == Outcome::tolerated && half_done) {
      return Outcome::half_done;
    }
    report_->replayed += outcome == Outcome::applied || outcome == Outcome::replaced ? 1 : 0;
    return outcome;
  }

  // Applications of version 1 replace a vector by inserting it again, and log only that.
  void replace(const LogFrame& frame) {
    Reader reader(frame.body);
    static_cast<void>(reader.read_le<std::uint8_t>());
    read_mutation(reader, FrameOp::insert, mutation_);  // its metadata were moved into the insert that was rejected
    try {
      index_->erase(mutation_.id);
      as_logged(*index_, [&](auto& index) {
        index.insert(mutation_.id, std::span<const float>(mutation_.vector), std::move(mutation_.metadata));
      });
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {
      reject(frame, message_of_current_exception());
    }
  }

  // Decides what a rejection by the index means. Called in a catch handler: rethrows the exception to find its type.
  [[nodiscard]] Outcome rejected(const LogFrame& frame) {
    try {
      throw;
    } catch (const IndexError& error) {
      return rejected(frame, error);
    } catch (...) {
      if (rules_->skip_rejected) {
        return Outcome::tolerated;
      }
      reject(frame, message_of_current_exception());
    }
  }

  [[nodiscard]] Outcome rejected(const LogFrame& frame, const IndexError& error) {
    if (rules_->version == 1) {
      // A crash between the snapshot and the truncation of its log leaves mutations in both, and version 1 does not
      // mark them. What they did is done again, or is done already.
      if (mutation_.op == FrameOp::insert && error.kind() == IndexErrorKind::duplicate) {
        return Outcome::replaced;
      }
      if (mutation_.op == FrameOp::erase && error.kind() == IndexErrorKind::not_found) {
        ++report_->skipped;
        return Outcome::skipped;
      }
    } else if (frame.end == rules_->log_end && follows_from_the_state(error.kind())) {
      // A crash came after the rejection and before its abort, which would stand behind this frame.
      return Outcome::tolerated;
    }
    if (rules_->skip_rejected) {
      return Outcome::tolerated;
    }
    reject(frame, error.what());
  }

  // Whether the rejection follows from the mutation and the vectors that the index holds. Other kinds may follow from
  // settings, e.g. a smaller capacity: the index may have taken what it rejects now, and the mutation was acknowledged.
  static bool follows_from_the_state(IndexErrorKind kind) noexcept {
    return kind == IndexErrorKind::duplicate || kind == IndexErrorKind::not_found ||
           kind == IndexErrorKind::dimension_mismatch || kind == IndexErrorKind::invalid_vector;
  }

  // Called in a catch handler: the exception being handled is nested.
  [[noreturn]] void reject(const LogFrame& frame, const char* found) const {
    std::throw_with_nested(PersistError(
        PersistErrorKind::replay_rejected,
        "the index rejects the mutation of vector " + to_string(mutation_.id) + " that it once took: " + found +
            "; load it with the version and the settings of the index that wrote the log; if there are none, "
            "skip_rejected = true loses this mutation, and each that is rejected",
        {.path = {}, .code = {}, .offset = frame.position.offset}));
  }

  I* index_;
  NewLog<S>* log_;
  const ReplayRules* rules_;
  RecoveryReport* report_;
  HelperThreads* helpers_;
  Mutation mutation_;
  InsertRun run_;                       // insertions that wait
  std::vector<std::uint64_t> offsets_;  // of the frame of each row
  Mutation row_;                        // of the run, while the rows are applied one by one
  std::vector<LsnRange> not_applied_;   // mutations of the frame that are no part of the state
  std::uint64_t passed_over_ = 0;       // how many of them no abort names yet
  std::optional<std::int64_t> time_;    // read, and not yet written
  std::uint64_t half_done_lsn_ = 0;
};

}  // namespace recovery

}  // namespace iqdb
