// The bytes of an HnswIndex by which two graphs are compared.
#pragma once

#include <cstddef>
#include <vector>

#include "iqdb/index/hnswlib.hpp"
#include "support/adapters.hpp"

namespace iqdb_test {

/// The payload of an index behind its capacity, which depends on how the graph has grown.
[[nodiscard]] inline std::vector<std::byte> graph_bytes_of(const iqdb::HnswIndex& index) {
  constexpr std::ptrdiff_t end_of_capacity = 1 + 8 + 1 + 4 * 8;
  const std::vector<std::byte> payload = payload_of(index);
  return {payload.begin() + end_of_capacity, payload.end()};
}

}  // namespace iqdb_test
