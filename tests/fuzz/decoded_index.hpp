// An index that is decoded from a payload, as behind a right checksum, and what must hold of it.
#pragma once

#include <cstddef>
#include <optional>

#include "fuzz/fuzz_target.hpp"
#include "fuzz/heap_meter.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"

namespace iqdb_fuzz {

/// Everything that an index holds: what it saves.
template <class Index>
[[nodiscard]] Bytes contents_of(const Index& index) {
  return iqdb::bytes_of([&](iqdb::Writer& writer) { index.save_to(writer); });
}

/// What a payload decodes to; nothing where it is refused, or has bytes left over. Throws Violation where that took too much
/// memory, or where the payload is refused as something else than a payload.
template <class Index>
[[nodiscard]] std::optional<Index> index_in(Input payload) {
  const HeapMeter::Peak peak;
  std::optional<Index> index;
  try {
    iqdb::Reader reader(payload);
    index.emplace(Index::load_from(reader));
    if (reader.remaining() != 0) {
      index.reset();
    }
  } catch (const iqdb::PersistError& error) {
    require(error.kind() == iqdb::PersistErrorKind::invalid_payload ||
                error.kind() == iqdb::PersistErrorKind::invalid_metric,
            "a payload is refused as something else than a payload");
    index.reset();
  }
  require_little_heap(peak, payload.size());
  return index;
}

/// Requires that an index that was saved as these bytes comes back from them.
template <class Index>
void require_comes_back(const Bytes& saved) {
  const std::optional<Index> again = index_in<Index>(saved);
  require(again.has_value(), "what an index has saved is refused");
  require(contents_of(*again) == saved, "what an index has saved is loaded as another one");
}

}  // namespace iqdb_fuzz
