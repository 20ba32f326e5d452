// The targets of the adapters: a payload is decoded as an index of another library, as behind a right checksum, and the index
// is used in every way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "fuzz/decoded_index.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/numbers.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/types.hpp"

namespace iqdb_fuzz {

/// Requires that a search finds what the index holds, each once.
template <class Index>
void require_hits_of(const Index& index, std::span<const float> query, std::size_t k) {
  std::vector<iqdb::VectorId> found;
  for (const iqdb::Hit& hit : index.search(query, {.k = k})) {
    require(index.contains(hit.id), "a search finds what the index does not hold");
    found.push_back(hit.id);
  }
  require(found.size() <= k, "a search finds more than it was asked for");
  std::ranges::sort(found);
  require(std::ranges::adjacent_find(found) == found.end(), "a search finds a vector twice");
}

/// Calls `action()`. Returns false where the index refuses it: not every kind of index can do everything.
inline bool is_done(const std::function<void()>& action) {
  try {
    action();
    return true;
  } catch (const iqdb::IndexError&) {
    return false;
  }
}

/// Examines a payload: an index that is made of it comes back from what it saves, and takes mutations as any other.
template <class Index>
void examine_adapter(Input payload) {
  std::optional<Index> index = index_in<Index>(payload);
  if (!index) {
    return;
  }
  require_comes_back<Index>(contents_of(*index));
  constexpr std::size_t largest_dim = 1024;
  if (index->dim() > largest_dim) {
    return;
  }
  const std::size_t size = index->size();
  std::vector<float> vector(index->dim(), 0.5F);
  vector.front() = 1.0F;
  is_done([&] { require_hits_of(*index, vector, 1); });
  is_done([&] { require_hits_of(*index, vector, size + 1); });

  std::uint64_t unused = 1000;
  while (index->contains(unused)) {
    ++unused;
  }
  const iqdb::VectorId id = unused;
  if (is_done([&] { index->insert(id, vector, iqdb::Metadata{{"key", "value"}}); })) {
    require(index->size() == size + 1 && index->contains(id), "an insert of a new vector is not there");
    require(index->metadata(id).has_value(), "what was inserted has lost its metadata");
    is_done([&] { require_hits_of(*index, vector, size + 1); });
  } else {
    require(index->size() == size && !index->contains(id), "an insert that was refused has changed something");
  }
  std::optional<iqdb::VectorId> first;
  index->for_each([&](const iqdb::VectorId& each, auto, const auto&) { first = first ? first : std::optional(each); });
  if (first) {
    const std::size_t before = index->size();
    if (is_done([&] { index->erase(*first); })) {
      require(index->size() == before - 1 && !index->contains(*first), "an erased vector is still there");
    } else {
      require(index->size() == before && index->contains(*first), "an erasure that was refused has changed something");
    }
    is_done([&] { require_hits_of(*index, vector, before); });
  }
  require_comes_back<Index>(contents_of(*index));
}

/// Writes a number at which something might overflow, or a float that is no number, somewhere: with the length that fields
/// of a payload have.
inline void reshape_adapter(Bytes& payload, Random& random) {
  if (payload.size() < sizeof(std::uint64_t)) {
    return;
  }
  const std::span<std::byte> bytes(payload);
  const auto place = [&](std::size_t field) {
    return static_cast<std::size_t>(random.below(payload.size() - field + 1));
  };
  switch (random.below(5)) {
    case 0:
      put_at(bytes, place(8), awkward_number(random));
      break;
    case 1:
      put_at(bytes, place(4), static_cast<std::uint32_t>(awkward_number(random)));
      break;
    case 2:
      put_at(bytes, place(4), static_cast<std::uint32_t>(random.below(8)));
      break;
    case 3: {
      constexpr std::uint32_t infinity = 0x7F80'0000;
      constexpr std::uint32_t not_a_number = 0x7FC0'0000;
      constexpr std::uint32_t largest = 0x7F7F'FFFF;
      put_at(bytes, place(4), random.one_in(3) ? infinity : random.one_in(2) ? not_a_number : largest);
      break;
    }
    default: {
      // What stands in one place goes to another: a link, a number of rows, an identifier.
      const std::size_t from = place(4);
      put_at(bytes, place(4), number_at<std::uint32_t>(payload, from));
    }
  }
}

/// Puts the version of the layout and the metric right: most of them.
inline void repair_adapter(Bytes& payload, Random& random) {
  constexpr std::size_t metric = 1 + sizeof(std::uint64_t);
  constexpr std::uint64_t metrics = 3;  // that every adapter takes
  if (payload.size() <= metric || random.one_in(16)) {
    return;
  }
  payload.front() = std::byte{1};
  if (std::to_integer<std::uint64_t>(payload[metric]) >= metrics && !random.one_in(32)) {
    payload[metric] = static_cast<std::byte>(random.below(metrics));
  }
}

/// The target of an adapter.
template <class Index>
[[nodiscard]] constexpr FuzzTarget adapter_target(std::string_view name) {
  return {.name = name, .examine = &examine_adapter<Index>, .reshape = &reshape_adapter, .repair = &repair_adapter};
}

}  // namespace iqdb_fuzz
