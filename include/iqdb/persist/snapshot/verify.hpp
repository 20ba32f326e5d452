// Checks a snapshot without the type of its index.
#pragma once

#include <optional>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace snapshot {

// Checks the header, the checksum, and that the data decodes to the stated length. Throws the PersistErrors of
// load_snapshot that do not depend on the index.
template <ReadableFile F>
SnapshotReport verified(F& file, const PersistConfig& config) {
  SnapshotFile read(file, std::nullopt, config);
  read.decode([](Reader&, PayloadDecoder& decoder, ProgressMeter&) {
    decoder.finish();
    return true;
  });
  return read.report();
}

}  // namespace snapshot

}  // namespace iqdb
