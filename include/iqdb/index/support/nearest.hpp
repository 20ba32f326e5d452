// The results of a search: their order, and the hits made from them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/slot_table.hpp"
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

/// Every vector of a table, without distances.
[[nodiscard]] inline std::vector<Found> every_vector(const SlotTable& slots) {
  std::vector<Found> found;
  found.reserve(slots.size());
  for (std::size_t slot = 0; slot < slots.slots(); ++slot) {
    if (!slots.is_free(slot)) {
      found.push_back({.slot = slot, .distance = 0.0F});
    }
  }
  return found;
}

/// Measures the distances of `found` with distance() and keeps the nearest `most`, in order. A library's own distances have
/// other formulas and other rounding. `vector_in(slot)` is the vector in a slot. Precondition: most <= found.size().
template <class VectorIn>
void rank(std::vector<Found>& found, std::size_t most, DistanceMetric metric, std::span<const float> query,
          VectorIn&& vector_in) {
  for (Found& each : found) {
    each.distance = distance(metric, query, vector_in(each.slot));
  }
  std::ranges::partial_sort(found, found.begin() + static_cast<std::ptrdiff_t>(most), nearer);
  found.resize(most);
}

/// The hits for `nearest`, with the identifiers and metadata of `slots`.
[[nodiscard]] inline std::vector<Hit> hits_of(const std::vector<Found>& nearest, const SlotTable& slots) {
  std::vector<Hit> hits;
  hits.reserve(nearest.size());
  for (const Found& found : nearest) {
    hits.push_back(
        {.id = slots.id(found.slot), .distance = found.distance, .metadata = copied(slots.metadata(found.slot))});
  }
  return hits;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
