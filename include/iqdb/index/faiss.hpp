// FaissIndex: faiss' flat, HNSW and IVF indexes, made durable. Needs faiss 1.7.3 (docs/adapters.md).
//
// faiss' own loader believes what it reads: a length, a link or a list's number in a file becomes an address. Here its
// objects are built of fields that were checked one by one, whether they come from a payload or from a file of faiss'.
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/faiss/flat_part.hpp"
#include "iqdb/index/faiss/hnsw_part.hpp"
#include "iqdb/index/faiss/ivf_part.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/parts.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/faiss/whole_index.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/foreign_index.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_index.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A flat, HNSW or IVF index of faiss' with identifiers of both kinds, metadata, and a payload. `SearchParams::ef` is
/// for HNSW how many candidates a search looks at, for IVF into how many lists; a flat index compares with all.
///
/// Takes vectors whose components are finite. Metrics are euclidean, dot_product and cosine, for which the direction of
/// a vector is kept and not its length. A flat index is exact; from an HNSW index nothing can be erased; an IVF index
/// is trained when it is made. Searches may run at the same time as each other.
class FaissIndex : public index_support::SlotIndex<FaissIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "faiss";

  /// An empty flat index for vectors of `dim` components: exact search. Throws IndexError invalid_config for a
  /// dimension out of its range, invalid_metric for a metric that it does not have.
  [[nodiscard]] static FaissIndex flat(std::size_t dim, DistanceMetric metric) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    return {metric, faiss_parts::FlatPart::make(dim, native_metric)};
  }

  /// An empty HNSW index: `links` of a vector in each upper level, 2 to 1024, and twice as many in the lowest (faiss'
  /// M); an insertion looks at `ef_construction` candidates and a search at `ef`, 1 to 65536. Throws as flat().
  [[nodiscard]] static FaissIndex hnsw(std::size_t dim, DistanceMetric metric, std::size_t links = 32,
                                       std::size_t ef_construction = 40, std::size_t ef = 16) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    faiss_parts::check_range(links, 2, faiss_parts::most_links, "number of links");
    faiss_parts::check_range(ef_construction, 1, faiss_parts::most_candidates, "setting ef_construction");
    faiss_parts::check_range(ef, 1, faiss_parts::most_candidates, "setting ef");
    return {metric, faiss_parts::HnswPart::make(dim, native_metric, links, ef_construction, ef)};
  }

  /// An IVF index without vectors, of `lists` lists, whose centroids are trained with `training`: vectors one behind
  /// the other, at least as many as there are lists and better 40 times as many. A search looks into `probes` lists.
  /// Throws as flat(); IndexError invalid_config where there are too few vectors or a part of one, invalid_vector for a
  /// component that is not finite.
  [[nodiscard]] static FaissIndex ivf(std::size_t dim, DistanceMetric metric, std::size_t lists,
                                      std::span<const float> training, std::size_t probes = 8) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    faiss_parts::check_range(lists, 1, faiss_parts::most_vectors, "number of lists");
    faiss_parts::check_range(probes, 1, faiss_parts::most_vectors, "number of probes");
    if (training.size() % dim != 0 || training.size() / dim < lists) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "cannot train " + std::to_string(lists) + " lists of vectors of dimension " +
                           std::to_string(dim) + " with " + std::to_string(training.size()) +
                           " components; give whole vectors, at least one for each list and better 40");
    }
    index_support::check_components(training, "training vectors");
    std::vector<float> kept;
    kept.reserve(training.size());
    for (std::size_t at = 0; at < training.size(); at += dim) {
      const std::vector<float> each = index_support::direction_for(metric, training.subspan(at, dim));
      kept.insert(kept.end(), each.begin(), each.end());
    }
    return {metric, faiss_parts::IvfPart::train(dim, native_metric, lists, kept, probes)};
  }

  /// A copy of an index that was made with faiss, with its settings and whatever it holds: an IndexFlat, IndexHNSWFlat
  /// or IndexIVFFlat with a flat quantizer, or an IndexIDMap or IndexIDMap2 around one; an IVF index must be trained.
  /// What faiss numbers is an integer identifier. The metric is euclidean for an index with L2; dot_product, or the
  /// cosine if all vectors have a length of 1, for one with the inner product. A large one takes less memory by
  /// faiss_import.
  ///
  /// Throws IndexError invalid_metric where the metric is another, invalid_config for an index of another type, or one
  /// that is not trained.
  FaissIndex(const ::faiss::Index& index, DistanceMetric metric) : FaissIndex(metric, copy_of(index, metric)) {}

  /// Which of faiss' indexes it is. Precondition: the index was not moved from.
  [[nodiscard]] FaissKind kind() const noexcept { return part_->kind(); }

  /// faiss' object, an IndexFlat, IndexHNSWFlat or IndexIVFFlat: to look at its settings. Its numbers of vectors are
  /// this class's own. Precondition: the index was not moved from.
  [[nodiscard]] const ::faiss::Index& native() const noexcept { return part_->index(); }

  /// Removes a vector. Throws IndexError not_found where there is none, invalid_config for an HNSW index: faiss' cannot
  /// remove.
  void erase(const VectorId& id) { part_->remove(slots_, slots_.at(id)); }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | SlotTable | the index in faiss' format, trained state
  /// and settings included, in which the number of a vector is its slot. Numbers are little-endian.
  void save_to(Writer& writer) const {
    index_support::write_head(writer, {.dim = dim(), .metric = metric()});
    slots_.save_to(writer);
    part_->save_to(writer);
  }

 private:
  friend SlotIndex;
  friend FaissIndex faiss_import(const std::filesystem::path& path, DistanceMetric metric);
  friend void faiss_export(const FaissIndex& index, const std::filesystem::path& path);

  using Found = index_support::Found;
  using Id = faiss_parts::Id;

  FaissIndex(DistanceMetric metric, std::unique_ptr<faiss_parts::Part> part)
      : SlotIndex(static_cast<std::size_t>(part->index().d), metric), part_(std::move(part)) {}

  FaissIndex(DistanceMetric metric, faiss_parts::WholeIndex index) : FaissIndex(metric, std::move(index.part)) {
    slots_ = std::move(index.slots);
  }

  // ---- what SlotIndex asks for ----------------------------------------------------------------------------------------

  [[nodiscard]] std::vector<float> kept_form(std::span<const float> vector, std::string_view what) const {
    index_support::check_dimension(vector.size(), dim(), what);
    index_support::check_components(vector, what);
    return index_support::direction_for(metric(), vector);
  }

  void place(const SlotTable::Addition& addition, std::span<const float> vector) {
    if (addition.slot() >= faiss_parts::most_vectors) {
      throw IndexError(IndexErrorKind::resource_limit, "the index holds " + std::to_string(faiss_parts::most_vectors) +
                                                           " vectors, the most that it has numbers for");
    }
    part_->add(addition.slot(), vector);
  }

  [[nodiscard]] std::vector<Found> near(std::span<const float> query, std::size_t most,
                                        const SearchParams& params) const {
    const std::vector<Id> slots = part_->search(query, most, params.ef);
    std::vector<Found> found;
    found.reserve(slots.size());
    for (const Id slot : slots) {
      found.push_back({.slot = static_cast<std::size_t>(slot)});
    }
    return found;
  }

  [[nodiscard]] auto vectors() const noexcept {
    return [this](std::size_t slot) { return part_->vector(slot); };
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
    // So many different slots, all of them taken, as there are taken ones: each has its vector.
    index.part_->take_slots(reader, index.slots_.slots(), [&](Id number) {
      const auto slot = static_cast<std::uint64_t>(number);
      if (number < 0 || slot >= index.slots_.slots() || index.slots_.is_free(static_cast<std::size_t>(slot))) {
        faiss_parts::fail(reader, "a vector has the number " + std::to_string(number) + ", which is no slot in use");
      }
      return static_cast<std::size_t>(slot);
    });
    return index;
  }

  // ---- faiss' objects and files ---------------------------------------------------------------------------------------

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
    index_support::check_exportable(slots_, std::numeric_limits<Id>::max(), "faiss", "numbers");
    write_foreign_file(path, [this](Writer& writer) {
      part_->export_to(writer, [this](std::size_t slot) { return static_cast<Id>(slots_.id(slot).integer()); });
    });
  }

  std::unique_ptr<faiss_parts::Part> part_;
};

static_assert(SearchableIndex<FaissIndex>);
static_assert(Persistable<FaissIndex>);

/// Makes an index of the file at `path`, which `faiss::write_index` wrote: of an IndexFlat, IndexHNSWFlat or
/// IndexIVFFlat with a flat quantizer, or an IndexIDMap or IndexIDMap2 around one. The metric is euclidean for an index
/// with L2; dot_product, or the cosine if all vectors have a length of 1, for one with the inner product. faiss'
/// numbers become integer identifiers. The file is checked as a payload is. To make it durable:
/// `PersistedIndex<FaissIndex>::open_with(faiss_import(path, metric), config)`.
///
/// Throws PersistError io where the file cannot be read, truncated_payload where it ends early, invalid_payload where
/// it is damaged, of another metric, or of a type that is not supported; IndexError invalid_metric for a metric that
/// faiss does not have.
[[nodiscard]] inline FaissIndex faiss_import(const std::filesystem::path& path, DistanceMetric metric) {
  std::ignore = faiss_parts::metric_for(metric);  // what is wrong here is the caller's, and not the file's
  return read_foreign_file(path, "an index of faiss'", [&](auto& file) {
    return index_support::read_whole(file, "faiss", [&](Reader& reader) {
      return FaissIndex(metric, faiss_parts::read_whole_index(reader, metric));
    });
  });
}

/// Writes a file that `faiss::read_index` loads, with integer identifiers as faiss' numbers: an IndexIDMap around a
/// flat or an HNSW index, an IVF index as it is. Metadata stays behind. The file is there as a whole or not at all, and
/// durable when the call returns; beside it lies `path`.lock.
///
/// Throws IndexError invalid_config where an identifier is bytes, or beyond faiss' numbers, which have 63 bits;
/// PersistError locked where something else writes to that path, io where the file cannot be written.
inline void faiss_export(const FaissIndex& index, const std::filesystem::path& path) { index.export_to(path); }

}  // namespace iqdb::inline IQDB_PERSIST_ABI
