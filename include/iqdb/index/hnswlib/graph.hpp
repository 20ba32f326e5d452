// hnswlib's graph: how it is made, how it grows, and where its memory holds the parts of a node.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/index/hnswlib/config.hpp"
#include "iqdb/index/hnswlib/library.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The parts of hnswlib's graph, and what must hold in a graph that was read.
namespace hnswlib_graph {

static_assert(
    std::endian::native == std::endian::little,
    "the adapter to hnswlib is for little-endian processors: hnswlib writes memory as it lies, and its files would be "
    "read wrongly elsewhere. Use an index that writes its own format here, such as iqdb::FlatIndex");

using Space = ::hnswlib::SpaceInterface<float>;
using Graph = ::hnswlib::HierarchicalNSW<float>;
using Node = ::hnswlib::tableint;

/// hnswlib reads one link beyond the maximum of an upper level, without using it. This is the room for it.
inline constexpr std::size_t read_beyond_links = sizeof(Node);

/// hnswlib's errors are std::runtime_error, even if memory is short. Throws std::bad_alloc for a shortage of memory,
/// IndexError resource_limit for other errors.
[[noreturn]] inline void rethrow(const std::runtime_error& error) {
  if (std::string_view(error.what()).find("memory") != std::string_view::npos) {
    throw std::bad_alloc();
  }
  throw IndexError(IndexErrorKind::resource_limit, std::string("hnswlib refuses: ") + error.what());
}

/// Calls `call()`. If it throws, calls `undo()` and throws the exception that rethrow makes of hnswlib's.
template <class Undo, class Call>
void undone_if_it_throws(Undo&& undo, Call&& call) {
  try {
    std::forward<Call>(call)();
  } catch (const IndexError&) {  // what rethrow has made of one before
    std::forward<Undo>(undo)();
    throw;
  } catch (const std::runtime_error& error) {
    std::forward<Undo>(undo)();
    rethrow(error);
  } catch (...) {
    std::forward<Undo>(undo)();
    throw;
  }
}

/// The links of a node in one level.
[[nodiscard]] inline std::span<const Node> links_of(const Graph& graph, Node node, int level) {
  const auto* const list = graph.get_linklist_at_level(node, level);
  return {list + 1, graph.getListCount(graph.get_linklist_at_level(node, level))};
}

/// The vector of a node, as it is kept.
[[nodiscard]] inline std::span<const float> vector_of(const Graph& graph, Node node) {
  // The memory comes from malloc, and only four-byte numbers precede the vector, so it is aligned.
  return {reinterpret_cast<const float*>(graph.getDataByInternalId(node)), graph.data_size_ / sizeof(float)};
}

/// The bytes of the upper levels of a node.
[[nodiscard]] inline std::span<std::byte> upper_levels(const Graph& graph, Node node) {
  const auto levels = static_cast<std::size_t>(graph.element_levels_[node]);
  return {reinterpret_cast<std::byte*>(levels == 0 ? nullptr : graph.linkLists_[node]),
          levels * graph.size_links_per_element_};
}

/// The bytes of the lowest level of the first `nodes` nodes: links, vector and label of each.
[[nodiscard]] inline std::span<std::byte> lowest_level(const Graph& graph, std::size_t nodes) {
  return {reinterpret_cast<std::byte*>(graph.data_level0_memory_), nodes * graph.size_data_per_element_};
}

/// The bytes of one node in the lowest level.
[[nodiscard]] constexpr std::uint64_t node_bytes(std::size_t dim, std::size_t links) noexcept {
  return sizeof(::hnswlib::linklistsizeint) + 2 * links * sizeof(Node) + dim * sizeof(float) +
         sizeof(::hnswlib::labeltype);
}

/// Makes room for the upper levels of a node that has no upper level yet. Throws std::bad_alloc.
inline void make_upper_levels(Graph& graph, Node node, int levels) {
  if (levels > 0) {
    const std::size_t bytes = static_cast<std::size_t>(levels) * graph.size_links_per_element_ + read_beyond_links;
    auto* const memory = static_cast<char*>(std::calloc(bytes, 1));  // NOLINT(*-no-malloc): hnswlib frees it
    if (memory == nullptr) {
      throw std::bad_alloc();
    }
    graph.linkLists_[node] = memory;
  }
  graph.element_levels_[node] = levels;
}

/// A graph and the distance that it points to. While the index is empty, this holds no graph and takes no memory.
class OwnedGraph {
 public:
  [[nodiscard]] explicit operator bool() const noexcept { return graph_ != nullptr; }
  [[nodiscard]] Graph& operator*() const noexcept { return *graph_; }
  [[nodiscard]] Graph* operator->() const noexcept { return graph_.get(); }
  [[nodiscard]] const Graph* get() const noexcept { return graph_.get(); }

  /// Makes a new graph with room for `capacity` nodes. Precondition: check_config passed.
  void make(std::size_t dim, DistanceMetric metric, const HnswConfig& config, std::size_t capacity) {
    if (!space_) {
      if (metric == DistanceMetric::euclidean) {
        space_ = std::make_unique<::hnswlib::L2Space>(dim);
      } else {
        space_ = std::make_unique<::hnswlib::InnerProductSpace>(dim);
      }
    }
    try {
      graph_ = std::make_unique<Graph>(space_.get(), capacity, config.links, config.ef_construction,
                                       static_cast<std::size_t>(config.seed));
    } catch (const std::runtime_error& error) {
      rethrow(error);
    }
    graph_->ef_ = 1;  // the least: each search says how many candidates it wants
    advise_huge_pages(lowest_level(*graph_, capacity));
  }

  /// Makes a graph, or a larger one, if the graph has no room for `more` nodes. Precondition: with them it has at most
  /// most_nodes nodes, so that hnswlib has numbers for them.
  void make_room_for(std::size_t more, std::size_t dim, DistanceMetric metric, const HnswConfig& config) {
    constexpr std::size_t least = 64;
    if (!graph_) {
      make(dim, metric, config, std::max({least, config.capacity, more}));
      return;
    }
    const std::size_t needed = graph_->cur_element_count + more;
    if (needed <= graph_->max_elements_) {
      return;
    }
    resize(std::min(std::max({least, 2 * graph_->max_elements_, needed}), most_nodes));
  }

  void reset() noexcept { graph_.reset(); }

 private:
  // What hnswlib's resizeIndex does, but it destroys its lists of visited nodes before it makes larger ones. If this
  // throws, the graph is as it was.
  void resize(std::size_t capacity) {
    // Searches make lists as they need them.
    auto lists = std::make_unique<::hnswlib::VisitedListPool>(0, static_cast<int>(capacity));
    std::vector<std::mutex> locks(capacity);
    graph_->element_levels_.resize(capacity);
    grow(graph_->data_level0_memory_, capacity * graph_->size_data_per_element_);
    grow(graph_->linkLists_, capacity * sizeof(char*));
    graph_->link_list_locks_.swap(locks);
    replace(graph_->visited_list_pool_, std::move(lists));
    graph_->max_elements_ = capacity;
  }

  // Version 0.8 owns its lists by a std::unique_ptr.
  template <class Lists>
  static void replace(Lists& kept, std::unique_ptr<::hnswlib::VisitedListPool> lists) noexcept {
    if constexpr (std::is_pointer_v<Lists>) {
      delete std::exchange(kept, lists.release());  // NOLINT(*-owning-memory)
    } else {
      kept = std::move(lists);
    }
  }

  template <class Item>
  static void grow(Item*& memory, std::size_t bytes) {
    void* const larger = std::realloc(memory, bytes);  // NOLINT(*-no-malloc): hnswlib frees it
    if (larger == nullptr) {
      throw std::bad_alloc();
    }
    memory = static_cast<Item*>(larger);
  }

  std::unique_ptr<Space> space_;  // outlives the graph
  std::unique_ptr<Graph> graph_;
};

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
