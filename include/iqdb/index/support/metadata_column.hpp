// MetadataColumn: the metadata of rows: nothing while no row has any, a pointer a row from then on.
//
// Invariant: what changes rows that there is room for allocates nothing, and so cannot fail. Metadata is allocated before,
// in a Cell.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// What a row without metadata has.
inline constinit const std::optional<Metadata> no_metadata = std::nullopt;

/// Metadata by row. It ends behind the last row that ever had any. Several threads may call const members at the same time.
class MetadataColumn {
 public:
  /// Metadata that is ready to be put into a column; null for none.
  using Cell = std::unique_ptr<std::optional<Metadata>>;

  MetadataColumn() = default;
  MetadataColumn(const MetadataColumn& other) {
    cells_.reserve(other.cells_.size());
    for (const Cell& cell : other.cells_) {
      cells_.push_back(cell ? make_cell(copied(*cell)) : nullptr);
    }
  }
  MetadataColumn(MetadataColumn&&) noexcept = default;
  MetadataColumn& operator=(const MetadataColumn& other) { return *this = MetadataColumn(other); }
  MetadataColumn& operator=(MetadataColumn&&) noexcept = default;
  ~MetadataColumn() = default;

  /// Metadata that is ready to be put into a column. Throws std::bad_alloc.
  [[nodiscard]] static Cell make_cell(std::optional<Metadata> metadata) {
    if (!metadata) {
      return nullptr;
    }
    return std::make_unique<std::optional<Metadata>>(std::move(metadata));
  }

  /// The metadata of a row, valid until the row changes.
  [[nodiscard]] const std::optional<Metadata>& at(std::size_t row) const noexcept {
    return row < cells_.size() && cells_[row] ? *cells_[row] : no_metadata;
  }

  /// Makes room for this in a row. If it throws std::bad_alloc, nothing has changed.
  void make_room(std::size_t row, const Cell& cell) {
    if (cell && row >= cells_.capacity()) {
      cells_.reserve(std::max({std::size_t{16}, cells_.capacity() + cells_.capacity() / 2, row + 1}));
    }
  }

  /// Gives a row this metadata instead of its own. Precondition: there is room.
  void put(std::size_t row, Cell cell) noexcept {
    if (cell && row >= cells_.size()) {
      cells_.resize(row + 1);
    }
    if (row < cells_.size()) {
      cells_[row] = std::move(cell);
    }
  }

  /// As put(), with the memory that it takes, which is none if the row has metadata. If it throws std::bad_alloc, nothing has
  /// changed.
  void set(std::size_t row, std::optional<Metadata> metadata) {
    if (metadata && at(row)) {
      *cells_[row] = std::move(metadata);
      return;
    }
    Cell cell = make_cell(std::move(metadata));
    make_room(row, cell);
    put(row, std::move(cell));
  }

  /// Moves the metadata of one row to another, which has none.
  void move(std::size_t from, std::size_t to) noexcept {
    if (from < cells_.size()) {
      put(to, std::move(cells_[from]));
    }
  }

  /// Removes the metadata of the rows from this one on.
  void truncate(std::size_t rows) noexcept {
    if (rows < cells_.size()) {
      cells_.resize(rows);
    }
  }

 private:
  std::vector<Cell> cells_;
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
