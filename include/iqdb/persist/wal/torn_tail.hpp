// Classifies the bytes behind the last valid frame of a log: a torn tail, whose write a crash cut off, or damage to
// bytes that were known to be durable.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/part_checksums.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace torn_tail {

// How many bytes are read at a time.
inline constexpr std::size_t piece_bytes = std::size_t{64} * 1024;

// Whether a frame behind `torn` was written when the bytes at `torn` were known to be durable. No valid frame stands at
// `torn`; if the answer is yes, a valid one did, and it is damaged. Searches the rest of the file at every byte offset.
// `window` is a window of `file`. Throws what the file throws.
template <ReadableFile F>
[[nodiscard]] bool was_durable(F& file, FileWindow<F>& window, std::uint64_t log_id, const LogPosition& torn) {
  // A forged log can have plausible headers every few bytes, each followed by megabytes of body. The search computes
  // the checksums of bodies directly until their total exceeds the number of bytes searched. From then on it uses
  // PartChecksums, with which a body takes a short time, however long it is.
  std::uint64_t left_to_sum = window.size() - std::min(torn.offset, window.size());
  std::optional<PartChecksums<F>> parts;
  for (std::uint64_t offset = torn.offset; offset + FrameHeader::bytes <= window.size(); ++offset) {
    const FrameHeader header =
        read_frame_header(window.at(offset, FrameHeader::bytes).template first<FrameHeader::bytes>());
    const std::uint64_t body = offset + FrameHeader::bytes;
    // Check the fields first, so that the checksum of a body of any size is hardly ever computed.
    if (header.body_bytes == 0 || header.body_bytes > std::min(largest_frame_body, window.size() - body) ||
        header.lsn < torn.next_lsn || header.durable <= torn.offset || header.durable > offset) {
      continue;
    }
    std::uint32_t found = 0;
    if (header.body_bytes <= left_to_sum) {
      left_to_sum -= header.body_bytes;
      const auto frame = window.at(offset, FrameHeader::bytes + header.body_bytes);
      found = frame_checksum(log_id, header, frame.subspan(FrameHeader::bytes));
    } else {
      if (!parts) {
        parts.emplace(file, torn.offset, piece_bytes);
      }
      found = parts->continued(checksum_of_fields(log_id, header), body, body + header.body_bytes);
    }
    if (found == header.crc32) {
      return true;
    }
  }
  return false;
}

// The number of bytes from `offset` up to the last byte that is not zero.
template <ReadableFile F>
[[nodiscard]] std::uint64_t bytes_behind(FileWindow<F>& window, std::uint64_t offset) {
  std::uint64_t end = offset;
  for (std::uint64_t begin = offset; begin < window.size();) {
    const auto piece = window.at(begin, piece_bytes);
    for (std::size_t at = piece.size(); at > 0; --at) {
      if (piece[at - 1] != std::byte{0}) {
        end = begin + at;
        break;
      }
    }
    begin += piece.size();
  }
  return end - offset;
}

}  // namespace torn_tail

}  // namespace iqdb
