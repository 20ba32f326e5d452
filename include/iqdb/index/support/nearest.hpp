// The results of a search: their order, and the hits made from them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "iqdb/index/support/distance.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// The slot of a vector, which is the number under which the index keeps it, and its distance from the query.
struct Found {
  std::size_t slot = 0;
  float distance = 0.0F;
};

/// Whether `a` comes before `b` among the hits of a search: by distance, and at equal distance by slot. A distance that
/// is not a number, as the product of huge vectors may be, comes last.
[[nodiscard]] inline bool nearer(const Found& a, const Found& b) noexcept {
  if (std::isnan(a.distance) != std::isnan(b.distance)) {
    return std::isnan(b.distance);
  }
  return a.distance < b.distance || (!(b.distance < a.distance) && a.slot < b.slot);
}

/// Throws IndexError invalid_config for a radius that is not a number: no distance would be within it.
inline void check_radius(const SearchParams& params) {
  if (params.radius && std::isnan(*params.radius)) {
    throw IndexError(IndexErrorKind::invalid_config,
                     "the radius of the search is not a number; give a distance, or leave the radius out");
  }
}

/// Whether a search may return what is this far away. With a radius, a distance that is not a number is too far.
[[nodiscard]] inline bool is_within(const std::optional<float>& radius, float distance) noexcept {
  return !radius || distance <= *radius;
}

/// Measures the distances of `found` with distance() and keeps the nearest `most`, in order. A library's own distances have
/// other formulas and other rounding. `vector_in(slot)` is the vector in a slot.
template <class VectorIn>
void rank(std::vector<Found>& found, std::size_t most, DistanceMetric metric, std::span<const float> query,
          VectorIn&& vector_in) {
  for (Found& each : found) {
    each.distance = distance(metric, query, vector_in(each.slot));
  }
  const std::size_t kept = std::min(most, found.size());
  std::ranges::partial_sort(found, found.begin() + static_cast<std::ptrdiff_t>(kept), nearer);
  found.resize(kept);
}

/// The hits for `nearest`, with the identifiers of `content`, and its metadata if the search asks for them. `content` has
/// `id(slot)` and `metadata(slot)`.
template <class Content>
[[nodiscard]] std::vector<Hit> hits_of(const std::vector<Found>& nearest, const Content& content,
                                       const SearchParams& params) {
  std::vector<Hit> hits;
  hits.reserve(nearest.size());
  for (const Found& found : nearest) {
    hits.push_back({.id = content.id(found.slot), .distance = found.distance, .metadata = {}});
    if (params.with_metadata) {
      hits.back().metadata = copied(content.metadata(found.slot));
    }
  }
  return hits;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
