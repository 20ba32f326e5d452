// Finds the whole frames of a damaged log, before the damage and behind it.
//
// Invariants: a frame is found only if its checksum, its LSN and its durable field are valid and its body decodes to its
// last byte, after at most one bit of it was corrected. Nothing that was given is changed: corrections are made in a copy.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/salvage/flipped_bit.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// A frame that is whole.
struct SalvagedFrame {
  std::uint64_t offset = 0;         ///< where it stands
  std::uint64_t end = 0;            ///< where it ends
  std::uint64_t first_lsn = 0;      ///< of its first mutation; of a control frame: of the mutation that follows
  std::uint32_t mutations = 0;      ///< how many it holds
  FrameOp op = FrameOp::close;      ///< what it is
  bool is_behind_damage = false;    ///< bytes before it are damaged
  std::span<const std::byte> body;  ///< valid as long as the log that it is of
};

/// Bytes of a log that hold no whole frame.
struct LogDamage {
  std::uint64_t offset = 0;                    ///< where they begin
  std::uint64_t end = 0;                       ///< where the next whole frame stands, or where they end
  std::uint64_t first_lsn = 0;                 ///< the number of the first mutation that may have stood here
  std::optional<std::uint64_t> last_lsn = {};  ///< of the last one, less than first_lsn if none did; nothing if no
                                               ///< whole frame behind says it
  bool has_frame_behind = false;               ///< a whole frame stands behind them: they are not the end of the log
};

/// A log as far as it is whole. Holds it in memory.
class SalvagedLog {
 public:
  /// Reads the log in `bytes`. Throws std::bad_alloc.
  explicit SalvagedLog(std::vector<std::byte> bytes) : bytes_(std::move(bytes)), header_(salvage_header(bytes_)) {
    if (header_.corrected) {
      corrections_.push_back(*header_.corrected);
    }
    if (header_.state == HeaderState::lost) {
      const std::uint64_t end = end_of_content(0);
      if (end > 0) {
        damages_.push_back({.offset = 0, .end = end, .first_lsn = 1, .last_lsn = {}});
      }
      return;
    }
    walk();
  }
  SalvagedLog(const SalvagedLog&) = delete;
  SalvagedLog& operator=(const SalvagedLog&) = delete;
  ~SalvagedLog() = default;

  /// The header.
  [[nodiscard]] const SalvagedHeader& header() const noexcept { return header_; }

  /// The whole frames, in the order in which they stand.
  [[nodiscard]] const std::vector<SalvagedFrame>& frames() const noexcept { return frames_; }

  /// What lies between them.
  [[nodiscard]] const std::vector<LogDamage>& damages() const noexcept { return damages_; }

  /// The bits that were corrected.
  [[nodiscard]] const std::vector<BitPosition>& corrections() const noexcept { return corrections_; }

  /// The snapshots that the log names: the one that it continues, and those of its checkpoints.
  [[nodiscard]] std::vector<Fingerprint> fingerprints() const {
    std::vector<Fingerprint> named;
    if (header_.log.version != 1 && header_.state <= HeaderState::corrected) {
      named.push_back(header_.log.header.base);
    }
    for (const SalvagedFrame& frame : frames_) {
      if (frame.op == FrameOp::checkpoint) {
        named.push_back(FrameBody(frame.body, header_.log.version).fingerprint());
      }
    }
    return named;
  }

  /// Whether its last frame says that it was closed in order, and nothing stands behind it.
  [[nodiscard]] bool closed() const noexcept {
    return !frames_.empty() && frames_.back().op == FrameOp::close &&
           (damages_.empty() || damages_.back().offset < frames_.back().offset);
  }

  /// The size of the file.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_.size(); }

 private:
  static constexpr std::uint64_t smallest_mutation = 1 + 1 + 8;  // an erase: its op, and an identifier

  // A frame as its fields have it.
  struct Raw {
    std::uint64_t body = 0;  // where its body stands
    FrameHeader header;
    std::uint32_t computed = 0;  // the checksum that it should have
  };

  [[nodiscard]] bool is_version_1() const noexcept { return header_.log.version == 1; }
  [[nodiscard]] std::uint64_t frame_header_bytes() const noexcept {
    return is_version_1() ? frame_header_1_bytes : FrameHeader::bytes;
  }
  [[nodiscard]] std::span<const std::byte> at(std::uint64_t offset, std::uint64_t count) const noexcept {
    return std::span(bytes_).subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(count));
  }

  void walk() {
    LogPosition next = header_.log.first_frame();
    bool is_behind_damage = false;
    if (header_.first_frame) {
      if (*header_.first_frame > next.offset) {  // what stood between the header and this frame is lost with the header
        damages_.push_back({.offset = 0,
                            .end = *header_.first_frame,
                            .first_lsn = 1,
                            .last_lsn = next.next_lsn - 1,
                            .has_frame_behind = true});
        is_behind_damage = true;
      }
      next.offset = *header_.first_frame;
    }
    while (next.offset < bytes_.size()) {
      if (auto frame = whole_at(next); frame || (frame = corrected_at(next))) {
        frame->is_behind_damage = is_behind_damage;
        next = {.offset = frame->end, .next_lsn = frame->first_lsn + frame->mutations};
        frames_.push_back(*frame);
        continue;
      }
      const auto found = next_whole_behind(next);
      const std::uint64_t end = found ? found->offset : end_of_content(next.offset);
      if (found || end > next.offset) {
        damages_.push_back({.offset = next.offset,
                            .end = end,
                            .first_lsn = next.next_lsn,
                            .last_lsn = {},
                            .has_frame_behind = found.has_value()});
      }
      if (!found) {
        return;
      }
      if (!is_version_1()) {
        damages_.back().last_lsn = found->next_lsn - 1;
      }
      is_behind_damage = true;
      next = *found;
    }
  }

  // The end of the last byte from `offset` on that is not zero: behind it is the space ahead of a log.
  [[nodiscard]] std::uint64_t end_of_content(std::uint64_t offset) const {
    std::uint64_t end = bytes_.size();
    while (end > offset && bytes_[static_cast<std::size_t>(end - 1)] == std::byte{0}) {
      --end;
    }
    return end;
  }

  // The fields at a position, with the length that `length_change` makes of theirs, if there may be such a frame there.
  [[nodiscard]] std::optional<FrameHeader> fields_at(std::uint64_t offset, std::uint32_t length_change = 0) const {
    if (offset >= bytes_.size() || bytes_.size() - offset <= frame_header_bytes()) {
      return std::nullopt;
    }
    FrameHeader header;
    if (is_version_1()) {
      Reader reader(at(offset, frame_header_1_bytes));
      header.body_bytes = reader.read_le<std::uint32_t>();
      header.crc32 = reader.read_le<std::uint32_t>();
    } else {
      header = read_frame_header(at(offset, FrameHeader::bytes).first<FrameHeader::bytes>());
    }
    header.body_bytes ^= length_change;
    const std::uint64_t room = bytes_.size() - offset - frame_header_bytes();
    if (header.body_bytes == 0 || header.body_bytes > std::min(room, largest_frame_body)) {
      return std::nullopt;
    }
    return header;
  }

  [[nodiscard]] Raw raw_of(std::uint64_t offset, const FrameHeader& header) const {
    const std::uint64_t body = offset + frame_header_bytes();
    const auto bytes = at(body, header.body_bytes);
    return {
        .body = body,
        .header = header,
        .computed = is_version_1() ? Crc32(bytes).value() : frame_checksum(header_.log.header.log_id, header, bytes)};
  }

  [[nodiscard]] bool may_stand_at(const LogPosition& position, const FrameHeader& header) const noexcept {
    return is_version_1() || (header.lsn == position.next_lsn && header.durable <= position.offset);
  }

  // The frame at a position, if it is whole.
  [[nodiscard]] std::optional<SalvagedFrame> whole_at(const LogPosition& position) const {
    const auto header = fields_at(position.offset);
    if (!header || !may_stand_at(position, *header)) {
      return std::nullopt;
    }
    const Raw raw = raw_of(position.offset, *header);
    return raw.computed == header->crc32 ? decoded(position, raw) : std::nullopt;
  }

  [[nodiscard]] std::optional<SalvagedFrame> decoded(const LogPosition& position, const Raw& raw) const {
    const auto bytes = at(raw.body, raw.header.body_bytes);
    try {
      FrameBody body(bytes, header_.log.version);
      Mutation mutation;
      for (std::uint32_t number = 0; number < body.mutations(); ++number) {
        body.read_next(mutation);
      }
      body.require_end();
      if (body.mutations() > largest_lsn - position.next_lsn) {
        return std::nullopt;
      }
      return SalvagedFrame{.offset = position.offset,
                           .end = raw.body + raw.header.body_bytes,
                           .first_lsn = position.next_lsn,
                           .mutations = body.mutations(),
                           .op = body.op(),
                           .is_behind_damage = false,
                           .body = bytes};
    } catch (const PersistError&) {
      return std::nullopt;
    }
  }

  // The frame at a position, if it is whole once one bit of it is turned around.
  [[nodiscard]] std::optional<SalvagedFrame> corrected_at(const LogPosition& position) {
    for (const BitPosition& bit : suspects_at(position)) {
      flip(bytes_, bit);
      if (auto frame = whole_at(position)) {
        corrections_.push_back(bit);
        return frame;
      }
      flip(bytes_, bit);
    }
    return std::nullopt;
  }

  // The bits of the frame at a position that may be the one that is flipped.
  [[nodiscard]] std::vector<BitPosition> suspects_at(const LogPosition& position) const {
    std::vector<BitPosition> suspects;
    if (const auto header = fields_at(position.offset)) {
      const Raw raw = raw_of(position.offset, *header);
      const std::uint32_t change = raw.computed ^ header->crc32;
      constexpr std::uint64_t crc_field = 4;
      if (const auto in_checksum = flipped_bit_of_checksum(change)) {
        suspects.push_back({.offset = position.offset + crc_field + in_checksum->offset, .bit = in_checksum->bit});
      }
      // What the checksum covers: in version 1 the body; else the log id and the length, LSN and durable field, and body.
      constexpr std::uint64_t before_lsn = 8 + 4;
      const std::uint64_t skipped = is_version_1() ? 0 : before_lsn;
      const std::uint64_t covered = header->body_bytes + (is_version_1() ? 0 : skipped + 8 + 8);
      if (const auto in_frame = flipped_bit(change, covered); in_frame && in_frame->offset >= skipped) {
        suspects.push_back({.offset = position.offset + 4 + 4 + (in_frame->offset - skipped), .bit = in_frame->bit});
      }
    }
    // A length says where the frame ends, so that a wrong one leaves nothing to compare with.
    for (unsigned bit = 0; bit < 32; ++bit) {
      const auto header = fields_at(position.offset, 1U << bit);
      if (header && may_stand_at(position, *header) && raw_of(position.offset, *header).computed == header->crc32) {
        suspects.push_back({.offset = position.offset + bit / 8, .bit = bit % 8});
      }
    }
    return suspects;
  }

  // Where the first whole frame behind a position stands, searched at every byte.
  [[nodiscard]] std::optional<LogPosition> next_whole_behind(const LogPosition& position) {
    for (std::uint64_t offset = position.offset + 1; offset < bytes_.size(); ++offset) {
      const auto header = fields_at(offset);
      if (!header || !may_stand_behind(position, offset, *header)) {
        continue;
      }
      if (header->body_bytes > left_to_sum_) {
        return std::nullopt;
      }
      left_to_sum_ -= header->body_bytes;
      const LogPosition here{.offset = offset, .next_lsn = is_version_1() ? position.next_lsn : header->lsn};
      if (whole_at(here)) {
        return here;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] bool may_stand_behind(const LogPosition& position, std::uint64_t offset,
                                      const FrameHeader& header) const noexcept {
    const auto op = std::to_integer<std::uint8_t>(bytes_[static_cast<std::size_t>(offset + frame_header_bytes())]);
    if (is_version_1()) {
      return is_mutation_of(1, static_cast<FrameOp>(op));
    }
    // So many mutations can have stood in between at most.
    const std::uint64_t most = (offset - position.offset) / smallest_mutation;
    return op >= 1 && op <= static_cast<std::uint8_t>(FrameOp::typed_upsert) && header.durable <= offset &&
           header.lsn >= position.next_lsn && header.lsn - position.next_lsn <= most;
  }

  std::vector<std::byte> bytes_;
  SalvagedHeader header_;
  std::vector<SalvagedFrame> frames_;
  std::vector<LogDamage> damages_;
  std::vector<BitPosition> corrections_;
  // How many bytes of bodies the searches may still sum: a forged log may look like a frame everywhere.
  std::uint64_t left_to_sum_ = 64 * bytes_.size() + 4096;
};

}  // namespace salvage

}  // namespace iqdb
