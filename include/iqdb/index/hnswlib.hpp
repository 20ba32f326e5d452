// HnswIndex: hnswlib's approximate index, made durable. Needs the headers of hnswlib 0.6.2 or 0.8 (docs/adapters.md).
//
// hnswlib's own loader trusts its input: it turns a link from a file into an address. Here every length, level, link
// and mark is checked before hnswlib works with it, whether it comes from a payload or from one of hnswlib's files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/hnswlib/config.hpp"
#include "iqdb/index/hnswlib/file.hpp"
#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/hnswlib/graph_reader.hpp"
#include "iqdb/index/hnswlib/insertion.hpp"
#include "iqdb/index/hnswlib/joint_insertion.hpp"
#include "iqdb/index/hnswlib/search.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/foreign_index.hpp"
#include "iqdb/index/support/graph_wear.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_index.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// hnswlib's `HierarchicalNSW<float>` with integer and byte identifiers, metadata, and a payload: approximate search in
/// a graph. `SearchParams::ef` is how many candidates a search looks at, at least k.
///
/// Components must be finite, and lengths within the bounds of index_support::check_single_precision. The index grows by
/// itself, and a new vector takes the place of an erased one. The metrics
/// are euclidean, dot_product and cosine; for the cosine the index keeps the direction of a vector and not its length.
/// Several threads may search at the same time. insert_many links new vectors in the threads that it is lent.
///
/// The levels of vectors are random, but depend on the seed and the place of the vector alone. The same mutations make the
/// same graph, with or without loads between them, unless insert_many was lent more than one thread.
class HnswIndex : public index_support::SlotIndex<HnswIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "hnsw";

  /// All of it is private memory, and save_to only reads it: hnswlib's locks are those of insertions and searches.
  static constexpr bool freezes_by_fork = true;

  /// An empty index for vectors of `dim` components. Throws IndexError invalid_config if `dim` or a setting is out of
  /// range, invalid_metric for a metric that hnswlib does not have.
  HnswIndex(std::size_t dim, DistanceMetric metric, const HnswConfig& config = {})
      : SlotIndex(dim, metric), config_(config) {
    hnswlib_graph::check_config(dim, metric, config);
  }

  /// How the index is built and searched.
  [[nodiscard]] const HnswConfig& config() const noexcept { return config_; }

  /// hnswlib's object, to look at its settings and its graph; null while the index is empty. Its labels are internal to this
  /// class. It is valid until the index is changed.
  [[nodiscard]] const ::hnswlib::HierarchicalNSW<float>* native() const noexcept { return graph_.get(); }

  /// What erasures and replacements have left in the graph. Several threads may ask at the same time.
  [[nodiscard]] GraphWear wear() const noexcept { return graph_wear(); }

  /// Builds the graph anew from the vectors that the index holds: searches are as fast, and find as much, as if nothing had
  /// been erased or replaced. It takes as long as to insert all vectors, and meanwhile the memory of a second graph. The
  /// content stays as it is, so that a log has nothing to say of it: `db.tune([](auto& index) { index.compact(); })`. If it
  /// throws, nothing has changed: std::bad_alloc, IndexError invalid_config for an index that was moved from. It is a
  /// mutation: no other call may run at the same time.
  void compact() {
    HnswIndex fresh(dim(), metric(), config_);
    if (size() > 0) {
      fresh.graph_.make_room_for(size(), dim(), metric(), config_);
    }
    become(std::move(fresh), [this](HnswIndex& into, SlotTable::Addition& addition, std::size_t slot) {
      into.place(addition, hnswlib_graph::vector_of(*graph_, static_cast<Node>(slot)));
    });
  }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | links, ef_construction, ef, capacity, seed 8 each |
  /// SlotTable
  /// | if it has slots: entry node 4 | level of each node 1 each | hnswlib's lowest level | the upper levels of each
  /// node. Numbers are little-endian. The number of a node is its slot, and also its label.
  void save_to(Writer& writer) const {
    index_support::write_head(writer, {.dim = dim(), .metric = metric()});
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
      writer.write(hnswlib_graph::upper_levels(*graph_, static_cast<Node>(node)));
    }
  }

 private:
  friend SlotIndex;
  friend SlotSearch;
  friend HnswIndex hnswlib_import(const std::filesystem::path& path, std::size_t dim, DistanceMetric metric,
                                  HnswConfig config);
  friend void hnswlib_export(const HnswIndex& index, const std::filesystem::path& path);

  using Found = index_support::Found;
  using Node = hnswlib_graph::Node;

  // ---- what SlotIndex asks for --------------------------------------------------------------------------------------

  static constexpr std::string_view library = "hnswlib";
  static constexpr std::size_t most_vectors = hnswlib_graph::most_nodes;

  void check_form(std::span<const float> vector, index_support::VectorRole role) const {
    index_support::check_single_precision(vector, role, dim(), metric());
  }

  [[nodiscard]] std::vector<float> kept_form(std::span<const float> vector) const {
    return index_support::direction_for(metric(), vector);
  }

  void place(SlotTable::Addition& addition, std::span<const float> vector) {
    if (addition.reused()) {
      hnswlib_graph::replace_node(*graph_, addition.slot(), vector);
    } else {
      graph_.make_room_for(1, dim(), metric(), config_);
      hnswlib_graph::add_node(*graph_, addition, vector, config_.seed);
    }
  }

  void place_many(SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& threads) {
    graph_.make_room_for(additions.size() - additions.reused(), dim(), metric(), config_);
    hnswlib_graph::place_rows(
        graph_, additions, [&](std::size_t row) { return kept_form(vectors.subspan(row * dim(), dim())); },
        config_.seed, threads);
  }

  void reserve_vectors(std::size_t vectors) {
    const std::size_t nodes = graph_ ? graph_->cur_element_count : 0;
    graph_.make_room_for(std::max(vectors, nodes) - nodes, dim(), metric(), config_);
  }

  void check_remove(std::size_t /*slot*/) const noexcept {}

  void remove(std::size_t slot) {
    if (size() == 1) {
      // A graph whose nodes are all erased is useless to the next vector: no link would lead to it.
      slots_ = SlotTable();
      replaced_ = 0;
      graph_.reset();
      return;
    }
    graph_->markDelete(slot);
    slots_.remove(slot);
  }

  template <class Asked>
  [[nodiscard]] std::vector<Found> find_near(std::span<const float> query, std::size_t most, const SearchParams& params,
                                             Asked& asked) const {
    using hnswlib_graph::Beside;
    const std::size_t width =
        std::min<std::size_t>(std::max(most, params.ef.value_or(config_.ef)), graph_->cur_element_count);
    hnswlib_graph::Distances distance_of(*graph_, query.data());
    const Node entry =
        hnswlib_graph::descend<Beside::searches>(*graph_, distance_of, graph_->enterpoint_node_, graph_->maxlevel_, 0);
    auto candidates = hnswlib_graph::nearest_in_level<Beside::searches>(*graph_, distance_of, entry, 0, width, asked);
    if (!distance_of.all_numbers()) {
      return {};
    }
    while (candidates.size() > most) {
      candidates.pop();
    }
    std::vector<Found> found;
    found.reserve(candidates.size());
    for (; !candidates.empty(); candidates.pop()) {
      found.push_back({.slot = candidates.top().second});
    }
    return found;
  }

  [[nodiscard]] auto vectors() const noexcept {
    return [this](std::size_t slot) { return hnswlib_graph::vector_of(*graph_, static_cast<Node>(slot)); };
  }

  [[nodiscard]] static HnswIndex decode(Reader& reader) {
    const auto head = index_support::read_head(reader, index_type);
    HnswConfig config;
    for (std::size_t* setting : {&config.links, &config.ef_construction, &config.ef, &config.capacity}) {
      *setting = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
    }
    config.seed = reader.read_le<std::uint64_t>();
    HnswIndex index = made_of(reader, head.dim, head.metric, config);
    index.slots_ = SlotTable::load_from(reader);
    const std::size_t nodes = index.slots_.slots();
    // Bounds a stated capacity by the size of the index, or by a small number: hnswlib fills some of the memory at
    // once.
    constexpr std::size_t little = 65536;
    index.config_.capacity = std::min(index.config_.capacity, std::max(2 * nodes, little));
    if (nodes == 0) {
      return index;
    }
    if (index.size() == 0) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the hnsw index is stated to have " + std::to_string(nodes) +
                      " places of erased vectors, but no vector; without a vector it has no places");
    }
    index.read_graph(reader, nodes);
    return index;
  }

  // ---- payloads and files -------------------------------------------------------------------------------------------

  // Makes an empty index from settings that were read.
  [[nodiscard]] static HnswIndex made_of(const Reader& reader, std::uint64_t dim, DistanceMetric metric,
                                         const HnswConfig& config) {
    return index_support::make_as_stated(reader, index_type,
                                         [&] { return HnswIndex(static_cast<std::size_t>(dim), metric, config); });
  }

  // Reads the graph after its slots were read.
  void read_graph(Reader& reader, std::size_t nodes) {
    const auto entry = reader.read_le<std::uint32_t>();
    const auto levels = reader.read_vector<std::uint8_t>(nodes);
    reader.require_items(nodes, hnswlib_graph::node_bytes(dim(), config_.links));
    hnswlib_graph::read_lowest_level(reader, graph_, nodes, dim(), metric(), config_);
    for (Node node = 0; node < nodes; ++node) {
      hnswlib_graph::read_upper_levels(reader, *graph_, slots_, node, levels[node]);
      if (const auto label = graph_->getExternalLabel(node); label != node) {
        reader.fail(PersistErrorKind::invalid_payload, hnswlib_graph::name_of(slots_, node) +
                                                           " of the hnsw index has the label " + std::to_string(label) +
                                                           "; expected the number of the node");
      }
    }
    hnswlib_graph::complete(reader, *graph_, slots_, entry, *std::ranges::max_element(levels));
  }

  [[nodiscard]] static HnswIndex decode_file(Reader& reader, std::size_t dim, DistanceMetric metric,
                                             HnswConfig config) {
    const hnswlib_graph::FileFields stated = hnswlib_graph::read_file_fields(reader);
    config.links = static_cast<std::size_t>(stated.links);
    config.ef_construction = static_cast<std::size_t>(stated.ef_construction);
    HnswIndex index = made_of(reader, dim, metric, config);
    hnswlib_graph::check_file_fields(reader, stated, dim, config);
    if (stated.nodes == 0) {
      return index;
    }
    hnswlib_graph::read_file_graph(reader, stated, dim, metric, config, index.graph_, index.slots_);
    if (metric == DistanceMetric::cosine) {
      index_support::require_directions(reader, index.slots_, "hnswlib", index.vectors());
    }
    if (index.size() == 0) {
      return made_of(reader, dim, metric, config);
    }
    return index;
  }

  void export_to(const std::filesystem::path& path) const {
    index_support::require_not_moved_from(dim());
    index_support::check_exportable(slots_, std::numeric_limits<std::uint64_t>::max(), "hnswlib", "labels");
    write_foreign_file(path,
                       [this](Writer& writer) { hnswlib_graph::write_file(writer, dim(), config_, graph_, slots_); });
  }

  HnswConfig config_;
  hnswlib_graph::OwnedGraph graph_;  // made at the first insertion
};

static_assert(SearchableIndex<HnswIndex>);
static_assert(Persistable<HnswIndex>);
static_assert(ChecksVector<HnswIndex> && ChecksInsert<HnswIndex> && ChecksErase<HnswIndex>);
static_assert(Upsertable<HnswIndex> && ChecksUpsert<HnswIndex>);
static_assert(InsertsMany<HnswIndex>);
static_assert(TrustsNothing<HnswIndex>);

/// Makes an index from the file at `path`, which hnswlib's `saveIndex` wrote. The file must hold a
/// `HierarchicalNSW<float>` of `dim` dimensions with an `L2Space` (euclidean) or an `InnerProductSpace` (dot_product,
/// or cosine if the program normalized its vectors to length 1). Labels become integer identifiers. The file is checked
/// as a payload is. `config` gives what the file does not state: ef, capacity and seed. To make the index durable, in a
/// way that can be run again and then loads it with what was changed since:
/// `PersistedIndex<HnswIndex>::load_or_create(config, [] { return hnswlib_import(path, dim, metric); })`.
///
/// Throws PersistError io if the file cannot be read, truncated_payload if it ends early, invalid_payload if it is
/// damaged or holds other vectors; IndexError as HnswIndex's constructor does.
[[nodiscard]] inline HnswIndex hnswlib_import(const std::filesystem::path& path, std::size_t dim, DistanceMetric metric,
                                              HnswConfig config = {}) {
  hnswlib_graph::check_config(dim, metric, config);  // an error here is the caller's, not the file's
  return read_foreign_file(path, "an index of hnswlib's", [&](auto& file) {
    return index_support::read_whole(
        file, "hnswlib", [&](Reader& reader) { return HnswIndex::decode_file(reader, dim, metric, config); });
  });
}

/// Writes a file that hnswlib loads (`HierarchicalNSW<float>::loadIndex`), with the integer identifiers as labels and
/// without metadata. The file appears whole or not at all, and it is durable when the call returns. The call leaves a
/// lock file `path`.lock beside it.
///
/// Throws IndexError invalid_config for an identifier of bytes; PersistError locked if another writer holds the lock on
/// that path, io if the file cannot be written.
inline void hnswlib_export(const HnswIndex& index, const std::filesystem::path& path) { index.export_to(path); }

}  // namespace iqdb::inline IQDB_PERSIST_ABI
