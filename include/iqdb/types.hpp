// The vocabulary of a vector index: metrics, identifiers, metadata, searches and hits.
#pragma once

#include <cstdint>
#include <string_view>

#include "iqdb/metadata.hpp"       // IWYU pragma: export
#include "iqdb/search.hpp"         // IWYU pragma: export
#include "iqdb/stored_vector.hpp"  // IWYU pragma: export
#include "iqdb/vector_id.hpp"      // IWYU pragma: export

namespace iqdb {

/// How the distance of two vectors is measured. The values are the tags of the file format. With every metric a smaller
/// distance is nearer; the formulas stand at `FlatIndex::search`.
enum class DistanceMetric : std::uint8_t { cosine = 0, dot_product = 1, euclidean = 2, manhattan = 3, hamming = 4 };

/// Whether `metric` is one of the five. A value that came from a cast may not be.
[[nodiscard]] constexpr bool is_valid(DistanceMetric metric) noexcept {
  return static_cast<std::uint8_t>(metric) <= static_cast<std::uint8_t>(DistanceMetric::hamming);
}

/// The metric's name as it is written in the source, e.g. "dot_product".
[[nodiscard]] constexpr std::string_view to_string(DistanceMetric metric) noexcept {
  switch (metric) {
    case DistanceMetric::cosine:
      return "cosine";
    case DistanceMetric::dot_product:
      return "dot_product";
    case DistanceMetric::euclidean:
      return "euclidean";
    case DistanceMetric::manhattan:
      return "manhattan";
    case DistanceMetric::hamming:
      return "hamming";
  }
  return "unknown";
}

}  // namespace iqdb
