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
#include <utility>
#include <vector>

#include "iqdb/index/support/dimension.hpp"
#include "iqdb/index/support/identifier_column.hpp"
#include "iqdb/index/support/identifier_map.hpp"
#include "iqdb/index/support/metadata_column.hpp"
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

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_two_rows(const Reader& reader, std::string_view type,
                                                                  const VectorId& id) {
  reader.fail(PersistErrorKind::invalid_payload,
              "the " + std::string(type) + " index holds two vectors " + to_string(id));
}

/// Throws PersistError invalid_payload if two of the identifiers of a payload are the same, as Rows does, and std::bad_alloc.
inline void require_unique(const Reader& reader, std::string_view type, IdentifierColumn ids) {
  if (ids.ascend()) {
    return;  // as in most files: no table is needed
  }
  IdentifierMap map(std::move(ids));
  if (const auto twice = map.enter_all()) {
    throw_two_rows(reader, type, map.ids().id(*twice));
  }
}

/// Rows by identifier and by position. Several threads may call const members at the same time.
class Rows {
 public:
  /// No rows, for vectors of `dim` components. Precondition: dim is not 0.
  explicit Rows(std::size_t dim) noexcept : dim_(dim) {}

  /// Rows that were read, none of them erased. Throws PersistError invalid_payload if two have the same identifier, and
  /// std::bad_alloc. `type` is the type of the index, for the message. Preconditions: an identifier and a vector for each row,
  /// and metadata for no other.
  Rows(const Reader& reader, std::string_view type, std::size_t dim, IdentifierColumn ids, MetadataColumn metadata,
       Components vectors)
      : dim_(dim), map_(std::move(ids)), metadata_(std::move(metadata)), vectors_(std::move(vectors)) {
    if (const auto twice = map_.enter_all()) {
      throw_two_rows(reader, type, map_.ids().id(*twice));
    }
  }

  /// The number of rows that are not erased.
  [[nodiscard]] std::size_t size() const noexcept { return map_.entered(); }

  /// The number of components of each vector.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// Whether a row has this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return map_.find(id).has_value(); }

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
    const std::size_t row = rows();
    map_.make_room(1);
    IdentifierColumn::Cell id_cell(std::move(id));
    MetadataColumn::Cell metadata_cell = MetadataColumn::make_cell(std::move(metadata));
    metadata_.make_room(row, metadata_cell);
    vectors_.insert(vectors_.end(), vector.begin(), vector.end());  // the last call that can throw
    map_.push(std::move(id_cell));
    map_.enter(row);
    metadata_.put(row, std::move(metadata_cell));
  }

  /// Gives the row of an identifier another vector and other metadata, at the same position; or adds a row behind all
  /// others. If it throws std::bad_alloc, nothing has changed. Precondition: the vector has dim() components.
  void put(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    const auto row = map_.find(id);
    if (!row) {
      append(std::move(id), vector, std::move(metadata));
      return;
    }
    metadata_.set(*row, std::move(metadata));  // the last call that can throw
    std::ranges::copy(vector, vectors_.begin() + static_cast<std::ptrdiff_t>(*row * dim_));
  }

  /// Erases a row and keeps the order of the others. Throws IndexError not_found if no row has this identifier.
  void erase_in_order(const VectorId& id) {
    const auto row = map_.find(id);
    if (!row) {
      throw_not_found(id);
    }
    forget(*row);
    // Closing a gap at every removal would make each removal linear. Closing them all when more than half of the rows
    // are gaps makes a removal constant on average.
    if (rows() > 2 * size()) {
      close_gaps();
    }
  }

  /// Erases a row by moving the last one into its position, if a row has this identifier. Precondition: no row was
  /// erased in order.
  void erase_by_last(const VectorId& id) {
    const auto row = map_.find(id);
    if (!row) {
      return;
    }
    const std::size_t last = rows() - 1;
    forget(*row);
    if (*row < last) {
      move_row(last, *row);
    }
    truncate(last);
  }

  /// Calls `visit(id, vector, metadata)` for every row in order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t row = 0; row < rows(); ++row) {
      if (!is_erased(row)) {
        map_.ids().with_id(row, [&](const VectorId& id) { visit(id, vector(row), metadata_.at(row)); });
      }
    }
  }

  /// Calls `visit(vector, metadata)` for the row of an identifier. Returns whether there is one.
  template <class Visit>
  bool visit_one(const VectorId& id, Visit&& visit) const {
    const auto row = map_.find(id);
    if (row) {
      visit(vector(*row), metadata(*row));
    }
    return row.has_value();
  }

  /// Calls `visit(id)` for every row in order.
  template <class Visit>
  void visit_ids(Visit&& visit) const {
    for (std::size_t row = 0; row < rows(); ++row) {
      if (!is_erased(row)) {
        with_id(row, visit);
      }
    }
  }

  /// Calls `visit(components)` for the vectors in order, with as many of them at once as stand side by side: all of
  /// them if no row was erased.
  template <class Visit>
  void for_each_run(Visit&& visit) const {
    for (std::size_t row = 0; row < rows();) {
      std::size_t end = row;
      while (end < rows() && !is_erased(end)) {
        ++end;
      }
      visit(std::span<const float>(vectors_).subspan(row * dim_, (end - row) * dim_));
      row = end + 1;
    }
  }

  /// The number of rows, erased ones among them. Every row has a number below this.
  [[nodiscard]] std::size_t rows() const noexcept { return map_.ids().size(); }

  /// Whether a row was erased in order: it is a gap without an identifier. Precondition: row < rows().
  [[nodiscard]] bool is_erased(std::size_t row) const noexcept { return map_.ids().is_none(row); }

  /// The identifier of a row that is not erased. Throws std::bad_alloc for bytes that are not few.
  [[nodiscard]] VectorId id(std::size_t row) const { return map_.ids().id(row); }

  /// Returns `look(id)` for the identifier of a row that is not erased, a `const VectorId&` that is valid during the call.
  template <class Look>
  decltype(auto) with_id(std::size_t row, Look&& look) const {
    return map_.ids().with_id(row, std::forward<Look>(look));
  }

  /// The metadata of a row that is not erased.
  [[nodiscard]] const std::optional<Metadata>& metadata(std::size_t row) const noexcept { return metadata_.at(row); }

  /// The vector of a row that is not erased.
  [[nodiscard]] std::span<const float> vector(std::size_t row) const {
    return std::span<const float>(vectors_).subspan(row * dim_, dim_);
  }

  /// The row of an identifier, or nothing if no row has it.
  [[nodiscard]] std::optional<std::size_t> find(const VectorId& id) const { return map_.find(id); }

  /// Gives the row of an identifier other metadata. If it throws, nothing has changed: IndexError not_found if no row has the
  /// identifier, std::bad_alloc.
  void set_metadata(const VectorId& id, std::optional<Metadata> metadata) {
    const auto row = map_.find(id);
    if (!row) {
      throw_not_found(id);
    }
    metadata_.set(*row, std::move(metadata));
  }

  /// Makes room for so many rows in all. Throws std::bad_alloc, std::length_error.
  void reserve(std::size_t rows_in_all) {
    if (rows_in_all > rows()) {
      map_.make_room(rows_in_all - rows());
      vectors_.reserve(rows_in_all * dim_);
    }
  }

 private:
  [[noreturn]] static void throw_not_found(const VectorId& id) {
    throw IndexError(IndexErrorKind::not_found, "the index holds no vector " + to_string(id));
  }

  // What follows allocates nothing, and so cannot fail.

  // Makes a row a gap.
  void forget(std::size_t row) noexcept {
    map_.leave(row);
    map_.erase(row);
    metadata_.put(row, nullptr);
  }

  void move_row(std::size_t from, std::size_t to) noexcept {
    const std::span<const float> moved = vector(from);
    std::ranges::copy(moved, vectors_.begin() + static_cast<std::ptrdiff_t>(to * dim_));
    map_.move(from, to);
    metadata_.move(from, to);
  }

  void truncate(std::size_t rows) noexcept {
    map_.truncate(rows);
    metadata_.truncate(rows);
    vectors_.resize(rows * dim_);
  }

  void close_gaps() noexcept {
    std::size_t kept = 0;
    for (std::size_t row = 0; row < rows(); ++row) {
      if (is_erased(row)) {
        continue;
      }
      if (kept != row) {
        move_row(row, kept);
      }
      ++kept;
    }
    truncate(kept);
  }

  Dimension dim_;
  IdentifierMap map_;        // the rows that are not erased are entered; the others are gaps without identifiers
  MetadataColumn metadata_;  // by row
  Components vectors_;       // row after row
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
