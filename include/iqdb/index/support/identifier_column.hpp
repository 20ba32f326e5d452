// IdentifierColumn: the identifiers of rows, nine bytes a row where they are integers.
//
// Invariant: what changes rows that there is room for allocates nothing, and so cannot fail. Identifiers of bytes are
// allocated before, in a Cell.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Identifiers by row, with rows that have none. An integer stands in the column, bytes stand in a VectorId of their own.
/// Several threads may call const members at the same time.
class IdentifierColumn {
  enum class Kind : std::uint8_t { none, integer, bytes };
  union Word {
    std::uint64_t integer;
    VectorId* bytes;  // owned
  };

 public:
  /// An identifier that is ready to be put into a column.
  class Cell {
   public:
    /// Throws std::bad_alloc for an identifier of bytes.
    explicit Cell(VectorId id) : kind_(id.is_integer() ? Kind::integer : Kind::bytes) {
      if (kind_ == Kind::integer) {
        word_.integer = id.integer();
      } else {
        word_.bytes = new VectorId(std::move(id));
      }
    }
    Cell(const Cell&) = delete;
    Cell& operator=(const Cell&) = delete;
    Cell(Cell&& other) noexcept : kind_(std::exchange(other.kind_, Kind::none)), word_(other.word_) {}
    Cell& operator=(Cell&&) = delete;
    ~Cell() { release(kind_, word_); }

   private:
    friend class IdentifierColumn;
    Kind kind_;
    Word word_ = {.integer = 0};
  };

  IdentifierColumn() = default;
  IdentifierColumn(const IdentifierColumn& other) : IdentifierColumn() {
    make_room(other.size());
    for (std::size_t row = 0; row < other.size(); ++row) {
      if (other.is_none(row)) {
        push_none();
      } else {
        push(Cell(other.id(row)));
      }
    }
  }
  IdentifierColumn(IdentifierColumn&& other) noexcept
      : words_(std::exchange(other.words_, {})),
        kinds_(std::exchange(other.kinds_, {})),
        has_bytes_(other.has_bytes_) {}
  IdentifierColumn& operator=(const IdentifierColumn& other) { return *this = IdentifierColumn(other); }
  IdentifierColumn& operator=(IdentifierColumn&& other) noexcept {
    IdentifierColumn taken(std::move(other));
    words_.swap(taken.words_);
    kinds_.swap(taken.kinds_);
    std::swap(has_bytes_, taken.has_bytes_);
    return *this;
  }
  ~IdentifierColumn() { truncate(0); }

  /// The number of rows.
  [[nodiscard]] std::size_t size() const noexcept { return kinds_.size(); }

  /// The number of rows that there is room for.
  [[nodiscard]] std::size_t capacity() const noexcept { return std::min(words_.capacity(), kinds_.capacity()); }

  /// Whether a row has no identifier. Precondition: row < size().
  [[nodiscard]] bool is_none(std::size_t row) const noexcept { return kinds_[row] == Kind::none; }

  /// Whether a row has this identifier. Precondition: the row has one.
  [[nodiscard]] bool holds(std::size_t row, const VectorId& id) const noexcept {
    if (id.is_integer()) {
      return words_[row].integer == id.integer() && (!has_bytes_ || kinds_[row] == Kind::integer);
    }
    return kinds_[row] == Kind::bytes && *words_[row].bytes == id;
  }

  /// Whether every row has an integer that is greater than that of the row before: then no two are the same.
  [[nodiscard]] bool ascend() const noexcept {
    for (std::size_t row = 0; row < size(); ++row) {
      if (kinds_[row] != Kind::integer || (row > 0 && words_[row].integer <= words_[row - 1].integer)) {
        return false;
      }
    }
    return true;
  }

  /// Returns `look(id)` for the identifier of a row, a `const VectorId&` that is valid during the call. Allocates
  /// nothing. Precondition: the row has one.
  template <class Look>
  decltype(auto) with_id(std::size_t row, Look&& look) const {
    if (kinds_[row] == Kind::bytes) {
      return std::forward<Look>(look)(std::as_const(*words_[row].bytes));
    }
    const VectorId integer(words_[row].integer);
    return std::forward<Look>(look)(integer);
  }

  /// The identifier of a row. Throws std::bad_alloc for bytes that are not few. Precondition: the row has one.
  [[nodiscard]] VectorId id(std::size_t row) const {
    return with_id(row, [](const VectorId& id) { return id; });
  }

  /// Makes room for `more` rows behind the last. If it throws std::bad_alloc, nothing has changed.
  void make_room(std::size_t more) {
    if (capacity() - size() < more) {
      const std::size_t rows = std::max({std::size_t{16}, capacity() + capacity() / 2, size() + more});
      words_.reserve(rows);
      kinds_.reserve(rows);
    }
  }

  /// As Reader::make_room, for rows that are read. Throws std::bad_alloc.
  void make_room(const Reader& reader, std::uint64_t count, std::uint64_t bytes_each) {
    reader.make_room(words_, count, bytes_each);
    kinds_.reserve(words_.capacity());
  }

  /// Adds a row behind the last. Precondition: there is room.
  void push(Cell id) noexcept {
    has_bytes_ = has_bytes_ || id.kind_ == Kind::bytes;
    words_.push_back(id.word_);
    kinds_.push_back(std::exchange(id.kind_, Kind::none));
  }

  /// Adds a row without an identifier behind the last. Precondition: there is room.
  void push_none() noexcept {
    words_.push_back({.integer = 0});
    kinds_.push_back(Kind::none);
  }

  /// Gives a row an identifier. Precondition: it has none.
  void put(std::size_t row, Cell id) noexcept {
    has_bytes_ = has_bytes_ || id.kind_ == Kind::bytes;
    words_[row] = id.word_;
    kinds_[row] = std::exchange(id.kind_, Kind::none);
  }

  /// Takes the identifier of a row away, if it has one.
  void erase(std::size_t row) noexcept { release(std::exchange(kinds_[row], Kind::none), words_[row]); }

  /// Moves the identifier of one row to another, which has none.
  void move(std::size_t from, std::size_t to) noexcept {
    words_[to] = words_[from];
    kinds_[to] = std::exchange(kinds_[from], Kind::none);
  }

  /// Removes the last rows, so that `rows` remain.
  void truncate(std::size_t rows) noexcept {
    for (std::size_t row = rows; row < size(); ++row) {
      erase(row);
    }
    words_.resize(rows);
    kinds_.resize(rows);
  }

 private:
  static void release(Kind kind, const Word& word) noexcept {
    if (kind == Kind::bytes) {
      delete word.bytes;
    }
  }

  std::vector<Word, HugePageAllocator<Word>> words_;
  std::vector<Kind, HugePageAllocator<Kind>> kinds_;
  bool has_bytes_ =
      false;  // whether a row has or had an identifier of bytes: if not, kinds need not be read to compare
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
