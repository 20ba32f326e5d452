// How a snapshot's region stores a payload: the scheme tags of the format, and the preamble that carries them.
//
//   region, version 2: scheme 1 | payload bytes 8 | data …
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How the region stores the payload: the scheme tags of the format.
enum class CompressionScheme : std::uint8_t { none = 0, zstd = 1, lz4_block = 2, lz4_frames = 3 };

/// The name of the enumerator, e.g. "lz4_block"; "unknown" for any other value.
[[nodiscard]] constexpr std::string_view to_string(CompressionScheme scheme) noexcept {
  switch (scheme) {
    case CompressionScheme::none:
      return "none";
    case CompressionScheme::zstd:
      return "zstd";
    case CompressionScheme::lz4_block:
      return "lz4_block";
    case CompressionScheme::lz4_frames:
      return "lz4_frames";
  }
  return "unknown";
}

/// The beginning of a version-2 region.
struct RegionPreamble {
  CompressionScheme scheme = CompressionScheme::none;
  std::uint64_t payload_bytes = 0;  ///< the length that the data decodes to

  /// The size of the preamble, in bytes.
  static constexpr std::uint64_t bytes = sizeof(CompressionScheme) + sizeof(std::uint64_t);
};
static_assert(RegionPreamble::bytes == 9);

/// Writes the preamble of a version-2 region. Throws what the writer throws.
inline void write_preamble(Writer& writer, const RegionPreamble& preamble) {
  writer.write_le(static_cast<std::uint8_t>(preamble.scheme));
  writer.write_le(preamble.payload_bytes);
}

/// Reads the preamble of a version-2 region. Throws PersistError truncated_payload if the file ends within it,
/// invalid_payload for an unknown scheme.
[[nodiscard]] inline RegionPreamble read_preamble(Reader& reader) {
  reader.require(RegionPreamble::bytes);
  const auto tag = reader.read_le<std::uint8_t>();
  if (tag > static_cast<std::uint8_t>(CompressionScheme::lz4_frames)) {
    reader.fail(PersistErrorKind::invalid_payload, "the payload is compressed by scheme " + std::to_string(tag) +
                                                       ", but this library knows 0 to 3; it needs a newer library");
  }
  return {.scheme = static_cast<CompressionScheme>(tag), .payload_bytes = reader.read_le<std::uint64_t>()};
}

}  // namespace iqdb
