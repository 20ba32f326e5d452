// The coarse quantizer of an IVF index: the index of the centroids, one for each list. It is flat, or a graph.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/impl/AuxIndexStructures.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/hnsw_index.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// The centroids, as floats list by list.
[[nodiscard]] inline std::span<const float> centroids_of(const ::faiss::Index& quantizer) {
  const auto* const graph = dynamic_cast<const ::faiss::IndexHNSWFlat*>(&quantizer);
  // NOLINTNEXTLINE(*-static-cast-downcast): the other kind
  const auto& flat = graph != nullptr ? storage_of(*graph) : static_cast<const ::faiss::IndexFlat&>(quantizer);
  const auto dim = static_cast<std::size_t>(flat.d);
  return {vector_at(flat.codes, 0, dim).data(), static_cast<std::size_t>(flat.ntotal) * dim};
}

/// The lists nearest to each of `queries`, which lie one behind the other, as labels, with faiss' distances of their
/// centroids. A graph may find fewer than `most`, and so may both where distances are no numbers.
///
/// faiss compares up to 19 queries with the centroids of a flat quantizer one by one, and more of them by a product of
/// matrices, which rounds otherwise: who calls this for more may get another list than for a vector alone.
[[nodiscard]] inline std::vector<Nearest> nearest_lists(const ::faiss::Index& quantizer, std::span<const float> queries,
                                                        std::size_t most) {
  const auto* const graph = dynamic_cast<const ::faiss::IndexHNSWFlat*>(&quantizer);
  if (graph == nullptr) {
    return nearest_in_flat(quantizer, queries, most);
  }
  const auto dim = static_cast<std::size_t>(quantizer.d);
  ::faiss::VisitedTable visited(static_cast<int>(graph->ntotal));
  std::vector<Nearest> found;
  found.reserve(queries.size() / dim);
  for (std::size_t at = 0; at < queries.size(); at += dim) {
    found.push_back(nearest_in_graph(*graph, queries.subspan(at, dim), most, std::nullopt, visited));
  }
  return found;
}

/// Reads the quantizer of an IVF index with its tag.
[[nodiscard]] inline std::unique_ptr<::faiss::Index> read_quantizer(Reader& reader) {
  constexpr std::string_view what = "the centroid of list ";
  const auto type = reader.read_le<std::uint32_t>();
  if (type == hnsw_tag) {
    return read_hnsw(reader, what);
  }
  if (!is_flat(type)) {
    fail_unsupported(reader, type, "its quantizer");
  }
  return read_flat(reader, type, what);
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
