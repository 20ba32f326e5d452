// What an index must offer so that its mutations can be logged and replayed.
//
// The concepts are built of named parts, so that a compiler's message names the part that is missing.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/types.hpp"

namespace iqdb {

/// `i.insert(id, vector, metadata)` adds a vector. It throws IndexError to reject one, and then has changed nothing.
template <class I>
concept Insertable = requires(I& index, VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
  index.insert(id, vector, metadata);
};

/// `i.erase(id)` removes a vector. It throws IndexError not_found if the index does not hold it.
template <class I>
concept Erasable = requires(I& index, VectorId id) {
  index.erase(id);
};

/// `i.size()` is the number of vectors.
template <class I>
concept HasSize = requires(const I& index) {
  { index.size() } -> std::convertible_to<std::size_t>;
};

/// `i.dim()` is the number of components of each vector.
template <class I>
concept HasDim = requires(const I& index) {
  { index.dim() } -> std::convertible_to<std::size_t>;
};

/// `i.metric()` is how distances are measured.
template <class I>
concept HasMetric = requires(const I& index) {
  { index.metric() } -> std::convertible_to<DistanceMetric>;
};

/// An index whose mutations can be logged. Whether it rejects a mutation may depend only on what it saves and on the
/// mutations before; otherwise a replay of the same mutations could end in another state.
template <class I>
concept Index = Insertable<I> && Erasable<I> && HasSize<I> && HasDim<I> && HasMetric<I>;

/// `i.search(query, params)` returns the nearest vectors, nearest first.
template <class I>
concept Searchable = requires(const I& index, std::span<const float> query, const SearchParams& params) {
  { index.search(query, params) } -> std::convertible_to<std::vector<Hit>>;
};

/// An index that can also be searched.
template <class I>
concept SearchableIndex = Index<I> && Searchable<I>;

}  // namespace iqdb
