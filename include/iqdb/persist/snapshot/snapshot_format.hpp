// The snapshot's header: fields <-> bytes. docs/format.md has the picture.
//
//   magic 8 | version 4 | N 8 | index type N | dim 8 | metric 1 | vectors 8 | CRC32 of the region 4 | region …
//
// A version-1 region is the payload. A version-2 region begins with a preamble: codec/compression_scheme.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The header of a snapshot.
struct FileHeader {
  std::uint32_t version = 0;                       ///< 1 or 2
  std::string index_type;                          ///< the name of the index's type on disk
  std::uint64_t dim = 0;                           ///< components of each vector
  DistanceMetric metric = DistanceMetric::cosine;  ///< how distances are measured
  std::uint64_t vectors = 0;                       ///< how many vectors the index holds
  std::uint32_t crc32 = 0;                         ///< of the region: every byte behind the header

  friend bool operator==(const FileHeader&, const FileHeader&) = default;
};

/// The first bytes of a snapshot.
inline constexpr std::string_view snapshot_magic = "IQDBPRST";

/// The version that is written.
inline constexpr std::uint32_t snapshot_version = 2;

/// The longest index type that a file may name, in bytes.
inline constexpr std::uint64_t longest_index_type = 4096;

/// The size of a header that names an index type of `index_type_bytes`.
[[nodiscard]] constexpr std::uint64_t header_bytes(std::uint64_t index_type_bytes) noexcept {
  return snapshot_magic.size() + sizeof(std::uint32_t) + sizeof(std::uint64_t) + index_type_bytes +
         sizeof(std::uint64_t) + sizeof(DistanceMetric) + sizeof(std::uint64_t) + sizeof(std::uint32_t);
}
static_assert(header_bytes(0) == 41);

/// Writes the header of a snapshot, 41 bytes and the index type.
IQDB_PERSIST_INLINE void write_header(Writer& writer, const FileHeader& header);

/// Reads the header of a snapshot; the reader then stands at the region. Throws PersistError, checking in the order of
/// the file: bad_magic, unsupported_version, invalid_payload if the index type is too long or not UTF-8,
/// invalid_index_type if `expected_type` is given and differs, invalid_metric; truncated_header if the file ends before
/// the header does.
[[nodiscard]] IQDB_PERSIST_INLINE FileHeader read_header(Reader& reader,
                                                         std::optional<std::string_view> expected_type = {});

/// Identifies a snapshot by its size and its checksums, which cover every byte of it.
struct Fingerprint {
  std::uint64_t file_bytes = 0;    ///< the size of the file
  std::uint32_t header_crc32 = 0;  ///< of the header
  std::uint32_t region_crc32 = 0;  ///< of the region, as the header states it

  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

/// The fingerprint of a snapshot of `file_bytes` that begins with `header`.
[[nodiscard]] inline Fingerprint fingerprint(const FileHeader& header, std::uint64_t file_bytes) {
  const Crc32 checksum(bytes_of([&](Writer& writer) { write_header(writer, header); }));
  return {.file_bytes = file_bytes, .header_crc32 = checksum.value(), .region_crc32 = header.crc32};
}

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void write_header(Writer& writer, const FileHeader& header) {
  writer.write_array(snapshot_magic);
  writer.write_le(header.version);
  writer.write_le(std::uint64_t{header.index_type.size()});
  writer.write_array(header.index_type);
  writer.write_le(header.dim);
  writer.write_le(static_cast<std::uint8_t>(header.metric));
  writer.write_le(header.vectors);
  writer.write_le(header.crc32);
}

IQDB_PERSIST_INLINE FileHeader read_header(Reader& reader, std::optional<std::string_view> expected_type) {
  const auto require = [&reader](std::uint64_t bytes) {
    if (reader.remaining() < bytes) {
      reader.fail(PersistErrorKind::truncated_header,
                  "the header is cut short: its next field has " + std::to_string(bytes) + " bytes, but the file has " +
                      std::to_string(reader.remaining()) + " left; it is no whole snapshot");
    }
  };
  FileHeader header;

  require(snapshot_magic.size());
  const std::string magic = reader.read_string(snapshot_magic.size());
  if (magic != snapshot_magic) {
    throw_persist_error(PersistErrorKind::bad_magic,
                        "this is no snapshot: it begins with " + printable(magic) + ", expected " +
                            printable(snapshot_magic) + "; check the path",
                        {.path = {}, .code = {}, .offset = 0});
  }

  require(sizeof header.version);
  header.version = reader.read_le<std::uint32_t>();
  if (header.version < 1 || header.version > snapshot_version) {
    throw_persist_error(PersistErrorKind::unsupported_version,
                        "the snapshot has format version " + std::to_string(header.version) +
                            ", but this library reads 1 to " + std::to_string(snapshot_version) +
                            "; it needs a newer library, or the file is damaged");
  }

  require(sizeof(std::uint64_t));
  const auto type_bytes = reader.read_le<std::uint64_t>();
  if (type_bytes > longest_index_type) {
    reader.fail(PersistErrorKind::invalid_payload, "the index type is stated to have " + std::to_string(type_bytes) +
                                                       " bytes, but at most " + std::to_string(longest_index_type) +
                                                       " are allowed; the file is damaged");
  }
  require(type_bytes);
  header.index_type = reader.read_string(type_bytes);
  if (!is_utf8(header.index_type)) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the index type " + printable(header.index_type) + " is not UTF-8; the file is damaged");
  }
  if (expected_type && header.index_type != *expected_type) {
    throw_persist_error(PersistErrorKind::invalid_index_type,
                        "the snapshot holds an index of type " + printable(header.index_type) + ", but one of type " +
                            printable(*expected_type) + " was to be loaded; load it as what it is");
  }

  require(sizeof header.dim);
  header.dim = reader.read_le<std::uint64_t>();
  require(sizeof(std::uint8_t));
  header.metric = metric_from_tag(reader.read_le<std::uint8_t>());
  require(sizeof header.vectors);
  header.vectors = reader.read_le<std::uint64_t>();
  require(sizeof header.crc32);
  header.crc32 = reader.read_le<std::uint32_t>();
  return header;
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
