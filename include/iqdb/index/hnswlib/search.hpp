// Search in hnswlib's graph. hnswlib's own search forgets its list of visited nodes where memory is short, and loses its
// way at a distance that is not a number.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <mutex>
#include <new>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/support/graph_walk.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

using VisitedList = ::hnswlib::VisitedList;

/// Gives a list of visited nodes back to the graph, or to the memory if the graph finds no room for it.
inline void give_back(Graph& graph, VisitedList* list) noexcept {
  try {
    graph.visited_list_pool_->releaseVisitedList(list);
  } catch (const std::bad_alloc&) {
    delete list;  // NOLINT(*-owning-memory): hnswlib makes them by new
  }
}

/// The nodes that one search has visited. Throws std::bad_alloc when it is made.
class VisitedNodes {
 public:
  explicit VisitedNodes(Graph& graph) : graph_(&graph), list_(graph.visited_list_pool_->getFreeVisitedList()) {}
  VisitedNodes(const VisitedNodes&) = delete;
  VisitedNodes& operator=(const VisitedNodes&) = delete;
  ~VisitedNodes() { give_back(*graph_, list_); }

  /// Visits a node; returns whether it is visited for the first time.
  [[nodiscard]] bool visit(Node node) noexcept { return std::exchange(list_->mass[node], list_->curV) != list_->curV; }

  void prefetch(Node node) const noexcept { __builtin_prefetch(list_->mass + node); }

 private:
  Graph* graph_;
  VisitedList* list_;
};

/// Calls `call()`, in which hnswlib searches. If it throws, hnswlib may have forgotten the list of visited nodes that it
/// took, which is then given back here. Precondition: no other thread uses the graph.
template <class Call>
void keeping_visited_list(Graph& graph, Call&& call) {
  auto& lists = *graph.visited_list_pool_;
  VisitedList* const taken = lists.getFreeVisitedList();
  try {
    lists.releaseVisitedList(taken);  // the next one to be taken
  } catch (...) {
    delete taken;  // NOLINT(*-owning-memory)
    throw;
  }
  try {
    std::forward<Call>(call)();
  } catch (...) {
    VisitedList* next = nullptr;
    try {
      next = lists.getFreeVisitedList();
    } catch (const std::bad_alloc&) {
      // The graph has no list: it was the only one.
    }
    if (next != nullptr) {
      give_back(graph, next);
    }
    if (next != taken) {
      give_back(graph, taken);
    }
    throw;
  }
}

/// Whether a search meets threads that insert, so that it locks each node whose links it reads.
enum class Beside : bool { searches, insertions };

/// Locks the links of a node while an object exists, where threads insert.
template <Beside beside>
class LinksLock {
 public:
  LinksLock(Graph& graph, Node node) {
    if constexpr (beside == Beside::insertions) {
      lock_ = std::unique_lock(graph.link_list_locks_[node]);
    }
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

/// hnswlib's distances of nodes from a vector, in an order: one that is not a number, as the product of huge vectors may
/// be, is the greatest there is.
class Distances {
 public:
  Distances(const Graph& graph, const void* vector) noexcept : graph_(&graph), vector_(vector) {}

  [[nodiscard]] float operator()(Node node) {
    const float distance = graph_->fstdistfunc_(vector_, graph_->getDataByInternalId(node), graph_->dist_func_param_);
    if (std::isnan(distance)) {
      all_numbers_ = false;
      return std::numeric_limits<float>::infinity();
    }
    return distance;
  }

  /// Whether each distance was a number. Where one was not, hnswlib does not know what is near.
  [[nodiscard]] bool all_numbers() const noexcept { return all_numbers_; }

 private:
  const Graph* graph_;
  const void* vector_;
  bool all_numbers_ = true;
};

/// The node of the least distance that links lead to from `entry` through the levels from `highest` down to above
/// `lowest`.
template <Beside beside>
[[nodiscard]] Node descend(Graph& graph, Distances& distance_of, Node entry, int highest, int lowest) {
  Node nearest = entry;
  float least = distance_of(nearest);
  for (int level = highest; level > lowest; --level) {
    for (bool moved = true; moved;) {
      moved = false;
      const LinksLock<beside> lock(graph, nearest);
      for (const Node linked : links_of(graph, nearest, level)) {
        if (const float distance = distance_of(linked); distance < least) {
          least = distance;
          nearest = linked;
          moved = true;
        }
      }
    }
  }
  return nearest;
}

/// Nodes with their distances, the greatest on top.
using Candidates =
    std::priority_queue<std::pair<float, Node>, std::vector<std::pair<float, Node>>, Graph::CompareByFirst>;

/// One level of a graph, as index_support::nearest_in_level walks through it.
template <Beside beside>
class Level {
 public:
  /// Throws std::bad_alloc. The graph and the distances must outlive this object.
  Level(Graph& graph, Distances& distances, int number)
      : graph_(&graph), distances_(&distances), visited_(graph), number_(number) {}

  [[nodiscard]] float distance_of(Node node) { return (*distances_)(node); }
  [[nodiscard]] bool visit(Node node) noexcept { return visited_.visit(node); }
  [[nodiscard]] bool can_be_found(Node node) const { return !graph_->isMarkedDeleted(node); }

  template <class Meet>
  void for_each_link(Node node, Meet& meet) {
    const LinksLock<beside> lock(*graph_, node);
    const std::span<const Node> links = links_of(*graph_, node, number_);
    for (std::size_t at = 0; at < links.size(); ++at) {
      if (at + 1 < links.size()) {
        visited_.prefetch(links[at + 1]);
        __builtin_prefetch(graph_->getDataByInternalId(links[at + 1]));
      }
      meet(links[at]);
    }
  }

 private:
  Graph* graph_;
  Distances* distances_;
  VisitedNodes visited_;
  int number_;
};

/// Up to `width` nodes of small distances that links lead to from `entry` in one level, none of them erased, and of those for
/// which `asked`, EverySlot or an AskedSlots, is true. Ends where that gives up. Throws std::bad_alloc.
template <Beside beside, class Asked>
[[nodiscard]] Candidates nearest_in_level(Graph& graph, Distances& distance_of, Node entry, int level,
                                          std::size_t width, Asked& asked) {
  Level<beside> walked(graph, distance_of, level);
  return index_support::nearest_in_level<Candidates>(walked, entry, width, asked);
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
