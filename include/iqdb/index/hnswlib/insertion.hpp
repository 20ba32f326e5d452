// Insertions into hnswlib's graph. Invariant: where hnswlib throws, the graph is as it was, or holds the node as an
// erased one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>

#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

/// Makes the room behind a new node's links that hnswlib does not make (read_beyond_links).
inline void give_room_behind_links(Graph& graph, Node node) {
  const std::span<std::byte> levels = upper_levels(graph, node);
  if (levels.empty()) {
    return;
  }
  void* const larger = std::realloc(levels.data(), levels.size() + read_beyond_links);  // NOLINT(*-no-malloc)
  if (larger == nullptr) {
    throw std::bad_alloc();
  }
  graph.linkLists_[node] = static_cast<char*>(larger);
  std::memset(graph.linkLists_[node] + levels.size(), 0, read_beyond_links);
}

/// Gives a node that hnswlib has not completed links in each level below those where it has some. Else it would be a dead
/// end for who reaches it from above.
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

/// Marks a node that hnswlib has not completed as erased, because other nodes may already link to it. Returns whether
/// the graph still has the node.
inline bool disown(OwnedGraph& graph, Node node) noexcept {
  if (node == 0) {
    graph.reset();  // it was the only node
    return false;
  }
  if (graph->cur_element_count <= node) {
    return false;
  }
  if (!graph->label_lookup_.contains(node)) {
    graph->cur_element_count = node;
    return false;
  }
  int& level = graph->element_levels_[node];
  if (level > 0 && graph->linkLists_[node] == nullptr) {
    level = 0;
  }
  if (level > graph->maxlevel_) {
    // No link leads to the node above that level, and hnswlib would refuse to give the node another vector.
    level = graph->maxlevel_;
    if (level == 0) {
      std::free(graph->linkLists_[node]);  // NOLINT(*-no-malloc)
    }
  }
  give_ways_down(*graph, node);
  if (!graph->isMarkedDeleted(node)) {
    graph->markDelete(node);
  }
  return true;
}

/// Adds a node for a new slot. If it throws, the graph does not have the node, or the node counts as erased and its
/// slot as free. Precondition: the graph has room for it.
inline void add_node(OwnedGraph& graph, SlotTable::Addition& addition, std::span<const float> vector) {
  const auto node = static_cast<Node>(addition.slot());
  const auto undo = [&] {
    if (disown(graph, node)) {
      addition.keep_slot();
    }
  };
  undone_if_it_throws(undo, [&] {
    graph->addPoint(vector.data(), addition.slot());
    give_room_behind_links(*graph, node);
  });
}

/// Gives another vector to a node whose vector was erased. If it throws, the node still counts as erased.
inline void replace_node(Graph& graph, std::size_t slot, std::span<const float> vector) {
  const auto undo = [&] {
    if (!graph.isMarkedDeleted(static_cast<Node>(slot))) {
      graph.markDelete(slot);
    }
  };
  undone_if_it_throws(undo, [&] { graph.addPoint(vector.data(), slot); });
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
