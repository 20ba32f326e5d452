// UsearchConfig: how a UsearchIndex is built and searched, with the range of each setting.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What usearch keeps of each component of a vector. The values are the tags of the payload.
enum class UsearchScalar : std::uint8_t {
  f32 = 0,   ///< the float as it is
  f16 = 1,   ///< a float of 16 bits: three digits, up to 65504
  i8 = 2,    ///< an integer of 8 bits: keeps only the direction of the vector, so only for the cosine
  bf16 = 3,  ///< a float of 16 bits with the range of a float: two digits
  f64 = 4,   ///< a double, which takes twice the memory; for files that have it. Vectors come and go as floats
};

/// How a UsearchIndex is built and searched. All settings but `capacity` are saved with the index.
struct UsearchConfig {
  std::size_t connectivity = 16;              ///< links of a vector in each upper level, 2 to 1024
  std::size_t connectivity_base = 32;         ///< links of a vector in the lowest level, `connectivity` to 2048
  std::size_t expansion_add = 128;            ///< candidates that an insertion looks at, 1 to 65536
  std::size_t expansion_search = 64;          ///< candidates that a search without `ef` looks at, 1 to 65536
  UsearchScalar scalar = UsearchScalar::f32;  ///< how components are kept
  std::size_t capacity = 0;                   ///< vectors to make room for at the first insertion
};

namespace usearch_stream {

/// The maximum number of nodes: node numbers have 32 bits, and usearch reserves one number.
inline constexpr std::uint64_t most_nodes = std::numeric_limits<std::uint32_t>::max() - 1;

/// Throws IndexError invalid_config for a setting out of range, or for a scalar that does not fit the metric.
inline void check_config(const UsearchConfig& config, DistanceMetric metric) {
  constexpr std::string_view index = "a usearch index";
  constexpr std::size_t most_links = 1024;
  constexpr std::size_t most_expansion = 65536;
  index_support::check_range(config.connectivity, 2, most_links, "setting connectivity", index);
  index_support::check_range(config.connectivity_base, config.connectivity, 2 * most_links, "setting connectivity_base",
                             index);
  index_support::check_range(config.expansion_add, 1, most_expansion, "setting expansion_add", index);
  index_support::check_range(config.expansion_search, 1, most_expansion, "setting expansion_search", index);
  index_support::check_range(config.capacity, 0, most_nodes, "setting capacity", index);
  if (config.scalar > UsearchScalar::f64) {
    throw IndexError(IndexErrorKind::invalid_config,
                     "the scalar with the value " + std::to_string(static_cast<unsigned>(config.scalar)) +
                         " is none of UsearchScalar; expected f32, f16, bf16, f64 or i8");
  }
  if (config.scalar == UsearchScalar::i8 && metric != DistanceMetric::cosine) {
    throw IndexError(IndexErrorKind::invalid_config,
                     "the scalar i8 keeps only the direction of a vector, which does not fit the metric " +
                         std::string(to_string(metric)) + "; use cosine, f16 or bf16");
  }
}

/// Throws IndexError for a vector that an index with these settings cannot keep, as check_single_precision does; and
/// invalid_vector for one of which the scalar keeps only zeros, or which it cannot hold. A logged vector may be one of
/// which the scalar keeps only zeros.
inline void check_form(std::span<const float> vector, index_support::VectorRole role, std::size_t dim,
                       DistanceMetric metric, UsearchScalar scalar) {
  constexpr float largest_f16 = 65504.0F;
  constexpr float least_f16 = 0x1p-24F;
  const bool direction = metric == DistanceMetric::cosine;
  index_support::check_single_precision(
      vector, role, dim, metric,
      scalar == UsearchScalar::f16 && !direction ? largest_f16 : std::numeric_limits<float>::max());
  if ((scalar != UsearchScalar::f16 && scalar != UsearchScalar::i8) || role == index_support::VectorRole::logged) {
    return;
  }
  float largest = 0.0F;
  for (const float component : vector) {
    largest = std::max(largest, std::abs(component));
  }
  const auto refuse = [&](const std::string& why) {
    throw IndexError(IndexErrorKind::invalid_vector, "the " + std::string(name_of(role)) + " " + why);
  };
  if (scalar == UsearchScalar::f16) {
    // A direction has a component that is not small.
    if (!direction && largest > 0.0F && largest < least_f16) {
      refuse("has no component above " + index_support::readable(largest) +
             ", and the scalar f16 would keep zeros; it keeps components from 6e-8 to 65504; scale all vectors, or use "
             "bf16 or f32");
    }
    return;
  }
  if (largest == 0.0F) {
    refuse("is all zeros: it has no direction, which is what the scalar i8 keeps");
  }
  // usearch keeps the direction times 127, without fractions.
  constexpr double steps = 127.0;
  constexpr double rounding = 1e-5;
  if (largest * steps < std::sqrt(squared_norm(vector)) * (1.0 + rounding)) {
    refuse("has no component of at least 1/127 of its length, and the scalar i8 would keep zeros; use f16");
  }
}

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
