// SlotTable: the identifier and metadata of each slot, for an index whose library knows vectors only by number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/support/identifier_column.hpp"
#include "iqdb/index/support/identifier_map.hpp"
#include "iqdb/index/support/metadata_column.hpp"
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
      if (replaces_) {
        table_->map_.enter_instead(slot_);
      }
      table_ = nullptr;
    }

    /// Keeps the slot, but free: the library made it without taking the vector.
    void keep_slot() noexcept { reused_ = true; }

   private:
    friend class SlotTable;
    Addition(SlotTable& table, std::size_t slot, bool reused, bool replaces) noexcept
        : table_(&table), slot_(slot), reused_(reused), replaces_(replaces) {}

    SlotTable* table_;
    std::size_t slot_;
    bool reused_;
    bool replaces_;  // its identifier has another slot, and is not entered with this one
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
        table.require_absent(ids[row]);
        Content content(table, ids[row], copied(metadata[row]));  // the last call that can throw for this row
        slots_.push_back(table.fill_next(std::move(content)));
        table.map_.enter(slots_.back());
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
  [[nodiscard]] std::size_t size() const noexcept { return slots() - free_.size(); }

  /// The number of slots, taken and free. Every slot is smaller than this.
  [[nodiscard]] std::size_t slots() const noexcept { return map_.ids().size(); }

  /// The slot that the next vector gets: the lowest free one, or a new one.
  [[nodiscard]] std::size_t next_slot() const noexcept { return free_.empty() ? slots() : free_.front(); }

  /// Whether `slot` is free. Precondition: slot < slots().
  [[nodiscard]] bool is_free(std::size_t slot) const noexcept { return map_.ids().is_none(slot); }

  /// The identifier of the vector in `slot`. Throws std::bad_alloc for bytes that are not few. Precondition: the slot is
  /// taken.
  [[nodiscard]] VectorId id(std::size_t slot) const { return map_.ids().id(slot); }

  /// Returns `look(id)` for the identifier of the vector in `slot`, a `const VectorId&` that is valid during the call.
  /// Allocates nothing. Precondition: the slot is taken.
  template <class Look>
  decltype(auto) with_id(std::size_t slot, Look&& look) const {
    return map_.ids().with_id(slot, std::forward<Look>(look));
  }

  /// The metadata of the vector in `slot`. Precondition: the slot is taken.
  [[nodiscard]] const std::optional<Metadata>& metadata(std::size_t slot) const noexcept { return metadata_.at(slot); }

  /// The slot of a vector, or nothing if the table does not have it.
  [[nodiscard]] std::optional<std::size_t> find(const VectorId& id) const { return map_.find(id); }

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
    if (find(id)) {
      throw_duplicate(id);
    }
  }

  /// Gives `id` next_slot(). If it throws, nothing has changed: IndexError duplicate for a known identifier,
  /// std::bad_alloc. Precondition: check_storable(metadata) does not throw.
  [[nodiscard]] Addition add(VectorId id, std::optional<Metadata> metadata) {
    require_absent(id);
    return take_next(std::move(id), std::move(metadata), false);
  }

  /// Gives a known identifier next_slot() for a vector that replaces its own. Its slot becomes the new one by keep();
  /// the old one stays taken until it is removed. Throws std::bad_alloc, and then has changed nothing. Preconditions:
  /// the table has the identifier, and check_storable(metadata) does not throw.
  [[nodiscard]] Addition replace(VectorId id, std::optional<Metadata> metadata) {
    return take_next(std::move(id), std::move(metadata), true);
  }

  /// Adds a slot behind all others, even if some are free: for an index that is loaded or imported. Throws IndexError
  /// duplicate for a known identifier, std::bad_alloc.
  void append(VectorId id, std::optional<Metadata> metadata) {
    if (find(id)) {
      throw IndexError(IndexErrorKind::duplicate, "the index holds two vectors " + to_string(id));
    }
    const std::size_t slot = slots();
    make_room_for(1);
    IdentifierColumn::Cell cell(std::move(id));
    metadata_.set(slot, std::move(metadata));  // the last call that can throw
    map_.push(std::move(cell));
    map_.enter(slot);
  }

  /// Adds a free slot behind all others. Throws std::bad_alloc.
  void append_free() {
    make_room_for(1);
    free_.push_back(slots());  // the highest: at the end of a heap
    map_.push_none();
  }

  /// Frees a slot. The table forgets its identifier, unless that has another slot by now. Precondition: it is taken.
  void remove(std::size_t slot) noexcept {
    empty(slot);
    free_.push_back(slot);  // has room: see make_room_for
    std::push_heap(free_.begin(), free_.end(), std::greater<>{});
  }

  /// Frees a slot by moving the content of the last slot into it, so that no gap remains: for a library that numbers
  /// its vectors without gaps. The table forgets the identifier as remove() does. Precondition: the slot is taken, and
  /// no slot is free.
  void remove_by_last(std::size_t slot) noexcept {
    empty(slot);
    const std::size_t last = slots() - 1;
    if (slot < last) {
      map_.move(last, slot);
      metadata_.move(last, slot);
    }
    pop_last();
  }

  /// Gives a taken slot other metadata. If it throws std::bad_alloc, nothing has changed. Precondition:
  /// check_storable(metadata) does not throw.
  void set_metadata(std::size_t slot, std::optional<Metadata> metadata) { metadata_.set(slot, std::move(metadata)); }

  /// Makes room for so many slots in all. Throws std::bad_alloc.
  void reserve(std::size_t slots_in_all) {
    if (slots_in_all > slots()) {
      make_room_for(slots_in_all - slots());
    }
  }

  /// Writes the table: the number of slots, then for each slot whether it is taken, and if so its identifier and
  /// metadata.
  void save_to(Writer& writer) const {
    writer.write_le(std::uint64_t{slots()});
    for (std::size_t slot = 0; slot < slots(); ++slot) {
      writer.write_le(is_free(slot) ? slot_free : slot_taken);
      if (!is_free(slot)) {
        with_id(slot, [&](const VectorId& id) { write_id(writer, id); });
        write_metadata(writer, metadata(slot));
      }
    }
  }

  /// Reads what save_to wrote. Throws PersistError invalid_payload, truncated_payload for other bytes.
  [[nodiscard]] static SlotTable load_from(Reader& reader) {
    SlotTable table;
    IdentifierColumn ids;
    const auto slots = reader.read_le<std::uint64_t>();
    reader.require_items(slots, smallest_slot_bytes);
    while (ids.size() < slots) {
      ids.make_room(reader, slots, smallest_slot_bytes);
      const auto flag = reader.read_le<std::uint8_t>();
      if (flag == slot_free) {
        table.free_.push_back(ids.size());  // the highest: at the end of a heap
        ids.push_none();
      } else if (flag == slot_taken) {
        IdentifierColumn::Cell id(read_id(reader));
        table.metadata_.set(ids.size(), read_metadata(reader));
        ids.push(std::move(id));
      } else {
        reader.fail(PersistErrorKind::invalid_payload,
                    "the place of a vector is flagged " + std::to_string(flag) +
                        "; expected 0 for that of an erased vector, 1 for that of a vector");
      }
    }
    table.free_.reserve(ids.capacity());
    table.map_ = IdentifierMap(std::move(ids));
    if (const auto twice = table.map_.enter_all()) {
      reader.fail(PersistErrorKind::invalid_payload, "the index holds two vectors " + to_string(table.id(*twice)));
    }
    return table;
  }

 private:
  using IdentifierColumn = index_support::IdentifierColumn;
  using IdentifierMap = index_support::IdentifierMap;
  using MetadataColumn = index_support::MetadataColumn;

  // What next_slot() is filled with, allocated before. The table has room for it, too.
  struct Content {
    Content(SlotTable& table, VectorId id_of_vector, std::optional<Metadata> metadata_of_vector)
        : id(std::move(id_of_vector)), metadata(MetadataColumn::make_cell(std::move(metadata_of_vector))) {
      table.metadata_.make_room(table.next_slot(), metadata);
    }
    IdentifierColumn::Cell id;
    MetadataColumn::Cell metadata;
  };

  static constexpr std::uint8_t slot_free = 0;
  static constexpr std::uint8_t slot_taken = 1;
  static constexpr std::uint64_t smallest_slot_bytes = 1;

  [[noreturn]] static void throw_duplicate(const VectorId& id) {
    throw IndexError(IndexErrorKind::duplicate, "there is a vector " + to_string(id) +
                                                    " in the index already; erase it first, use upsert, or use another "
                                                    "identifier");
  }

  [[nodiscard]] Addition take_next(VectorId id, std::optional<Metadata> metadata, bool replaces) {
    make_room_for(1);
    Content content(*this, std::move(id), std::move(metadata));  // the last call that can throw
    const bool reuse = !free_.empty();
    const std::size_t slot = fill_next(std::move(content));
    if (!replaces) {
      map_.enter(slot);
    }
    return Addition(*this, slot, reuse, replaces);
  }

  // Takes next_slot(), for which there is room, and returns it. Its identifier is not entered.
  std::size_t fill_next(Content content) noexcept {
    const std::size_t slot = next_slot();
    if (!free_.empty()) {
      std::pop_heap(free_.begin(), free_.end(), std::greater<>{});
      free_.pop_back();
      map_.put(slot, std::move(content.id));
    } else {
      map_.push(std::move(content.id));
    }
    metadata_.put(slot, std::move(content.metadata));
    return slot;
  }

  // Takes the content of a slot away. The identifier stays known if it has another slot: then its vector was replaced, or
  // was not.
  void empty(std::size_t slot) noexcept {
    map_.leave(slot);
    map_.erase(slot);
    metadata_.put(slot, nullptr);
  }

  // Makes room for more slots, and for every slot in the list of free ones, because remove() must not fail.
  void make_room_for(std::size_t more) {
    map_.make_room(more);
    free_.reserve(map_.ids().capacity());
  }

  // Precondition: the last slot has no content.
  void pop_last() noexcept {
    map_.truncate(slots() - 1);
    metadata_.truncate(slots());
  }

  // Keeps the number of slots equal to the library's: the library never saw a new slot, but still has a reused one.
  void take_back(std::size_t slot, bool reused) noexcept {
    if (reused) {
      remove(slot);
    } else {
      empty(slot);
      pop_last();
    }
  }

  IdentifierMap map_;              // by slot; no identifier in a free one
  MetadataColumn metadata_;        // by slot
  std::vector<std::size_t> free_;  // the free slots: a heap, the lowest first
};

}  // namespace iqdb::inline IQDB_PERSIST_ABI
