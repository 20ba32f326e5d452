// Reads the rows of a payload that is damaged or cut short: identifiers, vectors and metadata, without links.
//
// Nothing vouches for such rows. A vector may be altered, and an identifier invented, by the damage. Invariants: a row is
// given only if its identifier and all components of its vector could be read; memory grows with the bytes of the payload.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/salvage/adapter_rows.hpp"
#include "iqdb/persist/salvage/exact_rows.hpp"
#include "iqdb/persist/salvage/payload_cursor.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// Reads the rows of a payload of this type, as far as it goes. Of a type that is not known here it reads none. Throws
/// std::bad_alloc.
[[nodiscard]] inline SalvagedRows salvage_rows(std::span<const std::byte> payload, std::string_view type) {
  payload_rows::PayloadCursor cursor(payload);
  payload_rows::ExactRows exact(cursor);
  payload_rows::AdapterRows adapter(cursor);
  try {
    if (type == "flat") {
      exact.flat();
    } else if (type == "iqdb-core") {
      exact.core();
    } else if (type == "hnsw") {
      adapter.hnsw();
    } else if (type == "usearch") {
      adapter.usearch();
    } else if (type == "faiss") {
      adapter.faiss();
    }
  } catch (const PersistError&) {
    // It ends here, or it is damaged here. What was read is what there is.
  }
  adapter.tell_lost();
  return std::move(cursor.rows());
}

}  // namespace salvage

}  // namespace iqdb
