// Insertion of many nodes into hnswlib's graph in several threads.
//
// hnswlib's addPoint may run in several threads, but it numbers nodes as they arrive, and allocates less behind their
// links than other threads read meanwhile. Here one thread makes all nodes, with their numbers, levels and memory. Then
// threads link them, under hnswlib's own locks.
//
// Invariants: a node's number, slot and label are the same. In one thread the graph becomes what insertions one by one
// make of it. Where memory is short, the nodes count as erased.
#pragma once

#include <cstddef>
#include <cstdint>

#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/hnswlib/insertion.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

/// Gives the vectors of rows to their nodes: first, in this thread, to nodes whose vectors were erased, then, in the
/// threads, to new ones. `vector_of(row)` is the vector of a row as it is kept. If it throws, none of the nodes has a
/// vector, and those that remain count as erased and their slots as free. Precondition: the graph has room for the new
/// nodes.
template <class VectorOf>
void place_rows(OwnedGraph& graph, SlotTable::Additions& additions, VectorOf vector_of, std::uint64_t seed,
                LentThreads& threads) {
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
        disown(*graph, node);
      }
      additions.keep_slots();
    }
  };
  undone_if_it_throws(undo, [&] {
    for (; replaced < additions.reused(); ++replaced) {
      replace_node(*graph, additions.slot(replaced), vector_of(replaced));
    }
    for (std::size_t row = replaced; row < additions.size(); ++row) {
      make_node(*graph, vector_of(row), seed);
    }
    std::size_t first = nodes;
    if (first == 0 && graph->cur_element_count > 0) {
      enter_at_first(*graph);
      ++first;
    }
    linked = true;
    threads.each(graph->cur_element_count - first,
                 [&](std::size_t number) { link_node(*graph, static_cast<Node>(first + number)); });
  });
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
