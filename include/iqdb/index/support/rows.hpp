// Rows: vectors with their identifiers and metadata, one behind the other in memory, and exact search among them. The
// exact indexes keep their contents in it.
//
// Invariants: rows and vectors are in the same order; a call that throws has changed nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/dimension.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Components of vectors, row after row.
using Components = std::vector<float, HugePageAllocator<float>>;

/// A row without its vector.
struct Row {
  VectorId id;
  std::optional<Metadata> metadata;
  bool erased = false;  ///< a gap: the row counts no longer
};

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_two_rows(const Reader& reader, std::string_view type,
                                                                  const VectorId& id) {
  reader.fail(PersistErrorKind::invalid_payload,
              "the " + std::string(type) + " index holds two vectors " + to_string(id));
}

/// Throws PersistError invalid_payload if two of the identifiers of a payload are the same, as Rows does, and std::bad_alloc.
inline void require_unique(const Reader& reader, std::string_view type, std::span<const VectorId> ids) {
  bool ascending = true;
  for (std::size_t row = 1; row < ids.size() && ascending; ++row) {
    ascending = ids[row - 1].is_integer() && ids[row].is_integer() && ids[row - 1].integer() < ids[row].integer();
  }
  if (ascending) {
    return;  // as in most files: no table is needed
  }
  std::unordered_map<VectorId, std::size_t> seen;  // a set would be one more template for every program to compile
  seen.reserve(ids.size());
  for (const VectorId& id : ids) {
    if (!seen.try_emplace(id, 0).second) {
      throw_two_rows(reader, type, id);
    }
  }
}

/// Rows by identifier and by position. Several threads may call const members at the same time.
class Rows {
 public:
  /// No rows, for vectors of `dim` components. Precondition: dim is not 0.
  explicit Rows(std::size_t dim) noexcept : dim_(dim) {}

  /// Rows that were read, none of them erased. Throws PersistError invalid_payload if two have the same identifier, and
  /// std::bad_alloc. `type` is the type of the index, for the message. Precondition: a vector for each row.
  Rows(const Reader& reader, std::string_view type, std::size_t dim, std::vector<Row> rows, Components vectors)
      : dim_(dim), rows_(std::move(rows)), vectors_(std::move(vectors)) {
    row_of_.reserve(rows_.size());
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!row_of_.try_emplace(rows_[row].id, row).second) {
        throw_two_rows(reader, type, rows_[row].id);
      }
    }
  }

  /// The number of rows that are not erased.
  [[nodiscard]] std::size_t size() const noexcept { return row_of_.size(); }

  /// The number of components of each vector.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// Whether a row has this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return row_of_.contains(id); }

  /// Throws IndexError duplicate if a row has this identifier.
  void require_absent(const VectorId& id) const {
    if (contains(id)) {
      throw IndexError(IndexErrorKind::duplicate,
                       "the index holds a vector " + to_string(id) + " already; erase it first, or use upsert");
    }
  }

  /// Throws IndexError not_found if no row has this identifier.
  void require_present(const VectorId& id) const {
    if (!contains(id)) {
      throw_not_found(id);
    }
  }

  /// Adds a row behind all others. Throws std::bad_alloc. Precondition: no row has this identifier, and the vector has
  /// dim() components.
  void append(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    const auto place = row_of_.try_emplace(id, rows_.size()).first;
    try {
      rows_.push_back({.id = std::move(id), .metadata = std::move(metadata)});
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

  /// Gives the row of an identifier another vector and other metadata, at the same position; or adds a row behind all
  /// others. Throws std::bad_alloc where it adds one. Precondition: the vector has dim() components.
  void put(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    const auto place = row_of_.find(id);
    if (place == row_of_.end()) {
      append(std::move(id), vector, std::move(metadata));
      return;
    }
    std::ranges::copy(vector, vectors_.begin() + static_cast<std::ptrdiff_t>(place->second * dim_));
    rows_[place->second].metadata = std::move(metadata);
  }

  /// Erases a row and keeps the order of the others. Throws IndexError not_found if no row has this identifier.
  void erase_in_order(const VectorId& id) {
    const auto place = row_of_.find(id);
    if (place == row_of_.end()) {
      throw_not_found(id);
    }
    rows_[place->second].erased = true;
    rows_[place->second].metadata.reset();
    row_of_.erase(place);
    // Closing a gap at every removal would make each removal linear. Closing them all when more than half of the rows
    // are gaps makes a removal constant on average.
    if (rows_.size() > 2 * row_of_.size()) {
      close_gaps();
    }
  }

  /// Erases a row by moving the last one into its position, if a row has this identifier. Precondition: no row was
  /// erased in order.
  void erase_by_last(const VectorId& id) {
    const auto place = row_of_.find(id);
    if (place == row_of_.end()) {
      return;
    }
    const std::size_t row = place->second;
    row_of_.erase(place);
    if (row + 1 < rows_.size()) {
      move_row(rows_.size() - 1, row);
    }
    rows_.pop_back();
    vectors_.resize(rows_.size() * dim_);
  }

  /// Calls `visit(id, vector, metadata)` for every row in order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (!rows_[row].erased) {
        visit(rows_[row].id, vector_at(row), rows_[row].metadata);
      }
    }
  }

  /// Calls `visit(components)` for the vectors in order, with as many of them at once as stand side by side: all of
  /// them if no row was erased.
  template <class Visit>
  void for_each_run(Visit&& visit) const {
    for (std::size_t row = 0; row < rows_.size();) {
      std::size_t end = row;
      while (end < rows_.size() && !rows_[end].erased) {
        ++end;
      }
      visit(std::span<const float>(vectors_).subspan(row * dim_, (end - row) * dim_));
      row = end + 1;
    }
  }

  /// The `params.k` rows nearest to `query` by distance(), nearest first, and in order at equal distance. Throws
  /// IndexError dimension_mismatch if the query does not have dim() components.
  [[nodiscard]] std::vector<Hit> search(DistanceMetric metric, std::span<const float> query,
                                        const SearchParams& params) const {
    check_dimension(query.size(), dim_, "query");
    std::vector<Found> nearest;  // a heap: the farthest of the nearest first
    const std::size_t most = std::min(params.k, size());
    nearest.reserve(most);
    for (std::size_t row = 0; row < rows_.size() && most > 0; ++row) {
      if (rows_[row].erased) {
        continue;
      }
      const Found candidate{.slot = row, .distance = distance(metric, query, vector_at(row))};
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
    for (const Found& candidate : nearest) {
      const Row& row = rows_[candidate.slot];
      hits.push_back({.id = row.id, .distance = candidate.distance, .metadata = copied(row.metadata)});
    }
    return hits;
  }

 private:
  [[noreturn]] static void throw_not_found(const VectorId& id) {
    throw IndexError(IndexErrorKind::not_found, "the index holds no vector " + to_string(id));
  }

  [[nodiscard]] std::span<const float> vector_at(std::size_t row) const {
    return std::span<const float>(vectors_).subspan(row * dim_, dim_);
  }

  // Allocates nothing, and so cannot fail.
  void move_row(std::size_t from, std::size_t to) noexcept {
    const std::span<const float> vector = vector_at(from);
    std::copy(vector.begin(), vector.end(), vectors_.begin() + static_cast<std::ptrdiff_t>(to * dim_));
    rows_[to] = std::move(rows_[from]);
    row_of_.find(rows_[to].id)->second = to;
  }

  // Allocates nothing, and so cannot fail.
  void close_gaps() noexcept {
    std::size_t kept = 0;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      if (rows_[row].erased) {
        continue;
      }
      if (kept != row) {
        move_row(row, kept);
      }
      ++kept;
    }
    rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(kept), rows_.end());
    vectors_.resize(kept * dim_);
  }

  Dimension dim_;
  std::vector<Row> rows_;                             // with gaps where rows were erased in order
  Components vectors_;                                // row after row
  std::unordered_map<VectorId, std::size_t> row_of_;  // the rows that are not erased
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
