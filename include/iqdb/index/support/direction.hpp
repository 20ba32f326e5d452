// The cosine for libraries that do not have it: the product of two vectors of length 1 is their cosine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "iqdb/index/support/distance.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// A copy of a finite vector, in the form in which a library with a product of vectors keeps it: the direction for the
/// cosine, the vector as it is for other metrics. A vector of zeros has no direction. It stays as it is, and its
/// distance from every vector is 1.
[[nodiscard]] inline std::vector<float> direction_for(DistanceMetric metric, std::span<const float> vector) {
  std::vector<float> kept(vector.begin(), vector.end());
  const double norm = metric == DistanceMetric::cosine ? std::sqrt(squared_norm(vector)) : 0.0;
  if (norm > 0.0) {
    std::ranges::transform(kept, kept.begin(),
                           [norm](float component) { return static_cast<float>(component / norm); });
  }
  return kept;
}

/// The vectors of rows, each of `dim` components, in the form that direction_for gives each. The result lies in `memory`
/// or is `vectors` itself. Throws std::bad_alloc.
[[nodiscard]] inline std::span<const float> directions_for(DistanceMetric metric, std::span<const float> vectors,
                                                           std::size_t dim, std::vector<float>& memory) {
  if (metric != DistanceMetric::cosine) {
    return vectors;
  }
  memory.reserve(vectors.size());
  for (std::size_t at = 0; at < vectors.size(); at += dim) {
    const std::vector<float> each = direction_for(metric, vectors.subspan(at, dim));
    memory.insert(memory.end(), each.begin(), each.end());
  }
  return memory;
}

/// Whether a vector is a direction: its length is 1 but for rounding, or it is all zeros. `square` is the square of its
/// length.
[[nodiscard]] inline bool is_direction(double square) noexcept {
  constexpr double tolerance = 1e-3;
  return square == 0.0 || std::abs(square - 1.0) <= tolerance;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
