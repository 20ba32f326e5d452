// Reads an index that `faiss::write_index` wrote to a file, alone or inside an id map. An id map gives its vectors
// numbers other than their positions. faiss' numbers become integer identifiers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/parts.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/foreign_index.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// An index of faiss' and the table of its slots.
struct WholeIndex {
  std::unique_ptr<Part> part;
  SlotTable slots;
};

/// The identifiers of vectors by faiss' numbers: those of the id map, or the numbers themselves.
class Numbers {
 public:
  /// Reads the numbers of an id map, which follow the index inside it, if there is a map. `map` is its header.
  Numbers(Reader& reader, const std::optional<Header>& map, const ::faiss::Index& index) : reader_(&reader) {
    if (!map) {
      return;
    }
    const auto count = reader.read_le<std::uint64_t>();
    if (*map != header_of(index) || count != map->vectors) {
      fail(reader, "its id map is stated to be of " + std::to_string(map->vectors) + " vectors of " +
                       std::to_string(map->dim) + " components by " + name_of(map->metric) + ", with " +
                       std::to_string(count) + " numbers; what is in it is another");
    }
    mapped_ = reader.read_vector<Id>(count);
  }

  /// The identifier of a vector. Throws PersistError invalid_payload for a number that is not in the map or cannot be
  /// an identifier.
  [[nodiscard]] std::uint64_t id_of(Id number) const {
    if (mapped_) {
      if (number < 0 || static_cast<std::uint64_t>(number) >= mapped_->size()) {
        fail(*reader_, "a vector has the number " + std::to_string(number) + " of " + std::to_string(mapped_->size()) +
                           " in the id map");
      }
      number = (*mapped_)[static_cast<std::size_t>(number)];
    }
    if (number < 0) {
      fail(*reader_,
           "a vector has the number " + std::to_string(number) + "; identifiers are not negative; give it another");
    }
    return static_cast<std::uint64_t>(number);
  }

 private:
  const Reader* reader_;
  std::optional<std::vector<Id>> mapped_;
};

/// Reads an index of this metric. Throws PersistError invalid_payload for an index that is damaged, has another metric,
/// or is of a type that is not supported, and for bytes behind it.
[[nodiscard]] inline WholeIndex read_whole_index(Reader& reader, DistanceMetric metric) {
  auto type = reader.read_le<std::uint32_t>();
  std::optional<Header> map;
  if (type == map_tag || type == two_way_map_tag) {
    map = read_head(reader);
    type = reader.read_le<std::uint32_t>();
  }
  WholeIndex index{.part = read_part(reader, type, map ? "the index in the id map" : "the index"), .slots = {}};
  require_metric(reader, index.part->index(), metric);
  const Numbers numbers(reader, map, index.part->index());
  index.part->take_slots(reader, 0, [&](Id number) {
    const std::uint64_t id = numbers.id_of(number);
    if (index.slots.find(id)) {
      fail(reader, "two vectors have the number " + std::to_string(id));
    }
    index.slots.append(id, {});
    return index.slots.slots() - 1;
  });
  // Of codes it cannot be known whether they were made of directions.
  if (metric == DistanceMetric::cosine && index.part->is_exact()) {
    index_support::require_directions(
        reader, index.slots, "faiss",
        [&index, memory = std::vector<float>()](std::size_t slot) mutable { return index.part->vector(slot, memory); });
  }
  index_support::require_end(reader, "faiss");
  return index;
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
