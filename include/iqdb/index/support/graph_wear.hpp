// GraphWear: what erasures and replacements have left in a graph.
#pragma once

#include <cstddef>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Nodes of a graph that slow its searches down or make them miss vectors, and of which compact() makes good ones. It is
/// worth it where they are as many as the index has vectors, or more.
struct GraphWear {
  std::size_t erased = 0;    ///< nodes without a vector: searches go through them, and find nothing there
  std::size_t replaced = 0;  ///< vectors that took the node of an erased one, with links that were made for that one,
                             ///< since the index was made, loaded or compacted
};

}  // namespace iqdb::inline IQDB_PERSIST_ABI
