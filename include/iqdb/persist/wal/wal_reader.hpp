// Scans a log once, from its first frame to its end: finds where and why it ends, where replay starts, and how many
// mutations it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Refuses frames whose checksum is correct but that no writer produces. It must see all frames of a log in order.
class FrameOrder {
 public:
  /// Checks this log.
  explicit FrameOrder(const LogIdentity& log) : log_(log) {}

  /// Decodes the body of the next frame; its mutations are not read yet. Throws PersistError log_corrupted if the body
  /// cannot be decoded, if an abort does not stand directly behind the frame of the mutations that it names, if a
  /// checkpoint names a mutation that the log does not hold before it, or if a mutation has a number above largest_lsn.
  [[nodiscard]] FrameBody take(const LogFrame& frame) {
    FrameBody body = frame.decoded([&] { return FrameBody(frame.body, log_.version); });
    aborted_.clear();
    if (body.op() == FrameOp::abort) {
      aborted_ = body.aborted_within(first_lsn_, mutations_);
      if (aborted_.empty()) {
        frame.fail("an abort does not stand directly behind the record of the mutations that it speaks of");
      }
    } else if (body.op() == FrameOp::checkpoint) {
      covered_lsn_ = body.checkpoint_lsn().value_or(frame.position.next_lsn - 1);
      if (covered_lsn_ < log_.header.base_lsn || covered_lsn_ >= frame.position.next_lsn) {
        frame.fail("a checkpoint names the mutation " + std::to_string(covered_lsn_) + "; expected one of " +
                   std::to_string(log_.header.base_lsn) + " to " + std::to_string(frame.position.next_lsn - 1));
      }
    }
    first_lsn_ = frame.position.next_lsn;
    mutations_ = body.mutations();
    if (mutations_ > largest_lsn - (first_lsn_ - 1)) {
      frame.fail("its mutations have numbers above " + std::to_string(largest_lsn) + ", which no log reaches");
    }
    return body;
  }

  /// The mutations of the previous frame that the frame taken last aborts: none unless it is an abort.
  [[nodiscard]] const std::vector<LsnRange>& aborted() const noexcept { return aborted_; }

  /// The last mutation that the snapshot of the checkpoint taken last holds.
  [[nodiscard]] std::uint64_t covered_lsn() const noexcept { return covered_lsn_; }

 private:
  LogIdentity log_;
  std::uint64_t first_lsn_ = 0;
  std::uint64_t mutations_ = 0;
  std::vector<LsnRange> aborted_;
  std::uint64_t covered_lsn_ = 0;
};

/// Where the replay of a log starts.
struct ReplayStart {
  LogPosition from;                              ///< the first frame that is read
  std::uint64_t covered_lsn = 0;                 ///< mutations up to this one are in the snapshot, and are passed over
  std::optional<std::int64_t> time_before = {};  ///< what the last time frame before `from` says

  friend bool operator==(const ReplayStart&, const ReplayStart&) = default;
};

/// The result of scan_log.
struct LogScan {
  LogIdentity log;
  LogPosition end;                    ///< the end of the last valid frame
  std::uint64_t dropped_bytes = 0;    ///< bytes behind the end, up to the last one that is not zero
  std::optional<ReplayStart> replay;  ///< nothing if the log continues another snapshot
  std::uint64_t mutations = 0;        ///< not aborted, behind `replay`, or in the whole log if there is no `replay`
  std::uint64_t frames = 0;           ///< valid frames of the whole log
  std::uint64_t aborted = 0;          ///< aborted mutations of the whole log
  bool closed = false;                ///< the last frame says that the log was closed in order
  std::optional<std::int64_t> first_time = {};  ///< what its first time frame says, in milliseconds since 1970 UTC
  std::optional<std::int64_t> last_time = {};   ///< what its last time frame says
};

namespace wal_reader {

// How many mutations of `log` behind the number `covered` are not aborted. Throws PersistError log_corrupted if that
// number lies within a frame: a checkpoint is taken between two frames.
template <ReadableFile F>
[[nodiscard]] std::uint64_t mutations_behind(F& file, const LogIdentity& log, std::uint64_t covered,
                                             std::size_t piece_bytes, HelperThreads* helpers) {
  std::uint64_t mutations = 0;
  FrameReader reader(file, log, log.first_frame(), piece_bytes, helpers);
  FrameOrder order(log);
  while (const auto frame = reader.next()) {
    const FrameBody body = order.take(*frame);
    reader.advance(body.mutations());
    const std::uint64_t first = frame->position.next_lsn;
    const std::uint64_t next = reader.position().next_lsn;
    if (first <= covered && covered + 1 < next) {
      frame->fail("a checkpoint names the mutation " + std::to_string(covered) + " within it");
    }
    if (first > covered) {
      mutations += body.mutations();
    }
    for (const LsnRange& range : order.aborted()) {
      mutations -= range.first > covered ? range.count() : 0;
    }
  }
  return mutations;
}

}  // namespace wal_reader

/// What a scan does with the bytes behind the last valid frame.
enum class BehindTheEnd : std::uint8_t {
  examined,  ///< they are a torn tail, or the log is damaged
  ignored,   ///< nobody asks; a frame that no writer makes ends the log, too
};

/// Reads a log to its end, in pieces of about `piece_bytes`; `helpers` share the work. `snapshot` is the fingerprint of
/// the snapshot beside the log. Advances `progress`, unless null, by the frames that it reads. Throws PersistError
/// bad_magic, unsupported_version, log_corrupted; io; and what `progress` throws.
template <ReadableFile F>
[[nodiscard]] LogScan scan_log(F& file, const Fingerprint& snapshot, std::size_t piece_bytes,
                               HelperThreads* helpers = nullptr, BehindTheEnd behind = BehindTheEnd::examined,
                               ProgressMeter* progress = nullptr) {
  LogScan scan;
  scan.log = identify_log(file);
  if (file.size() < log_header_1_bytes) {
    scan.end = {.offset = file.size(), .next_lsn = 1};
    scan.replay = ReplayStart{.from = scan.end};
    return scan;
  }
  scan.end = scan.log.first_frame();
  if (scan.log.continues(snapshot)) {
    scan.replay = ReplayStart{.from = scan.end, .covered_lsn = scan.log.header.base_lsn};
  }
  FrameReader reader(file, scan.log, scan.end, piece_bytes, helpers);
  FrameOrder order(scan.log);
  Mutation mutation;
  bool counted = true;  // whether scan.mutations begins behind the mutations that the snapshot holds
  const auto take = [&](const LogFrame& frame) {
    FrameBody body = order.take(frame);
    frame.decoded([&] {
      for (std::uint32_t at = 0; at < body.mutations(); ++at) {
        body.read_next(mutation);
      }
      body.require_end();
    });
    scan.mutations += body.mutations();
    for (const LsnRange& range : order.aborted()) {
      scan.mutations -= range.count();
      scan.aborted += range.count();
    }
    ++scan.frames;
    scan.closed = body.op() == FrameOp::close;
    reader.advance(body.mutations());
    scan.end = reader.position();
    if (body.op() == FrameOp::time) {
      scan.last_time = body.time();
      scan.first_time = scan.first_time ? scan.first_time : scan.last_time;
    }
    if (body.op() == FrameOp::checkpoint && body.fingerprint() == snapshot) {
      // Where writers went on while the snapshot was written, mutations that it lacks stand before this frame.
      counted = order.covered_lsn() + 1 == frame.position.next_lsn;
      scan.replay = ReplayStart{.from = counted ? scan.end : scan.log.first_frame(),
                                .covered_lsn = order.covered_lsn(),
                                .time_before = counted ? scan.last_time : std::nullopt};
      scan.mutations = 0;
    }
  };
  try {
    while (const auto frame = reader.next()) {
      take(*frame);
      if (progress != nullptr) {
        progress->advance(frame->end - frame->position.offset);
      }
    }
    if (behind == BehindTheEnd::examined) {
      scan.dropped_bytes = reader.torn_bytes();
    }
  } catch (const PersistError& error) {
    if (behind == BehindTheEnd::examined || error.kind() != PersistErrorKind::log_corrupted) {
      throw;
    }
  }
  if (!counted && behind == BehindTheEnd::examined) {
    scan.mutations = wal_reader::mutations_behind(file, scan.log, scan.replay->covered_lsn, piece_bytes, helpers);
  }
  return scan;
}

}  // namespace iqdb
