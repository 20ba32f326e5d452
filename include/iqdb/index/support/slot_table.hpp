// SlotTable: the identifier and metadata of each slot, for an index whose library knows vectors only by number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
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
  /// A vector during its insertion. The table knows its identifier, and forgets it again unless keep() is called, so
  /// that nothing remains if the library throws. The table must not be changed or moved while an Addition exists.
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

    /// Keeps the vector: the library has taken it.
    void keep() noexcept { table_ = nullptr; }

    /// Keeps the slot, but free: the library made it without taking the vector.
    void keep_slot() noexcept { reused_ = true; }

   private:
    friend class SlotTable;
    Addition(SlotTable& table, std::size_t slot, bool reused) noexcept : table_(&table), slot_(slot), reused_(reused) {}

    SlotTable* table_;
    std::size_t slot_;
    bool reused_;
  };

  /// The number of taken slots, which is the number of vectors.
  [[nodiscard]] std::size_t size() const noexcept { return slot_of_.size(); }

  /// The number of slots, taken and free. Every slot is smaller than this.
  [[nodiscard]] std::size_t slots() const noexcept { return rows_.size(); }

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

  /// Throws IndexError duplicate if the table has this identifier.
  void check_new(const VectorId& id) const {
    if (slot_of_.contains(id)) {
      throw IndexError(IndexErrorKind::duplicate, "there is a vector " + to_string(id) +
                                                      " in the index already; replace it by upsert, erase it first, or "
                                                      "use another identifier");
    }
  }

  /// An identifier that the table does not have. Throws std::bad_alloc.
  [[nodiscard]] VectorId unused_id() const {
    for (std::size_t number = 0;; ++number) {
      if (VectorId id = VectorId::from_bytes("stand-in " + std::to_string(number)); !slot_of_.contains(id)) {
        return id;
      }
    }
  }

  /// Gives the vector `from` another identifier, of which the caller passes two copies. Preconditions: the table has
  /// `from`, and not the new one.
  void rename(const VectorId& from, VectorId key, VectorId copy) noexcept {
    auto node = slot_of_.extract(from);
    rows_[node.mapped()]->id = std::move(copy);
    node.key() = std::move(key);
    slot_of_.insert(std::move(node));  // allocates nothing: there is no more than before
  }

  /// Gives `id` the lowest free slot, or a new one. If it throws, nothing has changed: IndexError duplicate for a known
  /// identifier, what check_storable throws for metadata that cannot be stored, std::bad_alloc.
  [[nodiscard]] Addition add(VectorId id, std::optional<Metadata> metadata) {
    check_new(id);
    check_storable(metadata);
    const bool reuse = !free_.empty();
    if (!reuse) {
      make_room_for_one();
    }
    const std::size_t slot = reuse ? free_.front() : rows_.size();
    slot_of_.emplace(id, slot);  // the last call that can throw
    if (reuse) {
      std::pop_heap(free_.begin(), free_.end(), std::greater<>{});
      free_.pop_back();
      rows_[slot].emplace(std::move(id), std::move(metadata));
    } else {
      rows_.emplace_back(std::in_place, std::move(id), std::move(metadata));
    }
    return Addition(*this, slot, reuse);
  }

  /// Adds a slot behind all others, even if some are free: for an index that is loaded or imported. Throws IndexError
  /// duplicate for a known identifier, std::bad_alloc.
  void append(VectorId id, std::optional<Metadata> metadata) {
    make_room_for_one();
    if (!slot_of_.emplace(id, rows_.size()).second) {
      throw IndexError(IndexErrorKind::duplicate, "the index holds two vectors " + to_string(id));
    }
    rows_.emplace_back(std::in_place, std::move(id), std::move(metadata));
  }

  /// Adds a free slot behind all others. Throws std::bad_alloc.
  void append_free() {
    make_room_for_one();
    free_.push_back(rows_.size());  // the highest: at the end of a heap
    rows_.emplace_back();
  }

  /// Frees a slot. Precondition: it is taken.
  void remove(std::size_t slot) noexcept {
    slot_of_.erase(rows_[slot]->id);
    rows_[slot].reset();
    free_.push_back(slot);  // has room: see make_room_for_one
    std::push_heap(free_.begin(), free_.end(), std::greater<>{});
  }

  /// Frees a slot by moving the content of the last slot into it, so that no gap remains: for a library that numbers
  /// its vectors without gaps. Precondition: the slot is taken, and no slot is free.
  void remove_by_last(std::size_t slot) noexcept {
    slot_of_.erase(rows_[slot]->id);
    if (slot + 1 < rows_.size()) {
      slot_of_.find(rows_.back()->id)->second = slot;
      rows_[slot] = std::move(rows_.back());
    }
    rows_.pop_back();
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
                    "a slot is flagged " + std::to_string(flag) + "; expected 0 for a free one, 1 for a taken one");
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

  // Makes room for one more slot, and for every slot in the list of free ones, because remove() must not fail.
  void make_room_for_one() {
    if (rows_.size() == rows_.capacity()) {
      rows_.reserve(std::max<std::size_t>(16, 2 * rows_.capacity()));
    }
    free_.reserve(rows_.capacity());
  }

  // Keeps the number of slots equal to the library's: the library never saw a new slot, but still has a reused one.
  void take_back(std::size_t slot, bool reused) noexcept {
    if (reused) {
      remove(slot);
    } else {
      slot_of_.erase(rows_[slot]->id);
      rows_.pop_back();
    }
  }

  std::vector<std::optional<Row>> rows_;               // by slot; nothing in a free one
  std::vector<std::size_t> free_;                      // the free slots: a heap, the lowest first
  std::unordered_map<VectorId, std::size_t> slot_of_;  // the taken ones
};

}  // namespace iqdb::inline IQDB_PERSIST_ABI
