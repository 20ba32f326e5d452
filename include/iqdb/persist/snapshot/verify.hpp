// Checks a snapshot without the type of its index.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace snapshot {

// Checks the header, the checksum, and that the data decodes to the stated length. Reads the file once. Throws the
// PersistErrors of load_snapshot that do not depend on the index, and what config.on_progress throws.
template <ReadableFile F>
SnapshotReport verified(F& file, const PersistConfig& config) {
  SnapshotFile read(file, std::nullopt, config, Verify::while_decoding);
  read.decode([](Reader& payload, PayloadDecoder& decoder, ProgressMeter& progress) {
    // Large enough that the helpers share each read.
    constexpr std::uint64_t most_at_once = std::uint64_t{4} * 1024 * 1024;
    std::vector<std::byte> piece(static_cast<std::size_t>(std::min(payload.remaining(), most_at_once)));
    while (payload.remaining() > 0) {
      payload.read(std::span(piece).first(std::min<std::uint64_t>(piece.size(), payload.remaining())));
    }
    decoder.finish();
    progress.finish();
    return true;
  });
  return read.report();
}

}  // namespace snapshot

}  // namespace iqdb
