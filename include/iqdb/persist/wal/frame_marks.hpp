// What tells the mutations of a log from others of the same numbers, in whatever log they stand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_frame.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What is remembered of a frame with mutations.
struct FrameMark {
  std::uint64_t lsn = 0;      ///< of its first mutation
  std::uint32_t body = 0;     ///< the checksum of its body, which is the same in each log that holds it
  std::uint32_t aborted = 0;  ///< the checksum of its mutations that are no part of the state

  friend bool operator==(const FrameMark&, const FrameMark&) = default;
};

/// The frames that were read of a log, and the snapshots whose mutations they follow.
class FrameMarks {
 public:
  /// The mark of a frame of a log of version 2 or later.
  [[nodiscard]] FrameMark of(const LogFrame& frame, std::span<const LsnRange> aborted) {
    Crc32 ranges;
    for (const LsnRange& range : aborted) {
      ranges.update(std::as_bytes(std::span(&range, 1)));
    }
    return {.lsn = frame.position.next_lsn,
            .body = rebaser_.rebased(frame.crc32, frame.fields, Crc32(), frame.body.size()),
            .aborted = ranges.value()};
  }

  /// A frame was read.
  void take(const FrameMark& mark) { frames_.push_back(mark); }

  /// A snapshot holds mutations of this log: the one that it continues, or one that a checkpoint frame names.
  void take_base(const Fingerprint& snapshot) { bases_.push_back(snapshot); }

  /// Whether a snapshot was taken.
  [[nodiscard]] bool has_base(const Fingerprint& snapshot) const noexcept {
    return std::ranges::find(bases_, snapshot) != bases_.end();
  }

  /// The frames, in order.
  [[nodiscard]] std::span<const FrameMark> frames() const noexcept { return frames_; }

  /// Forgets all.
  void clear() noexcept {
    frames_.clear();
    bases_.clear();
  }

 private:
  Crc32Rebaser rebaser_;
  std::vector<FrameMark> frames_;
  std::vector<Fingerprint> bases_;
};

}  // namespace iqdb
