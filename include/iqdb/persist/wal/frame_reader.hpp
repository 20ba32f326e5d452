// Reads the frames of a log one by one, up to the first invalid one.
//
// Invariants: a frame is returned only if its checksum, LSN and durable field are valid; no frame behind the first
// invalid one is returned.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/torn_tail.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Reads frames, starting at a given position. One thread may use an object at a time.
template <ReadableFile F>
class FrameReader {
 public:
  /// `file` and `helpers` (null for none) must outlive this object. The file is read in pieces of `piece_bytes`; with
  /// helpers a piece is several times larger, and they share it.
  FrameReader(F& file, const LogIdentity& log, LogPosition from, std::size_t piece_bytes,
              HelperThreads* helpers = nullptr)
      : file_(&file),
        helpers_(helpers),
        window_(file, helpers_ == nullptr ? piece_bytes : pieces_to_share * piece_bytes, helpers),
        log_(log),
        next_(from) {}

  /// The next frame, or nothing if no valid frame stands at the position. Call advance() before the next call. Throws
  /// what the file throws.
  [[nodiscard]] std::optional<LogFrame> next() {
    const auto frame = log_.version == 1 ? read_version_1() : read_version_3();
    if (frame) {
      next_.offset = frame->end;
    }
    return frame;
  }

  /// Tells the reader how many mutations the frame returned last holds. They determine the LSN of the next frame.
  void advance(std::uint64_t mutations) noexcept { next_.next_lsn += mutations; }

  /// Returns the mutations of `frame` that the frame directly behind it aborts, in ascending ranges; nothing if that
  /// frame is no valid abort of mutations of `frame`. `frame` is the frame returned last, and holds `mutations`
  /// mutations. Its body stays valid. An abort that cannot be decoded aborts nothing: FrameOrder refuses it. Throws what
  /// the file throws.
  [[nodiscard]] std::vector<LsnRange> abort_behind(const LogFrame& frame, std::uint64_t mutations) {
    if (log_.version == 1 || mutations == 0) {
      return {};
    }
    // The window holds these bytes: they were read together with the frame.
    const std::uint64_t bytes_behind = bytes_of_abort(window_.at(frame.end, FrameHeader::bytes + 1), frame.body.size());
    const auto bytes = window_.at(frame.end, bytes_behind);
    if (bytes_behind == 0 || bytes.size() < bytes_behind) {
      return {};
    }
    const FrameHeader header = header_of(bytes);
    const auto body = bytes.subspan(FrameHeader::bytes);
    const LogPosition position{.offset = frame.end, .next_lsn = frame.position.next_lsn + mutations};
    if (!may_stand_at(position, header) || header.crc32 != computed_checksum(header, body).whole) {
      return {};
    }
    try {
      return FrameBody(body, log_.version).aborted_within(frame.position.next_lsn, mutations);
    } catch (const PersistError&) {
      return {};
    }
  }

  /// The end of the frame returned last, where the next frame stands.
  [[nodiscard]] const LogPosition& position() const noexcept { return next_; }

  /// The number of bytes behind the last valid frame, up to the last byte that is not zero: the torn tail that a crash
  /// left. Throws PersistError log_corrupted if these bytes were known to be durable: then they are damaged, not torn.
  [[nodiscard]] std::uint64_t torn_bytes() {
    if (log_.version != 1 && torn_tail::was_durable(*file_, window_, log_.header.log_id, next_)) {
      throw_persist_error(
          PersistErrorKind::log_corrupted,
          "the log is damaged: no valid record stands here, but one behind it was written when what stood "
          "here was known to be durable; " +
              advice_on_damaged_log(next_.next_lsn - 1),
          {.path = {}, .code = {}, .offset = next_.offset});
    }
    return torn_tail::bytes_behind(window_, next_.offset);
  }

 private:
  static constexpr std::size_t pieces_to_share = 8;
  static constexpr std::size_t smallest_shared = std::size_t{512} * 1024;  // for less, waking a thread takes longer

  static FrameHeader header_of(std::span<const std::byte> bytes) {
    return read_frame_header(bytes.first<FrameHeader::bytes>());
  }

  // The size of the frame that begins with `bytes`, a header and an op, if it looks like an abort of mutations of a body
  // of `aborted_bytes`; else 0. The bound keeps a forged size from making the window large.
  [[nodiscard]] static std::uint64_t bytes_of_abort(std::span<const std::byte> bytes, std::uint64_t aborted_bytes) {
    constexpr std::uint64_t smallest_mutation = 1 + 1 + 8;  // an erase: its op, and an identifier
    constexpr std::uint64_t range_bytes = 8 + 8;
    const std::uint64_t most = 1 + 4 + range_bytes * (aborted_bytes / smallest_mutation + 1);
    if (bytes.size() < FrameHeader::bytes + 1 || bytes[FrameHeader::bytes] != static_cast<std::byte>(FrameOp::abort)) {
      return 0;
    }
    const std::uint64_t body_bytes = header_of(bytes).body_bytes;
    return body_bytes > 0 && body_bytes <= most ? FrameHeader::bytes + body_bytes : 0;
  }

  static bool may_stand_at(const LogPosition& position, const FrameHeader& header) {
    return header.body_bytes > 0 && header.body_bytes <= largest_frame_body && header.lsn == position.next_lsn &&
           header.durable <= position.offset;
  }

  // Version 2 has the same frames.
  [[nodiscard]] std::optional<LogFrame> read_version_3() {
    const auto bytes = window_.at(next_.offset, FrameHeader::bytes);
    if (bytes.size() < FrameHeader::bytes) {
      return std::nullopt;
    }
    const FrameHeader header = header_of(bytes);
    if (!may_stand_at(next_, header)) {
      return std::nullopt;
    }
    const std::uint64_t frame_bytes = FrameHeader::bytes + header.body_bytes;
    auto frame = window_.at(next_.offset, frame_bytes + FrameHeader::bytes + 1);
    if (frame.size() < frame_bytes) {
      return std::nullopt;
    }
    if (const auto behind = bytes_of_abort(frame.subspan(static_cast<std::size_t>(frame_bytes)), header.body_bytes)) {
      // Together with the frame: abort_behind() must not move the window, in which the body stands.
      frame = window_.at(next_.offset, frame_bytes + behind);
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

  // The expected checksum of the frame at the position.
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

  // Computes the checksums of all frames that are in memory behind the position, if they have enough bytes to share.
  // The headers that say where these frames stand are not verified yet. If a header is wrong, the work is wasted, but
  // no result is wrong: a checksum is used only for a frame that is found at its offset.
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
      const auto frame_bytes = static_cast<std::size_t>(FrameHeader::bytes + header.body_bytes);
      summed_.push_back({.offset = next_.offset + at, .bytes = held.subspan(at, frame_bytes), .checksum = {}});
      at += frame_bytes;
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
  std::vector<SummedFrame> summed_;  // frames in order of their offset, not all of them used yet
  std::size_t summed_used_ = 0;      // how many entries at the front are no longer needed
};

}  // namespace iqdb
