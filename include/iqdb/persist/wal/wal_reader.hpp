// Reading a log: its frames one by one, where they end and why, and where replay starts.
//
// Invariants: the file is read through one window, which grows only to the largest frame that is really there; no frame
// is handed out whose checksum, number or durable field is wrong, and none behind the first such one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A part of a file in memory, that can be moved on.
template <ReadableFile F>
class FileWindow {
 public:
  /// `file` and `helpers`, if there are any, must outlive this; `piece_bytes` are read at a time.
  FileWindow(F& file, std::size_t piece_bytes, HelperThreads* helpers = nullptr)
      : file_(&file), piece_bytes_(piece_bytes), helpers_(helpers) {}

  /// What stands at `offset`: `bytes` of it, or as many as the file has. Valid until the next call; of calls with
  /// ascending offsets none reads anything twice.
  [[nodiscard]] std::span<const std::byte> at(std::uint64_t offset, std::uint64_t bytes) {
    const std::uint64_t end = offset + std::min(bytes, file_->size() - std::min(offset, file_->size()));
    if (offset < begin_ || end > begin_ + window_.size()) {
      move_to(offset, end);
    }
    return std::span<const std::byte>(window_).subspan(static_cast<std::size_t>(offset - begin_),
                                                       static_cast<std::size_t>(end - offset));
  }

  /// What stands from `offset` on, as far as it is in memory already. Valid until the next call of at().
  [[nodiscard]] std::span<const std::byte> held_from(std::uint64_t offset) const noexcept {
    const bool is_held = offset >= begin_ && offset - begin_ < window_.size();
    return is_held ? std::span(window_).subspan(static_cast<std::size_t>(offset - begin_))
                   : std::span(window_).first(0);
  }

  /// The size of the file, in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return file_->size(); }

 private:
  void move_to(std::uint64_t offset, std::uint64_t end) {
    std::size_t kept = 0;
    if (offset >= begin_ && offset < begin_ + window_.size()) {
      kept = static_cast<std::size_t>(begin_ + window_.size() - offset);
      std::ranges::copy(std::span<const std::byte>(window_).last(kept), window_.begin());
    }
    begin_ = offset;
    const std::uint64_t wanted = std::min(std::max(end, offset + piece_bytes_), file_->size());
    window_.resize(static_cast<std::size_t>(std::max(wanted, offset + kept) - offset));
    read_shared(*file_, offset + kept, std::span<std::byte>(window_).subspan(kept), helpers_);
  }

  F* file_;
  std::size_t piece_bytes_;
  HelperThreads* helpers_;
  std::uint64_t begin_ = 0;
  std::vector<std::byte> window_;
};

/// Checksums of parts of a file, of which each takes the same short time, however long it is, after one pass over the
/// file: a checksum is linear, so that a part's follows from those of what stands before its end and before its
/// beginning.
template <ReadableFile F>
class PartChecksums {
 public:
  /// Of parts behind `begin`. Reads the file from there to its end; it must outlive this. `piece_bytes` are read at a
  /// time.
  PartChecksums(F& file, std::uint64_t begin, std::size_t piece_bytes)
      : begin_(begin), at_from_(file, piece_bytes), at_to_(file, mark_bytes) {
    Crc32 checksum;
    for (std::uint64_t mark = begin; mark <= file.size(); mark += mark_bytes) {
      marks_.push_back(checksum);
      checksum.update(at_from_.at(mark, mark_bytes));
    }
  }

  /// What `beginning` is when it has also taken what stands from `from` to `to`. Calls with ascending `from` are fast.
  [[nodiscard]] std::uint32_t continued(const Crc32& beginning, std::uint64_t from, std::uint64_t to) {
    return rebaser_.rebased(up_to(at_to_, to).value(), up_to(at_from_, from), beginning, to - from);
  }

 private:
  static constexpr std::size_t mark_bytes = 256;

  Crc32 up_to(FileWindow<F>& window, std::uint64_t offset) const {
    const std::uint64_t mark = (offset - begin_) / mark_bytes;
    const std::uint64_t marked = begin_ + mark * mark_bytes;
    Crc32 checksum = marks_[static_cast<std::size_t>(mark)];
    checksum.update(window.at(marked, offset - marked));
    return checksum;
  }

  std::uint64_t begin_;
  FileWindow<F> at_from_;
  FileWindow<F> at_to_;
  std::vector<Crc32> marks_;  // of what stands from the beginning to each mark_bytes behind it
  Crc32Rebaser rebaser_;
};

/// A place between two frames.
struct LogPosition {
  std::uint64_t offset = 0;    ///< where the next frame stands
  std::uint64_t next_lsn = 1;  ///< the number of its first mutation

  friend bool operator==(const LogPosition&, const LogPosition&) = default;
};

/// What must be known of a log to read its frames.
struct LogIdentity {
  std::uint32_t version = log_version;
  LogHeader header;  ///< of version 2

  /// Where its first frame stands.
  [[nodiscard]] LogPosition first_frame() const noexcept {
    const std::uint64_t offset = version == 1 ? log_header_1_bytes : log_header_bytes;
    return {.offset = offset, .next_lsn = header.base_lsn + 1};
  }

  /// Whether its first frame is behind the snapshot with this fingerprint. Version 1 has no link to its snapshot:
  /// whatever it holds is replayed.
  [[nodiscard]] bool continues(const Fingerprint& snapshot) const noexcept {
    return version == 1 || header.base == snapshot;
  }
};

/// Reads what stands before a log's frames. Throws PersistError bad_magic, unsupported_version, log_corrupted; io.
template <ReadableFile F>
[[nodiscard]] LogIdentity identify_log(F& file) {
  if (file.size() < log_header_1_bytes) {
    return {.version = 1, .header = {}};  // only version 1 could leave such a file, which holds nothing
  }
  FileWindow window(file, log_header_bytes);
  const auto bytes = window.at(0, log_header_bytes);
  const std::uint32_t version = read_log_version(bytes);
  return {.version = version, .header = version == log_version ? read_log_header(bytes) : LogHeader{}};
}

/// A frame whose checksum was found right.
struct LogFrame {
  LogPosition position;             ///< where it stands
  std::uint64_t end = 0;            ///< where the next one stands
  std::span<const std::byte> body;  ///< valid until the next frame is read
  std::uint32_t crc32 = 0;          ///< its checksum
  Crc32 fields;                     ///< the checksum of what that is over before the body; of version 1 nothing

  /// Throws `error` as PersistError log_corrupted at this frame.
  [[noreturn]] void fail(const std::string& found) const {
    throw_persist_error(PersistErrorKind::log_corrupted,
                        "the log holds a record that is not what its writer makes: " + found +
                            "; restore the log from a copy, or move it away to load the snapshot without it",
                        {.path = {}, .code = {}, .offset = position.offset});
  }

  /// Calls `decode`; what is wrong with the body is log_corrupted at this frame.
  template <class Decode>
  decltype(auto) decoded(Decode&& decode) const {
    try {
      return std::forward<Decode>(decode)();
    } catch (const PersistError& error) {
      if (error.kind() == PersistErrorKind::invalid_payload || error.kind() == PersistErrorKind::truncated_payload) {
        fail(error.what());
      }
      throw;
    }
  }
};

/// Reads frames from a position on.
template <ReadableFile F>
class FrameReader {
 public:
  /// `file` and `helpers`, if there are any, must outlive this. The file is read in pieces of `piece_bytes`, or of
  /// several times as much where helpers share them.
  FrameReader(F& file, const LogIdentity& log, LogPosition from, std::size_t piece_bytes,
              HelperThreads* helpers = nullptr)
      : file_(&file),
        helpers_(helpers),
        window_(file, helpers_ == nullptr ? piece_bytes : pieces_to_share * piece_bytes, helpers),
        log_(log),
        next_(from) {}

  /// The next frame, or nothing where none that is valid stands. Version 1 has no numbers: the caller counts.
  [[nodiscard]] std::optional<LogFrame> next() {
    const auto frame = log_.version == 1 ? read_version_1() : read_version_2();
    if (frame) {
      next_.offset = frame->end;
    }
    return frame;
  }

  /// To be told how many mutations the frame that was read last holds.
  void advance(std::uint64_t mutations) noexcept { next_.next_lsn += mutations; }

  /// If a valid frame behind `frame`, which was read last and holds so many `mutations`, is an abort of one of them: its
  /// number. `frame` stays valid.
  [[nodiscard]] std::optional<std::uint64_t> abort_behind(const LogFrame& frame, std::uint64_t mutations) {
    if (log_.version == 1 || mutations == 0) {
      return std::nullopt;
    }
    // Within the window: the bytes of an abort were asked for together with the frame.
    const auto bytes = window_.at(frame.end, abort_frame_bytes);
    if (bytes.size() < abort_frame_bytes) {
      return std::nullopt;
    }
    const FrameHeader header = header_of(bytes);
    const auto body = bytes.subspan(FrameHeader::bytes);
    const LogPosition position{.offset = frame.end, .next_lsn = frame.position.next_lsn + mutations};
    if (!may_stand_at(position, header) || header.body_bytes != abort_body_bytes ||
        body.front() != static_cast<std::byte>(FrameOp::abort) ||
        header.crc32 != computed_checksum(header, body).whole) {
      return std::nullopt;
    }
    const std::uint64_t lsn = FrameBody(body, log_.version).aborted_lsn();
    // A number before the frame's wraps around, to more than there are.
    return lsn - frame.position.next_lsn < mutations ? std::optional(lsn) : std::nullopt;
  }

  /// Where the frame that was read last ends, and the next one stands.
  [[nodiscard]] const LogPosition& position() const noexcept { return next_; }

  /// Behind the last valid frame: how many bytes were torn off what a crash kept from being written, up to the last one
  /// that is not zero. Throws PersistError log_corrupted where they were known durable, and are therefore damaged.
  [[nodiscard]] std::uint64_t torn_bytes() {
    if (log_.version != 1 && was_durable()) {
      throw_persist_error(
          PersistErrorKind::log_corrupted,
          "the log is damaged: no valid record stands here, but one behind it was written when what stood "
          "here was known to be durable; restore the log from a copy, or move it away to load the "
          "snapshot without it",
          {.path = {}, .code = {}, .offset = next_.offset});
    }
    return bytes_behind();
  }

 private:
  static constexpr std::uint64_t abort_body_bytes = 1 + 8;
  static constexpr std::uint64_t abort_frame_bytes = FrameHeader::bytes + abort_body_bytes;
  static constexpr std::size_t pieces_to_share = 8;
  static constexpr std::size_t smallest_shared = std::size_t{512} * 1024;  // for less, waking a thread takes longer
  static constexpr std::uint64_t piece_to_scan = std::uint64_t{64} * 1024;

  static FrameHeader header_of(std::span<const std::byte> bytes) {
    return read_frame_header(bytes.first<FrameHeader::bytes>());
  }

  static bool may_stand_at(const LogPosition& position, const FrameHeader& header) {
    return header.body_bytes > 0 && header.body_bytes <= largest_frame_body && header.lsn == position.next_lsn &&
           header.durable <= position.offset;
  }

  [[nodiscard]] std::optional<LogFrame> read_version_2() {
    const auto bytes = window_.at(next_.offset, FrameHeader::bytes);
    if (bytes.size() < FrameHeader::bytes) {
      return std::nullopt;
    }
    const FrameHeader header = header_of(bytes);
    if (!may_stand_at(next_, header)) {
      return std::nullopt;
    }
    const std::uint64_t frame_bytes = FrameHeader::bytes + header.body_bytes;
    const auto frame = window_.at(next_.offset, frame_bytes + abort_frame_bytes);
    if (frame.size() < frame_bytes) {
      return std::nullopt;
    }
    const auto body = frame.subspan(FrameHeader::bytes, header.body_bytes);
    const Checksum found = checksum_at_position(header, body);
    if (header.crc32 != found.whole) {
      return std::nullopt;
    }
    return LogFrame{.position = next_,
                    .end = next_.offset + frame_bytes,
                    .body = body,
                    .crc32 = header.crc32,
                    .fields = found.fields};
  }

  [[nodiscard]] std::optional<LogFrame> read_version_1() {
    const auto bytes = window_.at(next_.offset, frame_header_1_bytes);
    if (bytes.size() < frame_header_1_bytes) {
      return std::nullopt;
    }
    Reader reader(bytes);
    const auto body_bytes = reader.read_le<std::uint32_t>();
    const auto crc32 = reader.read_le<std::uint32_t>();
    if (body_bytes == 0 || body_bytes > largest_frame_body) {
      return std::nullopt;
    }
    const auto frame = window_.at(next_.offset, frame_header_1_bytes + body_bytes);
    if (frame.size() < frame_header_1_bytes + body_bytes) {
      return std::nullopt;
    }
    const auto body = frame.subspan(frame_header_1_bytes);
    if (crc32 != Crc32(body).value()) {
      return std::nullopt;
    }
    return LogFrame{.position = next_, .end = next_.offset + frame.size(), .body = body, .crc32 = crc32, .fields = {}};
  }

  struct Checksum {
    Crc32 fields;
    std::uint32_t whole = 0;
  };

  Checksum computed_checksum(const FrameHeader& header, std::span<const std::byte> body) const noexcept {
    const Crc32 fields = checksum_of_fields(log_.header.log_id, header);
    Crc32 whole = fields;
    whole.update(body);
    return {.fields = fields, .whole = whole.value()};
  }

  // The checksum that the frame at the position, of version 2, should have.
  Checksum checksum_at_position(const FrameHeader& header, std::span<const std::byte> body) {
    while (summed_used_ < summed_.size() && summed_[summed_used_].offset < next_.offset) {
      ++summed_used_;
    }
    if (summed_used_ == summed_.size()) {
      sum_ahead();
    }
    if (summed_used_ < summed_.size() && summed_[summed_used_].offset == next_.offset) {
      return summed_[summed_used_].checksum;
    }
    return computed_checksum(header, body);
  }

  // Has the checksums of all frames computed that are in memory behind the position, if these are many bytes. Where
  // they lie is what their headers say, of which nothing was checked yet: so it may be in vain, but is never wrong.
  void sum_ahead() {
    summed_.clear();
    summed_used_ = 0;
    const std::span<const std::byte> held = window_.held_from(next_.offset);
    if (helpers_ == nullptr || held.size() < smallest_shared) {
      return;
    }
    for (std::size_t at = 0; held.size() - at >= FrameHeader::bytes;) {
      const FrameHeader header = header_of(held.subspan(at));
      if (header.body_bytes == 0 || header.body_bytes > held.size() - at - FrameHeader::bytes) {
        break;
      }
      summed_.push_back({.offset = next_.offset + at,
                         .bytes = held.subspan(at, FrameHeader::bytes + header.body_bytes),
                         .checksum = {}});
      at += FrameHeader::bytes + header.body_bytes;
    }
    constexpr std::size_t shares = 16;
    const std::size_t frames_in_share = summed_.size() / shares + 1;
    Pieces pieces((summed_.size() + frames_in_share - 1) / frames_in_share);
    helpers_->run([&] {
      pieces.take_all([&](std::uint64_t number) {
        const std::size_t begin = static_cast<std::size_t>(number) * frames_in_share;
        for (SummedFrame& each : std::span(summed_).subspan(begin, std::min(frames_in_share, summed_.size() - begin))) {
          each.checksum = computed_checksum(header_of(each.bytes), each.bytes.subspan(FrameHeader::bytes));
        }
      });
    });
  }

  // How many bytes behind the position hold something: up to the last one that is not zero.
  [[nodiscard]] std::uint64_t bytes_behind() {
    std::uint64_t end = next_.offset;
    for (std::uint64_t offset = next_.offset; offset < window_.size();) {
      const auto piece = window_.at(offset, piece_to_scan);
      for (std::size_t at = piece.size(); at > 0; --at) {
        if (piece[at - 1] != std::byte{0}) {
          end = offset + at;
          break;
        }
      }
      offset += piece.size();
    }
    return end - next_.offset;
  }

  // Whether behind the position, where no valid frame stands, one does that was written when the bytes at the position
  // were known durable: then they were a frame, and are damaged.
  [[nodiscard]] bool was_durable() {
    // A forged log can have fields that look right every few bytes, each before megabytes of body. Bodies are summed up
    // as long as they are together no more than what is searched; from then on each takes a short time, however long it
    // is.
    std::uint64_t left_to_sum = window_.size() - std::min(next_.offset, window_.size());
    std::optional<PartChecksums<F>> parts;
    for (std::uint64_t offset = next_.offset; offset + FrameHeader::bytes <= window_.size(); ++offset) {
      const FrameHeader header = header_of(window_.at(offset, FrameHeader::bytes));
      const std::uint64_t body = offset + FrameHeader::bytes;
      // Fields first: the checksum, of a body of any size, is then hardly ever computed.
      if (header.body_bytes == 0 || header.body_bytes > std::min(largest_frame_body, window_.size() - body) ||
          header.lsn < next_.next_lsn || header.durable <= next_.offset || header.durable > offset) {
        continue;
      }
      std::uint32_t found = 0;
      if (header.body_bytes <= left_to_sum) {
        left_to_sum -= header.body_bytes;
        const auto frame = window_.at(offset, FrameHeader::bytes + header.body_bytes);
        found = frame_checksum(log_.header.log_id, header, frame.subspan(FrameHeader::bytes));
      } else {
        if (!parts) {
          parts.emplace(*file_, next_.offset, piece_to_scan);
        }
        found = parts->continued(checksum_of_fields(log_.header.log_id, header), body, body + header.body_bytes);
      }
      if (found == header.crc32) {
        return true;
      }
    }
    return false;
  }

  struct SummedFrame {
    std::uint64_t offset = 0;
    std::span<const std::byte> bytes;
    Checksum checksum;
  };

  F* file_;
  HelperThreads* helpers_;
  FileWindow<F> window_;
  LogIdentity log_;
  LogPosition next_;
  std::vector<SummedFrame> summed_;  // from some earlier position on
  std::size_t summed_used_ = 0;      // how many of them are not needed any more
};

/// Refuses frames that no writer makes, although their checksum is right. It is shown all of a log's in their order.
class FrameOrder {
 public:
  /// Of a log of this version.
  explicit FrameOrder(std::uint32_t version) : version_(version) {}

  /// Takes the next frame: its body, of which the mutations are yet to be read. Throws PersistError log_corrupted for
  /// what is no body, for an abort that does not stand directly behind the frame of the mutation that it speaks of, and
  /// for mutations with numbers above largest_lsn.
  [[nodiscard]] FrameBody take(const LogFrame& frame) {
    FrameBody body = frame.decoded([&] { return FrameBody(frame.body, version_); });
    taken_back_ = 0;
    if (body.op() == FrameOp::abort) {
      // So many mutations of the frame before hold. A number before that frame's wraps around, to more than there are.
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

  /// How many mutations of the frame before the one that was taken last are taken back by it: none but by an abort.
  [[nodiscard]] std::uint64_t taken_back() const noexcept { return taken_back_; }

 private:
  std::uint32_t version_;
  std::uint64_t first_lsn_ = 0;
  std::uint64_t mutations_ = 0;
  std::uint64_t taken_back_ = 0;
};

/// What reading a log once, from its first frame to its end, has found out.
struct LogScan {
  LogIdentity log;
  LogPosition end;                    ///< behind the last valid frame
  std::uint64_t dropped_bytes = 0;    ///< behind the end, up to the last byte that is not zero
  std::optional<LogPosition> replay;  ///< where replay starts; nothing where the log continues another snapshot
  std::uint64_t mutations = 0;        ///< that are not aborted, behind the start of replay, or anywhere without one
};

/// Reads a log to its end, in pieces of about `piece_bytes`; `helpers` share the work. `snapshot` is the fingerprint of
/// the snapshot beside it. Throws PersistError bad_magic, unsupported_version, log_corrupted; io.
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
