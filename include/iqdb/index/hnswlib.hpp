// HnswIndex: hnswlib's approximate index, made durable. Needs the headers of hnswlib 0.6.2 or 0.8 (docs/adapters.md).
//
// hnswlib's own loader believes what it reads: a link in a file becomes an address. Here every length, level, link and
// mark is checked before hnswlib works with it, whether it comes from a payload or from a file of hnswlib's.
#pragma once

// Version 0.6.2 defines functions and variables in its headers so that a program with two files that include them does
// not link. A declaration before the definition cures that: what it says, `inline` or weak, holds for the definition
// too. (The macro tells that hnswlib was included before: then it is too late.)
#if defined(__SSE__) && !defined(PORTABLE_ALIGN32) && !defined(NO_MANUAL_VECTORIZATION) && \
    !__has_include(<hnswlib/stop_condition.h>)
#include <cstdint>
// NOLINTBEGIN(*-identifier-naming,*-non-const-global-variables,*-inconsistent-declaration-parameter-name)
inline void cpuid(std::int32_t* registers, std::int32_t eax, std::int32_t ecx);
inline std::uint64_t xgetbv(unsigned int index);
inline bool AVXCapable();
inline bool AVX512Capable();
namespace hnswlib {
using IqdbDistance = float (*)(const void*, const void*, const void*);
[[gnu::weak]] extern IqdbDistance L2SqrSIMD16Ext;
[[gnu::weak]] extern IqdbDistance InnerProductSIMD16Ext;
[[gnu::weak]] extern IqdbDistance InnerProductSIMD4Ext;
[[gnu::weak]] extern IqdbDistance InnerProductDistanceSIMD16Ext;
[[gnu::weak]] extern IqdbDistance InnerProductDistanceSIMD4Ext;
}  // namespace hnswlib
// NOLINTEND(*-identifier-naming,*-non-const-global-variables,*-inconsistent-declaration-parameter-name)
#endif

#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>  // NOLINT(readability-duplicate-include): not everywhere
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How an HnswIndex is built and searched; saved with the index.
struct HnswConfig {
  std::size_t links = 16;  ///< of a vector in each upper level, 2 to 1024; twice as many in the lowest (hnswlib's M)
  std::size_t ef_construction = 200;  ///< candidates that an insertion looks at, 1 to 65536
  std::size_t ef = 64;                ///< candidates that a search without SearchParams::ef looks at, 1 to 65536
  std::size_t capacity = 0;           ///< vectors to make room for at the first insertion; it grows by itself. After a
                                      ///< load at most 65536, or twice as many as there are
  std::uint64_t seed = 100;           ///< of the levels that vectors are given
};

/// What the library's graph is made of, and what must hold in one that was read.
namespace hnswlib_graph {

static_assert(std::endian::native == std::endian::little, "hnswlib's memory is written as it lies");

using Space = ::hnswlib::SpaceInterface<float>;
using Graph = ::hnswlib::HierarchicalNSW<float>;
using Node = ::hnswlib::tableint;

/// Nodes have numbers of 32 bits, of which hnswlib takes some for signed.
inline constexpr std::size_t most_nodes = std::numeric_limits<std::int32_t>::max();

/// The highest level that is believed: hnswlib draws one above 62 never, since its random numbers are no smaller than
/// 2⁻⁶².
inline constexpr int most_level = 127;

inline constexpr std::size_t most_links = 1024;
inline constexpr std::size_t most_candidates = 65536;

/// Of an upper level, hnswlib reads one link more than there may be (and does nothing with it): room for that.
inline constexpr std::size_t read_beyond_links = sizeof(Node);

/// hnswlib's errors are std::runtime_error, also where there is no memory.
[[noreturn]] inline void rethrow(const std::runtime_error& error) {
  if (std::string_view(error.what()).find("memory") != std::string_view::npos) {
    throw std::bad_alloc();
  }
  throw IndexError(IndexErrorKind::resource_limit, std::string("hnswlib refuses: ") + error.what());
}

/// The links of a node in one level.
[[nodiscard]] inline std::span<const Node> links_of(const Graph& graph, Node node, int level) {
  const auto* const list = graph.get_linklist_at_level(node, level);
  return {list + 1, graph.getListCount(graph.get_linklist_at_level(node, level))};
}

/// The vector of a node, as it is kept.
[[nodiscard]] inline std::span<const float> vector_of(const Graph& graph, Node node) {
  // Numbers of four bytes lie before it, in memory of malloc.
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

/// Makes room for the upper levels of a node that has none, and says how many there are.
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

/// Compares a graph that was read with what hnswlib relies on; `fail(what)` throws. `is_free(node)` is whether the
/// node's vector was erased.
template <class Fail, class IsFree>
void check(const Graph& graph, Fail&& fail, IsFree&& is_free) {
  const auto nodes = static_cast<Node>(graph.cur_element_count);
  const auto check_links = [&](Node node, int level) {
    const std::size_t most = level == 0 ? graph.maxM0_ : graph.maxM_;
    const std::span<const Node> links = links_of(graph, node, level);
    if (links.size() > most) {
      fail("node " + std::to_string(node) + " is stated to have " + std::to_string(links.size()) + " links in level " +
           std::to_string(level) + "; there may be " + std::to_string(most));
    }
    for (const Node link : links) {
      if (link >= nodes || link == node || graph.element_levels_[link] < level) {
        fail("node " + std::to_string(node) + " has a link to node " + std::to_string(link) + " in level " +
             std::to_string(level) + ", where there is none such");
      }
    }
  };
  for (Node node = 0; node < nodes; ++node) {
    if (graph.element_levels_[node] > graph.maxlevel_) {
      fail("node " + std::to_string(node) + " reaches up to level " + std::to_string(graph.element_levels_[node]) +
           " of " + std::to_string(graph.maxlevel_));
    }
    // Links are counted in the first two bytes; a bit of the third says that the vector was erased.
    const ::hnswlib::linklistsizeint head = *graph.get_linklist0(node);
    constexpr unsigned bits_of_count = 16;
    if (head >> bits_of_count != static_cast<unsigned>(is_free(node))) {
      fail("node " + std::to_string(node) + " is marked " + std::to_string(head >> bits_of_count) + "; expected " +
           (is_free(node) ? "1, since its vector was erased" : "0"));
    }
    for (int level = 0; level <= graph.element_levels_[node]; ++level) {
      check_links(node, level);
    }
    if (!std::ranges::all_of(vector_of(graph, node), [](float component) { return std::isfinite(component); })) {
      fail("the vector of node " + std::to_string(node) + " has a component that is not finite");
    }
  }
  if (graph.enterpoint_node_ >= nodes || graph.element_levels_[graph.enterpoint_node_] != graph.maxlevel_) {
    fail("the graph is stated to be entered at node " + std::to_string(graph.enterpoint_node_) + " of " +
         std::to_string(nodes) + ", in level " + std::to_string(graph.maxlevel_) + ", where there is none such");
  }
}

}  // namespace hnswlib_graph

/// hnswlib's `HierarchicalNSW<float>` with identifiers of both kinds, metadata, and a payload: approximate search in a
/// graph.
///
/// Takes vectors whose components are finite; grows by itself; the place of an erased vector is taken by the next one.
/// Metrics are euclidean, dot_product and cosine, for which the direction of a vector is kept and not its length.
/// Searches may run at the same time as each other.
///
/// The levels of vectors are drawn at random, and what was drawn so far is not saved: after a load later vectors get
/// other levels than they would have. That changes no promise, but two indexes may find differently far neighbours.
class HnswIndex : public InsertOverloads<HnswIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "hnsw";

  /// An empty index for vectors of `dim` components. Throws IndexError invalid_config if `dim` or a setting is out of
  /// its range, invalid_metric for a metric that hnswlib has not.
  HnswIndex(std::size_t dim, DistanceMetric metric, const HnswConfig& config = {})
      : dim_(dim), metric_(metric), config_(config) {
    if (metric != DistanceMetric::euclidean && metric != DistanceMetric::dot_product &&
        metric != DistanceMetric::cosine) {
      throw IndexError(IndexErrorKind::invalid_metric,
                       "an index with the metric " + std::string(to_string(metric)) +
                           " was asked for; hnswlib has euclidean, dot_product and cosine");
    }
    constexpr std::size_t most_dim = std::numeric_limits<std::int32_t>::max() / sizeof(float) / 2;
    check_range(dim, 1, most_dim, "dimension");
    check_range(config.links, 2, hnswlib_graph::most_links, "number of links");
    check_range(config.ef_construction, 1, hnswlib_graph::most_candidates, "setting ef_construction");
    check_range(config.ef, 1, hnswlib_graph::most_candidates, "setting ef");
    check_range(config.capacity, 0, hnswlib_graph::most_nodes, "capacity");
  }

  /// How many vectors there are.
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

  /// How many components each vector has.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// How the index is built and searched.
  [[nodiscard]] const HnswConfig& config() const noexcept { return config_; }

  /// Whether there is a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return slots_.find(id).has_value(); }

  using InsertOverloads<HnswIndex>::insert;

  /// Adds a vector of dim() finite components. If it throws, nothing has changed: IndexError dimension_mismatch;
  /// invalid_vector for a component that is not finite; duplicate where the identifier is taken; invalid_config or
  /// resource_limit for metadata that cannot be stored (check_storable); resource_limit where hnswlib has no number
  /// left; std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    const std::vector<float> kept = kept_form(vector, "vector");
    SlotTable::Addition addition = slots_.add(std::move(id), std::move(metadata));
    if (addition.reused()) {
      replace_node(addition.slot(), kept);
    } else {
      add_node(addition, kept);
    }
    addition.keep();
  }

  /// Removes a vector. Throws IndexError not_found where there is none.
  void erase(const VectorId& id) {
    const std::size_t slot = slots_.at(id);
    if (size() == 1) {
      // A graph of erased nodes alone would be of no use to the next vector: no link would lead to it.
      slots_ = SlotTable();
      graph_.reset();
      return;
    }
    graph_->markDelete(slot);
    slots_.remove(slot);
  }

  /// The `params.k` vectors that were found to be nearest to `query`, nearest first, or all if there are fewer.
  /// `params.ef` is how many candidates are looked at, at least k. Distances are those of FlatIndex::search, for the
  /// cosine between directions. Throws IndexError dimension_mismatch, and invalid_vector for a query that insert would
  /// not take.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    const std::vector<float> kept = kept_form(query, "query");
    const std::size_t most = std::min(params.k, size());
    if (most == 0) {
      return {};
    }
    std::vector<Found> nearest = found_in_graph(kept, most, std::max(params.k, params.ef.value_or(config_.ef)));
    if (nearest.size() < most) {
      // Erasures can cut vectors off from where a search enters the graph.
      nearest = found_in_all(kept, most);
    }

    std::vector<Hit> hits;
    hits.reserve(nearest.size());
    for (const Found& found : nearest) {
      hits.push_back(
          {.id = slots_.id(found.slot), .distance = found.distance, .metadata = copied(slots_.metadata(found.slot))});
    }
    return hits;
  }

  /// The same for a query written as a braced list of its components.
  [[nodiscard]] std::vector<Hit> search(std::initializer_list<float> query, const SearchParams& params = {}) const {
    return search(std::span<const float>(query.begin(), query.size()), params);
  }

  /// Calls `visit(id, vector, metadata)` for each vector as it is kept, for the cosine with a length of 1: a
  /// `const VectorId&`, a `std::span<const float>` and a `const std::optional<Metadata>&`.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        visit(slots_.id(slot), vector_in(slot), slots_.metadata(slot));
      }
    }
  }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | links, ef_construction, ef, capacity, seed 8 each |
  /// SlotTable
  /// | if it has slots: entry node 4 | level of each node 1 each | hnswlib's lowest level | the upper levels of each
  /// node. Numbers are little-endian. A node is what lies in the slot of its number; its label is that number too.
  void save_to(Writer& writer) const {
    writer.write_le(layout_version);
    writer.write_le(std::uint64_t{dim_});
    writer.write_le(static_cast<std::uint8_t>(metric_));
    for (const std::uint64_t setting :
         {std::uint64_t{config_.links}, std::uint64_t{config_.ef_construction}, std::uint64_t{config_.ef},
          std::uint64_t{graph_ ? graph_->max_elements_ : config_.capacity}, config_.seed}) {
      writer.write_le(setting);
    }
    slots_.save_to(writer);
    if (slots_.slots() == 0) {
      return;
    }
    writer.write_le(std::uint32_t{graph_->enterpoint_node_});
    for (std::size_t node = 0; node < slots_.slots(); ++node) {
      writer.write_le(static_cast<std::uint8_t>(graph_->element_levels_[node]));
    }
    writer.write(hnswlib_graph::lowest_level(*graph_, slots_.slots()));
    for (std::size_t node = 0; node < slots_.slots(); ++node) {
      writer.write(hnswlib_graph::upper_levels(*graph_, static_cast<hnswlib_graph::Node>(node)));
    }
  }

  /// Makes an index of a payload. Throws PersistError invalid_payload, invalid_metric for what is none.
  [[nodiscard]] static HnswIndex load_from(Reader& reader) {
    try {
      return decode(reader);
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::truncated_payload) {
        throw;
      }
      // The payload is whole, or its checksum would have told: it states more than it holds.
      reader.fail(PersistErrorKind::invalid_payload,
                  "the hnsw index's payload ends early: it states more vectors, dimensions, links or metadata than it "
                  "holds");
    }
  }

 private:
  friend HnswIndex hnswlib_import(const std::filesystem::path& path, std::size_t dim, DistanceMetric metric,
                                  HnswConfig config);
  friend void hnswlib_export(const HnswIndex& index, const std::filesystem::path& path);

  using Graph = hnswlib_graph::Graph;
  using Node = hnswlib_graph::Node;

  struct Found {
    std::size_t slot;
    float distance;
  };

  static constexpr std::uint8_t layout_version = 1;

  static void check_range(std::size_t value, std::size_t least, std::size_t most, std::string_view name) {
    if (value < least || value > most) {
      throw IndexError(IndexErrorKind::invalid_config, "the " + std::string(name) + " is " + std::to_string(value) +
                                                           "; an hnsw index takes " + std::to_string(least) + " to " +
                                                           std::to_string(most));
    }
  }

  // What hnswlib is given: for the cosine, which it does not have, the direction.
  [[nodiscard]] std::vector<float> kept_form(std::span<const float> vector, std::string_view what) const {
    if (vector.size() != dim_) {
      throw IndexError(IndexErrorKind::dimension_mismatch,
                       "the " + std::string(what) + " has " + std::to_string(vector.size()) +
                           " components, but the index has dimension " + std::to_string(dim_));
    }
    const auto wrong = std::ranges::find_if_not(vector, [](float component) { return std::isfinite(component); });
    if (wrong != vector.end()) {
      throw IndexError(IndexErrorKind::invalid_vector,
                       "component " + std::to_string(wrong - vector.begin()) + " of the " + std::string(what) + " is " +
                           std::to_string(*wrong) + "; an hnsw index takes finite numbers");
    }
    std::vector<float> kept(vector.begin(), vector.end());
    const double norm = metric_ == DistanceMetric::cosine ? std::sqrt(squared_norm(vector)) : 0.0;
    if (norm > 0.0) {  // a vector of zeros has no direction, and is as far from all
      std::ranges::transform(kept, kept.begin(),
                             [norm](float component) { return static_cast<float>(component / norm); });
    }
    return kept;
  }

  [[nodiscard]] std::span<const float> vector_in(std::size_t slot) const {
    return hnswlib_graph::vector_of(*graph_, static_cast<Node>(slot));
  }

  void make_graph(std::size_t capacity) {
    if (!space_) {
      if (metric_ == DistanceMetric::euclidean) {
        space_ = std::make_unique<::hnswlib::L2Space>(dim_);
      } else {
        space_ = std::make_unique<::hnswlib::InnerProductSpace>(dim_);
      }
    }
    try {
      graph_ = std::make_unique<Graph>(space_.get(), capacity, config_.links, config_.ef_construction,
                                       static_cast<std::size_t>(config_.seed));
    } catch (const std::runtime_error& error) {
      hnswlib_graph::rethrow(error);
    }
    graph_->ef_ = 1;  // the least: each search says how many candidates it wants
    advise_huge_pages(hnswlib_graph::lowest_level(*graph_, capacity));
  }

  void make_room_for_one() {
    constexpr std::size_t least = 64;
    if (!graph_) {
      make_graph(std::max(least, config_.capacity));
      return;
    }
    if (graph_->cur_element_count < graph_->max_elements_) {
      return;
    }
    if (graph_->max_elements_ >= hnswlib_graph::most_nodes) {
      throw IndexError(IndexErrorKind::resource_limit, "the index holds " + std::to_string(graph_->max_elements_) +
                                                           " vectors, the most that hnswlib has numbers for");
    }
    try {
      graph_->resizeIndex(std::min(std::max(least, 2 * graph_->max_elements_), hnswlib_graph::most_nodes));
    } catch (const std::runtime_error& error) {
      hnswlib_graph::rethrow(error);
    }
  }

  void add_node(SlotTable::Addition& addition, std::span<const float> vector) {
    make_room_for_one();
    const auto node = static_cast<Node>(addition.slot());
    const auto undo = [&] {
      if (disown(node)) {
        addition.keep_slot();
      }
    };
    undone_if_it_throws(undo, [&] {
      graph_->addPoint(vector.data(), addition.slot());
      give_room_behind_links(node);
    });
  }

  void replace_node(std::size_t slot, std::span<const float> vector) {
    const auto undo = [&] {
      if (!graph_->isMarkedDeleted(static_cast<Node>(slot))) {
        graph_->markDelete(slot);
      }
    };
    undone_if_it_throws(undo, [&] { graph_->addPoint(vector.data(), slot); });
  }

  template <class Undo, class Call>
  static void undone_if_it_throws(Undo&& undo, Call&& call) {
    try {
      call();
    } catch (const std::runtime_error& error) {
      undo();
      hnswlib_graph::rethrow(error);
    } catch (...) {
      undo();
      throw;
    }
  }

  // hnswlib gives the lists of a new node no room behind them.
  void give_room_behind_links(Node node) {
    const std::span<std::byte> levels = hnswlib_graph::upper_levels(*graph_, node);
    if (levels.empty()) {
      return;
    }
    void* const larger =
        std::realloc(levels.data(), levels.size() + hnswlib_graph::read_beyond_links);  // NOLINT(*-no-malloc)
    if (larger == nullptr) {
      throw std::bad_alloc();
    }
    graph_->linkLists_[node] = static_cast<char*>(larger);
    std::memset(graph_->linkLists_[node] + levels.size(), 0, hnswlib_graph::read_beyond_links);
  }

  // Makes a node that hnswlib has not completed one whose vector was erased, since others may have links to it already;
  // says whether it is there at all.
  bool disown(Node node) noexcept {
    if (node == 0) {
      graph_.reset();  // there is no other
      return false;
    }
    if (graph_->cur_element_count <= node) {
      return false;
    }
    if (!graph_->label_lookup_.contains(node)) {
      graph_->cur_element_count = node;
      return false;
    }
    int& level = graph_->element_levels_[node];
    if (level > 0 && graph_->linkLists_[node] == nullptr) {
      level = 0;
    }
    if (level > graph_->maxlevel_) {
      // Above that there are no links to it, and hnswlib would take no new vector for it.
      level = graph_->maxlevel_;
      if (level == 0) {
        std::free(graph_->linkLists_[node]);  // NOLINT(*-no-malloc)
      }
    }
    if (!graph_->isMarkedDeleted(node)) {
      graph_->markDelete(node);
    }
    return true;
  }

  // The nearest by hnswlib's search, of which `candidates` were looked at.
  [[nodiscard]] std::vector<Found> found_in_graph(std::span<const float> query, std::size_t most,
                                                  std::size_t candidates) const {
    auto queue = graph_->searchKnn(query.data(), std::min<std::size_t>(candidates, graph_->cur_element_count));
    while (queue.size() > most) {
      queue.pop();
    }
    std::vector<Found> found(queue.size());
    // The farthest comes first. NOLINTNEXTLINE(modernize-loop-convert): Clang 14 cannot reverse a range
    for (auto each = found.rbegin(); each != found.rend(); ++each) {
      each->slot = queue.top().second;
      queue.pop();
    }
    return measured(std::move(found), query);
  }

  [[nodiscard]] std::vector<Found> found_in_all(std::span<const float> query, std::size_t most) const {
    std::vector<Found> found;
    found.reserve(size());
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        found.push_back({.slot = slot, .distance = 0.0F});
      }
    }
    found = measured(std::move(found), query);
    found.resize(most);
    return found;
  }

  // In the order of our distances: hnswlib's are others, and rounded otherwise.
  [[nodiscard]] std::vector<Found> measured(std::vector<Found> found, std::span<const float> query) const {
    for (Found& each : found) {
      each.distance = distance(metric_, query, vector_in(each.slot));
    }
    std::ranges::sort(found, [](const Found& a, const Found& b) {
      return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot);
    });
    return found;
  }

  [[nodiscard]] static HnswIndex decode(Reader& reader) {
    if (const auto version = reader.read_le<std::uint8_t>(); version != layout_version) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the hnsw index's payload has the layout version " + std::to_string(version) + "; expected " +
                      std::to_string(layout_version) + "; it needs a newer library, or it is damaged");
    }
    const auto dim = reader.read_le<std::uint64_t>();
    const DistanceMetric metric = metric_from_tag(reader.read_le<std::uint8_t>());
    HnswConfig config;
    for (std::size_t* setting : {&config.links, &config.ef_construction, &config.ef, &config.capacity}) {
      *setting = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
    }
    config.seed = reader.read_le<std::uint64_t>();
    HnswIndex index = made_of(reader, dim, metric, config);
    index.slots_ = SlotTable::load_from(reader);
    const std::size_t nodes = index.slots_.slots();
    // No more than is little beside what is there: hnswlib fills some of the memory for it at once.
    constexpr std::size_t little = 65536;
    index.config_.capacity = std::min(index.config_.capacity, std::max(2 * nodes, little));
    if (nodes == 0) {
      return index;
    }
    if (index.size() == 0) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the hnsw index has " + std::to_string(nodes) + " slots, but no vector; it would have none");
    }
    const auto entry = reader.read_le<std::uint32_t>();
    const auto levels = reader.read_vector<std::uint8_t>(nodes);
    reader.require_items(nodes, index.node_bytes());
    index.make_graph_of(nodes);
    reader.read(hnswlib_graph::lowest_level(*index.graph_, nodes));
    for (Node node = 0; node < nodes; ++node) {
      index.read_upper_levels(reader, node, levels[node]);
      if (const auto label = index.graph_->getExternalLabel(node); label != node) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "node " + std::to_string(node) + " of the hnsw index has the label " + std::to_string(label));
      }
    }
    index.complete_graph(reader, entry, *std::ranges::max_element(levels));
    return index;
  }

  // An empty index with settings that were read.
  [[nodiscard]] static HnswIndex made_of(const Reader& reader, std::uint64_t dim, DistanceMetric metric,
                                         const HnswConfig& config) {
    try {
      return HnswIndex(static_cast<std::size_t>(dim), metric, config);
    } catch (const IndexError& error) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the hnsw index cannot be as it is stated: " + std::string(error.what()));
    }
  }

  // Of a node, what is in the lowest level.
  [[nodiscard]] std::uint64_t node_bytes() const noexcept {
    return sizeof(::hnswlib::linklistsizeint) + 2 * config_.links * sizeof(Node) + dim_ * sizeof(float) +
           sizeof(::hnswlib::labeltype);
  }

  // A graph of so many nodes, whose memory is to be read.
  void make_graph_of(std::size_t nodes) {
    make_graph(std::clamp(config_.capacity, nodes, std::min(2 * nodes, hnswlib_graph::most_nodes)));
    graph_->cur_element_count = nodes;
  }

  void read_upper_levels(Reader& reader, Node node, std::uint64_t levels) {
    if (levels > hnswlib_graph::most_level) {
      reader.fail(PersistErrorKind::invalid_payload, "node " + std::to_string(node) +
                                                         " of the hnsw index is stated to reach up to level " +
                                                         std::to_string(levels) + "; the highest there is is " +
                                                         std::to_string(hnswlib_graph::most_level));
    }
    reader.require_items(levels, graph_->size_links_per_element_);
    hnswlib_graph::make_upper_levels(*graph_, node, static_cast<int>(levels));
    reader.read(hnswlib_graph::upper_levels(*graph_, node));
  }

  // Takes the graph that was read into use, if it is one that hnswlib may have made.
  void complete_graph(const Reader& reader, Node entry, int highest_level) {
    graph_->enterpoint_node_ = entry;
    graph_->maxlevel_ = highest_level;
    hnswlib_graph::check(
        *graph_,
        [&](const std::string& found) {
          reader.fail(PersistErrorKind::invalid_payload, "the hnsw index is damaged: " + found);
        },
        [this](Node node) { return slots_.is_free(node); });
    graph_->num_deleted_ = slots_.slots() - slots_.size();
    graph_->label_lookup_.reserve(slots_.slots());
    for (std::size_t node = 0; node < slots_.slots(); ++node) {
      graph_->setExternalLabel(static_cast<Node>(node), node);
      graph_->label_lookup_.emplace(node, static_cast<Node>(node));
    }
  }

  // The fields at the beginning of hnswlib's file, in their order.
  struct FileFields {
    std::uint64_t offset_level0 = 0;
    std::uint64_t max_elements = 0;
    std::uint64_t nodes = 0;
    std::uint64_t node_bytes = 0;
    std::uint64_t label_offset = 0;
    std::uint64_t vector_offset = 0;
    std::int32_t highest_level = -1;
    std::uint32_t entry = std::numeric_limits<std::uint32_t>::max();
    std::uint64_t most_links = 0;
    std::uint64_t most_links_lowest = 0;
    std::uint64_t links = 0;
    double level_factor = 0.0;
    std::uint64_t ef_construction = 0;

    template <class Visit>
    void for_each(Visit&& visit) {
      visit(offset_level0);
      visit(max_elements);
      visit(nodes);
      visit(node_bytes);
      visit(label_offset);
      visit(vector_offset);
      visit(highest_level);
      visit(entry);
      visit(most_links);
      visit(most_links_lowest);
      visit(links);
      visit(level_factor);
      visit(ef_construction);
    }
  };

  [[nodiscard]] FileFields file_fields() const {
    FileFields fields;
    fields.nodes = slots_.slots();
    fields.max_elements = graph_ ? graph_->max_elements_ : config_.capacity;
    fields.node_bytes = node_bytes();
    fields.label_offset = node_bytes() - sizeof(::hnswlib::labeltype);
    fields.vector_offset = fields.label_offset - dim_ * sizeof(float);
    if (graph_) {
      fields.highest_level = graph_->maxlevel_;
      fields.entry = graph_->enterpoint_node_;
    }
    fields.most_links = config_.links;
    fields.most_links_lowest = 2 * config_.links;
    fields.links = config_.links;
    fields.level_factor = 1.0 / std::log(static_cast<double>(config_.links));
    fields.ef_construction = config_.ef_construction;
    return fields;
  }

  [[nodiscard]] static HnswIndex decode_file(Reader& reader, std::size_t dim, DistanceMetric metric,
                                             HnswConfig config) {
    FileFields stated;
    stated.for_each([&]<class T>(T& field) { field = reader.read_le<T>(); });
    config.links = static_cast<std::size_t>(stated.links);
    config.ef_construction = static_cast<std::size_t>(stated.ef_construction);
    HnswIndex index = made_of(reader, dim, metric, config);
    index.check_file_fields(reader, stated);
    const auto nodes = static_cast<std::size_t>(stated.nodes);
    if (nodes == 0) {
      return index;
    }
    index.make_graph_of(nodes);
    reader.read(hnswlib_graph::lowest_level(*index.graph_, nodes));
    int highest_level = 0;
    for (Node node = 0; node < nodes; ++node) {
      const auto bytes = reader.read_le<std::uint32_t>();
      const std::uint64_t bytes_each = index.graph_->size_links_per_element_;
      if (bytes % bytes_each != 0) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "the links of node " + std::to_string(node) + " are stated to take " + std::to_string(bytes) +
                        " bytes, which is no multiple of the " + std::to_string(bytes_each) + " of a level");
      }
      index.read_upper_levels(reader, node, bytes / bytes_each);
      highest_level = std::max(highest_level, index.graph_->element_levels_[node]);
      index.take_over_label(reader, node);
    }
    if (stated.highest_level != highest_level) {
      reader.fail(PersistErrorKind::invalid_payload, "the highest level is stated to be " +
                                                         std::to_string(stated.highest_level) + ", but is " +
                                                         std::to_string(highest_level));
    }
    index.complete_graph(reader, stated.entry, highest_level);
    index.require_directions(reader);
    if (index.size() == 0) {
      return made_of(reader, dim, metric, config);
    }
    return index;
  }

  void check_file_fields(const Reader& reader, const FileFields& stated) const {
    const auto require = [&](std::string_view what, std::uint64_t found, std::uint64_t expected) {
      if (found != expected) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "the file states " + std::to_string(found) + " as the " + std::string(what) + "; expected " +
                        std::to_string(expected) + " for " + std::to_string(config_.links) + " links and " +
                        std::to_string(dim_) +
                        " dimensions; is it a file of hnswlib's saveIndex, of floats of that dimension?");
      }
    };
    const FileFields expected = file_fields();
    require("offset of the lowest level", stated.offset_level0, expected.offset_level0);
    require("size of a node", stated.node_bytes, expected.node_bytes);
    require("offset of the label", stated.label_offset, expected.label_offset);
    require("offset of the vector", stated.vector_offset, expected.vector_offset);
    require("most links of an upper level", stated.most_links, expected.most_links);
    require("most links of the lowest level", stated.most_links_lowest, expected.most_links_lowest);
    if (stated.nodes > hnswlib_graph::most_nodes) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the file states " + std::to_string(stated.nodes) + " vectors, more than hnswlib has numbers for");
    }
    reader.require_items(stated.nodes, node_bytes() + sizeof(std::uint32_t));
  }

  // The label in the file becomes the identifier.
  void take_over_label(const Reader& reader, Node node) {
    if (graph_->isMarkedDeleted(node)) {
      slots_.append_free();
      return;
    }
    try {
      slots_.append(std::uint64_t{graph_->getExternalLabel(node)}, {});
    } catch (const IndexError&) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "two vectors of the file have the label " + std::to_string(graph_->getExternalLabel(node)));
    }
  }

  // hnswlib leaves it to the program to give vectors a length of 1 for the cosine.
  void require_directions(const Reader& reader) const {
    constexpr double tolerance = 1e-3;
    for (std::size_t slot = 0; slot < slots_.slots() && metric_ == DistanceMetric::cosine; ++slot) {
      const double square = squared_norm(vector_in(slot));
      if (!slots_.is_free(slot) && square != 0.0 && std::abs(square - 1.0) > tolerance) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "the vector " + to_string(slots_.id(slot)) + " has the length " +
                        std::to_string(std::sqrt(square)) +
                        "; for the cosine hnswlib's vectors must have a length of 1; import it as dot_product");
      }
    }
  }

  void write_file(Writer& writer) const {
    file_fields().for_each([&](auto field) { writer.write_le(field); });
    // A vector that was erased has a label too: one that no other has.
    std::uint64_t spare_label = std::numeric_limits<std::uint64_t>::max();
    for (std::size_t node = 0; node < slots_.slots(); ++node) {
      while (slots_.find(spare_label)) {
        --spare_label;
      }
      const std::uint64_t label = slots_.is_free(node) ? spare_label-- : slots_.id(node).integer();
      const std::size_t begin = node * graph_->size_data_per_element_;
      writer.write(hnswlib_graph::lowest_level(*graph_, slots_.slots()).subspan(begin, graph_->label_offset_));
      writer.write_le(label);
    }
    for (std::size_t node = 0; node < slots_.slots(); ++node) {
      const auto levels = hnswlib_graph::upper_levels(*graph_, static_cast<Node>(node));
      writer.write_le(static_cast<std::uint32_t>(levels.size()));
      writer.write(levels);
    }
  }

  std::size_t dim_;
  DistanceMetric metric_;
  HnswConfig config_;
  SlotTable slots_;
  // On the heap, since hnswlib points to them: what is made at the first insertion. An empty index takes no memory.
  std::unique_ptr<hnswlib_graph::Space> space_;
  std::unique_ptr<Graph> graph_;
};

static_assert(SearchableIndex<HnswIndex>);
static_assert(Persistable<HnswIndex>);

/// Makes an index of the file at `path`, which hnswlib's `saveIndex` wrote: of a `HierarchicalNSW<float>` with an
/// `L2Space` (euclidean) or an `InnerProductSpace` (dot_product; cosine, if the program gave its vectors a length of 1)
/// of `dim` dimensions. Labels become integer identifiers. The file is checked as a payload is. Of `config` what the
/// file does not say is used: ef, capacity and seed. To make it durable:
/// `PersistedIndex<HnswIndex>::open_with(hnswlib_import(path, dim, metric), config)`.
///
/// Throws PersistError io where the file cannot be read, truncated_payload where it ends early, invalid_payload where
/// it is damaged or of other vectors; IndexError as HnswIndex's constructor.
[[nodiscard]] inline HnswIndex hnswlib_import(const std::filesystem::path& path, std::size_t dim, DistanceMetric metric,
                                              HnswConfig config = {}) {
  std::ignore = HnswIndex(dim, metric, config);  // what is wrong here is the caller's, and not the file's
  return read_foreign_file(path, "an index of hnswlib's", [&](auto& file) {
    FileRange source(file, 0, file.size());
    Reader reader(source, file.size(), LengthEvidence::stored);
    HnswIndex index = HnswIndex::decode_file(reader, dim, metric, config);
    if (reader.remaining() > 0) {
      reader.fail(PersistErrorKind::invalid_payload,
                  std::to_string(reader.remaining()) + " bytes stand behind hnswlib's index; expected none");
    }
    return index;
  });
}

/// Writes a file that hnswlib loads (`HierarchicalNSW<float>::loadIndex`), with integer identifiers as labels; metadata
/// stays behind. The file is there as a whole or not at all, and durable when the call returns; beside it lies
/// `path`.lock.
///
/// Throws IndexError invalid_config where an identifier is bytes; PersistError locked where something else writes to
/// that path, io where the file cannot be written.
inline void hnswlib_export(const HnswIndex& index, const std::filesystem::path& path) {
  index.for_each([](const VectorId& id, auto, const auto&) {
    if (!id.is_integer()) {
      throw IndexError(IndexErrorKind::invalid_config, "the vector " + to_string(id) +
                                                           " cannot be exported: hnswlib's labels are integers; insert "
                                                           "it under an integer instead");
    }
  });
  write_foreign_file(path, [&](Writer& writer) { index.write_file(writer); });
}

}  // namespace iqdb::inline IQDB_PERSIST_ABI
