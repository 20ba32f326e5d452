// The write-ahead log's header and frames: fields <-> bytes. docs/format.md has the picture and the rules.
//
//   header, 64: magic 8 | version 4 | CRC32 4 | log id 8 | base LSN 8 | base fingerprint 16 | history id 8 | zero 8
//   frame: body length 4 | CRC32 4 | LSN 8 | durable 8 | body …
//   body:  wal/frame_body.hpp
//
// Version 2 has the same layout, with zeros where the history id stands. Version 1: magic 8 | version 4, then frames:
// body length 4 | CRC32 4 | body … Both are read, but not written.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The first bytes of a log.
inline constexpr std::string_view log_magic("IQDBWAL\0", 8);

/// The version that is written.
inline constexpr std::uint32_t log_version = 3;

/// The size of a version-1 header: magic and version. Later headers begin with the same fields.
inline constexpr std::uint64_t log_header_1_bytes = 12;

/// The size of a header of version 2 or 3.
inline constexpr std::uint64_t log_header_bytes = 64;

/// The largest body of a frame, in bytes. A mutation that needs a larger one is refused before it is written.
inline constexpr std::uint64_t largest_frame_body = std::uint64_t{256} * 1024 * 1024;

/// The largest LSN of a mutation: large enough that no log reaches it, small enough that no sum of LSNs overflows.
inline constexpr std::uint64_t largest_lsn = std::uint64_t{1} << 62U;

/// The header of a log of version 2 or 3.
struct LogHeader {
  std::uint64_t log_id = 0;      ///< random, new for each log file; part of each frame's checksum
  std::uint64_t base_lsn = 0;    ///< the LSN of the last mutation in the base snapshot
  Fingerprint base;              ///< the snapshot that the log continues
  std::uint64_t history_id = 0;  ///< random; while it stays the same, an LSN names the same mutation; 0 in version 2

  friend bool operator==(const LogHeader&, const LogHeader&) = default;
};

/// The first byte of a body. Those from `upsert` on exist since version 3.
enum class FrameOp : std::uint8_t {
  insert = 1,
  erase = 2,
  batch = 3,
  abort = 4,
  checkpoint = 5,
  close = 6,
  upsert = 7,
  metadata = 8,
  time = 9,
  typed_insert = 10,
  typed_upsert = 11,
};

/// The header of a frame of version 2 or 3.
struct FrameHeader {
  std::uint32_t body_bytes = 0;
  std::uint32_t crc32 = 0;    ///< see frame_checksum
  std::uint64_t lsn = 0;      ///< of its first mutation; in a control frame: of the mutation that follows
  std::uint64_t durable = 0;  ///< up to this offset the log was known to be durable when the frame was written

  /// Its size in a log.
  static constexpr std::uint64_t bytes = 4 + 4 + 8 + 8;
};

/// The size of a version-1 frame's header: body length, and CRC32 of the body.
inline constexpr std::uint64_t frame_header_1_bytes = 4 + 4;

namespace wal_format {

// The little-endian bytes of `values`, concatenated. Their sizes add up to `count`.
template <std::size_t count, LittleEndianValue... Ts>
[[nodiscard]] std::array<std::byte, count> packed(const Ts&... values) noexcept {
  static_assert((sizeof(Ts) + ...) == count);
  std::array<std::byte, count> bytes{};
  std::byte* at = bytes.data();
  const auto put = [&at](const auto& field) {
    std::memcpy(at, field.data(), field.size());
    at += field.size();
  };
  (put(to_little_endian(values)), ...);
  return bytes;
}

}  // namespace wal_format

/// The part of a frame's checksum that precedes the body. It covers the log id, so that a frame of another log, or of
/// an older log in the same disk blocks, is never valid. It also covers the header's other fields.
[[nodiscard]] inline Crc32 checksum_of_fields(std::uint64_t log_id, const FrameHeader& header) noexcept {
  return Crc32(wal_format::packed<8 + 4 + 8 + 8>(log_id, header.body_bytes, header.lsn, header.durable));
}

/// The checksum of a frame: over the log id, these fields and the body.
[[nodiscard]] inline std::uint32_t frame_checksum(std::uint64_t log_id, const FrameHeader& header,
                                                  std::span<const std::byte> body) noexcept {
  Crc32 checksum = checksum_of_fields(log_id, header);
  checksum.update(body);
  return checksum.value();
}

/// The bytes of a frame's header.
[[nodiscard]] inline std::array<std::byte, FrameHeader::bytes> encoded(const FrameHeader& header) noexcept {
  return wal_format::packed<FrameHeader::bytes>(header.body_bytes, header.crc32, header.lsn, header.durable);
}

/// Reads a frame's header. Checks nothing.
[[nodiscard]] inline FrameHeader read_frame_header(std::span<const std::byte, FrameHeader::bytes> bytes) noexcept {
  const std::byte* at = bytes.data();
  const auto take = [&at]<class T>(T& field) {
    std::array<std::byte, sizeof(T)> raw{};
    std::memcpy(raw.data(), at, raw.size());
    field = from_little_endian<T>(raw);
    at += raw.size();
  };
  FrameHeader header;
  take(header.body_bytes);
  take(header.crc32);
  take(header.lsn);
  take(header.durable);
  return header;
}

/// Writes the fingerprint of a snapshot.
inline void write_fingerprint(Writer& writer, const Fingerprint& fingerprint) {
  writer.write_le(fingerprint.file_bytes);
  writer.write_le(fingerprint.header_crc32);
  writer.write_le(fingerprint.region_crc32);
}

/// Reads the fingerprint of a snapshot.
[[nodiscard]] inline Fingerprint read_fingerprint(Reader& reader) {
  return {.file_bytes = reader.read_le<std::uint64_t>(),
          .header_crc32 = reader.read_le<std::uint32_t>(),
          .region_crc32 = reader.read_le<std::uint32_t>()};
}

/// Writes a header of `version`, 2 or 3, with its checksum.
IQDB_PERSIST_INLINE void write_log_header(Writer& writer, const LogHeader& header, std::uint32_t version = log_version);

namespace wal_format {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_damaged_header(const std::string& found) {
  throw_persist_error(PersistErrorKind::log_corrupted,
                      "the log's header is damaged: " + found +
                          "; restore the log from a copy: without the log, every mutation since the snapshot is lost",
                      {.path = {}, .code = {}, .offset = 0});
}

// The fields of a header of version 2 or 3, from its 64 bytes. Checks nothing.
[[nodiscard]] inline LogHeader fields_of(std::span<const std::byte> bytes) {
  Reader reader(bytes.subspan(log_magic.size() + 4 + 4));
  LogHeader header;
  header.log_id = reader.read_le<std::uint64_t>();
  header.base_lsn = reader.read_le<std::uint64_t>();
  header.base = read_fingerprint(reader);
  header.history_id = reader.read_le<std::uint64_t>();
  return header;
}

// Whether these 64 bytes are a header of version 2 or 3 of which at most one bit is wrong, apart from its version. One
// more flipped bit may make version 1 of it, whose header has no checksum.
[[nodiscard]] IQDB_PERSIST_INLINE bool was_later_header(std::span<const std::byte> bytes);

[[nodiscard]] inline std::vector<std::byte> encoded(const LogHeader& header, std::uint32_t version = log_version) {
  return bytes_of([&](Writer& writer) { write_log_header(writer, header, version); });
}

// Whether these 64 bytes are a header of `version`, apart from its magic and version.
[[nodiscard]] inline bool is_rest_of_header(std::span<const std::byte> bytes, std::uint32_t version) {
  const auto right = encoded(fields_of(bytes), version);
  return std::equal(right.begin() + log_header_1_bytes, right.end(), bytes.begin() + log_header_1_bytes);
}

}  // namespace wal_format

/// The version of the log that begins with `bytes`. Pass the first log_header_bytes of the file, or the whole file if
/// it is shorter, but at least log_header_1_bytes. Throws PersistError bad_magic if it is not a log;
/// unsupported_version if this library does not know its version; log_corrupted if the rest of the header is correct,
/// so that magic or version is damaged.
[[nodiscard]] IQDB_PERSIST_INLINE std::uint32_t read_log_version(std::span<const std::byte> bytes);

/// Reads a header of `version`, 2 or 3. Throws PersistError log_corrupted if it is not complete and correct. A log is
/// created whole, so this is damage, and never a log whose creation was cut off.
[[nodiscard]] IQDB_PERSIST_INLINE LogHeader read_log_header(std::span<const std::byte> bytes,
                                                            std::uint32_t version = log_version);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void write_log_header(Writer& writer, const LogHeader& header, std::uint32_t version) {
  const auto encode = [&](std::uint32_t crc32) {
    return bytes_of([&](Writer& to) {
      to.write_array(log_magic);
      to.write_le(version);
      to.write_le(crc32);
      to.write_le(header.log_id);
      to.write_le(header.base_lsn);
      write_fingerprint(to, header.base);
      to.write_le(version == 2 ? std::uint64_t{0} : header.history_id);
      to.write(std::array<std::byte, 8>{});
    });
  };
  writer.write(encode(Crc32(encode(0)).value()));
}

namespace wal_format {

IQDB_PERSIST_INLINE bool was_later_header(std::span<const std::byte> bytes) {
  std::vector<std::byte> tried(bytes.begin(), bytes.end());
  for (std::size_t bit = 8 * log_header_1_bytes; bit < 8 * tried.size(); ++bit) {
    const auto flip = static_cast<std::byte>(1U << (bit % 8));
    tried[bit / 8] ^= flip;
    if (is_rest_of_header(tried, 2) || is_rest_of_header(tried, log_version)) {
      return true;
    }
    tried[bit / 8] ^= flip;
  }
  return false;
}

}  // namespace wal_format

IQDB_PERSIST_INLINE std::uint32_t read_log_version(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  const std::string magic = reader.read_string(log_magic.size());
  const auto version = reader.read_le<std::uint32_t>();
  if (magic == log_magic && (version == 2 || version == log_version)) {
    return version;
  }
  if (bytes.size() == log_header_bytes &&
      (wal_format::is_rest_of_header(bytes, 2) || wal_format::is_rest_of_header(bytes, log_version))) {
    wal_format::throw_damaged_header("its magic is " + printable(magic) + " and its version " +
                                     std::to_string(version));
  }
  if (magic != log_magic) {
    throw_persist_error(PersistErrorKind::bad_magic,
                        "this is no log: it begins with " + printable(magic) + ", expected " + printable(log_magic));
  }
  if (version == 1 && bytes.size() == log_header_bytes && wal_format::was_later_header(bytes)) {
    wal_format::throw_damaged_header("its version is 1, but the rest is almost that of a later one");
  }
  if (version != 1) {
    throw_persist_error(PersistErrorKind::unsupported_version,
                        "the log has format version " + std::to_string(version) + ", but this library reads 1 to " +
                            std::to_string(log_version) + "; it needs a newer library, or the file is damaged");
  }
  return version;
}

IQDB_PERSIST_INLINE LogHeader read_log_header(std::span<const std::byte> bytes, std::uint32_t version) {
  if (bytes.size() != log_header_bytes) {
    wal_format::throw_damaged_header("it has " + std::to_string(bytes.size()) + " bytes, expected " +
                                     std::to_string(log_header_bytes));
  }
  const LogHeader header = wal_format::fields_of(bytes);
  // Encoding the fields again must produce the same bytes: this checks magic, version, checksum and the zeros at once.
  if (const auto right = wal_format::encoded(header, version); !std::equal(right.begin(), right.end(), bytes.begin())) {
    wal_format::throw_damaged_header("its checksum is wrong");
  }
  if (header.base_lsn > largest_lsn) {
    wal_format::throw_damaged_header("its base LSN is " + std::to_string(header.base_lsn));
  }
  return header;
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
