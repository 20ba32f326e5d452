// FaissIndex: faiss' flat, HNSW and IVF indexes, of vectors or of codes, made durable. Needs faiss 1.7.3 (docs/adapters.md).
//
// faiss' own loader trusts its input: it turns a length, a link or a list's number from a file into an address. Here
// faiss' objects are built from fields that were checked one by one, whether they come from a payload or from one of
// faiss' files.
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/faiss/config.hpp"
#include "iqdb/index/faiss/flat_part.hpp"
#include "iqdb/index/faiss/hnsw_part.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/parts.hpp"
#include "iqdb/index/faiss/selector.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/faiss/training.hpp"
#include "iqdb/index/faiss/whole_index.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/foreign_index.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_filter.hpp"
#include "iqdb/index/support/slot_index.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A flat, HNSW or IVF index of faiss' with integer and byte identifiers, metadata, and a payload. `SearchParams::ef`
/// is the number of candidates that a search in an HNSW index looks at. `SearchParams::probes`, or else `ef`, is the number
/// of lists that a search in an IVF index looks into. A flat index compares with all vectors and ignores it.
///
/// A flat or an IVF index may keep codes of vectors (FaissCode), and any may transform vectors first (FaissTransform). It then
/// gives back, and measures distances to, what its codes stand for: keeps_vectors() says so. The same vector has the same code
/// whenever it is inserted, so that a replay of a log makes the same index.
///
/// Components must be finite, and lengths within the bounds of index_support::check_single_precision; some codes have bounds
/// of their own. The metrics are euclidean, dot_product and cosine; for the cosine the index keeps the direction of a vector
/// and not its length. A flat index of vectors is exact, an HNSW index cannot erase, and an IVF index is trained when it is
/// made. Several threads may search at the same time. insert_many finds the lists of an IVF index, and makes codes, in the
/// threads that it is lent, and adds to the other indexes in its own.
class FaissIndex : public index_support::SlotIndex<FaissIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "faiss";

  /// All of it is private memory, and save_to only reads it: faiss writes in one thread and takes no lock.
  static constexpr bool freezes_by_fork = true;

  /// An empty flat index for vectors of `dim` components: exact search. Throws IndexError invalid_config for a
  /// dimension out of range, invalid_metric for a metric that faiss does not have.
  [[nodiscard]] static FaissIndex flat(std::size_t dim, DistanceMetric metric) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    return {metric, faiss_parts::FlatPart::make(dim, native_metric)};
  }

  /// An empty HNSW index. A vector has up to `links` links in each upper level, 2 to 1024, and twice as many in the
  /// lowest (faiss' M). An insertion looks at `ef_construction` candidates and a search at `ef`, 1 to 65536. Throws as
  /// flat() does.
  [[nodiscard]] static FaissIndex hnsw(std::size_t dim, DistanceMetric metric, std::size_t links = 32,
                                       std::size_t ef_construction = 40, std::size_t ef = 16) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    faiss_parts::check_range(links, 2, faiss_parts::most_links, "number of links");
    faiss_parts::check_range(ef_construction, 1, faiss_parts::most_candidates, "setting ef_construction");
    faiss_parts::check_range(ef, 1, faiss_parts::most_candidates, "setting ef");
    return {metric, faiss_parts::HnswPart::make(dim, native_metric, links, ef_construction, ef)};
  }

  /// An IVF index without vectors, with `lists` lists. `training` trains their centroids. It holds contiguous vectors,
  /// at least one per list; 40 per list are better. A search looks into `probes` lists. Throws as flat() does;
  /// IndexError invalid_config if the vectors are too few or the last one is incomplete, invalid_vector for a component
  /// that is not finite.
  [[nodiscard]] static FaissIndex ivf(std::size_t dim, DistanceMetric metric, std::size_t lists,
                                      std::span<const float> training, std::size_t probes = 8) {
    std::ignore = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    faiss_parts::check_range(lists, 1, faiss_parts::most_vectors, "number of lists");
    return trained(dim, metric, {.lists = lists, .probes = probes}, training);
  }

  /// An index without vectors, of the kind that `config` says: flat or in lists, of vectors or of codes. `training` trains
  /// the centroids and the codes. It holds contiguous vectors, at least one for each list and for each of the 2^bits
  /// centroids of a part of a product code; 40 for each are better. The half and scalar8_direct codes without lists need
  /// none. Throws as flat() does; IndexError invalid_config for a setting out of its range, or if the vectors are too few or
  /// the last one is incomplete; invalid_vector for a component that is not finite, or training vectors too large to compute
  /// with.
  [[nodiscard]] static FaissIndex trained(std::size_t dim, DistanceMetric metric, const FaissConfig& config,
                                          std::span<const float> training = {}) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_config(dim, metric, config);
    faiss_parts::check_training(dim, config, training);
    std::vector<float> memory;
    const std::span<const float> kept = index_support::directions_for(metric, training, dim, memory);
    // NOLINTNEXTLINE(*.NewDeleteLeaks): clang-tidy 14 loses sight of the unique_ptr that has the part
    return {metric, faiss_parts::train(dim, native_metric, config, kept)};
  }

  /// A copy of an index that was made with faiss, with its settings and vectors or codes: an IndexFlat, an
  /// IndexScalarQuantizer, an IndexPQ, an IndexHNSWFlat; an IndexIVFFlat, an IndexIVFScalarQuantizer or an IndexIVFPQ with a
  /// quantizer that is an IndexFlat or an IndexHNSWFlat; an IndexPreTransform of linear maps that keep lengths and
  /// normalizations before one of them; or an IndexIDMap or IndexIDMap2 around one of these. It must be trained. faiss' numbers
  /// of vectors become integer identifiers. The metric is euclidean for an index with L2. For an index with the inner product
  /// it is dot_product, or cosine if all vectors have length 1; of codes and transformed vectors it cannot be known whether
  /// they had, and the caller is believed. For a large index faiss_import takes less memory.
  ///
  /// Throws IndexError invalid_metric if the index has another metric, invalid_config for an index of another type or
  /// an untrained index.
  FaissIndex(const ::faiss::Index& index, DistanceMetric metric) : FaissIndex(metric, copy_of(index, metric)) {}

  /// The type of faiss' index. Precondition: this object was not moved from.
  [[nodiscard]] FaissKind kind() const noexcept { return part_->kind(); }

  /// Whether get(), find() and for_each() give a vector back as it was inserted (by the cosine: its direction). An index of
  /// codes gives the vector that the code stands for, which is near to it. Precondition: this object was not moved from.
  [[nodiscard]] bool keeps_vectors() const noexcept { return part_->is_exact(); }

  /// Makes the tables that let searches in an IVF index of product codes by residuals with L2 compute less, as
  /// faiss::IndexIVFPQ::precompute_table does: lists x parts x 2^bits floats, unless that is more than
  /// faiss::precomputed_table_max_bytes. Returns their bytes; 0 for an index that has none. They are not saved: call it
  /// behind each load. It changes no content: `db.tune([](auto& index) { index.precompute_tables(); })`. Throws
  /// std::bad_alloc, and then there are none. Precondition: this object was not moved from.
  std::size_t precompute_tables() { return part_->precompute_tables(); }

  /// faiss' object, to look at its settings: an IndexFlat, IndexScalarQuantizer, IndexPQ, IndexHNSWFlat, IndexIVFFlat,
  /// IndexIVFScalarQuantizer, IndexIVFPQ, or an IndexPreTransform that shows one of them. Its numbers of vectors are internal
  /// to this class. Precondition: this object was not moved from.
  [[nodiscard]] const ::faiss::Index& native() const noexcept { return part_->index(); }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | SlotTable | the index in faiss' format, with trained
  /// state and settings. The number of a vector in faiss' format is its slot. Numbers are little-endian.
  void save_to(Writer& writer) const {
    index_support::write_head(writer, {.dim = dim(), .metric = metric()});
    slots_.save_to(writer);
    part_->save_to(writer);
  }

 private:
  friend SlotIndex;
  friend SlotSearch;
  friend FaissIndex faiss_import(const std::filesystem::path& path, DistanceMetric metric);
  friend void faiss_export(const FaissIndex& index, const std::filesystem::path& path);

  using Found = index_support::Found;
  using Id = faiss_parts::Id;

  FaissIndex(DistanceMetric metric, std::unique_ptr<faiss_parts::Part> part)
      : SlotIndex(static_cast<std::size_t>(part->index().d), metric), part_(std::move(part)) {}

  FaissIndex(DistanceMetric metric, faiss_parts::WholeIndex index) : FaissIndex(metric, std::move(index.part)) {
    slots_ = std::move(index.slots);
  }

  // ---- what SlotIndex asks for --------------------------------------------------------------------------------------

  static constexpr std::string_view library = "faiss";
  static constexpr std::size_t most_vectors = faiss_parts::most_vectors;

  void check_form(std::span<const float> vector, index_support::VectorRole role) const {
    index_support::check_single_precision(vector, role, dim(), metric());
    if (role != index_support::VectorRole::query && metric() != DistanceMetric::cosine) {
      check_range_of_codes(vector);
    }
  }

  // Codes of some kinds have no numbers beyond a range.
  void check_range_of_codes(std::span<const float> vector) const {
    const auto [least, greatest] = part_->range();
    const auto fits = [least = least, greatest = greatest](float each) { return each >= least && each <= greatest; };
    if (const auto wrong = std::ranges::find_if_not(vector, fits); wrong != vector.end()) {
      throw IndexError(IndexErrorKind::invalid_vector,
                       "component " + std::to_string(wrong - vector.begin()) + " of the vector is " +
                           index_support::readable(*wrong) + "; the codes of the index are for numbers from " +
                           index_support::readable(least) + " to " + index_support::readable(greatest) +
                           "; scale all vectors, or use other codes");
    }
  }

  [[nodiscard]] std::vector<float> kept_form(std::span<const float> vector) const {
    return part_->taken_form(index_support::direction_for(metric(), vector));
  }

  void place(const SlotTable::Addition& addition, std::span<const float> vector) {
    part_->add(addition.slot(), vector);
  }

  void place_many(const SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& threads) {
    std::vector<float> memory;
    std::vector<float> transformed;
    part_->add_many(additions,
                    part_->taken_forms(index_support::directions_for(metric(), vectors, dim(), memory), transformed),
                    threads);
  }

  void check_remove(std::size_t slot) const { part_->check_remove(slots_.id(slot)); }

  void remove(std::size_t slot) { part_->remove(slots_, slot); }

  void reserve_vectors(std::size_t vectors) { part_->reserve(vectors); }

  // So many that two threads have their share of a call for a hundred queries, and faiss compares them by a product of matrices.
  static constexpr std::size_t queries_together = 50;

  // faiss asks for each vector that it compares with, in any case, except in a graph.
  [[nodiscard]] std::size_t most_questions(std::size_t wanted) const noexcept {
    return kind() == FaissKind::hnsw ? index_support::most_questions_in_graph(wanted, size())
                                     : std::numeric_limits<std::size_t>::max();
  }

  template <class Asked>
  [[nodiscard]] std::vector<Found> find_near(std::span<const float> query, std::size_t most, const SearchParams& params,
                                             Asked& asked) const {
    if constexpr (Asked::admits_every) {
      return found_in(part_->search(query, most, width_of(params)));
    } else {
      faiss_parts::SelectorOf selector(asked);
      return found_in(part_->search_among(query, most, width_of(params), selector));
    }
  }

  [[nodiscard]] std::vector<std::vector<Found>> find_near_many(std::span<const float> queries, std::size_t most,
                                                               const SearchParams& params) const {
    std::vector<std::vector<Found>> found;
    for (const std::vector<Id>& slots : part_->search_many(queries, most, width_of(params))) {
      found.push_back(found_in(slots));
    }
    return found;
  }

  // How many lists of an IVF index to look into, or how many candidates to look at.
  [[nodiscard]] std::optional<std::size_t> width_of(const SearchParams& params) const noexcept {
    return kind() == FaissKind::ivf && params.probes ? params.probes : params.ef;
  }

  [[nodiscard]] static std::vector<Found> found_in(const std::vector<Id>& slots) {
    std::vector<Found> found;
    found.reserve(slots.size());
    for (const Id slot : slots) {
      found.push_back({.slot = static_cast<std::size_t>(slot)});
    }
    return found;
  }

  [[nodiscard]] auto vectors() const noexcept {
    return [this, memory = std::vector<float>()](std::size_t slot) mutable { return part_->vector(slot, memory); };
  }

  // The vectors as get() gives them back.
  [[nodiscard]] auto held_vectors() const noexcept {
    return [this, memory = std::vector<float>()](std::size_t slot) mutable { return part_->inserted(slot, memory); };
  }

  // A code of a direction stands for a vector of about the length 1. As to faiss, its product with the direction of the
  // query is the cosine: a search that asks faiss and one that compares with all then have the same order.
  void rank_found(std::vector<Found>& found, std::size_t most, std::span<const float> query) const {
    if (metric() != DistanceMetric::cosine || keeps_vectors()) {
      index_support::rank(found, most, metric(), query, vectors());
      return;
    }
    index_support::rank(found, most, DistanceMetric::dot_product, query, vectors());
    for (Found& each : found) {
      each.distance += 1.0F;
    }
  }

  [[nodiscard]] static FaissIndex decode(Reader& reader) {
    const auto head = index_support::read_head(reader, index_type);
    SlotTable slots = SlotTable::load_from(reader);
    FaissIndex index(head.metric, faiss_parts::read_part(reader, reader.read_le<std::uint32_t>(), "the index"));
    if (head.dim != index.dim()) {
      faiss_parts::fail(
          reader, "it has the dimension " + std::to_string(index.dim()) + "; expected " + std::to_string(head.dim));
    }
    faiss_parts::require_metric(reader, index.native(), head.metric);
    index.slots_ = std::move(slots);
    if (static_cast<std::uint64_t>(index.native().ntotal) != index.size()) {
      faiss_parts::fail(reader, "it holds " + std::to_string(index.native().ntotal) + " vectors; expected " +
                                    std::to_string(index.size()) + ", one for each identifier");
    }
    // The numbers are distinct taken slots, and as many as the taken slots. So every taken slot has its vector.
    index.part_->take_slots(reader, index.slots_.slots(), [&](Id number) {
      const auto slot = static_cast<std::uint64_t>(number);
      if (number < 0 || slot >= index.slots_.slots() || index.slots_.is_free(static_cast<std::size_t>(slot))) {
        faiss_parts::fail(reader, "a vector has the number " + std::to_string(number) + ", which is no slot in use");
      }
      return static_cast<std::size_t>(slot);
    });
    return index;
  }

  // ---- faiss' objects and files -------------------------------------------------------------------------------------

  [[nodiscard]] static faiss_parts::WholeIndex copy_of(const ::faiss::Index& index, DistanceMetric metric) {
    if (const auto wanted = faiss_parts::metric_for(metric); index.metric_type != wanted) {
      throw IndexError(IndexErrorKind::invalid_metric,
                       "the index compares by " + faiss_parts::name_of(index.metric_type) + ", but " +
                           std::string(to_string(metric)) + " was asked for, which is " + faiss_parts::name_of(wanted) +
                           " in faiss");
    }
    if (!index.is_trained) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "the index is not trained; call index.train(n, vectors) before it is handed over");
    }
    ::faiss::VectorIOWriter stream;
    faiss_parts::guarded([&] { ::faiss::write_index(&index, &stream); });
    try {
      Reader reader(std::as_bytes(std::span(stream.data)));
      return faiss_parts::read_whole_index(reader, metric);
    } catch (const PersistError& error) {
      throw IndexError(IndexErrorKind::invalid_config, error.what());
    }
  }

  void export_to(const std::filesystem::path& path) const {
    index_support::require_not_moved_from(dim());
    index_support::check_exportable(slots_, std::numeric_limits<Id>::max(), "faiss", "numbers");
    write_foreign_file(path, [this](Writer& writer) {
      part_->export_to(writer, [this](std::size_t slot) { return static_cast<Id>(slots_.id(slot).integer()); });
    });
  }

  std::unique_ptr<faiss_parts::Part> part_;
};

static_assert(SearchableIndex<FaissIndex>);
static_assert(Persistable<FaissIndex>);
static_assert(ChecksVector<FaissIndex> && ChecksInsert<FaissIndex> && ChecksErase<FaissIndex>);
static_assert(Upsertable<FaissIndex> && ChecksUpsert<FaissIndex>);
static_assert(InsertsMany<FaissIndex>);
static_assert(TrustsNothing<FaissIndex>);

/// Makes an index from the file at `path`, which `faiss::write_index` wrote. The file must hold an index of which FaissIndex
/// could be a copy; its metric is taken as the constructor takes it. faiss' numbers of vectors become integer identifiers. The
/// file is checked as a payload is. To make the index durable, in a way that can be run again and then loads it with what was
/// changed since:
/// `PersistedIndex<FaissIndex>::load_or_create(config, [] { return faiss_import(path, metric); })`.
///
/// Throws PersistError io if the file cannot be read, truncated_payload if it ends early, invalid_payload if it is
/// damaged, has another metric, or holds a type that is not supported; IndexError invalid_metric for a metric that
/// faiss does not have.
[[nodiscard]] inline FaissIndex faiss_import(const std::filesystem::path& path, DistanceMetric metric) {
  std::ignore = faiss_parts::metric_for(metric);  // an error here is the caller's, not the file's
  return read_foreign_file(path, "an index of faiss'", [&](auto& file) {
    return index_support::read_whole(file, "faiss", [&](Reader& reader) {
      return FaissIndex(metric, faiss_parts::read_whole_index(reader, metric));
    });
  });
}

/// Writes a file that `faiss::read_index` loads, with the integer identifiers as faiss' numbers and without metadata. A
/// flat or an HNSW index is written inside an IndexIDMap, an IVF index as it is. The codes are those of the index. The file
/// appears whole or not at all, and it is durable when the call returns. The call leaves a lock file `path`.lock beside it.
///
/// Throws IndexError invalid_config for an identifier of bytes, or one beyond faiss' numbers, which have 63 bits;
/// PersistError locked if another writer holds the lock on that path, io if the file cannot be written.
inline void faiss_export(const FaissIndex& index, const std::filesystem::path& path) { index.export_to(path); }

}  // namespace iqdb::inline IQDB_PERSIST_ABI
