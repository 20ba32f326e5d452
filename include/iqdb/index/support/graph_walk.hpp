// The walk through one level of a graph of neighbours, as every HNSW library makes it (Malkov and Yashunin, "Efficient and
// robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs", algorithm 2), with a filter.
#pragma once

#include <cstddef>
#include <limits>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Up to `width` nodes of small distances that links lead to from `entry`, of those for which `asked`, EverySlot or an
/// AskedSlots, is true. Ends where that gives up.
///
/// `Queue` is a priority queue of pairs of a distance and a node, the greatest distance on top. `level` offers
/// `distance_of(node)`; `visit(node)`, which returns whether the node is visited for the first time; `can_be_found(node)`,
/// which is false for an erased node; and `for_each_link(node, meet)`. Throws what these throw, and std::bad_alloc.
template <class Queue, class Level, class Node, class Asked>
[[nodiscard]] Queue nearest_in_level(Level& level, Node entry, std::size_t width, Asked& asked) {
  Queue nearest;
  Queue ahead;                                              // by negated distances, so that the least is on top
  float farthest = std::numeric_limits<float>::infinity();  // of the nearest
  const auto meet = [&](Node node) {
    if (!level.visit(node)) {
      return;
    }
    const float distance = level.distance_of(node);
    if (nearest.size() >= width && distance >= farthest) {
      return;
    }
    ahead.emplace(-distance, node);
    if (level.can_be_found(node) && asked(node)) {
      nearest.emplace(distance, node);
      if (nearest.size() > width) {
        nearest.pop();
      }
      farthest = nearest.top().first;
    }
  };
  meet(entry);
  while (!ahead.empty() && !asked.has_given_up()) {
    const auto [negated, node] = ahead.top();
    if (-negated > farthest && nearest.size() == width) {
      break;
    }
    ahead.pop();
    level.for_each_link(node, meet);
  }
  return nearest;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
