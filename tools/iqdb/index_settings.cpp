#include "index_settings.hpp"

#include <cstdint>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/text.hpp"
#include "payload_head.hpp"

namespace iqdb_tool {

iqdb::DistanceMetric metric_named(const std::string& name) {
  for (std::uint8_t tag = 0; iqdb::is_valid(static_cast<iqdb::DistanceMetric>(tag)); ++tag) {
    if (to_string(static_cast<iqdb::DistanceMetric>(tag)) == name) {
      return static_cast<iqdb::DistanceMetric>(tag);
    }
  }
  iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                            "there is no metric " + iqdb::printable(name) +
                                "; expected cosine, dot_product, euclidean, manhattan or hamming");
}

iqdb::Compression compression_named(const std::string& name) {
  if (name == "none") {
    return iqdb::Compression::none();
  }
  if (name == "zstd") {
    return iqdb::Compression::zstd();
  }
  if (name == "lz4") {
    return iqdb::Compression::lz4();
  }
  iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                            "there is no compression " + iqdb::printable(name) + "; expected none, zstd or lz4");
}

iqdb::Compression compression_like(AnyFile file) {
  try {
    switch (preamble_of(file, iqdb::snapshot::read_header_of(file)).scheme) {
#if IQDB_PERSIST_HAS_ZSTD
      case iqdb::CompressionScheme::zstd:
        return iqdb::Compression::zstd();
#endif
#if IQDB_PERSIST_HAS_LZ4
      case iqdb::CompressionScheme::lz4_block:
      case iqdb::CompressionScheme::lz4_frames:
        return iqdb::Compression::lz4();
#endif
      default:
        break;
    }
  } catch (const iqdb::PersistError& error) {
    if (error.kind() == iqdb::PersistErrorKind::io) {
      throw;
    }
  }
  return iqdb::Compression::none();
}

}  // namespace iqdb_tool
