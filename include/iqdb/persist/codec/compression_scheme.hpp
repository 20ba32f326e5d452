// How a payload lies in a snapshot's region: the scheme tags of the format, and the preamble that carries them.
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

/// How the payload lies in the region: the scheme tags of the format.
enum class CompressionScheme : std::uint8_t { none = 0, zstd = 1, lz4_block = 2, lz4_frames = 3 };

/// The scheme's name as it is written in the source, e.g. "lz4_block".
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

/// What a version-2 region begins with.
struct RegionPreamble {
  CompressionScheme scheme = CompressionScheme::none;
  std::uint64_t payload_bytes = 0;  ///< what the data decodes to

  /// How many bytes it takes.
  static constexpr std::uint64_t bytes = sizeof(CompressionScheme) + sizeof(std::uint64_t);
};
static_assert(RegionPreamble::bytes == 9);

/// Writes what a version-2 region begins with.
inline void write_preamble(Writer& writer, const RegionPreamble& preamble) {
  writer.write_le(static_cast<std::uint8_t>(preamble.scheme));
  writer.write_le(preamble.payload_bytes);
}

/// Reads what a version-2 region begins with. Throws PersistError truncated_payload where the file ends before that,
/// invalid_payload for a scheme there is not.
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
