// The checks of an index's arguments, with one wording for every index: settings out of range, metrics that a library
// does not have, vectors of another dimension or with components that are not finite.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "iqdb/index/support/distance.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What the indexes of this library share. Authors of other indexes may use it too.
namespace index_support {

/// A number for a message, in six digits: 1e-25 is not "0.000000".
[[nodiscard]] inline std::string readable(double value) {
  std::array<char, 32> text{};
  auto* const end = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::general, 6).ptr;
  return {text.data(), end};
}

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

/// The most components of a vector in an index that the library writes: a log counts them in 32 bits.
inline constexpr std::size_t most_exact_dim = std::numeric_limits<std::uint32_t>::max();

/// Throws IndexError invalid_config unless an exact index can have the dimension, 1 to most_exact_dim; invalid_metric
/// for a metric that is not a value of DistanceMetric. `index` is the index with its article.
inline void check_exact(std::size_t dim, DistanceMetric metric, std::string_view index) {
  check_range(dim, 1, most_exact_dim, "dimension", index);
  if (!is_valid(metric)) {
    throw IndexError(
        IndexErrorKind::invalid_metric,
        "the metric with the value " + std::to_string(static_cast<unsigned>(metric)) + " is none of DistanceMetric");
  }
}

/// What a vector is given for: to be stored, to be stored again because a log says that it once was, or to be searched
/// for. A logged vector is not refused for a bound that an earlier version did not have.
enum class VectorRole : std::uint8_t { stored, logged, query };

/// The role's name in messages.
[[nodiscard]] constexpr std::string_view name_of(VectorRole role) noexcept {
  return role == VectorRole::query ? "query" : "vector";
}

/// Throws IndexError invalid_config for the dimension 0, which an index has that was moved from.
inline void require_not_moved_from(std::size_t dim) {
  if (dim == 0) {
    throw IndexError(IndexErrorKind::invalid_config,
                     "the index was moved to another object; use that one, or assign an index to this one");
  }
}

/// Throws IndexError dimension_mismatch unless the number of components is the index's dimension, and what
/// require_not_moved_from throws. `what` says what has the components: "vector", "query".
inline void check_dimension(std::size_t components, std::size_t dim, std::string_view what) {
  require_not_moved_from(dim);
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
                         readable(*wrong) + "; the index takes finite numbers" +
                         (largest < std::numeric_limits<float>::max() ? " up to " + readable(largest) : ""));
  }
}

/// The greatest length of a vector in an index whose library computes distances in single precision: the square of the
/// distance between two such vectors, their product, and every part of either fit a float.
inline constexpr double greatest_length = 0x1p62;

/// The least length of a vector that is not all zeros in such an index: its square does not vanish in a float.
inline constexpr double least_length = 0x1p-62;

/// Throws IndexError for a vector that an index of dimension `dim` cannot keep because its library computes in single
/// precision: dimension_mismatch; invalid_vector for a component that is not a number from -largest to largest, and for
/// a length beyond greatest_length or, of a stored vector that is not all zeros, below least_length. By the cosine any
/// length will do, because the library gets the direction. A logged vector may have any length.
inline void check_single_precision(std::span<const float> vector, VectorRole role, std::size_t dim,
                                   DistanceMetric metric, float largest = std::numeric_limits<float>::max()) {
  check_dimension(vector.size(), dim, name_of(role));
  check_components(vector, name_of(role), largest);
  if (metric == DistanceMetric::cosine || role == VectorRole::logged) {
    return;
  }
  const double length = std::sqrt(squared_norm(vector));
  if (length > greatest_length || (role == VectorRole::stored && length > 0.0 && length < least_length)) {
    throw IndexError(IndexErrorKind::invalid_vector,
                     "the " + std::string(name_of(role)) + " has the length " + readable(length) +
                         "; the index computes distances in single precision, and takes lengths of " +
                         (role == VectorRole::stored ? "0 and from 2.2e-19 to 4.6e18" : "up to 4.6e18") +
                         "; scale all vectors, or use the cosine");
  }
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
