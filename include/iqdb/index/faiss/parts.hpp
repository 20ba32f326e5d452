// Reads a flat, HNSW or IVF index of faiss', of vectors or codes; its tag says which.
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
    return FlatPart::of(read_flat(reader, type));
  }
  if (type == flat_scalar_tag || type == flat_product_tag) {
    return FlatPart::read_codes(reader, type);
  }
  if (type == hnsw_tag) {
    return HnswPart::read(reader);
  }
  if (type == ivf_tag || type == ivf_scalar_tag || type == ivf_product_tag) {
    return IvfPart::read(reader, type);
  }
  fail_unsupported(reader, type, where);
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
