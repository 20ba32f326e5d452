// The cosine for libraries that do not have it: their product of vectors is the cosine where the vectors have a length
// of 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "iqdb/index/support/distance.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// A copy of a finite vector as a library with a product of vectors keeps it: for the cosine its direction, for other
/// metrics as it is. A vector of zeros has no direction; it stays, and its distance from every vector is 1.
[[nodiscard]] inline std::vector<float> direction_for(DistanceMetric metric, std::span<const float> vector) {
  std::vector<float> kept(vector.begin(), vector.end());
  const double norm = metric == DistanceMetric::cosine ? std::sqrt(squared_norm(vector)) : 0.0;
  if (norm > 0.0) {
    std::ranges::transform(kept, kept.begin(),
                           [norm](float component) { return static_cast<float>(component / norm); });
  }
  return kept;
}

/// Whether a vector, whose length squared is `square`, is a direction: of length 1 but for rounding, or of zeros.
[[nodiscard]] inline bool is_direction(double square) noexcept {
  constexpr double tolerance = 1e-3;
  return square == 0.0 || std::abs(square - 1.0) <= tolerance;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
