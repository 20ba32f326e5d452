// Takes what can be taken of a damaged header of a log.
//
// Every frame's checksum begins with the log id, which only the header has. A header that is lost does not make its frames
// unreadable: of each frame that is whole, the checksum says what the log id did to it, and two frames that stand one
// behind the other and say the same prove it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/salvage/flipped_bit.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// How much of a header could be read.
enum class HeaderState : std::uint8_t {
  whole,      ///< all of it
  corrected,  ///< all of it, after one bit was corrected
  rebuilt,    ///< nothing: the frames tell enough to be read, but not which snapshot they continue
  lost,       ///< nothing, and no frame can be read
};

/// A header, and how much of it is known.
struct SalvagedHeader {
  HeaderState state = HeaderState::lost;
  LogIdentity log = {};                           ///< of one that is rebuilt, the base is unknown
  std::optional<BitPosition> corrected = {};      ///< the bit that was wrong
  std::optional<std::uint64_t> first_frame = {};  ///< where the first readable frame stands, if the header is rebuilt
};

namespace log_header {

inline std::optional<LogIdentity> identified(std::span<const std::byte> bytes) {
  try {
    const auto head = bytes.first(std::min<std::size_t>(bytes.size(), log_header_bytes));
    const std::uint32_t version = read_log_version(head);
    return LogIdentity{.version = version, .header = version == 1 ? LogHeader{} : read_log_header(head, version)};
  } catch (const PersistError&) {
    return std::nullopt;
  }
}

// Whether a whole frame of version 1 stands at the beginning of `bytes`.
inline bool begins_with_frame_1(std::span<const std::byte> bytes) {
  if (bytes.size() <= frame_header_1_bytes) {
    return false;
  }
  Reader reader(bytes);
  const auto length = reader.read_le<std::uint32_t>();
  const auto crc32 = reader.read_le<std::uint32_t>();
  return length > 0 && length <= reader.remaining() &&
         Crc32(bytes.subspan(frame_header_1_bytes, length)).value() == crc32;
}

// A log id that does to checksums what the unknown one does: `effect` is the checksum of its eight bytes.
inline std::uint64_t log_id_with(std::uint32_t effect) noexcept {
  std::uint32_t wanted = ~effect;
  for (int bit = 0; bit < 32; ++bit) {
    wanted = stepped_back(wanted);
  }
  const std::uint32_t behind_zeros = ~Crc32(std::array<std::byte, 4>{}).value();
  return std::uint64_t{wanted ^ behind_zeros} << 32U;
}

// A frame that may stand at `offset`, by its fields alone.
inline std::optional<FrameHeader> plausible_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset + FrameHeader::bytes >= bytes.size()) {
    return std::nullopt;
  }
  const FrameHeader header =
      read_frame_header(bytes.subspan(static_cast<std::size_t>(offset)).first<FrameHeader::bytes>());
  const std::uint64_t room = bytes.size() - offset - FrameHeader::bytes;
  const auto op = std::to_integer<unsigned>(bytes[static_cast<std::size_t>(offset + FrameHeader::bytes)]);
  const bool fits = header.body_bytes > 0 && header.body_bytes <= std::min(room, largest_frame_body) &&
                    header.lsn > 0 && header.lsn <= largest_lsn && header.durable <= offset && op >= 1 &&
                    op <= static_cast<unsigned>(FrameOp::typed_upsert);
  return fits ? std::optional(header) : std::nullopt;
}

// What the log id does to the checksum of the frame with this header at `offset`, if the frame is whole.
inline std::uint32_t effect_of_log_id(std::span<const std::byte> bytes, std::uint64_t offset,
                                      const FrameHeader& header) noexcept {
  Crc32 behind(wal_format::packed<4 + 8 + 8>(header.body_bytes, header.lsn, header.durable));
  behind.update(bytes.subspan(static_cast<std::size_t>(offset + FrameHeader::bytes), header.body_bytes));
  std::uint32_t effect = header.crc32 ^ behind.value();
  for (std::uint64_t bit = 8 * (4 + 8 + 8 + std::uint64_t{header.body_bytes}); bit > 0; --bit) {
    effect = stepped_back(effect);
  }
  return effect;
}

inline std::optional<SalvagedHeader> rebuilt(std::span<const std::byte> bytes) {
  // A forged file may look like two frames everywhere.
  std::uint64_t left_to_sum = 16 * bytes.size() + 1;
  for (std::uint64_t offset = 0; offset + FrameHeader::bytes < bytes.size(); ++offset) {
    const auto first = plausible_at(bytes, offset);
    if (!first) {
      continue;
    }
    const std::uint64_t behind = offset + FrameHeader::bytes + first->body_bytes;
    const auto second = plausible_at(bytes, behind);
    if (!second || second->lsn < first->lsn || second->lsn - first->lsn > first->body_bytes) {
      continue;
    }
    const std::uint64_t cost = std::uint64_t{first->body_bytes} + second->body_bytes;
    if (cost > left_to_sum) {
      return std::nullopt;
    }
    left_to_sum -= cost;
    const std::uint32_t effect = effect_of_log_id(bytes, offset, *first);
    if (effect == effect_of_log_id(bytes, behind, *second)) {
      LogIdentity log;
      log.header.log_id = log_id_with(effect);
      log.header.base_lsn = first->lsn - 1;
      return SalvagedHeader{.state = HeaderState::rebuilt, .log = log, .corrected = {}, .first_frame = offset};
    }
  }
  return std::nullopt;
}

}  // namespace log_header

/// Reads the header of the log in `bytes`, and corrects one bit of it. Throws std::bad_alloc.
[[nodiscard]] inline SalvagedHeader salvage_header(std::span<const std::byte> bytes) {
  if (bytes.size() < log_header_1_bytes) {
    return {};
  }
  if (const auto log = log_header::identified(bytes)) {
    return {.state = HeaderState::whole, .log = *log, .corrected = {}, .first_frame = {}};
  }
  std::vector<std::byte> tried(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(
                                                                  bytes.size(), log_header_bytes)));
  for (std::uint64_t bit = 0; bit < 8 * tried.size(); ++bit) {
    const BitPosition at{.offset = bit / 8, .bit = static_cast<unsigned>(bit % 8)};
    flip(tried, at);
    const auto log = log_header::identified(tried);
    // The header of version 1 has no checksum: a frame behind it vouches for it.
    const bool vouched =
        log && (log->version != 1 || log_header::begins_with_frame_1(bytes.subspan(log_header_1_bytes)));
    if (vouched) {
      return {.state = HeaderState::corrected, .log = *log, .corrected = at, .first_frame = {}};
    }
    flip(tried, at);
  }
  return log_header::rebuilt(bytes).value_or(SalvagedHeader());
}

}  // namespace salvage

}  // namespace iqdb
