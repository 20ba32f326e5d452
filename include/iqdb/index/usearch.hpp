// UsearchIndex: usearch's approximate index, made durable. Needs the headers of usearch 2.21 or a later 2.
//
// usearch's loader trusts its input: it turns a link from a file into an address. Here CheckedStream checks every byte
// of the stream before usearch reads it.
#pragma once

#include <algorithm>
#include <array>
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
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/foreign_index.hpp"
#include "iqdb/index/support/graph_wear.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_index.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index/usearch/config.hpp"
#include "iqdb/index/usearch/file_shape.hpp"
#include "iqdb/index/usearch/slot_graph.hpp"
#include "iqdb/index/usearch/stream_layout.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// usearch's `index_dense_t` with integer and byte identifiers, metadata, and a payload: approximate search in a graph.
/// `SearchParams::ef` is how many candidates a search looks at, at least k. A search with at least as many candidates
/// as the index has vectors looks at all vectors and is exact.
///
/// Components must be finite and fit the scalar, and lengths lie within the bounds of
/// index_support::check_single_precision; the scalar i8 does not take a vector of zeros. The index grows by itself, and
/// a new vector takes the place of an erased one. The metrics are euclidean, dot_product and cosine; for the cosine the
/// index keeps the direction of a vector and not its length.
/// Several threads may search at the same time: as many searches run as the machine has processors, and others wait.
/// insert_many works in its own thread alone.
class UsearchIndex : public index_support::SlotIndex<UsearchIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "usearch";

  /// All of it is private memory, and save_to only reads it: usearch's locks are those of insertions and searches.
  static constexpr bool freezes_by_fork = true;

  /// An empty index for vectors of `dim` components. Throws IndexError invalid_config if `dim` or a setting is out of
  /// range, or if the scalar does not fit the metric; invalid_metric for a metric that usearch does not have.
  UsearchIndex(std::size_t dim, DistanceMetric metric, const UsearchConfig& config = {})
      : SlotIndex(dim, metric), graph_(dim, metric, config) {
    index_support::check_metric(metric, "usearch");
    usearch_stream::check_config(config, metric);
    index_support::check_range(dim, 1, std::numeric_limits<std::uint32_t>::max() / sizeof(float), "dimension",
                               "a usearch index");
  }

  /// How the index is built and searched.
  [[nodiscard]] const UsearchConfig& config() const noexcept { return graph_.config(); }

  /// usearch's object, to look at its settings and its graph; null while the index is empty. Its keys are internal to this
  /// class. It is valid until the index is changed.
  [[nodiscard]] const unum::usearch::index_dense_t* native() const noexcept { return graph_.native(); }

  /// What erasures and replacements have left in the graph. Several threads may ask at the same time.
  [[nodiscard]] GraphWear wear() const noexcept { return graph_wear(); }

  /// Builds the graph anew from the vectors that the index holds, as HnswIndex::compact does: the content stays as it is, and
  /// if it throws, nothing has changed: std::bad_alloc, IndexError resource_limit if usearch refuses, invalid_config for an
  /// index that was moved from. It is a mutation: no other call may run at the same time.
  void compact() {
    UsearchIndex fresh(dim(), metric(), config());
    become(std::move(fresh), [this](UsearchIndex& into, const SlotTable::Addition& addition, std::size_t slot) {
      into.graph_.add_copy(addition.slot(), graph_, slot);
    });
  }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | scalar 1 | connectivity, connectivity_base,
  /// expansion_add, expansion_search 8 each | SlotTable | whether a graph follows 1 | usearch's stream if so.
  void save_to(Writer& writer) const {
    index_support::write_head(writer, {.dim = dim(), .metric = metric()});
    writer.write_le(static_cast<std::uint8_t>(config().scalar));
    for (const std::size_t setting :
         {config().connectivity, config().connectivity_base, config().expansion_add, config().expansion_search}) {
      writer.write_le(std::uint64_t{setting});
    }
    slots_.save_to(writer);
    const bool has_graph = graph_.nodes() > 0;
    writer.write_le(static_cast<std::uint8_t>(has_graph));
    if (has_graph) {
      graph_.write(writer, usearch_stream::key_of);
    }
  }

 private:
  friend SlotIndex;
  friend SlotSearch;
  friend UsearchIndex usearch_import(const std::filesystem::path& path, std::size_t expansion_add,
                                     std::size_t expansion_search);
  friend void usearch_export(const UsearchIndex& index, const std::filesystem::path& path);

  using Found = index_support::Found;

  // ---- what SlotIndex asks for --------------------------------------------------------------------------------------

  static constexpr std::string_view library = "usearch";
  static constexpr std::size_t most_vectors = usearch_stream::most_nodes;

  void check_form(std::span<const float> vector, index_support::VectorRole role) const {
    usearch_stream::check_form(vector, role, dim(), metric(), config().scalar);
  }

  // usearch has the cosine itself, but squares lengths in single precision.
  [[nodiscard]] std::vector<float> kept_form(std::span<const float> vector) const {
    return index_support::direction_for(metric(), vector);
  }

  void place(const SlotTable::Addition& addition, std::span<const float> vector) {
    graph_.add(addition.slot(), vector);
  }

  void place_many(const SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& /*threads*/) {
    graph_.add_many(
        additions.size(), [&](std::size_t row) { return additions.slot(row); },
        [&](std::size_t row) { return kept_form(vectors.subspan(row * dim(), dim())); });
  }

  void check_remove(std::size_t /*slot*/) const noexcept {}

  void remove(std::size_t slot) {
    graph_.erase(slot);
    slots_.remove(slot);
  }

  void reserve_vectors(std::size_t vectors) { graph_.make_room_for_all(vectors); }

  template <class Asked>
  [[nodiscard]] std::vector<Found> find_near(std::span<const float> query, std::size_t most, const SearchParams& params,
                                             Asked& asked) const {
    const std::size_t candidates = std::min(std::max(most, params.ef.value_or(config().expansion_search)), size());
    // A walk through the graph that meets every vector costs no less than comparing with each vector. Comparing misses
    // none, while after many erasures some vectors may have no link that leads to them.
    return graph_.search(query, most, candidates, candidates == size(), asked);
  }

  // usearch keeps vectors in other scalars. Each vector is converted into the same buffer.
  [[nodiscard]] auto vectors() const {
    return [this, vector = std::vector<float>(dim())](std::size_t slot) mutable {
      graph_.read_vector(slot, vector);
      return std::span<const float>(vector);
    };
  }

  [[nodiscard]] static UsearchIndex decode(Reader& reader) {
    const auto head = index_support::read_head(reader, index_type);
    UsearchConfig config;
    config.scalar = static_cast<UsearchScalar>(reader.read_le<std::uint8_t>());
    for (std::size_t* setting :
         {&config.connectivity, &config.connectivity_base, &config.expansion_add, &config.expansion_search}) {
      *setting = reader.read_le<std::uint64_t>();
    }
    UsearchIndex index = made_of(reader, head.dim, head.metric, config);
    index.slots_ = SlotTable::load_from(reader);
    const auto has_graph = reader.read_le<std::uint8_t>();
    if (has_graph > 1 || (has_graph == 0 && index.slots_.slots() > 0)) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "whether a graph follows the identifiers of " + std::to_string(index.size()) +
                      " vectors is stated as " + std::to_string(has_graph) + "; expected 1, or 0 without identifiers");
    }
    if (has_graph == 1) {
      index.read_graph(reader);
    }
    return index;
  }

  // ---- payloads and files -------------------------------------------------------------------------------------------

  // Makes an empty index from settings that were read.
  [[nodiscard]] static UsearchIndex made_of(const Reader& reader, std::uint64_t dim, DistanceMetric metric,
                                            const UsearchConfig& config) {
    return index_support::make_as_stated(reader, index_type,
                                         [&] { return UsearchIndex(static_cast<std::size_t>(dim), metric, config); });
  }

  // Reads the graph after its slots were read.
  void read_graph(Reader& reader) {
    std::vector<bool> seen(slots_.slots());
    std::size_t found = 0;
    const auto name_of = [&](std::uint64_t key) {
      const std::uint64_t slot = usearch_stream::slot_of(key);
      return slot < slots_.slots() && !slots_.is_free(static_cast<std::size_t>(slot))
                 ? "the vector " + to_string(slots_.id(static_cast<std::size_t>(slot)))
                 : "a vector without an identifier";
    };
    const auto take_key = [&](std::uint64_t key) {
      const std::uint64_t slot = usearch_stream::slot_of(key);
      if (slot >= seen.size() || slots_.is_free(static_cast<std::size_t>(slot)) || seen[slot]) {
        reader.fail(PersistErrorKind::invalid_payload, (slot < seen.size() && seen[slot] ? "two nodes" : "a node") +
                                                           std::string(" of usearch's graph ") +
                                                           (slot < seen.size() && seen[slot] ? "have " : "has ") +
                                                           name_of(key) + " (slot " + std::to_string(slot) + ")");
      }
      seen[slot] = true;
      ++found;
      return key;
    };
    graph_.read(reader, take_key, name_of);
    if (found != slots_.size()) {
      reader.fail(PersistErrorKind::invalid_payload, "usearch's graph has nodes for " + std::to_string(found) + " of " +
                                                         std::to_string(slots_.size()) + " vectors");
    }
  }

  // Reads a graph of which only the shape is known. Each key becomes an identifier.
  void take_over_graph(Reader& reader) {
    constexpr std::uint64_t bytes_without_nodes =
        usearch_stream::matrix_size_bytes + usearch_stream::head_bytes + usearch_stream::graph_header_bytes;
    if (reader.remaining() == bytes_without_nodes) {
      std::array<std::byte, bytes_without_nodes> read_already{};
      reader.read(read_already);
      return;
    }
    const auto take_key = [&](std::uint64_t key) {
      try {
        SlotTable::Addition addition = slots_.add(key, {});
        addition.keep();
        return usearch_stream::key_of(addition.slot());
      } catch (const IndexError&) {
        reader.fail(PersistErrorKind::invalid_payload, "two vectors of the file have the key " + std::to_string(key));
      }
    };
    graph_.read(reader, take_key, [](std::uint64_t key) { return "the vector with the key " + std::to_string(key); });
  }

  void export_to(const std::filesystem::path& path) const {
    index_support::require_not_moved_from(dim());
    index_support::check_exportable(slots_, usearch_stream::erased_key - 1, "usearch", "keys");
    write_foreign_file(path, [this](Writer& writer) {
      graph_.write(writer, [this](std::size_t slot) { return slots_.id(slot).integer(); });
    });
  }

  usearch_stream::SlotGraph graph_;
};

static_assert(SearchableIndex<UsearchIndex>);
static_assert(Persistable<UsearchIndex>);
static_assert(ChecksVector<UsearchIndex> && ChecksInsert<UsearchIndex> && ChecksErase<UsearchIndex>);
static_assert(Upsertable<UsearchIndex> && ChecksUpsert<UsearchIndex>);
static_assert(InsertsMany<UsearchIndex>);
static_assert(TrustsNothing<UsearchIndex>);

/// Makes an index from the file at `path`, which usearch's `save` wrote. The file must hold an `index_dense_t` with one
/// vector per key and the metric l2sq, ip or cos. Each key becomes an integer identifier. The file is checked as a
/// payload is. usearch does not save how many candidates an insertion and a search look at, so the caller gives both.
/// To make the index durable, in a way that can be run again and then loads it with what was changed since:
/// `PersistedIndex<UsearchIndex>::load_or_create(config, [] { return usearch_import(path); })`.
///
/// Throws PersistError io if the file cannot be read, truncated_payload if it ends early, invalid_payload if it is
/// damaged or of another kind, and says which; IndexError invalid_config if a number of candidates is out of range.
[[nodiscard]] inline UsearchIndex usearch_import(const std::filesystem::path& path,
                                                 std::size_t expansion_add = UsearchConfig{}.expansion_add,
                                                 std::size_t expansion_search = UsearchConfig{}.expansion_search) {
  // Checked before reading, so that every later error is about the file.
  usearch_stream::check_config({.expansion_add = expansion_add, .expansion_search = expansion_search},
                               DistanceMetric::cosine);
  return read_foreign_file(path, "an index of usearch's", [&](auto& file) {
    const usearch_stream::Shape shape = usearch_stream::shape_in(file);
    const UsearchConfig config{.connectivity = shape.connectivity,
                               .connectivity_base = shape.connectivity_base,
                               .expansion_add = expansion_add,
                               .expansion_search = expansion_search,
                               .scalar = shape.scalar};
    return index_support::read_whole(file, "usearch", [&](Reader& reader) {
      UsearchIndex index = UsearchIndex::made_of(reader, shape.dim, shape.metric, config);
      index.take_over_graph(reader);
      return index;
    });
  });
}

/// Writes a file that usearch loads (`index_dense_t::load`), with the integer identifiers as keys and without metadata.
/// The file appears whole or not at all, and it is durable when the call returns. The call leaves a lock file
/// `path`.lock beside it.
///
/// Throws IndexError invalid_config for an identifier of bytes, and for 2^64-1, which usearch reserves; PersistError
/// locked if another writer holds the lock on that path, io if the file cannot be written.
inline void usearch_export(const UsearchIndex& index, const std::filesystem::path& path) { index.export_to(path); }

}  // namespace iqdb::inline IQDB_PERSIST_ABI
