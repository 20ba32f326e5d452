// IdentifierMap: the identifiers of rows, and the rows of identifiers.
//
// Invariant: what changes rows that there is room for allocates nothing, and so cannot fail.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "iqdb/index/support/identifier_column.hpp"
#include "iqdb/index/support/identifier_hash.hpp"
#include "iqdb/index/support/row_table.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Identifiers by row and rows by identifier. A row is found by its identifier from enter() to leave(), which the owner of the
/// map calls: for a while two rows may have one identifier. Several threads may call const members at the same time.
class IdentifierMap {
 public:
  IdentifierMap() noexcept = default;
  IdentifierMap(const IdentifierMap&) = default;
  IdentifierMap(IdentifierMap&&) noexcept = default;
  IdentifierMap& operator=(const IdentifierMap& other) { return *this = IdentifierMap(other); }
  IdentifierMap& operator=(IdentifierMap&&) noexcept = default;
  ~IdentifierMap() = default;

  /// Of identifiers that were read; none is entered yet.
  explicit IdentifierMap(IdentifierColumn ids) noexcept : ids_(std::move(ids)) {}

  /// The identifiers by row.
  [[nodiscard]] const IdentifierColumn& ids() const noexcept { return ids_; }

  /// The number of rows that are entered.
  [[nodiscard]] std::size_t entered() const noexcept { return table_.size(); }

  /// The row that is entered with this identifier, or nothing.
  [[nodiscard]] std::optional<std::size_t> find(const VectorId& id) const {
    return table_.find(hash_of(key_, id), [&](std::size_t row) { return ids_.holds(row, id); });
  }

  /// Makes room for `more` rows behind the last, and for as many entries beside those that there are. If it throws
  /// std::bad_alloc, nothing has changed.
  void make_room(std::size_t more) {
    ids_.make_room(more);
    table_.make_room(table_.size() + more);
  }

  /// Adds a row behind the last, which is not entered. Precondition: there is room.
  void push(IdentifierColumn::Cell id) noexcept { ids_.push(std::move(id)); }

  /// Adds a row without an identifier behind the last. Precondition: there is room.
  void push_none() noexcept { ids_.push_none(); }

  /// Gives a row an identifier; it is not entered. Precondition: it has none.
  void put(std::size_t row, IdentifierColumn::Cell id) noexcept { ids_.put(row, std::move(id)); }

  /// Enters a row. Preconditions: there is room, and no row is entered with this identifier.
  void enter(std::size_t row) noexcept { table_.insert(hash_at(row), row); }

  /// Enters a row instead of the one that is entered with the same identifier. Precondition: there is one.
  void enter_instead(std::size_t row) noexcept {
    const std::size_t other = *ids_.with_id(row, [this](const VectorId& id) { return find(id); });
    table_.renumber(hash_at(row), other, row);
  }

  /// Enters all rows that have identifiers. Returns the first whose identifier a row before it has, if there is one; then
  /// the map is good for nothing more. Throws std::bad_alloc. Precondition: none is entered.
  [[nodiscard]] std::optional<std::size_t> enter_all() {
    // Most of the time goes by in waiting for memory. So the hashes of a few rows are computed first, and the processor
    // fetches the places of all of them at once.
    constexpr std::size_t step = 32;
    table_.make_room(ids_.size());
    std::array<std::uint64_t, step> hashes{};
    for (std::size_t begin = 0; begin < ids_.size(); begin += step) {
      const std::size_t end = std::min(begin + step, ids_.size());
      for (std::size_t row = begin; row < end; ++row) {
        if (!ids_.is_none(row)) {
          hashes[row - begin] = hash_at(row);
          table_.prefetch(hashes[row - begin]);
        }
      }
      for (std::size_t row = begin; row < end; ++row) {
        if (ids_.is_none(row)) {
          continue;
        }
        const std::uint64_t hash = hashes[row - begin];
        const auto has_its_identifier = [&](std::size_t other) {
          return ids_.with_id(row, [&](const VectorId& id) { return ids_.holds(other, id); });
        };
        if (table_.find(hash, has_its_identifier)) {
          return row;
        }
        table_.insert(hash, row);
      }
    }
    return std::nullopt;
  }

  /// Ends that a row is found by its identifier, if it is entered. Precondition: it has one.
  void leave(std::size_t row) noexcept { table_.erase(hash_at(row), row); }

  /// Takes the identifier of a row away. Precondition: the row is not entered.
  void erase(std::size_t row) noexcept { ids_.erase(row); }

  /// Moves the identifier of one row to another, and its entry if it is entered. Precondition: the other has none.
  void move(std::size_t from, std::size_t to) noexcept {
    table_.renumber(hash_at(from), from, to);
    ids_.move(from, to);
  }

  /// Removes the last rows, so that `rows` remain. Precondition: the others are not entered.
  void truncate(std::size_t rows) noexcept { ids_.truncate(rows); }

 private:
  [[nodiscard]] std::uint64_t hash_at(std::size_t row) const noexcept {
    return ids_.with_id(row, [this](const VectorId& id) { return hash_of(key_, id); });
  }

  IdentifierColumn ids_;
  RowTable<> table_;
  HashKey key_ = drawn_key();  // of each map its own: it goes with the map when a library hands it to another one
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
