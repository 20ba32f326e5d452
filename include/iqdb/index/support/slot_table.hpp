// SlotTable: the identifier and metadata of each slot, for an index whose library knows vectors only by number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Identifiers and metadata by slot. A slot is the number under which a library keeps a vector (hnswlib's label,
/// faiss's id, usearch's key). Slots count up from 0. The slot of an erased vector is free until another vector takes
/// it.
///
/// Invariant: the next slot depends only on which slots are taken, so a replay of the same mutations fills the same
/// slots.
class SlotTable {
 public:
  /// A vector during its insertion. Its slot is taken, and becomes free again unless keep() is called, so that nothing
  /// remains if the library throws. The table must not be changed or moved before keep() is called or the Addition goes.
  class [[nodiscard]] Addition {
   public:
    Addition(const Addition&) = delete;
    Addition& operator=(const Addition&) = delete;
    ~Addition() {
      if (table_ != nullptr) {
        table_->take_back(slot_, reused_);
      }
    }

    /// The slot of the new vector.
    [[nodiscard]] std::size_t slot() const noexcept { return slot_; }

    /// Whether the slot has had a vector before.
    [[nodiscard]] bool reused() const noexcept { return reused_; }

    /// Keeps the vector: the library has taken it. Its identifier has this slot from now on.
    void keep() noexcept {
      table_->slot_of_.find(table_->id(slot_))->second = slot_;
      table_ = nullptr;
    }

    /// Keeps the slot, but free: the library made it without taking the vector.
    void keep_slot() noexcept { reused_ = true; }

   private:
    friend class SlotTable;
    Addition(SlotTable& table, std::size_t slot, bool reused) noexcept : table_(&table), slot_(slot), reused_(reused) {}

    SlotTable* table_;
    std::size_t slot_;
    bool reused_;
  };

  /// Vectors during their insertion in one call. Row by row each has the next_slot(), and all slots become free again
  /// unless keep() is called: the table gets every row or none. The table must not be changed or moved before keep() is
  /// called or the Additions go.
  class [[nodiscard]] Additions {
   public:
    /// Takes a slot for each row. If it throws, nothing has changed: IndexError duplicate for an identifier that is known
    /// or stands in two rows, std::bad_alloc. Precondition: check_storable(metadata) throws for no row.
    Additions(SlotTable& table, std::span<const VectorId> ids, std::span<const std::optional<Metadata>> metadata)
        : Additions(table, ids.size()) {
      slots_.reserve(ids.size());
      table.make_room_for(ids.size());
      for (std::size_t row = 0; row < ids.size(); ++row) {
        VectorId id = ids[row];
        std::optional<Metadata> own = copied(metadata[row]);
        const std::size_t slot = table.next_slot();
        if (!table.slot_of_.emplace(id, slot).second) {  // the last call that can throw for this row
          throw_duplicate(id);
        }
        slots_.push_back(slot);
        table.fill_next(std::move(id), std::move(own));
      }
    }
    Additions(const Additions&) = delete;
    Additions& operator=(const Additions&) = delete;
    ~Additions() {
      // The last first, because new slots are taken back from the end of the table.
      for (; table_ != nullptr && !slots_.empty(); slots_.pop_back()) {
        table_->take_back(slots_.back(), slots_.size() <= reused_);
      }
    }

    /// The number of rows.
    [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

    /// The slot of a row. Precondition: row < size().
    [[nodiscard]] std::size_t slot(std::size_t row) const noexcept { return slots_[row]; }

    /// The number of rows whose slots have had vectors before. They are the first ones. The slots of the rows behind them
    /// are new and follow one another.
    [[nodiscard]] std::size_t reused() const noexcept { return reused_; }

    /// Keeps the vectors: the library has taken all of them.
    void keep() noexcept { table_ = nullptr; }

    /// Keeps the new slots, but free: the library made them without taking the vectors.
    void keep_slots() noexcept { reused_ = slots_.size(); }

   private:
    Additions(SlotTable& table, std::size_t rows) noexcept
        : table_(&table), reused_(std::min(rows, table.free_.size())) {}

    SlotTable* table_;
    std::vector<std::size_t> slots_;  // by row
    std::size_t reused_;
  };

  /// The number of taken slots, which is the number of vectors.
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size() - free_.size(); }

  /// The number of slots, taken and free. Every slot is smaller than this.
  [[nodiscard]] std::size_t slots() const noexcept { return rows_.size(); }

  /// The slot that the next vector gets: the lowest free one, or a new one.
  [[nodiscard]] std::size_t next_slot() const noexcept { return free_.empty() ? rows_.size() : free_.front(); }

  /// Whether `slot` is free. Precondition: slot < slots().
  [[nodiscard]] bool is_free(std::size_t slot) const noexcept { return !rows_[slot].has_value(); }

  /// The identifier of the vector in `slot`. Precondition: the slot is taken.
  [[nodiscard]] const VectorId& id(std::size_t slot) const noexcept { return rows_[slot]->id; }

  /// The metadata of the vector in `slot`. Precondition: the slot is taken.
  [[nodiscard]] const std::optional<Metadata>& metadata(std::size_t slot) const noexcept {
    return rows_[slot]->metadata;
  }

  /// The slot of a vector, or nothing if the table does not have it.
  [[nodiscard]] std::optional<std::size_t> find(const VectorId& id) const {
    const auto found = slot_of_.find(id);
    return found == slot_of_.end() ? std::nullopt : std::optional(found->second);
  }

  /// The slot of a vector. Throws IndexError not_found if the table does not have it.
  [[nodiscard]] std::size_t at(const VectorId& id) const {
    const auto slot = find(id);
    if (!slot) {
      throw IndexError(IndexErrorKind::not_found, "there is no vector " + to_string(id) + " in the index");
    }
    return *slot;
  }

  /// Throws IndexError duplicate for a known identifier.
  void require_absent(const VectorId& id) const {
    if (slot_of_.contains(id)) {
      throw_duplicate(id);
    }
  }

  /// Gives `id` next_slot(). If it throws, nothing has changed: IndexError duplicate for a known identifier,
  /// std::bad_alloc. Precondition: check_storable(metadata) does not throw.
  [[nodiscard]] Addition add(VectorId id, std::optional<Metadata> metadata) {
    make_room_for_next();
    if (!slot_of_.emplace(id, next_slot()).second) {  // the last call that can throw
      throw_duplicate(id);
    }
    return take_next(std::move(id), std::move(metadata));
  }

  /// Gives a known identifier next_slot() for a vector that replaces its own. Its slot becomes the new one by keep();
  /// the old one stays taken until it is removed. Throws std::bad_alloc, and then has changed nothing. Preconditions:
  /// the table has the identifier, and check_storable(metadata) does not throw.
  [[nodiscard]] Addition replace(VectorId id, std::optional<Metadata> metadata) {
    make_room_for_next();
    return take_next(std::move(id), std::move(metadata));
  }

  /// Adds a slot behind all others, even if some are free: for an index that is loaded or imported. Throws IndexError
  /// duplicate for a known identifier, std::bad_alloc.
  void append(VectorId id, std::optional<Metadata> metadata) {
    make_room_for(1);
    if (!slot_of_.emplace(id, rows_.size()).second) {
      throw IndexError(IndexErrorKind::duplicate, "the index holds two vectors " + to_string(id));
    }
    rows_.emplace_back(std::in_place, std::move(id), std::move(metadata));
  }

  /// Adds a free slot behind all others. Throws std::bad_alloc.
  void append_free() {
    make_room_for(1);
    free_.push_back(rows_.size());  // the highest: at the end of a heap
    rows_.emplace_back();
  }

  /// Frees a slot. The table forgets its identifier, unless that has another slot by now. Precondition: it is taken.
  void remove(std::size_t slot) noexcept {
    forget(slot);
    rows_[slot].reset();
    free_.push_back(slot);  // has room: see make_room_for
    std::push_heap(free_.begin(), free_.end(), std::greater<>{});
  }

  /// Frees a slot by moving the content of the last slot into it, so that no gap remains: for a library that numbers
  /// its vectors without gaps. The table forgets the identifier as remove() does. Precondition: the slot is taken, and
  /// no slot is free.
  void remove_by_last(std::size_t slot) noexcept {
    forget(slot);
    if (slot + 1 < rows_.size()) {
      slot_of_.find(rows_.back()->id)->second = slot;
      rows_[slot] = std::move(rows_.back());
    }
    rows_.pop_back();
  }

  /// Gives a taken slot other metadata. Precondition: check_storable(metadata) does not throw.
  void set_metadata(std::size_t slot, std::optional<Metadata> metadata) noexcept {
    rows_[slot]->metadata = std::move(metadata);
  }

  /// Makes room for so many slots in all. Throws std::bad_alloc.
  void reserve(std::size_t slots) {
    if (slots > rows_.size()) {
      make_room_for(slots - rows_.size());
    }
    slot_of_.reserve(slots);
  }

  /// Writes the table: the number of slots, then for each slot whether it is taken, and if so its identifier and
  /// metadata.
  void save_to(Writer& writer) const {
    writer.write_le(std::uint64_t{rows_.size()});
    for (const auto& row : rows_) {
      writer.write_le(row ? slot_taken : slot_free);
      if (row) {
        write_id(writer, row->id);
        write_metadata(writer, row->metadata);
      }
    }
  }

  /// Reads what save_to wrote. Throws PersistError invalid_payload, truncated_payload for other bytes.
  [[nodiscard]] static SlotTable load_from(Reader& reader) {
    SlotTable table;
    const auto slots = reader.read_le<std::uint64_t>();
    reader.require_items(slots, smallest_slot_bytes);
    while (table.rows_.size() < slots) {
      reader.make_room(table.rows_, slots, smallest_slot_bytes);
      const auto flag = reader.read_le<std::uint8_t>();
      if (flag == slot_free) {
        table.append_free();
      } else if (flag == slot_taken) {
        VectorId id = read_id(reader);
        std::optional<Metadata> metadata = read_metadata(reader);
        if (table.find(id)) {
          reader.fail(PersistErrorKind::invalid_payload, "the index holds two vectors " + to_string(id));
        }
        table.append(std::move(id), std::move(metadata));
      } else {
        reader.fail(PersistErrorKind::invalid_payload,
                    "the place of a vector is flagged " + std::to_string(flag) +
                        "; expected 0 for that of an erased vector, 1 for that of a vector");
      }
    }
    return table;
  }

 private:
  struct Row {
    Row(VectorId row_id, std::optional<Metadata> row_metadata) noexcept
        : id(std::move(row_id)), metadata(std::move(row_metadata)) {}
    VectorId id;
    std::optional<Metadata> metadata;
  };

  static constexpr std::uint8_t slot_free = 0;
  static constexpr std::uint8_t slot_taken = 1;
  static constexpr std::uint64_t smallest_slot_bytes = 1;

  [[noreturn]] static void throw_duplicate(const VectorId& id) {
    throw IndexError(IndexErrorKind::duplicate, "there is a vector " + to_string(id) +
                                                    " in the index already; erase it first, use upsert, or use another "
                                                    "identifier");
  }

  void make_room_for_next() {
    if (free_.empty()) {
      make_room_for(1);
    }
  }

  [[nodiscard]] Addition take_next(VectorId id, std::optional<Metadata> metadata) noexcept {
    const bool reuse = !free_.empty();
    const std::size_t slot = next_slot();
    fill_next(std::move(id), std::move(metadata));
    return Addition(*this, slot, reuse);
  }

  // Takes next_slot(), for which there is room.
  void fill_next(VectorId id, std::optional<Metadata> metadata) noexcept {
    if (!free_.empty()) {
      const std::size_t slot = free_.front();
      std::pop_heap(free_.begin(), free_.end(), std::greater<>{});
      free_.pop_back();
      rows_[slot].emplace(std::move(id), std::move(metadata));
    } else {
      rows_.emplace_back(std::in_place, std::move(id), std::move(metadata));
    }
  }

  // Forgets the identifier of a slot, unless it has another slot: then its vector was replaced, or was not.
  void forget(std::size_t slot) noexcept {
    if (const auto found = slot_of_.find(rows_[slot]->id); found->second == slot) {
      slot_of_.erase(found);
    }
  }

  // Makes room for more slots, and for every slot in the list of free ones, because remove() must not fail.
  void make_room_for(std::size_t more) {
    if (rows_.capacity() - rows_.size() < more) {
      rows_.reserve(std::max({std::size_t{16}, 2 * rows_.capacity(), rows_.size() + more}));
    }
    free_.reserve(rows_.capacity());
  }

  // Keeps the number of slots equal to the library's: the library never saw a new slot, but still has a reused one.
  void take_back(std::size_t slot, bool reused) noexcept {
    if (reused) {
      remove(slot);
    } else {
      forget(slot);
      rows_.pop_back();
    }
  }

  std::vector<std::optional<Row>> rows_;               // by slot; nothing in a free one
  std::vector<std::size_t> free_;                      // the free slots: a heap, the lowest first
  std::unordered_map<VectorId, std::size_t> slot_of_;  // by identifier
};

}  // namespace iqdb::inline IQDB_PERSIST_ABI
