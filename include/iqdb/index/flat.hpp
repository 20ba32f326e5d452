// FlatIndex: exact search that compares the query with every vector. It is the reference example of a durable index.
//
// Invariants: rows and vectors are in insertion order; a mutation that throws has changed nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An index that compares a query with every vector: exact, and linear in the number of vectors.
///
/// Vectors are contiguous in memory, in insertion order, so that saving or loading them is one transfer. The payload is
/// that of the Rust crate's flat index (docs/format.md). Several threads may call const members at the same time; a
/// mutation needs the index alone.
class FlatIndex : public InsertOverloads<FlatIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "flat";

  /// load_from checks every length and value.
  static constexpr bool trusts_nothing = true;

  /// An empty index for vectors of `dim` components. Throws IndexError invalid_config if `dim` is 0, and invalid_metric
  /// if `metric` is not a value of DistanceMetric.
  FlatIndex(std::size_t dim, DistanceMetric metric) : dim_(dim), metric_(metric) {
    if (dim == 0) {
      throw IndexError(IndexErrorKind::invalid_config, "an index of dimension 0 was asked for; give at least 1");
    }
    if (!is_valid(metric)) {
      throw IndexError(IndexErrorKind::invalid_metric,
                       "the metric " + std::to_string(static_cast<unsigned>(metric)) + " is none of DistanceMetric");
    }
  }

  /// The number of vectors.
  [[nodiscard]] std::size_t size() const noexcept { return row_of_.size(); }

  /// The number of components of each vector.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// Whether the index holds a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return row_of_.contains(id); }

  /// Throws what insert throws for any identifier: IndexError dimension_mismatch; invalid_config or resource_limit for
  /// metadata that cannot be stored (check_storable).
  void check_vector(std::span<const float> vector, const std::optional<Metadata>& metadata = {}) const {
    index_support::check_dimension(vector.size(), dim_, "vector");
    check_storable(metadata);
  }

  /// Throws what insert would throw, except std::bad_alloc.
  void check_insert(const VectorId& id, std::span<const float> vector,
                    const std::optional<Metadata>& metadata = {}) const {
    check_vector(vector, metadata);
    if (contains(id)) {
      throw_duplicate(id);
    }
  }

  /// Throws what erase would throw.
  void check_erase(const VectorId& id) const { std::ignore = place_of(id); }

  using InsertOverloads<FlatIndex>::insert;
  using InsertOverloads<FlatIndex>::upsert;

  /// Adds a vector of dim() components; any floats are allowed. If it throws, nothing has changed: IndexError
  /// dimension_mismatch, duplicate if the identifier is taken, invalid_config or resource_limit for metadata that
  /// cannot be stored (check_storable), std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_vector(vector, metadata);
    const auto [place, is_new] = row_of_.try_emplace(id, rows_.size());
    if (!is_new) {
      throw_duplicate(id);
    }
    try {
      rows_.push_back({.id = std::move(id), .metadata = std::move(metadata), .erased = false});
    } catch (...) {
      row_of_.erase(place);
      throw;
    }
    try {
      vectors_.insert(vectors_.end(), vector.begin(), vector.end());
    } catch (...) {
      rows_.pop_back();
      row_of_.erase(place);
      throw;
    }
  }

  /// Adds a vector, or replaces the vector and the metadata of that identifier, whose place in the order stays. Throws
  /// as insert does, but not duplicate; then nothing has changed.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    const auto place = row_of_.find(id);
    if (place == row_of_.end()) {
      insert(std::move(id), vector, std::move(metadata));
      return;
    }
    check_vector(vector, metadata);
    // `vector` may lie in this index: the two may overlap.
    std::memmove(vectors_.data() + place->second * dim_, vector.data(), vector.size_bytes());
    rows_[place->second].metadata = std::move(metadata);
  }

  /// Removes a vector and keeps the order of the others. Throws IndexError not_found if the index does not hold the
  /// vector.
  void erase(const VectorId& id) {
    const auto place = place_of(id);
    rows_[place->second].erased = true;
    rows_[place->second].metadata.reset();
    row_of_.erase(place);
    // Closing a gap at every removal would make each removal linear. Closing them all when more than half of the rows
    // are gaps makes a removal constant on average.
    if (rows_.size() > 2 * row_of_.size()) {
      close_gaps();
    }
  }

  /// Returns the `params.k` vectors nearest to `query`, nearest first. Vectors at equal distance are in insertion
  /// order. Distances:
  ///
  /// - cosine: 1 − a·b / (‖a‖‖b‖), and 1 where a norm is 0
  /// - dot_product: −a·b
  /// - euclidean: √Σ(aᵢ−bᵢ)²
  /// - manhattan: Σ|aᵢ−bᵢ|
  /// - hamming: the number of components whose bits differ
  ///
  /// A distance that is not a number ranks behind all others. Throws IndexError dimension_mismatch if the query does
  /// not have dim() components.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    using index_support::nearer;
    index_support::check_dimension(query.size(), dim_, "query");
    std::vector<index_support::Found> nearest;  // a heap: the farthest of the nearest first
    const std::size_t most = std::min(params.k, size());
    nearest.reserve(most);
    for (std::size_t row = 0; row < rows_.size() && most > 0; ++row) {
      if (rows_[row].erased) {
        continue;
      }
      const index_support::Found candidate{.slot = row, .distance = distance(metric_, query, vector_at(row))};
      if (nearest.size() < most) {
        nearest.push_back(candidate);
        std::push_heap(nearest.begin(), nearest.end(), nearer);
      } else if (nearer(candidate, nearest.front())) {
        std::pop_heap(nearest.begin(), nearest.end(), nearer);
        nearest.back() = candidate;
        std::push_heap(nearest.begin(), nearest.end(), nearer);
      }
    }
    std::sort_heap(nearest.begin(), nearest.end(), nearer);

    std::vector<Hit> hits;
    hits.reserve(nearest.size());
    for (const index_support::Found& candidate : nearest) {
      const Row& row = rows_[candidate.slot];
      hits.push_back({.id = row.id, .distance = candidate.distance, .metadata = copied(row.metadata)});
    }
    return hits;
  }

  /// As above, for a query written as a braced list of its components.
  [[nodiscard]] std::vector<Hit> search(std::initializer_list<float> query, const SearchParams& params = {}) const {
    return search(std::span<const float>(query.begin(), query.size()), params);
  }

  /// Calls `visit(id, vector, metadata)` for every vector, in insertion order, with a `const VectorId&`, a
  /// `std::span<const float>` and a `const std::optional<Metadata>&`.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!rows_[row].erased) {
        visit(rows_[row].id, vector_at(row), rows_[row].metadata);
      }
    }
  }

  /// Writes the payload.
  void save_to(Writer& writer) const {
    writer.write_le(std::uint64_t{dim_});
    writer.write_le(static_cast<std::uint8_t>(metric_));
    writer.write_le(std::uint64_t{size()});
    for_each([&](const VectorId& id, auto, const auto&) { write_id(writer, id); });
    for (std::size_t row = 0; row < rows_.size();) {
      // The longest run without gaps: all vectors if none was erased.
      std::size_t end = row;
      while (end < rows_.size() && !rows_[end].erased) {
        ++end;
      }
      writer.write_array(std::span<const float>(vectors_).subspan(row * dim_, (end - row) * dim_));
      row = end + 1;
    }
    for_each([&](const VectorId&, auto, const auto& metadata) { write_metadata(writer, metadata); });
  }

  /// Makes an index from a payload. Throws PersistError invalid_payload or invalid_metric for a payload that save_to
  /// did not write.
  [[nodiscard]] static FlatIndex load_from(Reader& reader) {
    return index_support::decode_whole(reader, index_type, [&reader] { return decode(reader); });
  }

 private:
  struct Row {
    VectorId id;
    std::optional<Metadata> metadata;
    bool erased;
  };

  [[nodiscard]] static FlatIndex decode(Reader& reader) {
    const auto dim = reader.read_le<std::uint64_t>();
    const DistanceMetric metric = metric_from_tag(reader.read_le<std::uint8_t>());
    const auto count = reader.read_le<std::uint64_t>();
    if (dim == 0 || dim > std::numeric_limits<std::size_t>::max() / sizeof(float)) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the flat index is stated to have " + std::to_string(dim) + " dimensions; expected at least 1");
    }
    // After this check no product below overflows: a row takes at least this many bytes of a payload, and the payload's
    // size fits 64 bits.
    if (count > 0) {
      reader.require_items(dim, sizeof(float));
      reader.require_items(count, smallest_id_bytes + dim * sizeof(float) + smallest_metadata_bytes);
    }

    FlatIndex index(static_cast<std::size_t>(dim), metric);
    while (index.rows_.size() < count) {
      reader.make_room(index.rows_, count, smallest_id_bytes);
      index.rows_.push_back({.id = read_id(reader), .metadata = {}, .erased = false});
    }
    index.row_of_.reserve(index.rows_.size());
    for (std::size_t row = 0; row < index.rows_.size(); ++row) {
      if (!index.row_of_.try_emplace(index.rows_[row].id, row).second) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "the flat index holds two vectors " + to_string(index.rows_[row].id));
      }
    }
    index.vectors_ = reader.read_vector<float, HugePageAllocator<float>>(count * dim);
    for (Row& row : index.rows_) {
      row.metadata = read_metadata(reader);
    }
    return index;
  }

  [[noreturn]] static void throw_duplicate(const VectorId& id) {
    throw IndexError(IndexErrorKind::duplicate,
                     "the index holds a vector " + to_string(id) + " already; replace it by upsert, or erase it first");
  }

  [[nodiscard]] std::unordered_map<VectorId, std::size_t>::const_iterator place_of(const VectorId& id) const {
    const auto place = row_of_.find(id);
    if (place == row_of_.end()) {
      throw IndexError(IndexErrorKind::not_found, "the index holds no vector " + to_string(id));
    }
    return place;
  }

  [[nodiscard]] std::span<const float> vector_at(std::size_t row) const {
    return std::span<const float>(vectors_).subspan(row * dim_, dim_);
  }

  // Allocates nothing, and so cannot fail.
  void close_gaps() noexcept {
    std::size_t kept = 0;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (rows_[row].erased) {
        continue;
      }
      if (kept != row) {
        const std::span<const float> vector = vector_at(row);
        std::copy(vector.begin(), vector.end(), vectors_.begin() + static_cast<std::ptrdiff_t>(kept * dim_));
        rows_[kept] = std::move(rows_[row]);
        row_of_.find(rows_[kept].id)->second = kept;
      }
      ++kept;
    }
    rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(kept), rows_.end());
    vectors_.resize(kept * dim_);
  }

  std::size_t dim_;
  DistanceMetric metric_;
  std::vector<Row> rows_;                                 // in insertion order, with gaps where rows were erased
  std::vector<float, HugePageAllocator<float>> vectors_;  // row after row
  std::unordered_map<VectorId, std::size_t> row_of_;      // the rows that are not erased
};

static_assert(SearchableIndex<FlatIndex>);
static_assert(Persistable<FlatIndex>);
static_assert(ChecksVector<FlatIndex> && ChecksInsert<FlatIndex> && ChecksErase<FlatIndex>);
static_assert(Upsertable<FlatIndex> && TrustsNothing<FlatIndex>);

}  // namespace iqdb
