// Insertion of many nodes into hnswlib's graph in several threads.
//
// hnswlib's addPoint may run in several threads, but it numbers nodes as they arrive, draws their levels from one generator
// without a lock, and allocates less behind their links than other threads read meanwhile. Here one thread gives all nodes
// their numbers, levels and memory. Then threads do the rest of addPoint, searching and linking, under hnswlib's own locks.
//
// Invariants: a node's number, slot and label are the same. In one thread the graph becomes what insertions one by one
// make of it. Where hnswlib throws, the nodes count as erased.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>

#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/hnswlib/insertion.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

/// Makes the next node, without links in it or to it. If it throws, the node may be there, and unmake_nodes takes it back.
/// Precondition: the graph has room for it.
inline void make_node(Graph& graph, std::span<const float> vector) {
  const auto node = static_cast<Node>(graph.cur_element_count);
  const int levels = graph.getRandomLevel(graph.mult_);
  std::ranges::fill(lowest_level(graph, node + 1).last(graph.size_data_per_element_), std::byte{0});
  graph.setExternalLabel(node, node);
  std::memcpy(graph.getDataByInternalId(node), vector.data(), vector.size_bytes());
  make_upper_levels(graph, node, levels);
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

/// The node nearest to a vector that links lead to from `entry` through the levels from `highest` down to above `lowest`.
[[nodiscard]] inline Node descend(Graph& graph, const void* vector, Node entry, int highest, int lowest) {
  const auto distance_to = [&](Node node) {
    return graph.fstdistfunc_(vector, graph.getDataByInternalId(node), graph.dist_func_param_);
  };
  Node nearest = entry;
  float least = distance_to(nearest);
  for (int level = highest; level > lowest; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const std::lock_guard lock(graph.link_list_locks_[nearest]);
      for (const Node linked : links_of(graph, nearest, level)) {
        if (const float distance = distance_to(linked); distance < least) {
          least = distance;
          nearest = linked;
          moved = true;
        }
      }
    }
  }
  return nearest;
}

/// Links a node of make_node with those it finds. Several threads may do so with different nodes at the same time.
/// Preconditions: no node is erased, and one is the entry node.
inline void link_node(Graph& graph, Node node) {
  const char* const vector = graph.getDataByInternalId(node);
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
  Node nearest = descend(graph, vector, entry, highest, levels);
  for (int level = std::min(levels, highest); level >= 0; --level) {
    auto candidates = graph.searchBaseLayer(nearest, vector, level);
    nearest = graph.mutuallyConnectNewElement(vector, node, candidates, level, false);
  }
  if (levels > highest) {
    graph.enterpoint_node_ = node;
    graph.maxlevel_ = levels;
  }
}

/// Gives the vectors of rows to their nodes: first, in this thread, to nodes whose vectors were erased, then, in the
/// threads, to new ones. `vector_of(row)` is the vector of a row as it is kept. If it throws, none of the nodes has a
/// vector, and those that remain count as erased and their slots as free. Precondition: the graph has room for the new
/// nodes.
template <class VectorOf>
void place_rows(OwnedGraph& graph, SlotTable::Additions& additions, VectorOf vector_of, LentThreads& threads) {
  const std::size_t nodes = graph->cur_element_count;
  std::size_t replaced = 0;
  bool linked = false;
  const auto undo = [&] {
    for (std::size_t row = 0; row < replaced; ++row) {
      graph->markDelete(additions.slot(row));
    }
    if (!linked) {
      unmake_nodes(*graph, nodes);
    } else if (nodes == 0) {
      graph.reset();
    } else {
      for (auto node = static_cast<Node>(nodes); node < graph->cur_element_count; ++node) {
        disown(graph, node);
      }
      additions.keep_slots();
    }
  };
  undone_if_it_throws(undo, [&] {
    for (; replaced < additions.reused(); ++replaced) {
      replace_node(*graph, additions.slot(replaced), vector_of(replaced));
    }
    for (std::size_t row = replaced; row < additions.size(); ++row) {
      make_node(*graph, vector_of(row));
    }
    std::size_t first = nodes;
    if (first == 0 && graph->cur_element_count > 0) {
      graph->enterpoint_node_ = 0;
      graph->maxlevel_ = graph->element_levels_[0];
      ++first;
    }
    linked = true;
    threads.each(graph->cur_element_count - first,
                 [&](std::size_t number) { link_node(*graph, static_cast<Node>(first + number)); });
  });
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
