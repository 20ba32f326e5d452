// Finds the end of a log without reading what stands before it.
//
// Invariant: the position that is found is that of a frame whose checksum is right. The checksum covers the id of the log,
// so bytes of another log, or of an identifier or a vector that look like a frame, are never taken for one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The end of a log.
struct LogEnd {
  LogPosition position;  ///< the end of the last valid frame
  bool closed = false;   ///< that frame says that the log was closed in order

  friend bool operator==(const LogEnd&, const LogEnd&) = default;
};

namespace log_end {

// How many bytes at the end of a log are looked at, and how many are summed, at most.
inline constexpr std::uint64_t most_bytes = std::uint64_t{64} * 1024 * 1024;

inline constexpr std::size_t piece_bytes = std::size_t{64} * 1024;

// The end of the last byte that is not zero, from `begin` on; `begin` if there is none. Reads from the end backwards.
template <ReadableFile F>
[[nodiscard]] std::uint64_t end_of_data(F& file, std::uint64_t begin) {
  for (std::uint64_t end = file.size(); end > begin;) {
    const std::uint64_t from = end - std::min<std::uint64_t>(piece_bytes, end - begin);
    FileWindow<F> window(file, piece_bytes);
    const auto piece = window.at(from, end - from);
    for (std::size_t at = piece.size(); at > 0; --at) {
      if (piece[at - 1] != std::byte{0}) {
        return from + at;
      }
    }
    end = from;
  }
  return begin;
}

// The first frame at `begin` or behind it that has the right checksum, among the bytes up to `end`. Sums at most `budget`
// bytes, which it reduces.
template <ReadableFile F>
[[nodiscard]] std::optional<LogPosition> first_frame_from(F& file, const LogIdentity& log, std::uint64_t begin,
                                                          std::uint64_t end, std::uint64_t& budget) {
  FileWindow<F> window(file, piece_bytes);
  for (std::uint64_t offset = begin; offset < end; ++offset) {
    const auto bytes = window.at(offset, FrameHeader::bytes);
    if (bytes.size() < FrameHeader::bytes) {
      return std::nullopt;
    }
    const FrameHeader header = read_frame_header(bytes.template first<FrameHeader::bytes>());
    if (header.body_bytes == 0 || header.body_bytes > window.size() - offset - FrameHeader::bytes ||
        header.body_bytes > budget || header.lsn <= log.header.base_lsn || header.lsn > largest_lsn ||
        header.durable > offset) {
      continue;
    }
    budget -= header.body_bytes;
    const auto frame = window.at(offset, FrameHeader::bytes + header.body_bytes);
    if (frame_checksum(log.header.log_id, header, frame.subspan(FrameHeader::bytes)) == header.crc32) {
      return LogPosition{.offset = offset, .next_lsn = header.lsn};
    }
  }
  return std::nullopt;
}

// Reads frames from `from` on, up to the last valid one.
template <ReadableFile F>
[[nodiscard]] LogEnd end_behind(F& file, const LogIdentity& log, const LogPosition& from) {
  FrameReader reader(file, log, from, piece_bytes);
  LogEnd end{.position = from};
  try {
    while (const auto frame = reader.next()) {
      const FrameBody body(frame->body, log.version);
      reader.advance(body.mutations());
      end = {.position = reader.position(), .closed = body.op() == FrameOp::close};
    }
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::io) {
      throw;
    }
    // A frame that no writer makes ends the log, too.
  }
  return end;
}

}  // namespace log_end

/// Finds the end of a log by reading the last part of the file: a few hundred KiB, and at most 64 MiB, however long the log
/// is. So it costs little to know the number of the last mutation. Nothing before that part is looked at, so damage there
/// is not found; scan_log finds it. Returns nothing if no frame is found, e.g. because the last one or the space ahead is
/// larger, and for version 1, whose frames have no numbers. Throws what the file throws, and std::bad_alloc.
template <ReadableFile F>
[[nodiscard]] std::optional<LogEnd> find_log_end(F& file, const LogIdentity& log) {
  const LogPosition first = log.first_frame();
  if (log.version == 1 || file.size() < first.offset) {
    return std::nullopt;
  }
  const std::uint64_t lowest = std::max(first.offset, file.size() - std::min(file.size(), log_end::most_bytes));
  const std::uint64_t end = log_end::end_of_data(file, lowest);
  if (lowest == first.offset && end == lowest) {
    return LogEnd{.position = first};
  }
  std::uint64_t budget = log_end::most_bytes;
  for (std::uint64_t bytes = log_end::piece_bytes;; bytes *= 8) {
    const std::uint64_t begin = end - std::min(bytes, end - lowest);
    if (const auto found = log_end::first_frame_from(file, log, begin, end, budget)) {
      return log_end::end_behind(file, log, *found);
    }
    if (begin == lowest) {
      return std::nullopt;
    }
  }
}

}  // namespace iqdb
