// The queries of a call that makes many searches.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// The number of queries in `components`, one behind the other. Throws IndexError dimension_mismatch if the last one is not
/// whole, invalid_config for an index that was moved from.
[[nodiscard]] inline std::size_t queries_in(std::span<const float> components, std::size_t dim) {
  require_not_moved_from(dim);
  if (components.size() % dim != 0) {
    throw IndexError(IndexErrorKind::dimension_mismatch, "queries are given with " + std::to_string(components.size()) +
                                                             " components in all, but the index has dimension " +
                                                             std::to_string(dim) + ": the last query is not whole");
  }
  return components.size() / dim;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
