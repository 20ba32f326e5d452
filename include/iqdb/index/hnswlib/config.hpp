// How an HnswIndex is built and searched, and within which bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How an HnswIndex is built and searched; saved with the index.
struct HnswConfig {
  std::size_t links = 16;  ///< of a vector in each upper level, 2 to 1024; twice as many in the lowest (hnswlib's M)
  std::size_t ef_construction = 200;  ///< candidates that an insertion looks at, 1 to 65536
  std::size_t ef = 64;                ///< candidates that a search without SearchParams::ef looks at, 1 to 65536
  std::size_t capacity = 0;           ///< vectors to make room for at the first insertion; it grows by itself. After a
                                      ///< load at most 65536, or twice as many as there are
  std::uint64_t seed = 100;           ///< of the levels that vectors are given
};

namespace hnswlib_graph {

/// Nodes have numbers of 32 bits, of which hnswlib takes some for signed.
inline constexpr std::size_t most_nodes = std::numeric_limits<std::int32_t>::max();

inline constexpr std::size_t most_dim = std::numeric_limits<std::int32_t>::max() / sizeof(float) / 2;
inline constexpr std::size_t most_links = 1024;
inline constexpr std::size_t most_candidates = 65536;

/// Throws IndexError invalid_metric for a metric that hnswlib does not have, invalid_config for a dimension or a setting
/// out of its range.
inline void check_config(std::size_t dim, DistanceMetric metric, const HnswConfig& config) {
  constexpr std::string_view index = "an hnsw index";
  index_support::check_metric(metric, "hnswlib");
  index_support::check_range(dim, 1, most_dim, "dimension", index);
  index_support::check_range(config.links, 2, most_links, "number of links", index);
  index_support::check_range(config.ef_construction, 1, most_candidates, "setting ef_construction", index);
  index_support::check_range(config.ef, 1, most_candidates, "setting ef", index);
  index_support::check_range(config.capacity, 0, most_nodes, "capacity", index);
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
