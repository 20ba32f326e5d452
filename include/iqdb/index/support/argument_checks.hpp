// The checks of an index's arguments, with one wording for every index: settings out of range, metrics that a library
// does not have, vectors of another dimension or with components that are not finite.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What the indexes of this library share. Authors of other indexes may use it too.
namespace index_support {

/// Whether hnswlib, faiss and usearch have the metric, under a name of their own or as a product of directions.
[[nodiscard]] constexpr bool is_common_metric(DistanceMetric metric) noexcept {
  return metric == DistanceMetric::euclidean || metric == DistanceMetric::dot_product ||
         metric == DistanceMetric::cosine;
}

/// Throws IndexError invalid_metric unless is_common_metric(metric). `library` is its name, for the message.
inline void check_metric(DistanceMetric metric, std::string_view library) {
  if (!is_common_metric(metric)) {
    throw IndexError(IndexErrorKind::invalid_metric, "an index with the metric " + std::string(to_string(metric)) +
                                                         " was asked for; " + std::string(library) +
                                                         " has euclidean, dot_product and cosine");
  }
}

/// Throws IndexError invalid_config unless `value` is from `least` to `most`. `name` names the value and `index` the
/// index with its article: "the {dimension} is 0; {a faiss index} takes 1 to 16777216".
inline void check_range(std::size_t value, std::size_t least, std::size_t most, std::string_view name,
                        std::string_view index) {
  if (value < least || value > most) {
    throw IndexError(IndexErrorKind::invalid_config, "the " + std::string(name) + " is " + std::to_string(value) +
                                                         "; " + std::string(index) + " takes " + std::to_string(least) +
                                                         " to " + std::to_string(most));
  }
}

/// Throws IndexError dimension_mismatch unless the number of components is the index's dimension. `what` says what has
/// the components: "vector", "query".
inline void check_dimension(std::size_t components, std::size_t dim, std::string_view what) {
  if (components != dim) {
    throw IndexError(IndexErrorKind::dimension_mismatch,
                     "the " + std::string(what) + " has " + std::to_string(components) +
                         " components, but the index has dimension " + std::to_string(dim));
  }
}

/// Whether no component is an infinity or a NaN.
[[nodiscard]] inline bool is_finite(std::span<const float> vector) noexcept {
  return std::ranges::all_of(vector, [](float component) { return std::isfinite(component); });
}

/// Throws IndexError invalid_vector for the first component that is not a number from -largest to largest.
inline void check_components(std::span<const float> vector, std::string_view what,
                             float largest = std::numeric_limits<float>::max()) {
  const auto fits = [largest](float component) { return std::abs(component) <= largest; };  // a NaN does not
  if (const auto wrong = std::ranges::find_if_not(vector, fits); wrong != vector.end()) {
    throw IndexError(IndexErrorKind::invalid_vector,
                     "component " + std::to_string(wrong - vector.begin()) + " of the " + std::string(what) + " is " +
                         std::to_string(*wrong) + "; the index takes finite numbers" +
                         (largest < std::numeric_limits<float>::max() ? " up to " + std::to_string(largest) : ""));
  }
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
