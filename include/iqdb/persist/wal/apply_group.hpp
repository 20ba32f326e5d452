// Applies the mutations of a group of callers, which stand in the log.
//
// Invariant: each mutation is applied or is among those that were rejected, and memory that runs out is no reason to
// leave one out: nothing here needs any, but for the index.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/batch_error.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a caller wants to be committed: one mutation, or a batch. All of it belongs to the caller.
struct MutationCall {
  FrameOp op = FrameOp::erase;              ///< insert, upsert, erase, metadata, or batch
  VectorId id = 0;                          ///< of one mutation
  std::span<const float> vector = {};       ///< of an insert or an upsert
  std::optional<Metadata> metadata = {};    ///< of all but an erase
  std::span<const Mutation> batch = {};     ///< of a batch
  std::span<const std::byte> encoded = {};  ///< the bodies of its mutations, one behind the other
  std::exception_ptr error = {};            ///< why the call fails; null if it was committed

  /// How many mutations it makes.
  [[nodiscard]] std::size_t size() const noexcept { return op == FrameOp::batch ? batch.size() : 1; }
};

namespace group_commit {

// Applies the mutation at `position` of a call. Throws what the index throws, of a batch BatchError for an IndexError.
// `half_done` is that of upsert_into.
template <Index I>
void apply(I& index, MutationCall& call, std::size_t position, bool& half_done) {
  switch (call.op) {
    case FrameOp::insert:
      index.insert(std::move(call.id), call.vector, std::move(call.metadata));
      return;
    case FrameOp::upsert:
      upsert_into(index, std::move(call.id), call.vector, std::move(call.metadata), half_done);
      return;
    case FrameOp::metadata:
      if constexpr (UpdatesMetadata<I>) {
        index.update_metadata(call.id, std::move(call.metadata));
      }
      return;
    case FrameOp::batch:
      try {
        const Mutation& mutation = call.batch[position];
        apply_mutation(index, mutation, copied(mutation.metadata), half_done);
      } catch (const IndexError&) {
        batch_errors::rethrow_for(call.batch, position);
      }
      return;
    default:
      index.erase(call.id);
  }
}

// Applies the mutations of a group in order, runs of insertions together, and remembers what the index rejected.
template <Index I, class Calls>
class Application {
 public:
  // All arguments must outlive this object; `runs` may be null.
  Application(I& index, const Calls& calls, InsertRuns* runs, std::uint64_t whole) noexcept
      : index_(&index), calls_(&calls), runs_(runs), whole_(whole), at_(calls.begin()) {}

  // Makes room for a rejection of each of so many calls. Throws std::bad_alloc; nothing does that comes behind.
  void reserve(std::size_t calls) { rejected_.reserve(calls); }

  // The first mutation that is applied has this number.
  void begin(std::uint64_t lsn) noexcept { lsn_ = lsn; }

  [[nodiscard]] bool is_done() const noexcept { return at_ == calls_->end(); }

  // Applies a run or a mutation, or passes a call that is not in the frame. Returns whether readers may be let in
  // behind.
  bool step() noexcept {
    if (const GivenRun run = next_run(); run.taken) {
      pass(run.rows);
    } else {
      singly_ = run.rows;
      apply_next();
    }
    const std::size_t size = (*at_).size();
    if (position_ == size) {
      position_ = 0;
      ++at_;
      return true;
    }
    return size > whole_;
  }

  // How many mutations the index was given.
  [[nodiscard]] std::uint64_t applied() const noexcept { return applied_; }

  // What it rejected, in ascending ranges that do not touch.
  [[nodiscard]] std::span<const LsnRange> rejected() const noexcept { return rejected_; }

  // Whether a replay could take something of that.
  [[nodiscard]] bool need_not_repeat() const noexcept { return need_not_repeat_; }

  // Why the last upsert that removed the old vector did not bring the new one; null if there was none.
  [[nodiscard]] const std::exception_ptr& half_done_error() const noexcept { return half_done_error_; }

 private:
  // Gives the index the insertions that come next, unless they were given before and not taken.
  [[nodiscard]] GivenRun next_run() noexcept {
    if (runs_ == nullptr || singly_ > 0) {
      return {.rows = std::max<std::size_t>(singly_, 1)};
    }
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(whole_, InsertRun::most_rows));
    return runs_->give(*index_, most, [&, at = at_, position = position_]() mutable noexcept {
      for (; at != calls_->end(); ++at, position = 0) {
        const MutationCall& call = *at;
        if (call.error || position == call.size()) {
          continue;
        }
        if (call.op == FrameOp::batch) {
          return Insertion::of(call.batch[position++]);
        }
        ++position;
        return call.op == FrameOp::insert ? Insertion{&call.id, call.vector, &call.metadata} : Insertion();
      }
      return Insertion();
    });
  }

  // Goes on behind so many insertions that the index took. The last call of theirs stays, though all of it may be done.
  void pass(std::size_t rows) noexcept {
    applied_ += rows;
    lsn_ += rows;
    for (;; ++at_, position_ = 0) {
      const MutationCall& call = *at_;
      const std::size_t here = call.error ? 0 : std::min(rows, call.size() - position_);
      position_ += here;
      rows -= here;
      if (rows == 0) {
        return;
      }
    }
  }

  void apply_next() noexcept {
    MutationCall& call = *at_;
    if (call.error) {
      position_ = call.size();  // it was refused by a check, and is not in the frame
      return;
    }
    bool half_done = false;
    try {
      group_commit::apply(*index_, call, position_, half_done);
    } catch (...) {
      // Of a batch, this mutation and those behind it are not made.
      reject(call, lsn_, lsn_ + (call.size() - position_) - 1);
      half_done_error_ = half_done ? call.error : half_done_error_;
    }
    ++applied_;
    const std::size_t passed = call.error ? call.size() - position_ : 1;
    lsn_ += passed;
    position_ += passed;
    singly_ -= std::min(singly_, passed);
  }

  // Called in a catch handler.
  void reject(MutationCall& call, std::uint64_t first, std::uint64_t last) {
    call.error = std::current_exception();
    try {
      throw;
    } catch (const IndexError&) {
    } catch (...) {
      need_not_repeat_ = true;  // a rejection of another kind: a replay could take the mutation
    }
    append_range(rejected_, {.first = first, .last = last});
  }

  I* index_;
  const Calls* calls_;
  InsertRuns* runs_;
  std::uint64_t whole_;
  decltype(std::declval<const Calls&>().begin()) at_;  // the call of the next mutation
  std::size_t position_ = 0;                           // of that mutation in its call
  std::uint64_t lsn_ = 0;                              // of that mutation
  std::size_t singly_ = 0;                             // so many are not tried as a run again
  std::uint64_t applied_ = 0;
  std::vector<LsnRange> rejected_;
  bool need_not_repeat_ = false;
  std::exception_ptr half_done_error_;
};

}  // namespace group_commit

}  // namespace iqdb
