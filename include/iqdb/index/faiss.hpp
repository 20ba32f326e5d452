// FaissIndex: faiss' flat, HNSW and IVF indexes, made durable. Needs faiss 1.7.3 (docs/adapters.md).
//
// faiss' own loader believes what it reads: a length, a link or a list's number in a file becomes an address. Here its
// objects are built of fields that were checked one by one, whether they come from a payload or from a file of faiss'.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/faiss/faiss_parts.hpp"
#include "iqdb/index/faiss/faiss_stream.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A flat, HNSW or IVF index of faiss' with identifiers of both kinds, metadata, and a payload.
///
/// Takes vectors whose components are finite. Metrics are euclidean, dot_product and cosine, for which the direction of
/// a vector is kept and not its length. A flat index is exact; from an HNSW index nothing can be erased; an IVF index
/// is trained when it is made. Searches may run at the same time as each other.
class FaissIndex : public InsertOverloads<FaissIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "faiss";

  /// An empty flat index for vectors of `dim` components: exact search. Throws IndexError invalid_config for a
  /// dimension out of its range, invalid_metric for a metric that it has not.
  [[nodiscard]] static FaissIndex flat(std::size_t dim, DistanceMetric metric) {
    const ::faiss::MetricType native_metric = faiss_parts::metric_for(metric);
    faiss_parts::check_range(dim, 1, faiss_parts::most_dim, "dimension");
    auto index = std::make_unique<::faiss::IndexFlat>(static_cast<faiss_parts::Id>(dim), native_metric);
    return {metric, std::make_unique<faiss_parts::FlatPart>(std::move(index))};
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
    auto index =
        std::make_unique<::faiss::IndexHNSWFlat>(static_cast<int>(dim), static_cast<int>(links), native_metric);
    index->hnsw.efConstruction = static_cast<int>(ef_construction);
    index->hnsw.efSearch = static_cast<int>(ef);
    return {metric, std::make_unique<faiss_parts::HnswPart>(std::move(index))};
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
    std::vector<float> kept;
    kept.reserve(training.size());
    for (std::size_t at = 0; at < training.size(); at += dim) {
      const std::vector<float> each = kept_form(training.subspan(at, dim), dim, metric, "training vector");
      kept.insert(kept.end(), each.begin(), each.end());
    }
    auto quantizer = std::make_unique<::faiss::IndexFlat>(static_cast<faiss_parts::Id>(dim), native_metric);
    auto index = std::make_unique<::faiss::IndexIVFFlat>(quantizer.get(), dim, lists, native_metric);
    std::ignore = quantizer.release();
    index->own_fields = true;
    index->nprobe = std::min(probes, lists);
    index->cp.min_points_per_centroid = 1;  // with fewer than that faiss prints
    faiss_parts::guarded([&] { index->train(static_cast<faiss_parts::Id>(kept.size() / dim), kept.data()); });
    const auto& centroids =
        static_cast<const ::faiss::IndexFlat&>(*index->quantizer);  // NOLINT(*-static-cast-downcast)
    for (std::size_t list = 0; list < lists; ++list) {
      if (!is_finite(faiss_parts::vector_at(centroids.codes, list, dim))) {
        throw IndexError(IndexErrorKind::invalid_vector,
                         "the training vectors are so large that their mean is not finite; scale them down");
      }
    }
    return {metric, std::make_unique<faiss_parts::IvfPart>(std::move(index))};
  }

  /// A copy of an index that was made with faiss, with its settings and whatever it holds: an IndexFlat, IndexHNSWFlat
  /// or IndexIVFFlat with a flat quantizer, or an IndexIDMap or IndexIDMap2 around one; an IVF index must be trained.
  /// What faiss numbers is an integer identifier. The metric is euclidean for an index with L2; dot_product, or the
  /// cosine if all vectors have a length of 1, for one with the inner product. A large one takes less memory by
  /// faiss_import.
  ///
  /// Throws IndexError invalid_metric where the metric is another, invalid_config for an index of another type, or one
  /// that is not trained.
  FaissIndex(const ::faiss::Index& index, DistanceMetric metric) : FaissIndex(copy_of(index, metric)) {}

  /// How many vectors there are.
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

  /// How many components each vector has.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// Which of faiss' indexes it is. Precondition: the index was not moved from.
  [[nodiscard]] FaissKind kind() const noexcept { return part_->kind(); }

  /// faiss' object, an IndexFlat, IndexHNSWFlat or IndexIVFFlat: to look at its settings. Its numbers of vectors are
  /// this class's own. Precondition: the index was not moved from.
  [[nodiscard]] const ::faiss::Index& native() const noexcept { return part_->index(); }

  /// Whether there is a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return slots_.find(id).has_value(); }

  using InsertOverloads<FaissIndex>::insert;

  /// Adds a vector of dim() finite components. If it throws, nothing has changed: IndexError dimension_mismatch;
  /// invalid_vector for a component that is not finite; duplicate where the identifier is taken; invalid_config or
  /// resource_limit for metadata that cannot be stored (check_storable); resource_limit where faiss refuses;
  /// std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    const std::vector<float> kept = kept_form(vector, dim_, metric_, "vector");
    SlotTable::Addition addition = slots_.add(std::move(id), std::move(metadata));
    if (addition.slot() >= faiss_parts::most_vectors) {
      throw IndexError(IndexErrorKind::resource_limit, "the index holds " + std::to_string(faiss_parts::most_vectors) +
                                                           " vectors, the most that it has numbers for");
    }
    part_->add(addition.slot(), kept);
    addition.keep();
  }

  /// Removes a vector. Throws IndexError not_found where there is none, invalid_config for an HNSW index: faiss' cannot
  /// remove.
  void erase(const VectorId& id) { part_->remove(slots_, slots_.at(id)); }

  /// The `params.k` vectors that were found to be nearest to `query`, nearest first, or all if there are fewer.
  /// `params.ef` is for HNSW how many candidates are looked at, for IVF into how many lists; a flat index compares with
  /// all. Distances are those of FlatIndex::search, for the cosine between directions. Throws IndexError
  /// dimension_mismatch, and invalid_vector for a query that insert would not take.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    const std::vector<float> kept = kept_form(query, dim_, metric_, "query");
    const std::size_t most = std::min(params.k, size());
    if (most == 0) {
      return {};
    }
    std::vector<Found> nearest;
    for (const faiss_parts::Id slot : part_->search(kept, most, params.ef)) {
      nearest.push_back({.slot = static_cast<std::size_t>(slot)});
    }
    if (nearest.size() < most) {
      // The lists that were looked into hold too few, no link leads to the others, or they are too far for a float.
      nearest.clear();
      for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
        if (!slots_.is_free(slot)) {
          nearest.push_back({.slot = slot});
        }
      }
    }
    measure(nearest, kept);
    nearest.resize(most);

    std::vector<Hit> hits;
    hits.reserve(most);
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
        visit(slots_.id(slot), part_->vector(slot), slots_.metadata(slot));
      }
    }
  }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | SlotTable | the index in faiss' format, trained state
  /// and settings included, in which the number of a vector is its slot. Numbers are little-endian.
  void save_to(Writer& writer) const {
    writer.write_le(layout_version);
    writer.write_le(std::uint64_t{dim_});
    writer.write_le(static_cast<std::uint8_t>(metric_));
    slots_.save_to(writer);
    part_->save_to(writer);
  }

  /// Makes an index of a payload. Throws PersistError invalid_payload, invalid_metric for what is none.
  [[nodiscard]] static FaissIndex load_from(Reader& reader) {
    try {
      return decode(reader);
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::truncated_payload) {
        throw;
      }
      // The payload is whole, or its checksum would have told: it states more than it holds.
      reader.fail(PersistErrorKind::invalid_payload,
                  "the faiss index's payload ends early: it states more vectors, dimensions, links, lists or metadata "
                  "than it holds");
    }
  }

 private:
  friend FaissIndex faiss_import(const std::filesystem::path& path, DistanceMetric metric);
  friend void faiss_export(const FaissIndex& index, const std::filesystem::path& path);

  struct Found {
    std::size_t slot = 0;
    float distance = 0.0F;
  };

  static constexpr std::uint8_t layout_version = 1;

  FaissIndex(DistanceMetric metric, std::unique_ptr<faiss_parts::Part> part)
      : dim_(static_cast<std::size_t>(part->index().d)), metric_(metric), part_(std::move(part)) {}

  [[nodiscard]] static bool is_finite(std::span<const float> vector) {
    return std::ranges::all_of(vector, [](float component) { return std::isfinite(component); });
  }

  // What faiss is given: for the cosine, which it does not have, the direction.
  [[nodiscard]] static std::vector<float> kept_form(std::span<const float> vector, std::size_t dim,
                                                    DistanceMetric metric, std::string_view what) {
    if (vector.size() != dim) {
      throw IndexError(IndexErrorKind::dimension_mismatch,
                       "the " + std::string(what) + " has " + std::to_string(vector.size()) +
                           " components, but the index has dimension " + std::to_string(dim));
    }
    if (!is_finite(vector)) {
      throw IndexError(IndexErrorKind::invalid_vector,
                       "a component of the " + std::string(what) +
                           " is infinite or not a number; a faiss index takes finite numbers");
    }
    std::vector<float> kept(vector.begin(), vector.end());
    const double norm = metric == DistanceMetric::cosine ? std::sqrt(squared_norm(vector)) : 0.0;
    if (norm > 0.0) {  // a vector of zeros has no direction, and is as far from all
      std::ranges::transform(kept, kept.begin(),
                             [norm](float component) { return static_cast<float>(component / norm); });
    }
    return kept;
  }

  // In the order of our distances: faiss' are others, and rounded otherwise. What is not a number, as the product of
  // huge vectors may be, comes last.
  void measure(std::vector<Found>& found, std::span<const float> query) const {
    for (Found& each : found) {
      each.distance = distance(metric_, query, part_->vector(each.slot));
    }
    const auto key = [](const Found& each) {
      const bool is_number = !std::isnan(each.distance);
      return std::tuple(!is_number, is_number ? each.distance : 0.0F, each.slot);
    };
    std::ranges::sort(found, {}, key);
  }

  [[nodiscard]] static FaissIndex decode(Reader& reader) {
    if (const auto version = reader.read_le<std::uint8_t>(); version != layout_version) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the faiss index's payload has the layout version " + std::to_string(version) + "; expected " +
                      std::to_string(layout_version) + "; it needs a newer library, or it is damaged");
    }
    const auto dim = reader.read_le<std::uint64_t>();
    const DistanceMetric metric = metric_from_tag(reader.read_le<std::uint8_t>());
    SlotTable slots = SlotTable::load_from(reader);
    FaissIndex index(metric, faiss_parts::read_part(reader, reader.read_le<std::uint32_t>(), "the index"));
    if (dim != index.dim_) {
      faiss_parts::fail(reader,
                        "it has the dimension " + std::to_string(index.dim_) + "; expected " + std::to_string(dim));
    }
    index.require_metric(reader);
    index.slots_ = std::move(slots);
    if (static_cast<std::uint64_t>(index.native().ntotal) != index.size()) {
      faiss_parts::fail(reader, "it holds " + std::to_string(index.native().ntotal) + " vectors; expected " +
                                    std::to_string(index.size()) + ", one for each identifier");
    }
    // So many different slots, all of them taken, as there are taken ones: each has its vector.
    index.part_->take_slots(reader, index.slots_.slots(), [&](faiss_parts::Id number) {
      const auto slot = static_cast<std::uint64_t>(number);
      if (number < 0 || slot >= index.slots_.slots() || index.slots_.is_free(static_cast<std::size_t>(slot))) {
        faiss_parts::fail(reader, "a vector has the number " + std::to_string(number) + ", which is no slot in use");
      }
      return static_cast<std::size_t>(slot);
    });
    return index;
  }

  void require_metric(const Reader& reader) const {
    const bool known = metric_ == DistanceMetric::euclidean || metric_ == DistanceMetric::dot_product ||
                       metric_ == DistanceMetric::cosine;
    if (!known || faiss_parts::metric_for(metric_) != native().metric_type) {
      faiss_parts::fail(reader, "its vectors are compared by " + faiss_parts::name_of(native().metric_type) +
                                    ", but the metric is " + std::string(to_string(metric_)) +
                                    "; L2 is euclidean, inner product dot_product or cosine");
    }
  }

  // What faiss::write_index wrote, to its end.
  [[nodiscard]] static FaissIndex decode_stream(Reader& reader, DistanceMetric metric) {
    auto type = reader.read_le<std::uint32_t>();
    std::optional<faiss_parts::Header> map;
    if (type == faiss_parts::map_tag || type == faiss_parts::two_way_map_tag) {
      map = faiss_parts::read_head(reader);
      type = reader.read_le<std::uint32_t>();
    }
    FaissIndex index(metric, faiss_parts::read_part(reader, type, map ? "the index in the id map" : "the index"));
    index.require_metric(reader);
    std::vector<faiss_parts::Id> numbers;
    if (map) {
      const auto count = reader.read_le<std::uint64_t>();
      if (*map != faiss_parts::header_of(index.native()) || count != map->vectors) {
        faiss_parts::fail(reader, "its id map is stated to be of " + std::to_string(map->vectors) + " vectors of " +
                                      std::to_string(map->dim) + " components by " + faiss_parts::name_of(map->metric) +
                                      ", with " + std::to_string(count) + " numbers; what is in it is another");
      }
      numbers = reader.read_vector<faiss_parts::Id>(count);
    }
    index.part_->take_slots(reader, 0, [&](faiss_parts::Id number) {
      if (map) {
        if (number < 0 || static_cast<std::uint64_t>(number) >= numbers.size()) {
          faiss_parts::fail(reader, "a vector has the number " + std::to_string(number) + " of " +
                                        std::to_string(numbers.size()) + " in the id map");
        }
        number = numbers[static_cast<std::size_t>(number)];
      }
      if (number < 0) {
        faiss_parts::fail(reader, "a vector has the number " + std::to_string(number) +
                                      "; identifiers are not negative; give it another");
      }
      const auto id = static_cast<std::uint64_t>(number);
      if (index.contains(id)) {
        faiss_parts::fail(reader, "two vectors have the number " + std::to_string(number));
      }
      index.slots_.append(id, {});
      return index.slots_.slots() - 1;
    });
    index.require_directions(reader);
    if (reader.remaining() > 0) {
      faiss_parts::fail(reader, std::to_string(reader.remaining()) + " bytes stand behind it; expected none");
    }
    return index;
  }

  // faiss leaves it to the program to give vectors a length of 1 for the cosine.
  void require_directions(const Reader& reader) const {
    constexpr double tolerance = 1e-3;
    for (std::size_t slot = 0; slot < slots_.slots() && metric_ == DistanceMetric::cosine; ++slot) {
      const double square = squared_norm(part_->vector(slot));
      if (square != 0.0 && std::abs(square - 1.0) > tolerance) {
        faiss_parts::fail(reader,
                          "the vector " + to_string(slots_.id(slot)) + " has the length " +
                              std::to_string(std::sqrt(square)) +
                              "; for the cosine faiss' vectors must have a length of 1; take it as dot_product");
      }
    }
  }

  [[nodiscard]] static FaissIndex copy_of(const ::faiss::Index& index, DistanceMetric metric) {
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
      return decode_stream(reader, metric);
    } catch (const PersistError& error) {
      throw IndexError(IndexErrorKind::invalid_config, error.what());
    }
  }

  void export_to(Writer& writer) const {
    part_->export_to(writer,
                     [this](std::size_t slot) { return static_cast<faiss_parts::Id>(slots_.id(slot).integer()); });
  }

  std::size_t dim_;
  DistanceMetric metric_;
  SlotTable slots_;
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
/// faiss has not.
[[nodiscard]] inline FaissIndex faiss_import(const std::filesystem::path& path, DistanceMetric metric) {
  std::ignore = faiss_parts::metric_for(metric);  // what is wrong here is the caller's, and not the file's
  return read_foreign_file(path, "an index of faiss'", [&](auto& file) {
    FileRange source(file, 0, file.size());
    Reader reader(source, file.size(), LengthEvidence::stored);
    return FaissIndex::decode_stream(reader, metric);
  });
}

/// Writes a file that `faiss::read_index` loads, with integer identifiers as faiss' numbers: an IndexIDMap around a
/// flat or an HNSW index, an IVF index as it is. Metadata stays behind. The file is there as a whole or not at all, and
/// durable when the call returns; beside it lies `path`.lock.
///
/// Throws IndexError invalid_config where an identifier is bytes, or beyond faiss' numbers, which have 63 bits;
/// PersistError locked where something else writes to that path, io where the file cannot be written.
inline void faiss_export(const FaissIndex& index, const std::filesystem::path& path) {
  index.for_each([](const VectorId& id, auto, const auto&) {
    if (!id.is_integer() || id.integer() > std::uint64_t{std::numeric_limits<faiss_parts::Id>::max()}) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "the vector " + to_string(id) +
                           " cannot be exported: faiss' numbers are integers below 2^63; insert it under such a one");
    }
  });
  write_foreign_file(path, [&](Writer& writer) { index.export_to(writer); });
}

}  // namespace iqdb::inline IQDB_PERSIST_ABI
