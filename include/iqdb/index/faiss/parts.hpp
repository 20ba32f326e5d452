// Reads a flat, HNSW or IVF index of faiss'; its tag says which.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "iqdb/index/faiss/flat_part.hpp"
#include "iqdb/index/faiss/hnsw_part.hpp"
#include "iqdb/index/faiss/ivf_part.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// Reads an index that follows its tag.
[[nodiscard]] inline std::unique_ptr<Part> read_part(Reader& reader, std::uint32_t type, std::string_view where) {
  if (is_flat(type)) {
    return std::make_unique<FlatPart>(read_flat(reader, type));
  }
  if (type == hnsw_tag) {
    return HnswPart::read(reader);
  }
  if (type == ivf_tag) {
    return IvfPart::read(reader);
  }
  fail_unsupported(reader, type, where);
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
