// Part: what FaissIndex requires of each of faiss' indexes.
#pragma once

#include <faiss/Index.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/selector.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Which of faiss' indexes a FaissIndex holds.
enum class FaissKind : std::uint8_t {
  flat,  ///< every vector, or its code, compared one by one
  hnsw,  ///< a graph; nothing can be erased from it
  ivf,   ///< lists of vectors, or of their codes, around trained centroids
};

namespace faiss_parts {

/// One of faiss' indexes, in which a slot identifies a vector.
class Part {
 public:
  Part() = default;
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  virtual ~Part() = default;

  [[nodiscard]] virtual FaissKind kind() const noexcept = 0;

  /// faiss' object.
  [[nodiscard]] virtual const ::faiss::Index& index() const noexcept = 0;

  /// Whether it keeps vectors as they were added, and not codes of them.
  [[nodiscard]] virtual bool is_exact() const noexcept { return true; }

  /// The components of vectors that it has codes for, from the first to the second.
  [[nodiscard]] virtual std::pair<float, float> range() const noexcept {
    return {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()};
  }

  /// The vector in a slot that is taken, or the one that its code stands for, which is put into `memory`.
  [[nodiscard]] virtual std::span<const float> vector(std::size_t slot, std::vector<float>& memory) const = 0;

  /// A vector in the form in which add() and search() take it, and vector() returns it. Throws IndexError invalid_vector for
  /// one that has none; std::bad_alloc.
  [[nodiscard]] virtual std::vector<float> taken_form(std::vector<float> vector) const { return vector; }

  /// taken_form of the vectors of rows, in `memory`; or `vectors` themselves.
  [[nodiscard]] virtual std::span<const float> taken_forms(std::span<const float> vectors,
                                                           std::vector<float>& /*memory*/) const {
    return vectors;
  }

  /// The vector in a slot that is taken in the form in which it was inserted, as far as that is known.
  [[nodiscard]] virtual std::span<const float> inserted(std::size_t slot, std::vector<float>& memory) const {
    return vector(slot, memory);
  }

  /// Adds a vector in a slot. If it throws, nothing has changed.
  virtual void add(std::size_t slot, std::span<const float> vector) = 0;

  /// Adds vectors in the slots of several rows. If it throws, nothing has changed.
  virtual void add_many(const SlotTable::Additions& additions, std::span<const float> vectors,
                        LentThreads& threads) = 0;

  /// Throws IndexError if the vector of this identifier cannot be removed, because none can.
  virtual void check_remove(const VectorId& /*id*/) const {}

  /// Removes the vector in a slot, here and in the table of the slots. Precondition: check_remove does not throw.
  virtual void remove(SlotTable& slots, std::size_t slot) = 0;

  /// Throws what remove throws for any vector.
  virtual void check_removable() const {}

  /// Makes room for so many vectors in all. Throws std::bad_alloc.
  virtual void reserve(std::size_t vectors) = 0;

  /// Makes the tables of an index of product codes that make searches faster, and returns their bytes; 0 for an index that
  /// has none. Throws std::bad_alloc.
  virtual std::size_t precompute_tables() { return 0; }

  /// The slots of at most `most` vectors that are found to be near. `width` is how many candidates or lists to look at, if
  /// the caller said so.
  [[nodiscard]] virtual std::vector<Id> search(std::span<const float> query, std::size_t most,
                                               std::optional<std::size_t> width) const = 0;

  /// What search() finds of the vectors that `selector` admits; nothing if it is less work to compare with each of them.
  [[nodiscard]] virtual std::vector<Id> search_among(std::span<const float> /*query*/, std::size_t /*most*/,
                                                     std::optional<std::size_t> /*width*/,
                                                     Selector& /*selector*/) const {
    return {};
  }

  /// What search() finds for each of `queries`, which lie one behind the other.
  [[nodiscard]] virtual std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                                 std::optional<std::size_t> width) const = 0;

  /// Gives each vector its slot: calls `slot_of(number)` with each of faiss' numbers, in faiss' order. Throws
  /// PersistError invalid_payload if the vectors do not fit the slots.
  virtual void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) = 0;

  /// Writes faiss' stream, with the slots as numbers.
  virtual void save_to(Writer& writer) const = 0;

  /// Writes faiss' stream, with `number_of(slot)` as the numbers.
  virtual void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const = 0;

 protected:
  // For indexes that know vectors by their order alone. The order is then the slot; other numbers come from an id map
  // around the index.
  void take_order(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) const {
    const Id vectors = index().ntotal;
    for (Id number = 0; number < vectors; ++number) {
      std::ignore = slot_of(number);
    }
    if (slots != 0 && slots != static_cast<std::size_t>(vectors)) {
      fail(reader,
           "it holds " + std::to_string(vectors) + " vectors, but there are identifiers for " + std::to_string(slots));
    }
  }

  void export_in_map(Writer& writer, const std::function<Id(std::size_t)>& number_of) const {
    const auto vectors = static_cast<std::size_t>(index().ntotal);
    write_head(writer, map_tag, header_of(index()));
    save_to(writer);
    writer.write_le(std::uint64_t{vectors});
    for (std::size_t slot = 0; slot < vectors; ++slot) {
      writer.write_le(number_of(slot));
    }
  }
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
