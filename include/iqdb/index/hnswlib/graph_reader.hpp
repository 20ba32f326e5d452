// Reads a graph of hnswlib's. hnswlib trusts its memory and turns a link into an address, so every level, link and mark
// is checked before hnswlib works with it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "iqdb/index/hnswlib/config.hpp"
#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

/// The highest level that is accepted. hnswlib never draws a level above 62, because its random numbers are no smaller
/// than 2⁻⁶².
inline constexpr int most_level = 127;

/// What to call a node in a message: by the identifier of its vector, with the number of the node in brackets.
[[nodiscard]] inline std::string name_of(const SlotTable& slots, Node node) {
  return (slots.is_free(node) ? "an erased vector" : "the vector " + to_string(slots.id(node))) + " (node " +
         std::to_string(node) + ")";
}

/// Checks a graph that was read against everything that hnswlib relies on. `fail(what)` throws. The slot of a vector in
/// `slots` is its node.
template <class Fail>
void check(const Graph& graph, const SlotTable& slots, Fail&& fail) {
  const auto nodes = static_cast<Node>(graph.cur_element_count);
  const auto check_links = [&](Node node, int level) {
    const std::size_t most = level == 0 ? graph.maxM0_ : graph.maxM_;
    const std::span<const Node> links = links_of(graph, node, level);
    if (links.size() > most) {
      fail(name_of(slots, node) + " is stated to have " + std::to_string(links.size()) + " links in level " +
           std::to_string(level) + "; there may be " + std::to_string(most));
    }
    for (const Node link : links) {
      if (link >= nodes || link == node || graph.element_levels_[link] < level) {
        fail(name_of(slots, node) + " has a link to " +
             (link < nodes ? name_of(slots, link) : "node " + std::to_string(link)) + " in level " +
             std::to_string(level) + ", where there is no such node");
      }
    }
  };
  for (Node node = 0; node < nodes; ++node) {
    if (graph.element_levels_[node] > graph.maxlevel_) {
      fail(name_of(slots, node) + " reaches up to level " + std::to_string(graph.element_levels_[node]) + " of " +
           std::to_string(graph.maxlevel_));
    }
    // The first two bytes count the links. One bit of the third marks the vector as erased.
    const ::hnswlib::linklistsizeint head = *graph.get_linklist0(node);
    constexpr unsigned bits_of_count = 16;
    if (head >> bits_of_count != static_cast<unsigned>(slots.is_free(node))) {
      fail(name_of(slots, node) + " is marked " + std::to_string(head >> bits_of_count) + "; expected " +
           (slots.is_free(node) ? "1, since it was erased" : "0"));
    }
    for (int level = 0; level <= graph.element_levels_[node]; ++level) {
      check_links(node, level);
    }
    if (!index_support::is_finite(vector_of(graph, node))) {
      fail(name_of(slots, node) + " has a component that is not finite");
    }
  }
  if (graph.enterpoint_node_ >= nodes || graph.element_levels_[graph.enterpoint_node_] != graph.maxlevel_) {
    fail("the graph is stated to be entered at node " + std::to_string(graph.enterpoint_node_) + " of " +
         std::to_string(nodes) + ", in level " + std::to_string(graph.maxlevel_) + ", where there is no such node");
  }
}

/// Makes a graph of `nodes` nodes and reads their lowest level. Precondition: the reader holds that many bytes.
inline void read_lowest_level(Reader& reader, OwnedGraph& graph, std::size_t nodes, std::size_t dim,
                              DistanceMetric metric, const HnswConfig& config) {
  graph.make(dim, metric, config, std::clamp(config.capacity, nodes, std::min(2 * nodes, most_nodes)));
  graph->cur_element_count = nodes;
  reader.read(lowest_level(*graph, nodes));
}

/// Reads the upper levels of a node. Throws PersistError invalid_payload for more levels than hnswlib can make.
inline void read_upper_levels(Reader& reader, Graph& graph, const SlotTable& slots, Node node, std::uint64_t levels) {
  if (levels > most_level) {
    reader.fail(PersistErrorKind::invalid_payload,
                name_of(slots, node) + " of the hnsw index is stated to reach up to level " + std::to_string(levels) +
                    "; the highest there is is " + std::to_string(most_level));
  }
  reader.require_items(levels, graph.size_links_per_element_);
  make_upper_levels(graph, node, static_cast<int>(levels));
  reader.read(upper_levels(graph, node));
}

/// Gives zeros to each erased vector with a component that is not finite. No search finds an erased vector, but hnswlib
/// measures how far it is while it walks through the graph, and would lose its way at a distance that is no number.
inline void clear_erased_vectors(Graph& graph, const SlotTable& slots) {
  for (Node node = 0; node < slots.slots(); ++node) {
    if (slots.is_free(node) && !index_support::is_finite(vector_of(graph, node))) {
      std::memset(graph.getDataByInternalId(node), 0, graph.data_size_);
    }
  }
}

/// Puts a graph into use after its levels were read. The label of each node is its number. Throws PersistError
/// invalid_payload for a graph that hnswlib cannot have made.
inline void complete(const Reader& reader, Graph& graph, const SlotTable& slots, Node entry, int highest_level) {
  graph.enterpoint_node_ = entry;
  graph.maxlevel_ = highest_level;
  clear_erased_vectors(graph, slots);
  check(graph, slots, [&](const std::string& found) {
    reader.fail(PersistErrorKind::invalid_payload, "the hnsw index is damaged: " + found);
  });
  graph.num_deleted_ = slots.slots() - slots.size();
  graph.label_lookup_.reserve(slots.slots());
  for (std::size_t node = 0; node < slots.slots(); ++node) {
    graph.setExternalLabel(static_cast<Node>(node), node);
    graph.label_lookup_.emplace(node, static_cast<Node>(node));
  }
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
