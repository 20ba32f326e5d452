// HnswPart: faiss' HNSW index over a flat index, in which a vector is a node.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/hnsw_graph.hpp"
#include "iqdb/index/faiss/hnsw_index.hpp"
#include "iqdb/index/faiss/hnsw_insertion.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/selector.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/drawn_number.hpp"
#include "iqdb/index/support/graph_walk.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// IndexHNSWFlat: the slot of a vector is its node.
class HnswPart final : public Part {
 public:
  explicit HnswPart(std::unique_ptr<::faiss::IndexHNSWFlat> index) : index_(std::move(index)) {}

  /// An empty index. Precondition: the numbers are in range.
  [[nodiscard]] static std::unique_ptr<HnswPart> make(std::size_t dim, ::faiss::MetricType metric, std::size_t links,
                                                      std::size_t ef_construction, std::size_t ef) {
    auto index = std::make_unique<::faiss::IndexHNSWFlat>(static_cast<int>(dim), static_cast<int>(links), metric);
    index->hnsw.efConstruction = static_cast<int>(ef_construction);
    index->hnsw.efSearch = static_cast<int>(ef);
    return std::make_unique<HnswPart>(std::move(index));
  }

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::hnsw; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot, std::vector<float>& /*memory*/) const override {
    return vector_at(storage().codes, slot, static_cast<std::size_t>(index_->d));
  }

  void add(std::size_t slot, std::span<const float> vector) override {
    undone_if_it_throws([&] { insert(slot, vector); });
  }

  // In this thread alone and in the order of the rows, so that a replay makes the same graph.
  void add_many(const SlotTable::Additions& additions, std::span<const float> vectors,
                LentThreads& /*threads*/) override {
    const auto dim = static_cast<std::size_t>(index_->d);
    undone_if_it_throws([&] {
      for (std::size_t row = 0; row < additions.size(); ++row) {
        insert(additions.slot(row), vectors.subspan(row * dim, dim));
      }
    });
  }

  void check_remove(const VectorId& id) const override {
    throw IndexError(
        IndexErrorKind::invalid_config,
        "the vector " + to_string(id) +
            " cannot be erased or replaced: faiss' HNSW cannot remove vectors; use a flat or an IVF index, or the "
            "index of another library, where vectors are to be erased");
  }

  void remove(SlotTable& /*slots*/, std::size_t /*slot*/) override {}

  void reserve(std::size_t vectors) override {
    storage().codes.reserve(vectors * storage().code_size);
    index_->hnsw.levels.reserve(vectors);
    index_->hnsw.offsets.reserve(vectors + 1);
    index_->hnsw.neighbors.reserve(vectors * static_cast<std::size_t>(index_->hnsw.cum_nneighbor_per_level[1]));
  }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> width) const override {
    ::faiss::VisitedTable visited(static_cast<int>(index_->ntotal));
    return nearest_in_graph(*index_, query, most, width, visited).labels;
  }

  // faiss 1.7.3 cannot ask a selector in a graph, so the walk is ours.
  [[nodiscard]] std::vector<Id> search_among(std::span<const float> query, std::size_t most,
                                             std::optional<std::size_t> width, Selector& selector) const override {
    ::faiss::VisitedTable visited(static_cast<int>(index_->ntotal));
    Farness farness(storage());
    farness.set_query(query.data());
    LowestLevel lowest(index_->hnsw, farness, visited);
    const int entry = descend(farness);
    auto candidates =
        index_support::nearest_in_level<Candidates>(lowest, entry, candidates_for(*index_, most, width), selector);
    if (!farness.all_numbers()) {
      return {};
    }
    while (candidates.size() > most) {
      candidates.pop();
    }
    std::vector<Id> found;
    found.reserve(candidates.size());
    for (; !candidates.empty(); candidates.pop()) {
      found.push_back(candidates.top().second);
    }
    return found;
  }

  [[nodiscard]] std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                         std::optional<std::size_t> width) const override {
    const auto dim = static_cast<std::size_t>(index_->d);
    std::vector<std::vector<Id>> found;
    found.reserve(queries.size() / dim);
    ::faiss::VisitedTable visited(static_cast<int>(index_->ntotal));
    for (std::size_t at = 0; at < queries.size(); at += dim) {
      found.push_back(nearest_in_graph(*index_, queries.subspan(at, dim), most, width, visited).labels);
    }
    return found;
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    take_order(reader, slots, slot_of);
  }

  void save_to(Writer& writer) const override { write_with_faiss(writer, *index_); }

  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    export_in_map(writer, number_of);
  }

  /// Reads a graph that follows its tag, as read_hnsw does.
  [[nodiscard]] static std::unique_ptr<HnswPart> read(Reader& reader) {
    return std::make_unique<HnswPart>(read_hnsw(reader));
  }

 private:
  using Candidates = std::priority_queue<std::pair<float, int>>;

  // The lowest level, as index_support::nearest_in_level walks through it.
  class LowestLevel {
   public:
    LowestLevel(const ::faiss::HNSW& graph, Farness& farness, ::faiss::VisitedTable& visited) noexcept
        : graph_(&graph), farness_(&farness), visited_(&visited) {}

    [[nodiscard]] float distance_of(int node) { return (*farness_)(node); }
    [[nodiscard]] bool visit(int node) noexcept {
      const bool first = !visited_->get(node);
      visited_->set(node);
      return first;
    }
    [[nodiscard]] static bool can_be_found(int /*node*/) noexcept { return true; }

    template <class Meet>
    void for_each_link(int node, Meet& meet) {
      for (const int linked : links_of(*graph_, static_cast<std::size_t>(node), 0)) {
        if (linked < 0) {
          return;
        }
        meet(linked);
      }
    }

   private:
    const ::faiss::HNSW* graph_;
    Farness* farness_;
    ::faiss::VisitedTable* visited_;
  };

  // The node of the least distance that links lead to through the upper levels.
  [[nodiscard]] int descend(Farness& farness) const {
    const ::faiss::HNSW& graph = index_->hnsw;
    int nearest = static_cast<int>(graph.entry_point);
    float least = farness(nearest);
    for (int level = graph.max_level; level > 0; --level) {
      for (bool moved = true; moved;) {
        moved = false;
        for (const int linked : links_of(graph, static_cast<std::size_t>(nearest), level)) {
          if (linked < 0) {
            break;
          }
          if (const float distance = farness(linked); distance < least) {
            least = distance;
            nearest = linked;
            moved = true;
          }
        }
      }
    }
    return nearest;
  }

  [[nodiscard]] const ::faiss::IndexFlat& storage() const { return storage_of(*index_); }
  [[nodiscard]] ::faiss::IndexFlat& storage() { return storage_of(*index_); }

  [[nodiscard]] int level_of(std::size_t node) const {
    double draw = index_support::drawn_number(node);
    int level = 0;
    for (const double probability : index_->hnsw.assign_probas) {
      if (draw < probability) {
        return level;
      }
      draw -= probability;
      ++level;
    }
    return 0;  // the probabilities are a little less than 1 together
  }

  // Does what IndexHNSW::add does, with four differences. Memory that each insertion would allocate in proportion to
  // the index is kept. A shortage of memory throws, while in faiss' parallel region it would end the process. A failed
  // insertion is undone by the caller. The number of the node determines its level, so that a replay makes the same
  // graph.
  void insert(std::size_t slot, std::span<const float> vector) {
    ::faiss::HNSW& graph = index_->hnsw;
    storage().add(1, vector.data());
    const auto node = static_cast<int>(slot);
    const int level = level_of(slot);
    graph.levels.push_back(level + 1);
    graph.prepare_level_tab(1, true);
    if (!visited_ || visited_->visited.size() <= slot) {
      visited_ = std::make_unique<::faiss::VisitedTable>(static_cast<int>(std::min(2 * slot + 64, most_vectors)));
    }
    std::vector<omp_lock_t>& locks = locks_.at_least(slot + 1);
    Farness farness(storage());
    farness.set_query(vector.data());
    graph.add_with_locks(farness, level, node, locks, *visited_);
    index_->ntotal = storage().ntotal;
  }

  // Calls `call()`, which inserts behind the nodes that there are. If it throws, they are all nodes again.
  template <class Call>
  void undone_if_it_throws(Call&& call) {
    const auto nodes = static_cast<std::size_t>(index_->ntotal);
    const auto entry = index_->hnsw.entry_point;
    const int highest = index_->hnsw.max_level;
    try {
      guarded(std::forward<Call>(call));
    } catch (...) {
      forget_from(nodes);
      index_->hnsw.entry_point = entry;
      index_->hnsw.max_level = highest;
      throw;
    }
  }

  // Undoes the insertion of the nodes from the number `nodes` on. Other nodes may already link to them.
  void forget_from(std::size_t nodes) noexcept {
    ::faiss::HNSW& graph = index_->hnsw;
    graph.levels.resize(nodes);
    graph.offsets.resize(nodes + 1);
    graph.neighbors.resize(std::min(graph.neighbors.size(), graph.offsets.back()));
    for (std::size_t node = 0; node < nodes; ++node) {
      for (int level = 0; level < graph.levels[node]; ++level) {
        const std::span<int> links = links_of(graph, node, level);
        const auto is_gone = [nodes](int link) { return link >= static_cast<int>(nodes); };
        std::fill(std::remove_if(links.begin(), links.end(), is_gone), links.end(), -1);
      }
    }
    storage().codes.resize(nodes * storage().code_size);
    storage().ntotal = static_cast<Id>(nodes);
    index_->ntotal = static_cast<Id>(nodes);
    locks_.clear();
    visited_.reset();
  }

  std::unique_ptr<::faiss::IndexHNSWFlat> index_;
  // Reused by every insertion.
  NodeLocks locks_;
  std::unique_ptr<::faiss::VisitedTable> visited_;
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
