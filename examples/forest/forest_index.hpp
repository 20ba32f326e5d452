// ForestIndex: a forest of forest.hpp as an index of iqdb-persist.
//
// A forest knows items by number. A SlotTable keeps what it lacks: the identifier and the metadata of each number.
#pragma once

#include <iqdb/explain_index.hpp>
#include <iqdb/index/support/slot_table.hpp>
#include <iqdb/insert_many.hpp>
#include <iqdb/insert_overloads.hpp>
#include <iqdb/persist.hpp>
#include <iqdb/persist/bytes/row_format.hpp>
#include <iqdb/search_overloads.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "forest.hpp"

/// An approximate index: a forest of random-projection trees, with Euclidean distances.
///
/// What is random is saved with the trees. So the same mutations make the same trees after a load.
class ForestIndex : public iqdb::InsertOverloads<ForestIndex>,
                    public iqdb::UpsertOverloads<ForestIndex>,
                    public iqdb::SearchOverloads<ForestIndex> {
 public:
  using iqdb::InsertOverloads<ForestIndex>::insert;
  using iqdb::UpsertOverloads<ForestIndex>::upsert;
  using iqdb::SearchOverloads<ForestIndex>::search;

  /// Makes an empty index. Throws `IndexError` of kind `invalid_config` for a dimension or a number of trees that a
  /// forest cannot have.
  explicit ForestIndex(std::size_t dim, std::size_t trees = 8, std::uint64_t seed = 1)
      : forest_(make_forest(dim, trees, seed)) {}

  [[nodiscard]] std::size_t size() const { return slots_.size(); }
  [[nodiscard]] std::size_t dim() const { return forest_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return iqdb::DistanceMetric::euclidean; }
  [[nodiscard]] std::size_t trees() const { return forest_.trees().size(); }

  // ---- Mutations. Each one checks all that can be rejected, then changes the table and the forest, or neither. --------

  /// Adds a vector. Throws what `check_insert` throws.
  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    check_insert(id, vector, metadata);
    auto addition = slots_.add(std::move(id), std::move(metadata));
    forest_.add(item(addition.slot()), vector);
    addition.keep();
  }

  /// Adds a vector, or replaces the vector and the metadata of its identifier. Throws what `check_upsert` throws.
  void upsert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    const auto old_slot = slots_.find(id);
    if (!old_slot) {
      insert(std::move(id), vector, std::move(metadata));
      return;
    }
    check_upsert(id, vector, metadata);
    auto addition = slots_.replace(std::move(id), std::move(metadata));
    forest_.add(item(addition.slot()), vector);
    addition.keep();
    forest_.remove(item(*old_slot));  // throws for an unknown item only
    slots_.remove(*old_slot);
  }

  /// Removes a vector. Throws what `check_erase` throws.
  void erase(const iqdb::VectorId& id) {
    const std::size_t slot = slots_.at(id);
    forest_.remove(item(slot));
    slots_.remove(slot);
  }

  /// Replaces the metadata of a vector. Throws what `check_update_metadata` throws.
  void update_metadata(const iqdb::VectorId& id, std::optional<iqdb::Metadata> metadata) {
    check_update_metadata(id, metadata);
    slots_.set_metadata(slots_.at(id), std::move(metadata));
  }

  /// Adds all rows, or throws and changes nothing. Each thread works on other trees.
  void insert_many(const iqdb::InsertedRows& rows, iqdb::LentThreads& threads) {
    std::for_each(rows.metadata.begin(), rows.metadata.end(), [](const auto& entry) { iqdb::check_storable(entry); });
    check_components(rows.vectors);
    require_room(rows.size());
    iqdb::SlotTable::Additions additions(slots_, rows.ids, rows.metadata);
    std::vector<forest::Item> items;
    for (std::size_t row = 0; row < additions.size(); ++row) {
      items.push_back(item(additions.slot(row)));
    }
    forest_.add(items, rows.vectors, [&](std::size_t trees, const auto& grow) { threads.each(trees, std::ref(grow)); });
    additions.keep();
  }

  // ---- What the mutations would throw ---------------------------------------------------------------------------------

  /// Throws `IndexError`: `dimension_mismatch`; `invalid_vector` for a component that is not finite; what
  /// `check_storable` throws; `resource_limit` if the forest is full.
  void check_vector(std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) const {
    check_dimension(vector);
    check_components(vector);
    iqdb::check_storable(metadata);
    require_room(1);
  }

  /// Throws what `check_vector` throws, and `duplicate`.
  void check_insert(const iqdb::VectorId& id, std::span<const float> vector,
                    const std::optional<iqdb::Metadata>& metadata) const {
    check_vector(vector, metadata);
    slots_.require_absent(id);
  }

  /// Throws what `check_vector` throws.
  void check_upsert(const iqdb::VectorId& /*id*/, std::span<const float> vector,
                    const std::optional<iqdb::Metadata>& metadata) const {
    check_vector(vector, metadata);
  }

  /// Throws `IndexError` of kind `not_found`.
  void check_erase(const iqdb::VectorId& id) const { std::ignore = slots_.at(id); }

  /// Throws `IndexError` of kind `not_found`, and what `check_storable` throws.
  void check_update_metadata(const iqdb::VectorId& id, const std::optional<iqdb::Metadata>& metadata) const {
    std::ignore = slots_.at(id);
    iqdb::check_storable(metadata);
  }

  // ---- Searches -------------------------------------------------------------------------------------------------------

  /// The nearest vectors of those that `params.filter` and `admits` admit, nearest first. `params.ef` is the number of
  /// candidates that are compared; by default it is `params.k` for each tree. Throws `IndexError`: `dimension_mismatch`,
  /// `invalid_vector` for a query that is not finite, `invalid_config` for a radius that is not a number.
  template <iqdb::SearchPredicate Admits = iqdb::AdmitsEvery>
  [[nodiscard]] std::vector<iqdb::Hit> search(std::span<const float> query, const iqdb::SearchParams& params = {},
                                              const Admits& admits = {}) const {
    check_dimension(query);
    check_components(query);
    if (params.radius && std::isnan(*params.radius)) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_config, "the radius is not a number");
    }
    const std::size_t k = std::min(params.k, size());
    const std::size_t effort = std::min(params.ef.value_or(k * trees()), size());
    const auto admits_item = [&](forest::Item found) {
      const auto& metadata = slots_.metadata(found);
      return slots_.with_id(found, [&](const iqdb::VectorId& id) {
        return params.filter.admits(id, metadata) && iqdb::is_admitted(admits, id, metadata);
      });
    };
    std::vector<iqdb::Hit> hits;
    for (const auto& [found, far] : forest_.search(query, k, effort, admits_item)) {
      const auto distance = static_cast<float>(far);
      if (params.radius && distance > *params.radius) {
        break;
      }
      hits.push_back({slots_.id(found), distance, {}});
      if (params.with_metadata) {
        hits.back().metadata = iqdb::copied(slots_.metadata(found));
      }
    }
    return hits;
  }

  /// The hits of each query. The queries lie one behind the other. `threads` threads search, with 0 as many as there are
  /// processors. Throws what `search` throws.
  [[nodiscard]] std::vector<std::vector<iqdb::Hit>> search_many(std::span<const float> queries,
                                                                const iqdb::SearchParams& params = {},
                                                                std::size_t threads = 0) const {
    if (queries.size() % dim() != 0) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::dimension_mismatch, "the queries end in the middle of one");
    }
    std::vector<std::vector<iqdb::Hit>> hits(queries.size() / dim());
    if (threads == 0) {
      threads = std::max(std::thread::hardware_concurrency(), 1U);
    }
    const auto search_from = [&](std::size_t first, std::size_t step) {
      for (std::size_t number = first; number < hits.size(); number += step) {
        hits[number] = search(queries.subspan(number * dim(), dim()), params);
      }
    };
    threads = std::min(threads, hits.size());
    std::vector<std::future<void>> others;
    for (std::size_t number = 1; number < threads; ++number) {
      others.push_back(std::async(std::launch::async, search_from, number, threads));
    }
    search_from(0, std::max<std::size_t>(threads, 1));
    std::ranges::for_each(others, [](std::future<void>& other) { other.get(); });
    return hits;
  }

  // ---- Content --------------------------------------------------------------------------------------------------------

  [[nodiscard]] bool contains(const iqdb::VectorId& id) const { return slots_.find(id).has_value(); }

  /// Copies of a vector and its metadata, or nothing.
  [[nodiscard]] std::optional<iqdb::StoredVector> find(const iqdb::VectorId& id) const {
    const auto slot = slots_.find(id);
    return slot ? std::optional(stored(*slot)) : std::nullopt;
  }

  /// As `find`. Throws `IndexError` of kind `not_found`.
  [[nodiscard]] iqdb::StoredVector get(const iqdb::VectorId& id) const { return stored(slots_.at(id)); }

  /// A copy of the metadata of a vector. Throws `IndexError` of kind `not_found`.
  [[nodiscard]] std::optional<iqdb::Metadata> metadata(const iqdb::VectorId& id) const {
    return iqdb::copied(slots_.metadata(slots_.at(id)));
  }

  /// All identifiers.
  [[nodiscard]] std::vector<iqdb::VectorId> ids() const {
    std::vector<iqdb::VectorId> ids;
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        ids.push_back(slots_.id(slot));
      }
    }
    return ids;
  }

  // ---- Durability -----------------------------------------------------------------------------------------------------

  static constexpr std::string_view index_type = "example-forest";
  static constexpr bool trusts_nothing = true;   // load_from checks every number
  static constexpr bool freezes_by_fork = true;  // all of it is memory of the process, and save_to starts no thread

  /// Writes the table, the vectors of all its slots and the trees. The vector of a free slot is zero.
  void save_to(iqdb::Writer& writer) const {
    writer.write_le(layout);
    writer.write_le(std::uint64_t{dim()});
    slots_.save_to(writer);
    // After an insertion that found no memory, the forest has room for more than the slots.
    writer.write_array(std::span(forest_.rows().values).first(slots_.slots() * dim()));
    writer.write_le(std::uint64_t{trees()});
    for (const forest::Tree& tree : forest_.trees()) {
      writer.write_le(tree.random());
      writer.write_le(std::uint64_t{tree.nodes().size()});
      for (const forest::Node& node : tree.nodes()) {
        writer.write_le(std::uint8_t{node.is_leaf()});
        if (node.is_leaf()) {
          writer.write_le(std::uint64_t{node.items.size()});
          writer.write_array(node.items);
        } else {
          writer.write_le(node.left);
          writer.write_le(node.right);
          writer.write_le(node.offset);
          writer.write_array(node.normal);
        }
      }
    }
  }

  /// Reads what `save_to` wrote. Refuses all other bytes with a `PersistError`.
  [[nodiscard]] static ForestIndex load_from(iqdb::Reader& reader) {
    require(reader, reader.read_le<std::uint8_t>() == layout,
            "a forest of another layout; this program knows layout 1");
    const auto dim = reader.read_le<std::uint64_t>();
    require(reader, dim > 0 && dim <= most_dim, "a dimension that a forest cannot have");
    auto slots = iqdb::SlotTable::load_from(reader);
    reader.require_items(slots.slots(), dim * sizeof(float));  // so that the product below is no accident
    forest::Rows rows{static_cast<std::size_t>(dim), reader.read_vector<float>(slots.slots() * dim)};
    const auto count = reader.read_le<std::uint64_t>();
    require(reader, count > 0 && count <= forest::Forest::most_trees, "a number of trees that a forest cannot have");
    try {
      std::vector<forest::Tree> trees;
      while (trees.size() < count) {
        const auto random = reader.read_le<std::uint64_t>();
        trees.emplace_back(random, read_nodes(reader, rows.dim), rows);
      }
      ForestIndex index(forest::Forest(std::move(rows), std::move(trees)), std::move(slots));
      for (std::size_t slot = 0; slot < index.slots_.slots(); ++slot) {
        require(reader, index.slots_.is_free(slot) != index.forest_.contains(item(slot)),
                "the forest and the table hold different vectors");
      }
      return index;
    } catch (const std::invalid_argument& error) {
      reader.fail(iqdb::PersistErrorKind::invalid_payload, error.what());
    }
  }

 private:
  static constexpr std::uint8_t layout = 1;
  static constexpr std::uint64_t most_dim = std::uint64_t{1} << 24U;
  static constexpr std::size_t smallest_node_bytes = 9;

  ForestIndex(forest::Forest forest, iqdb::SlotTable slots) : forest_(std::move(forest)), slots_(std::move(slots)) {}

  static forest::Item item(std::size_t slot) { return static_cast<forest::Item>(slot); }

  static forest::Forest make_forest(std::size_t dim, std::size_t trees, std::uint64_t seed) {
    try {
      return {dim, trees, seed};
    } catch (const std::invalid_argument& error) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_config, error.what());
    }
  }

  static void require(iqdb::Reader& reader, bool sound, const std::string& message) {
    if (!sound) {
      reader.fail(iqdb::PersistErrorKind::invalid_payload, message);
    }
  }

  static std::vector<forest::Node> read_nodes(iqdb::Reader& reader, std::size_t dim) {
    std::vector<forest::Node> nodes;
    const auto count = reader.read_le<std::uint64_t>();
    reader.require_items(count, smallest_node_bytes);
    while (nodes.size() < count) {
      reader.make_room(nodes, count, smallest_node_bytes);
      forest::Node& node = nodes.emplace_back();
      const auto is_leaf = reader.read_le<std::uint8_t>();
      require(reader, is_leaf <= 1, "a node that is neither a leaf nor a plane");
      if (is_leaf == 1) {
        node.items = reader.read_vector<forest::Item>(reader.read_le<std::uint64_t>());
      } else {
        node.left = reader.read_le<std::uint32_t>();
        node.right = reader.read_le<std::uint32_t>();
        node.offset = reader.read_le<double>();
        node.normal = reader.read_vector<float>(dim);
      }
    }
    return nodes;
  }

  void check_dimension(std::span<const float> vector) const {
    if (vector.size() != dim()) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::dimension_mismatch, "a vector of " + std::to_string(vector.size()) +
                                                                           " components; the index has vectors of " +
                                                                           std::to_string(dim()));
    }
  }

  static void check_components(std::span<const float> vector) {
    if (!forest::Forest::is_finite(vector)) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_vector, "a component is not a finite number");
    }
  }

  void require_room(std::size_t rows) const {
    if (forest::Forest::most_items - slots_.slots() < rows) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::resource_limit, "the forest is full");
    }
  }

  [[nodiscard]] iqdb::StoredVector stored(std::size_t slot) const {
    const auto vector = forest_.rows()[item(slot)];
    return {{vector.begin(), vector.end()}, iqdb::copied(slots_.metadata(slot))};
  }

  forest::Forest forest_;
  iqdb::SlotTable slots_;
};

// Where something is missing or has another signature, the compiler says what.
static_assert(iqdb::explain_persistable<ForestIndex>());
static_assert(iqdb::explain_index<ForestIndex>());
