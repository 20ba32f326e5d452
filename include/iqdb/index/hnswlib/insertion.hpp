// Insertions into hnswlib's graph, in the two steps of its addPoint: a node is made, then linked. The level of a node
// depends on the seed and its number alone, so that a replay makes the same graph, also behind a load.
//
// Invariant: where memory is short, the graph is as it was, or holds the node as an erased one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>

#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/hnswlib/search.hpp"
#include "iqdb/index/support/drawn_number.hpp"
#include "iqdb/index/support/slot_filter.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

/// The highest level of a new node: one in M nodes reaches level 1, one in M² level 2, as hnswlib draws them.
[[nodiscard]] inline int level_of(const Graph& graph, Node node, std::uint64_t seed) {
  const double drawn = 1.0 - index_support::drawn_number(index_support::drawn_bits(seed) + node);  // not 0
  return static_cast<int>(-std::log(drawn) * graph.mult_);
}

/// Makes the next node, without links in it or to it. If it throws, the node may be there, and unmake_nodes takes it back.
/// Precondition: the graph has room for it.
inline void make_node(Graph& graph, std::span<const float> vector, std::uint64_t seed) {
  const auto node = static_cast<Node>(graph.cur_element_count);
  std::ranges::fill(lowest_level(graph, node + 1).last(graph.size_data_per_element_), std::byte{0});
  graph.setExternalLabel(node, node);
  std::memcpy(graph.getDataByInternalId(node), vector.data(), vector.size_bytes());
  make_upper_levels(graph, node, level_of(graph, node, seed));
  graph.cur_element_count = node + 1;
  graph.label_lookup_[node] = node;
}

/// Takes back the nodes from the number `nodes` on. Precondition: no link leads to them.
inline void unmake_nodes(Graph& graph, std::size_t nodes) noexcept {
  for (auto node = static_cast<Node>(nodes); node < graph.cur_element_count; ++node) {
    graph.label_lookup_.erase(node);
    if (graph.element_levels_[node] > 0) {
      std::free(graph.linkLists_[node]);  // NOLINT(*-no-malloc)
    }
  }
  graph.cur_element_count = nodes;
}

/// Makes the first node of a graph, which was just made, its entry.
inline void enter_at_first(Graph& graph) noexcept {
  graph.enterpoint_node_ = 0;
  graph.maxlevel_ = graph.element_levels_[0];
}

/// Links a node of make_node with those it finds. Several threads may do so with different nodes at the same time.
/// Preconditions: no node is erased, and one is the entry node.
inline void link_node(Graph& graph, Node node) {
  const char* const vector = graph.getDataByInternalId(node);
  Distances distance_of(graph, vector);
  const int levels = graph.element_levels_[node];
  // Who reaches the node waits until it has all its links. Nodes that wait for each other do not stand in a circle: one
  // waits only for those that were reachable in a level before it was itself.
  const std::lock_guard own(graph.link_list_locks_[node]);
  // The entry node is read and replaced under this lock, and who replaces it is alone until then.
  std::unique_lock entry_lock(graph.global);
  const Node entry = graph.enterpoint_node_;
  const int highest = graph.maxlevel_;
  if (levels <= highest) {
    entry_lock.unlock();
  }
  Node nearest = descend<Beside::insertions>(graph, distance_of, entry, highest, levels);
  for (int level = std::min(levels, highest); level >= 0; --level) {
    index_support::EverySlot every;
    auto candidates =
        nearest_in_level<Beside::insertions>(graph, distance_of, nearest, level, graph.ef_construction_, every);
    nearest = graph.mutuallyConnectNewElement(vector, node, candidates, level, false);
  }
  if (levels > highest) {
    graph.enterpoint_node_ = node;
    graph.maxlevel_ = levels;
  }
}

/// Gives a node that was not linked in all levels links in each level below those where it has some. Else it would be a
/// dead end for who reaches it from above.
inline void give_ways_down(const Graph& graph, Node node) noexcept {
  for (int level = graph.element_levels_[node]; level > 0; --level) {
    const std::span<const Node> links = links_of(graph, node, level);
    auto* const below = graph.get_linklist_at_level(node, level - 1);
    if (graph.getListCount(below) == 0 && !links.empty()) {
      std::ranges::copy(links, below + 1);
      graph.setListCount(below, static_cast<unsigned short>(links.size()));  // NOLINT(google-runtime-int): hnswlib's
    }
  }
}

/// Marks a node that link_node has not linked to the end as erased, because other nodes may already link to it.
inline void disown(Graph& graph, Node node) noexcept {
  int& level = graph.element_levels_[node];
  if (level > graph.maxlevel_) {
    // No link leads to the node above that level, and hnswlib would refuse to give the node another vector.
    level = graph.maxlevel_;
    if (level == 0) {
      std::free(graph.linkLists_[node]);  // NOLINT(*-no-malloc)
    }
  }
  give_ways_down(graph, node);
  graph.markDelete(node);
}

/// Adds a node for a new slot. If it throws, the graph does not have the node, or the node counts as erased and its slot
/// as free. Preconditions: the graph has room for it, and no node is erased.
inline void add_node(Graph& graph, SlotTable::Addition& addition, std::span<const float> vector, std::uint64_t seed) {
  const auto node = static_cast<Node>(addition.slot());
  bool may_be_linked = false;
  const auto undo = [&] {
    if (may_be_linked) {
      disown(graph, node);
      addition.keep_slot();
    } else {
      unmake_nodes(graph, node);
    }
  };
  undone_if_it_throws(undo, [&] {
    make_node(graph, vector, seed);
    if (node == 0) {
      enter_at_first(graph);
      return;
    }
    may_be_linked = true;
    link_node(graph, node);
  });
}

/// Gives another vector to a node whose vector was erased. If it throws, the node still counts as erased.
inline void replace_node(Graph& graph, std::size_t slot, std::span<const float> vector) {
  const auto undo = [&] {
    if (!graph.isMarkedDeleted(static_cast<Node>(slot))) {
      graph.markDelete(slot);
    }
  };
  undone_if_it_throws(undo, [&] { keeping_visited_list(graph, [&] { graph.addPoint(vector.data(), slot); }); });
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
