// Reads an index of faiss'; its tag says which.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index/faiss/flat_part.hpp"
#include "iqdb/index/faiss/hnsw_part.hpp"
#include "iqdb/index/faiss/ivf_part.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/faiss/transform.hpp"
#include "iqdb/index/faiss/transformed_part.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// Reads an index that follows its tag, and transforms nothing.
[[nodiscard]] inline std::unique_ptr<Part> read_plain_part(Reader& reader, std::uint32_t type, std::string_view where) {
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

/// Reads an index that follows its tag.
[[nodiscard]] inline std::unique_ptr<Part> read_part(Reader& reader, std::uint32_t type, std::string_view where) {
  if (type != transformed_tag) {
    return read_plain_part(reader, type, where);
  }
  const Header header = read_head(reader);
  Transform transform = read_transform(reader, header.dim);
  const auto inside_type = reader.read_le<std::uint32_t>();
  std::unique_ptr<Part> inside = read_plain_part(reader, inside_type, "the index behind its transform");
  const Header expected{.dim = transform.dim(), .vectors = header.vectors, .metric = header.metric};
  if (header_of(inside->index()) != expected) {
    fail(reader, "its transform gives " + std::to_string(expected.vectors) + " vectors of " +
                     std::to_string(expected.dim) + " components by " + name_of(expected.metric) +
                     " to an index that is another");
  }
  if (inside->range().first == 0.0F) {
    fail(reader,
         "behind its transform is a scalar quantizer of the type 8bit_direct, which keeps whole numbers from 0 to "
         "255 only; use another one");
  }
  return std::make_unique<TransformedPart>(header.dim, std::move(transform), std::move(inside));
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
