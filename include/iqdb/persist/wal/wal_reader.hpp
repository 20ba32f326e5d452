// Scans a log once, from its first frame to its end: finds where and why it ends, where replay starts, and how many
// mutations it holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/error.hpp"
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
  /// Checks a log of this version.
  explicit FrameOrder(std::uint32_t version) : version_(version) {}

  /// Decodes the body of the next frame; its mutations are not read yet. Throws PersistError log_corrupted if the body
  /// cannot be decoded, if an abort does not stand directly behind the frame of the mutation that it names, or if a
  /// mutation has a number above largest_lsn.
  [[nodiscard]] FrameBody take(const LogFrame& frame) {
    FrameBody body = frame.decoded([&] { return FrameBody(frame.body, version_); });
    taken_back_ = 0;
    if (body.op() == FrameOp::abort) {
      // How many mutations of the previous frame stay. If the LSN is below that frame's, the difference wraps around
      // and exceeds their number.
      const std::uint64_t kept = body.aborted_lsn() - first_lsn_;
      if (kept >= mutations_) {
        frame.fail("an abort does not stand directly behind the record of the mutation that it speaks of");
      }
      taken_back_ = mutations_ - kept;
    }
    first_lsn_ = frame.position.next_lsn;
    mutations_ = body.mutations();
    if (mutations_ > largest_lsn - (first_lsn_ - 1)) {
      frame.fail("its mutations have numbers above " + std::to_string(largest_lsn) + ", which no log reaches");
    }
    return body;
  }

  /// How many mutations of the previous frame the frame taken last aborts: 0 unless it is an abort.
  [[nodiscard]] std::uint64_t taken_back() const noexcept { return taken_back_; }

 private:
  std::uint32_t version_;
  std::uint64_t first_lsn_ = 0;
  std::uint64_t mutations_ = 0;
  std::uint64_t taken_back_ = 0;
};

/// The result of scan_log.
struct LogScan {
  LogIdentity log;
  LogPosition end;                    ///< the end of the last valid frame
  std::uint64_t dropped_bytes = 0;    ///< bytes behind the end, up to the last one that is not zero
  std::optional<LogPosition> replay;  ///< where replay starts; nothing if the log continues another snapshot
  std::uint64_t mutations = 0;        ///< not aborted, behind `replay`, or in the whole log if there is no `replay`
};

/// Reads a log to its end, in pieces of about `piece_bytes`; `helpers` share the work. `snapshot` is the fingerprint of
/// the snapshot beside the log. Throws PersistError bad_magic, unsupported_version, log_corrupted; io.
template <ReadableFile F>
[[nodiscard]] LogScan scan_log(F& file, const Fingerprint& snapshot, std::size_t piece_bytes,
                               HelperThreads* helpers = nullptr) {
  LogScan scan;
  scan.log = identify_log(file);
  if (file.size() < log_header_1_bytes) {
    scan.end = {.offset = file.size(), .next_lsn = 1};
    scan.replay = scan.end;
    return scan;
  }
  if (scan.log.continues(snapshot)) {
    scan.replay = scan.log.first_frame();
  }
  FrameReader reader(file, scan.log, scan.log.first_frame(), piece_bytes, helpers);
  FrameOrder order(scan.log.version);
  Mutation mutation;
  while (const auto frame = reader.next()) {
    FrameBody body = order.take(*frame);
    frame->decoded([&] {
      for (std::uint32_t at = 0; at < body.mutations(); ++at) {
        body.read_next(mutation);
      }
      body.require_end();
    });
    scan.mutations += body.mutations();
    scan.mutations -= order.taken_back();
    reader.advance(body.mutations());
    if (body.op() == FrameOp::checkpoint && body.fingerprint() == snapshot) {
      scan.replay = reader.position();
      scan.mutations = 0;
    }
  }
  scan.end = reader.position();
  scan.dropped_bytes = reader.torn_bytes();
  return scan;
}

}  // namespace iqdb
