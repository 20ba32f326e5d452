// Copies the mutations of a log behind a snapshot into a new log, which continues that snapshot.
//
// Invariant: the new log holds exactly the mutations that were asked for, with their numbers and their aborts, and no
// checkpoint: those speak of snapshots that do not lie beside the new log.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Which mutations of a log are copied.
struct CopiedMutations {
  static constexpr std::uint64_t all = std::numeric_limits<std::uint64_t>::max();

  std::uint64_t covered_lsn = 0;                 ///< mutations up to this one are left out: the snapshot holds them
  std::uint64_t up_to = all;                     ///< mutations over this one are left out
  std::optional<std::int64_t> time_before = {};  ///< what the last time frame before the first one taken says
};

/// Copies frames into a new log. Used by one thread.
template <Storage S>
class LogCopy {
 public:
  /// Copies from the log `from`, of version 2 or later, into `into`, which must outlive this, and whose base LSN is
  /// `which.covered_lsn`.
  LogCopy(NewLog<S>& into, const LogIdentity& from, const CopiedMutations& which)
      : into_(&into), order_(from), which_(which), time_(which.time_before) {}

  /// Takes the next frame of the log. Returns how many mutations it holds. Throws PersistError log_corrupted, io.
  std::uint64_t take(const LogFrame& frame) {
    FrameBody body = order_.take(frame);
    if (body.op() == FrameOp::time) {
      time_ = body.time();  // written in front of the next mutation: without one, the last time is enough
    } else if (body.op() == FrameOp::abort) {
      copy_abort();
    } else if (body.mutations() > 0) {
      copy_mutations(frame, body);
    }
    return body.mutations();
  }

 private:
  void copy_mutations(const LogFrame& frame, FrameBody& body) {
    const std::uint64_t first = frame.position.next_lsn;
    const std::uint64_t last = first + (body.mutations() - 1);
    if (last <= which_.covered_lsn || first > which_.up_to) {
      return;
    }
    if (first <= which_.covered_lsn) {
      frame.fail("a checkpoint names the mutation " + std::to_string(which_.covered_lsn) + " within it");
    }
    if (time_) {
      into_->append_time(*time_);
      time_.reset();
    }
    if (last <= which_.up_to) {
      into_->append(frame, body.mutations());
      return;
    }
    std::vector<Mutation> taken(static_cast<std::size_t>(which_.up_to - first + 1));
    frame.decoded([&] {
      for (Mutation& mutation : taken) {
        body.read_next(mutation);
      }
    });
    into_->append_body(taken.size(), [&](Writer& writer) { write_batch(writer, taken); });
  }

  // An abort of an older version names the same mutations in another way, so it is written anew.
  void copy_abort() {
    std::vector<LsnRange> aborted;
    for (LsnRange range : order_.aborted()) {
      if (range.first > which_.covered_lsn && range.first <= which_.up_to) {
        range.last = std::min(range.last, which_.up_to);
        aborted.push_back(range);
      }
    }
    if (!aborted.empty()) {
      into_->append_abort(aborted, 0);
    }
  }

  NewLog<S>* into_;
  FrameOrder order_;
  CopiedMutations which_;
  std::optional<std::int64_t> time_;  // read, and not yet written
};

}  // namespace iqdb
