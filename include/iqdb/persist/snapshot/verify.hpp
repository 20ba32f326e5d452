// Checks a snapshot, with the type of its index or without it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_file.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace snapshot {

// Checks the header, the checksum, and that the data decodes to the stated length. Reads the file once. Throws the
// PersistErrors of load_snapshot that do not depend on the index, and what config.on_progress throws.
template <ReadableFile F>
SnapshotReport verified(F& file, const PersistConfig& config) {
  SnapshotFile read(file, std::nullopt, config, Verify::while_decoding);
  read.check(CheckReads::little, [](Reader& payload, PayloadDecoder& decoder, ProgressMeter& progress) {
    payload.skip(payload.remaining());
    decoder.finish();
    progress.finish();
  });
  return read.report();
}

// Whether vectors take at least half of a snapshot, as its header says. It is believed only as far as nothing but speed rests on it.
[[nodiscard]] inline bool is_mostly_vectors(const FileHeader& header, std::uint64_t file_bytes) noexcept {
  constexpr std::uint64_t half = 2;
  return header.dim > 0 && header.vectors >= file_bytes / half / sizeof(float) / header.dim;
}

// The same, and checks the payload as a load does. Throws what load_snapshot throws, but needs no memory for the vectors.
template <Persistable I, ReadableFile F>
  requires ChecksPayload<I> SnapshotReport verified_as(F& file, const PersistConfig& config) {
    SnapshotFile read(file, std::string_view(PersistTraits<I>::index_type), config, Verify::while_decoding);
    const CheckReads reads =
        SkipsVectors<I> && is_mostly_vectors(read.header(), file.size()) ? CheckReads::little : CheckReads::everything;
    read.check(reads, [&read](Reader& payload, PayloadDecoder& decoder, ProgressMeter& progress) {
      const PayloadFacts facts = made_of_payload(decoder, progress, [&payload] { return I::check_payload(payload); });
      require_whole(payload, decoder, read.header(), facts);
      progress.finish();
    });
    return read.report();
  }

}  // namespace snapshot

}  // namespace iqdb
