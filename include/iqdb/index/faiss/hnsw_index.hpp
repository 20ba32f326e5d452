// faiss' HNSW index over a flat index, as it is read and searched: where it holds the vectors of a FaissIndex, and where it
// holds the centroids of lists.
#pragma once

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/utils/Heap.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/hnsw_graph.hpp"
#include "iqdb/index/faiss/hnsw_insertion.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// The vectors of a graph. Precondition: the index was made by an adapter, or passed is_hnsw.
[[nodiscard]] inline const ::faiss::IndexFlat& storage_of(const ::faiss::IndexHNSWFlat& index) {
  return *static_cast<const ::faiss::IndexFlat*>(index.storage);  // NOLINT(*-static-cast-downcast)
}
[[nodiscard]] inline ::faiss::IndexFlat& storage_of(::faiss::IndexHNSWFlat& index) {
  return *static_cast<::faiss::IndexFlat*>(index.storage);  // NOLINT(*-static-cast-downcast)
}

/// How many candidates a search looks at, which has to find `most`: `width` of them, if the caller said so.
[[nodiscard]] inline std::size_t candidates_for(const ::faiss::IndexHNSWFlat& index, std::size_t most,
                                                std::optional<std::size_t> width) {
  const auto usual = static_cast<std::size_t>(index.hnsw.efSearch);
  return std::min(std::max(width.value_or(usual), most), static_cast<std::size_t>(index.ntotal));
}

/// Up to `most` nodes that a search finds near a query. `width` is how many candidates it looks at, if the caller said so.
///
/// Does what IndexHNSW::search does for one query, with three differences. A shortage of memory throws, while in faiss'
/// parallel region it would end the process. faiss' statistics of all searches, which have no lock, stay as they are.
/// Nothing is found where a distance is not a number. `visited` shows no visits, before and after.
[[nodiscard]] inline Nearest nearest_in_graph(const ::faiss::IndexHNSWFlat& index, std::span<const float> query,
                                              std::size_t most, std::optional<std::size_t> width,
                                              ::faiss::VisitedTable& visited) {
  const auto usual = static_cast<std::size_t>(index.hnsw.efSearch);
  const std::size_t candidates = candidates_for(index, most, width);
  ::faiss::SearchParametersHNSW parameters;
  parameters.efSearch = static_cast<int>(candidates);
  // faiss 1.7.3 keeps as many candidates as the index's own setting or the number of results, whichever is more.
  const std::size_t results = candidates > usual ? candidates : most;
  std::vector<float> distances(results);
  std::vector<Id> labels(results);
  ::faiss::maxheap_heapify(results, distances.data(), labels.data());
  Farness farness(storage_of(index));
  farness.set_query(query.data());
  guarded([&] {
    std::ignore =
        index.hnsw.search(farness, static_cast<int>(results), labels.data(), distances.data(), visited, &parameters);
  });
  visited.advance();
  if (!farness.all_numbers()) {
    return {};
  }
  ::faiss::maxheap_reorder(results, distances.data(), labels.data());
  std::erase(labels, no_label);
  labels.resize(std::min(labels.size(), most));
  distances.resize(labels.size());
  if (index.metric_type == ::faiss::METRIC_INNER_PRODUCT) {
    std::ranges::transform(distances, distances.begin(), [](float distance) { return -distance; });
  }
  return {.labels = std::move(labels), .distances = std::move(distances)};
}

/// Reads a graph that follows its tag: header | probabilities of levels, sums of links up to each level, levels, begins of
/// links, links, each with its count before it | entry node, highest level, candidates of an insertion and of a search,
/// width of the search above the lowest level | a flat index. `what` is what to call a vector, before its position.
[[nodiscard]] inline std::unique_ptr<::faiss::IndexHNSWFlat> read_hnsw(
    Reader& reader, std::string_view what = "the vector at position ") {
  const Header header = read_head(reader);
  // Everything it is made with is replaced.
  auto index = std::make_unique<::faiss::IndexHNSWFlat>(static_cast<int>(header.dim), 2, header.metric);
  read_graph(reader, index->hnsw, header.vectors);

  const auto storage_tag = reader.read_le<std::uint32_t>();
  if (!is_flat(storage_tag)) {
    fail_unsupported(reader, storage_tag, "the index in which the graph's vectors are");
  }
  const std::unique_ptr<::faiss::IndexFlat> vectors = read_flat(reader, storage_tag, what);
  if (header_of(*vectors) != header) {
    fail(reader, "a graph of " + std::to_string(header.vectors) + " vectors of " + std::to_string(header.dim) +
                     " components by " + name_of(header.metric) + " has " + std::to_string(vectors->ntotal) + " of " +
                     std::to_string(vectors->d) + " by " + name_of(vectors->metric_type));
  }
  index->ntotal = static_cast<Id>(header.vectors);
  index->storage->ntotal = index->ntotal;
  storage_of(*index).codes = std::move(vectors->codes);
  return index;
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
