// The target `core`: a payload is decoded as a core index, as it is while its checksum is still being computed, and the
// index is used.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "fuzz/decoded_index.hpp"
#include "fuzz/durable_files.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/numbers.hpp"
#include "iqdb/index/core.hpp"
#include "iqdb/types.hpp"

namespace iqdb_fuzz {

/// Where the parts of a payload of a core index lie: docs/format.md.
struct CoreLayout {
  static constexpr std::string_view magic = "IQDC";
  static constexpr std::size_t version = 4;
  static constexpr std::size_t kind = 8;
  static constexpr std::size_t settings = 9;
  static constexpr std::size_t hnsw_bytes = 5 * 8;
  static constexpr std::size_t ivf_quantizes = settings + 3 * 8;
  static constexpr std::size_t ivf_has_parts = ivf_quantizes + 1;
  static constexpr std::size_t ivf_bytes = 3 * 8 + 1 + 1 + 4 + 8;  // without a number of parts
  static constexpr std::size_t dim_to_rows = 8 + 1 + 8;

  /// Where the dimension lies, or nothing if the payload is shorter or of no kind.
  [[nodiscard]] static std::optional<std::size_t> dim(Input payload) {
    if (payload.size() <= ivf_has_parts) {
      return std::nullopt;
    }
    const auto tag = std::to_integer<unsigned>(payload[kind]);
    const std::size_t at = tag == 0   ? settings
                           : tag == 1 ? settings + hnsw_bytes
                                      : settings + ivf_bytes + (payload[ivf_has_parts] == std::byte{1} ? 8 : 0);
    return tag <= 2 && payload.size() >= at + dim_to_rows ? std::optional(at) : std::nullopt;
  }
};

/// Examines a payload: an index that is made of it comes back from what it saves, and takes mutations as any other. It
/// may be saved as other bytes, since the crate writes the keys of metadata in any order.
inline void examine_core(Input payload) {
  std::optional<iqdb::CoreIndex> index = index_in<iqdb::CoreIndex>(payload);
  if (!index) {
    return;
  }
  const Bytes contents = contents_of(*index);
  require_comes_back<iqdb::CoreIndex>(contents);
  constexpr std::size_t largest_dim = 4096;
  if (index->dim() > largest_dim) {
    return;
  }
  const std::size_t size = index->size();
  const std::vector<float> vector(index->dim(), 1.0F);
  static_cast<void>(index->search(std::span<const float>(vector), {.k = size + 1, .ef = {}}));
  const iqdb::VectorId id = choice(payload);
  if (!index->contains(id)) {
    index->insert(id, vector, iqdb::Metadata{{"key", "value"}});
    require(index->size() == size + 1 && index->contains(id), "an insert of a new vector is not there");
    index->insert(id, vector);
    require(index->size() == size + 1, "an insert of a known vector has added another one");
    index->erase(id);
    require(contents_of(*index) == contents, "an insert and an erase have left something");
  }
  if (size > 0) {
    // The first row goes, and the last one takes its place: what is left must load again.
    std::optional<iqdb::VectorId> first;
    index->for_each(
        [&](const iqdb::VectorId& each, auto, const auto&) { first = first ? first : std::optional(each); });
    index->erase(first.value());
    require(index->size() == size - 1 && !index->contains(*first), "an erased vector is still there");
    require_comes_back<iqdb::CoreIndex>(contents_of(*index));
  }
}

/// Changes a number of the payload, or its kind.
inline void reshape_core(Bytes& payload, Random& random) {
  const std::optional<std::size_t> dim = CoreLayout::dim(payload);
  if (!dim) {
    return;
  }
  switch (random.below(4)) {
    case 0:
      put_at(std::span(payload), *dim, awkward_number(random));
      break;
    case 1:
      put_at(std::span(payload), *dim + 8 + 1, awkward_number(random));  // the number of rows
      break;
    case 2: {
      // Another kind, with settings of its own before the same rows.
      const auto kind = static_cast<std::size_t>(random.below(3));
      constexpr std::array sizes = {std::size_t{0}, CoreLayout::hnsw_bytes, CoreLayout::ivf_bytes};
      payload.erase(payload.begin() + static_cast<std::ptrdiff_t>(CoreLayout::settings),
                    payload.begin() + static_cast<std::ptrdiff_t>(*dim));
      payload.insert(payload.begin() + static_cast<std::ptrdiff_t>(CoreLayout::settings), sizes.at(kind), std::byte{});
      payload[CoreLayout::kind] = static_cast<std::byte>(kind);
      break;
    }
    default:
      if (payload[CoreLayout::kind] == std::byte{2}) {
        payload[random.one_in(2) ? CoreLayout::ivf_quantizes : CoreLayout::ivf_has_parts] =
            static_cast<std::byte>(random.below(3));
      }
  }
}

/// Puts magic, version, kind and metric right: most of them.
inline void repair_core(Bytes& payload, Random& random) {
  if (payload.size() < CoreLayout::settings || random.one_in(16)) {
    return;
  }
  std::ranges::copy(std::as_bytes(std::span(CoreLayout::magic)), payload.begin());
  put_at(std::span(payload), CoreLayout::version, std::uint32_t{1});
  if (payload[CoreLayout::kind] > std::byte{2} && !random.one_in(32)) {
    payload[CoreLayout::kind] = static_cast<std::byte>(random.below(3));
  }
  constexpr std::uint64_t metrics = 5;
  if (const auto dim = CoreLayout::dim(payload);
      dim && std::to_integer<std::uint64_t>(payload[*dim + 8]) >= metrics && !random.one_in(32)) {
    payload[*dim + 8] = static_cast<std::byte>(random.below(metrics));
  }
}

inline constexpr FuzzTarget core_target{
    .name = "core", .examine = &examine_core, .reshape = &reshape_core, .repair = &repair_core};

}  // namespace iqdb_fuzz
