// HnswConfig: how an HnswIndex is built and searched, with the range of each setting.
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
  std::size_t links = 16;  ///< per vector and upper level, 2 to 1024; twice as many in the lowest (hnswlib's M)
  std::size_t ef_construction = 200;  ///< candidates that an insertion looks at, 1 to 65536
  std::size_t ef = 64;                ///< candidates that a search without SearchParams::ef looks at, 1 to 65536
  std::size_t capacity = 0;           ///< room for vectors that the first insertion makes; the index grows by itself. A
                                      ///< load caps it at 65536 or twice the vectors it reads, whichever is more
  std::uint64_t seed = 100;           ///< of the random levels of vectors
};

namespace hnswlib_graph {

/// Node numbers have 32 bits, and hnswlib treats some of them as signed.
inline constexpr std::size_t most_nodes = std::numeric_limits<std::int32_t>::max();

inline constexpr std::size_t most_dim = std::numeric_limits<std::int32_t>::max() / sizeof(float) / 2;
inline constexpr std::size_t most_links = 1024;
inline constexpr std::size_t most_candidates = 65536;

/// Throws IndexError invalid_metric for a metric that hnswlib does not have, invalid_config for a dimension or a
/// setting out of range.
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
