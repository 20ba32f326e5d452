// RowTable: rows by hash, in an open-addressing table of one word a place.
//
// A place holds the number of a row and the leading bits of its hash, and neither the hash nor the key: the rows have their
// keys already. A std::unordered_map, and the flat maps of other libraries, would hold every identifier a second time. So
// it is written here, which also spares users of the core a package.
//
// Invariant: a row stands at the place to which its hash leads, or behind it without an empty place between. Nothing outside
// depends on the order of the places.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Numbers of rows by hash. `Place` is the word of a place; a smaller one than 64 bits is for tests. A place is shared
/// between the row, which has half of the bits and more only in a table of more places, and the leading bits of the hash. The
/// last three of these choose among the eight places of a line of the processor's cache. Several threads may call const
/// members at the same time.
template <std::unsigned_integral Place = std::uint64_t>
class RowTable {
 public:
  RowTable() = default;
  RowTable(const RowTable&) = default;
  RowTable& operator=(const RowTable&) = default;
  RowTable(RowTable&& other) noexcept
      : places_(std::exchange(other.places_, {})),
        row_bits_(std::exchange(other.row_bits_, least_row_bits)),
        rows_(std::exchange(other.rows_, 0)) {}
  RowTable& operator=(RowTable&& other) noexcept {
    places_ = std::exchange(other.places_, {});
    row_bits_ = std::exchange(other.row_bits_, least_row_bits);
    rows_ = std::exchange(other.rows_, 0);
    return *this;
  }
  ~RowTable() = default;

  /// The number of rows in the table.
  [[nodiscard]] std::size_t size() const noexcept { return rows_; }

  /// The row with this hash for which `is_wanted(row)` is true, or nothing. Calls it only for rows whose hashes begin as
  /// `hash` does.
  template <class IsWanted>
  [[nodiscard]] std::optional<std::size_t> find(std::uint64_t hash, IsWanted&& is_wanted) const {
    if (rows_ == 0) {
      return std::nullopt;
    }
    const std::size_t at = place_of(hash, is_wanted);
    return places_[at] == 0 ? std::nullopt : std::optional(row_in(places_[at]));
  }

  /// Makes room for `rows` rows in all. If it throws std::bad_alloc, nothing has changed.
  void make_room(std::size_t rows) {
    if (rows > most_rows(places_.size())) {
      // Growing by half keeps at least half of the places in use, and the rows go over in the order of their hashes, so
      // that memory is read and written from front to back.
      grow(std::max(places_.size() + places_.size() / 2, rows + (rows * 3 + 6) / 7 + 1));
    }
  }

  /// Asks the processor to fetch the place to which a hash leads.
  void prefetch([[maybe_unused]] std::uint64_t hash) const noexcept {
#ifdef __has_builtin  // only a hint, which MSVC has under another name on each processor
    if (!places_.empty()) {
      __builtin_prefetch(places_.data() + home_of(tag_of_hash(hash)), 1);
    }
#endif
  }

  /// Adds a row. Preconditions: there is room for it, and it is not in the table.
  void insert(std::uint64_t hash, std::size_t row) noexcept {
    put(tag_of_hash(hash), row);
    ++rows_;
  }

  /// Removes a row with this hash and returns true, or returns false if the table does not have it.
  bool erase(std::uint64_t hash, std::size_t row) noexcept {
    if (rows_ == 0) {
      return false;
    }
    std::size_t hole = place_of(hash, [row](std::size_t other) { return other == row; });
    if (places_[hole] == 0) {
      return false;
    }
    // Each row behind the hole that may stand there moves into it. A mark in the hole instead would stay in the way of every
    // later search.
    for (std::size_t at = next(hole); places_[at] != 0; at = next(at)) {
      if (steps(home_of(tag_in(places_[at])), at) >= steps(hole, at)) {
        places_[hole] = places_[at];
        hole = at;
      }
    }
    places_[hole] = 0;
    --rows_;
    return true;
  }

  /// Gives a row with this hash another number. Returns false if the table does not have it.
  bool renumber(std::uint64_t hash, std::size_t row, std::size_t to) noexcept {
    if (rows_ == 0) {
      return false;
    }
    const std::size_t at = place_of(hash, [row](std::size_t other) { return other == row; });
    if (places_[at] == 0) {
      return false;
    }
    places_[at] = packed(tag_in(places_[at]), to);
    return true;
  }

 private:
  static constexpr unsigned bits = std::numeric_limits<Place>::digits;
  static constexpr unsigned least_row_bits = bits / 2;
  static constexpr std::size_t line = 8;
  static constexpr unsigned line_bits = 3;

  // Of ten places three stay empty, so that searches end soon.
  [[nodiscard]] static constexpr std::size_t most_rows(std::size_t places) noexcept {
    return places / 10 * 7 + places % 10 * 7 / 10;
  }

  // Row 0 is stored as 1, because a place of 0 is an empty one.
  [[nodiscard]] Place packed(std::uint64_t tag, std::size_t row) const noexcept {
    return static_cast<Place>(tag << row_bits_ | (std::uint64_t{row} + 1));
  }
  [[nodiscard]] std::size_t row_in(Place place) const noexcept {
    return static_cast<std::size_t>((place & ((std::uint64_t{1} << row_bits_) - 1)) - 1);
  }
  [[nodiscard]] std::uint64_t tag_in(Place place) const noexcept { return std::uint64_t{place} >> row_bits_; }

  // The leading bits of a hash, as many as have space beside a row.
  [[nodiscard]] std::uint64_t tag_of_hash(std::uint64_t hash) const noexcept { return hash >> (64 - bits + row_bits_); }

  // Where a row belongs. It does not overflow: a tag has bits - row_bits_ bits, the number of places at most row_bits_.
  [[nodiscard]] std::size_t home_of(std::uint64_t tag) const noexcept {
    const std::uint64_t lines = places_.size() / line;
    const std::uint64_t its_line = ((tag >> line_bits) * lines) >> (bits - row_bits_ - line_bits);
    return static_cast<std::size_t>(its_line * line + tag % line);
  }

  [[nodiscard]] std::size_t next(std::size_t at) const noexcept { return at + 1 == places_.size() ? 0 : at + 1; }

  // How many places `to` stands behind `from`.
  [[nodiscard]] std::size_t steps(std::size_t from, std::size_t to) const noexcept {
    return to >= from ? to - from : to + places_.size() - from;
  }

  // The place of the row that is wanted, or the empty place where the search for it ends. Precondition: there are places.
  template <class IsWanted>
  [[nodiscard]] std::size_t place_of(std::uint64_t hash, IsWanted&& is_wanted) const {
    const std::uint64_t tag = tag_of_hash(hash);
    std::size_t at = home_of(tag);
    while (places_[at] != 0 && (tag_in(places_[at]) != tag || !is_wanted(row_in(places_[at])))) {
      at = next(at);
    }
    return at;
  }

  void put(std::uint64_t tag, std::size_t row) noexcept {
    std::size_t at = home_of(tag);
    while (places_[at] != 0) {
      at = next(at);
    }
    places_[at] = packed(tag, row);
  }

  // Makes it a table of this many places, rounded up to whole lines.
  void grow(std::size_t places) {
    places = (places + line - 1) / line * line;
    RowTable larger;
    larger.places_.resize(places, 0);
    larger.row_bits_ = std::max(row_bits_, static_cast<unsigned>(std::bit_width(places)));
    for (const Place place : places_) {
      if (place != 0) {
        larger.put(tag_in(place) >> (larger.row_bits_ - row_bits_), row_in(place));
      }
    }
    places_ = std::move(larger.places_);
    row_bits_ = larger.row_bits_;
  }

  std::vector<Place, HugePageAllocator<Place>> places_;  // 0 where empty
  unsigned row_bits_ = least_row_bits;
  std::size_t rows_ = 0;
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
