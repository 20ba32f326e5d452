// Rows: vectors with their identifiers and metadata, one behind the other in memory. The exact indexes keep their contents
// in it.
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
        reader.fail(PersistErrorKind::invalid_payload,
                    "the " + std::string(type) + " index holds two vectors " + to_string(rows_[row].id));
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
        visit(rows_[row].id, vector(row), rows_[row].metadata);
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

  /// The number of rows, erased ones among them. Every row has a number below this.
  [[nodiscard]] std::size_t rows() const noexcept { return rows_.size(); }

  /// Whether a row is a gap that an erasure left. Precondition: row < rows().
  [[nodiscard]] bool is_erased(std::size_t row) const noexcept { return rows_[row].erased; }

  /// The identifier of a row that is not erased.
  [[nodiscard]] const VectorId& id(std::size_t row) const noexcept { return rows_[row].id; }

  /// The metadata of a row that is not erased.
  [[nodiscard]] const std::optional<Metadata>& metadata(std::size_t row) const noexcept { return rows_[row].metadata; }

  /// The vector of a row that is not erased.
  [[nodiscard]] std::span<const float> vector(std::size_t row) const {
    return std::span<const float>(vectors_).subspan(row * dim_, dim_);
  }

  /// The row of an identifier, or nothing if no row has it.
  [[nodiscard]] std::optional<std::size_t> find(const VectorId& id) const {
    const auto place = row_of_.find(id);
    return place == row_of_.end() ? std::nullopt : std::optional(place->second);
  }

  /// Gives the row of an identifier other metadata. Throws IndexError not_found if no row has the identifier.
  void set_metadata(const VectorId& id, std::optional<Metadata> metadata) {
    require_present(id);
    rows_[row_of_.find(id)->second].metadata = std::move(metadata);
  }

  /// Makes room for so many rows in all. Throws std::bad_alloc, std::length_error.
  void reserve(std::size_t rows) {
    row_of_.reserve(rows);
    rows_.reserve(rows);
    vectors_.reserve(rows * dim_);
  }

 private:
  [[noreturn]] static void throw_not_found(const VectorId& id) {
    throw IndexError(IndexErrorKind::not_found, "the index holds no vector " + to_string(id));
  }

  // Allocates nothing, and so cannot fail.
  void move_row(std::size_t from, std::size_t to) noexcept {
    const std::span<const float> moved = vector(from);
    std::ranges::copy(moved, vectors_.begin() + static_cast<std::ptrdiff_t>(to * dim_));
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
