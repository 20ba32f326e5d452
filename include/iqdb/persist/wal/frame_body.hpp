// The body of a frame: mutations, or a note for recovery. Encodes fields to bytes and back; docs/format.md has the
// rules.
//
//   body:  op 1 | …
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Mutations with consecutive numbers.
struct LsnRange {
  std::uint64_t first = 0;  ///< the number of the first one
  std::uint64_t last = 0;   ///< the number of the last one

  /// How many there are.
  [[nodiscard]] constexpr std::uint64_t count() const noexcept { return last - first + 1; }

  friend bool operator==(const LsnRange&, const LsnRange&) = default;
};

/// Adds a range behind those that there are, or to the last one if it touches that. Throws std::bad_alloc.
inline void append_range(std::vector<LsnRange>& ranges, const LsnRange& range) {
  if (!ranges.empty() && ranges.back().last + 1 == range.first) {
    ranges.back().last = range.last;
  } else {
    ranges.push_back(range);
  }
}

/// Writes the body of an abort frame: exactly these mutations of the frame before it are no part of the state. There is
/// at least one range; they ascend and do not touch.
inline void write_abort(Writer& writer, std::span<const LsnRange> ranges) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::abort));
  writer.write_le(static_cast<std::uint32_t>(ranges.size()));
  for (const LsnRange& range : ranges) {
    writer.write_le(range.first);
    writer.write_le(range.last);
  }
}

/// Writes the body of a close frame.
inline void write_close(Writer& writer) { writer.write_le(static_cast<std::uint8_t>(FrameOp::close)); }

/// Writes the body of a checkpoint frame: the snapshot with this fingerprint holds exactly the mutations up to `lsn`
/// that are not aborted.
inline void write_checkpoint(Writer& writer, const Fingerprint& snapshot, std::uint64_t lsn) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::checkpoint));
  write_fingerprint(writer, snapshot);
  writer.write_le(lsn);
}

/// Writes the body of a time frame: the mutations that follow were logged at this time, in milliseconds since 1970 UTC.
inline void write_time(Writer& writer, std::int64_t milliseconds) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::time));
  writer.write_le(milliseconds);
}

/// Writes the body of a batch.
inline void write_batch(Writer& writer, std::span<const Mutation> mutations) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::batch));
  writer.write_le(static_cast<std::uint32_t>(mutations.size()));
  for (const Mutation& mutation : mutations) {
    write_mutation(writer, mutation);
  }
}

/// A decoded body. Its mutations are not decoded yet: read_next reads them one by one.
class FrameBody {
 public:
  /// Decodes the op and the fields of a control frame. `bytes` must outlive this object. Throws PersistError
  /// invalid_payload or truncated_payload if `bytes` is not a body of a log of this `version`.
  explicit FrameBody(std::span<const std::byte> bytes, std::uint32_t version);

  [[nodiscard]] FrameOp op() const noexcept { return op_; }

  /// The number of mutations in the body: 0 for a control frame.
  [[nodiscard]] std::uint32_t mutations() const noexcept { return mutations_; }

  /// The mutations that an abort names, in ascending ranges that do not touch, if they are mutations of the frame
  /// before it: a frame of `mutations` mutations, of which the first has the number `first_lsn`. Otherwise, and for
  /// other frames than an abort, nothing.
  [[nodiscard]] std::vector<LsnRange> aborted_within(std::uint64_t first_lsn, std::uint64_t mutations) const;

  /// The fingerprint of the snapshot that a checkpoint names.
  [[nodiscard]] const Fingerprint& fingerprint() const noexcept { return fingerprint_; }

  /// The last mutation that the snapshot of a checkpoint holds. Nothing in version 2, where it is the number before the
  /// frame's own.
  [[nodiscard]] std::optional<std::uint64_t> checkpoint_lsn() const noexcept { return checkpoint_lsn_; }

  /// The time of a time frame, in milliseconds since 1970 UTC.
  [[nodiscard]] std::int64_t time() const noexcept { return time_; }

  /// Reads the next mutation. Call it at most mutations() times. Throws PersistError invalid_payload or
  /// truncated_payload if the bytes are not a mutation.
  void read_next(Mutation& mutation);

  /// Throws PersistError invalid_payload if bytes are left unread.
  void require_end() const {
    if (reader_.remaining() > 0) {
      reader_.fail(PersistErrorKind::invalid_payload,
                   "a record has " + std::to_string(reader_.remaining()) + " bytes too many");
    }
  }

 private:
  // A version-2 abort names the first mutation. Those behind it in the same frame are aborted, too.
  static constexpr std::uint64_t to_the_end = std::numeric_limits<std::uint64_t>::max();

  FrameOp read_op() { return static_cast<FrameOp>(reader_.read_le<std::uint8_t>()); }
  void read_aborted();

  Reader reader_;
  std::uint32_t version_;
  FrameOp op_;
  std::uint32_t mutations_ = 0;
  std::vector<LsnRange> aborted_;
  Fingerprint fingerprint_;
  std::optional<std::uint64_t> checkpoint_lsn_;
  std::int64_t time_ = 0;
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE FrameBody::FrameBody(std::span<const std::byte> bytes, std::uint32_t version)
    : reader_(bytes), version_(version), op_(read_op()) {
  const bool is_control = version >= 2 && (op_ == FrameOp::batch || op_ == FrameOp::abort ||
                                           op_ == FrameOp::checkpoint || op_ == FrameOp::close);
  const bool is_time = version >= 3 && op_ == FrameOp::time;
  if (!is_mutation_of(version, op_) && !is_control && !is_time) {
    reader_.fail(PersistErrorKind::invalid_payload,
                 "a record has the op " + std::to_string(static_cast<unsigned>(op_)) + ", which is none");
  }
  if (is_mutation(op_)) {
    mutations_ = 1;
  } else if (op_ == FrameOp::batch) {
    mutations_ = reader_.read_le<std::uint32_t>();
    if (mutations_ == 0) {
      reader_.fail(PersistErrorKind::invalid_payload, "a batch has no mutation");
    }
  } else if (op_ == FrameOp::abort) {
    read_aborted();
  } else if (op_ == FrameOp::checkpoint) {
    fingerprint_ = read_fingerprint(reader_);
    if (version >= 3) {
      checkpoint_lsn_ = reader_.read_le<std::uint64_t>();
    }
  } else if (op_ == FrameOp::time) {
    time_ = reader_.read_le<std::int64_t>();
  }
}

IQDB_PERSIST_INLINE void FrameBody::read_aborted() {
  if (version_ == 2) {
    aborted_.push_back({.first = reader_.read_le<std::uint64_t>(), .last = to_the_end});
    return;
  }
  const auto count = reader_.read_le<std::uint32_t>();
  reader_.require_items(count, 8 + 8);
  if (count == 0) {
    reader_.fail(PersistErrorKind::invalid_payload, "an abort names no mutation");
  }
  aborted_.reserve(count);
  for (std::uint32_t at = 0; at < count; ++at) {
    LsnRange range;
    range.first = reader_.read_le<std::uint64_t>();
    range.last = reader_.read_le<std::uint64_t>();
    const bool touches = !aborted_.empty() && range.first <= aborted_.back().last + 1;
    if (range.last < range.first || range.last > largest_lsn || touches) {
      reader_.fail(PersistErrorKind::invalid_payload, "the ranges of an abort do not ascend, or touch");
    }
    aborted_.push_back(range);
  }
}

IQDB_PERSIST_INLINE std::vector<LsnRange> FrameBody::aborted_within(std::uint64_t first_lsn,
                                                                    std::uint64_t mutations) const {
  std::vector<LsnRange> ranges = aborted_;
  if (ranges.empty() || mutations == 0) {
    return {};
  }
  const std::uint64_t last_lsn = first_lsn + (mutations - 1);
  if (ranges.back().last == to_the_end) {
    ranges.back().last = last_lsn;
  }
  const bool within =
      ranges.front().first >= first_lsn && ranges.back().first <= ranges.back().last && ranges.back().last <= last_lsn;
  return within ? ranges : std::vector<LsnRange>();
}

IQDB_PERSIST_INLINE void FrameBody::read_next(Mutation& mutation) {
  FrameOp op = op_;
  if (op_ == FrameOp::batch) {
    op = read_op();
    if (!is_mutation_of(version_, op)) {
      reader_.fail(PersistErrorKind::invalid_payload,
                   "a batch holds the op " + std::to_string(static_cast<unsigned>(op)) + ", which is no mutation");
    }
  }
  read_mutation(reader_, op, mutation);
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
