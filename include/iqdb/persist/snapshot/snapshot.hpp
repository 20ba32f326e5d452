// Saves and loads one snapshot, through any Storage.
//
//   save:  index -> Writer -> PayloadSink -> encoder -> BlockStream (checksum, temporary file) -> header -> commit
//   load:  file -> checksum of the whole region -> file again -> decoder -> Reader -> index -> compared with the header
//
// An index that trusts nothing is loaded without the first reading. Every reading that is decoded is summed.
//
// Invariants: memory use is a few buffers, whatever the size of the index, except for an LZ4 block. No byte of the
// region reaches the decoder of an index that trusts its payload before the checksum of the whole region is verified.
// No index is handed out unless the bytes that it was made of had the right checksum.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/codec/compression.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot_file.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/block_stream.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The result of a save.
struct SnapshotInfo {
  std::uint64_t file_bytes = 0;         ///< the size of the file
  std::uint64_t payload_bytes = 0;      ///< the size of the payload before compression
  std::uint64_t vectors = 0;            ///< how many vectors the snapshot holds
  std::uint64_t lsn = 0;                ///< the LSN of the last mutation that it holds; 0 with the log off
  std::chrono::nanoseconds elapsed{0};  ///< how long the save took
  std::chrono::nanoseconds pause{0};    ///< the longest time for which it kept mutations from going on
  /// How the index was held still. Never `automatic`.
  Freezing frozen = Freezing::by_waiting;
};

namespace snapshot {

// Returns what `save()` returns, with how long it took. Mutations have waited for all of it.
template <class Save>
SnapshotInfo timed(Save&& save) {
  const auto started = std::chrono::steady_clock::now();
  SnapshotInfo info = std::forward<Save>(save)();
  info.elapsed = std::chrono::steady_clock::now() - started;
  info.pause = info.elapsed;
  return info;
}

// The stage of a save that follows the Writer: passes the payload on in pieces.
class PayloadSink final : public ByteSink {
 public:
  PayloadSink(ByteSink& next, ProgressMeter& progress, std::size_t piece_bytes)
      : next_(&next), progress_(&progress), piece_bytes_(piece_bytes) {}

  void write(std::span<const std::byte> bytes) override {
    // In pieces, so that the codec works on one while an earlier one is written, and progress is reported in between.
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), piece_bytes_));
      next_->write(piece);
      progress_->advance(piece.size());
      bytes = bytes.subspan(piece.size());
    }
  }

 private:
  ByteSink* next_;
  ProgressMeter* progress_;
  std::size_t piece_bytes_;
};

// Returns what `make()` makes of a payload. If it throws, decoder.finish() reads the rest first: damage to the
// compressed data comes earlier in the order of checks, so it is reported instead.
template <class Make>
auto made_of_payload(PayloadDecoder& decoder, const ProgressMeter& progress, Make&& make) {
  try {
    return std::forward<Make>(make)();
  } catch (const std::bad_alloc&) {
    throw;  // memory that runs out says nothing about the file
  } catch (const PersistError& error) {
    if (error.kind() != PersistErrorKind::compression && error.kind() != PersistErrorKind::io) {
      decoder.finish();
    }
    throw;
  } catch (const std::exception& error) {
    if (progress.cancelled()) {
      throw;
    }
    decoder.finish();
    std::throw_with_nested(PersistError(PersistErrorKind::index_build,
                                        std::string("the index could not be made from its payload: ") + error.what() +
                                            " (the file is undamaged: was it saved by another version of the index?)"));
  } catch (...) {
    if (progress.cancelled()) {
      throw;
    }
    decoder.finish();
    std::throw_with_nested(PersistError(PersistErrorKind::index_build,
                                        "the index could not be made from its payload: it threw what is no "
                                        "std::exception"));
  }
}

inline void require_agreement(std::string_view what, std::uint64_t in_header, std::uint64_t in_index) {
  if (in_header != in_index) {
    throw_persist_error(PersistErrorKind::invalid_payload,
                        "the header states " + std::to_string(in_header) + " as the " + std::string(what) +
                            ", but the index made from the payload has " + std::to_string(in_index) +
                            "; the header is damaged, or the index decodes its payload wrongly");
  }
}

// Throws unless the payload ends where the decoder of the index has ended, and the header says the same of the index.
inline void require_whole(const Reader& reader, PayloadDecoder& decoder, const FileHeader& header,
                          const PayloadFacts& facts) {
  decoder.finish();
  if (reader.remaining() > 0) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the index left " + std::to_string(reader.remaining()) +
                    " bytes of its payload unread; was it saved by another version of the index?");
  }
  require_agreement("number of dimensions", header.dim, facts.dim);
  require_agreement("metric's tag", static_cast<std::uint64_t>(header.metric),
                    static_cast<std::uint64_t>(facts.metric));
  require_agreement("number of vectors", header.vectors, facts.vectors);
}

}  // namespace snapshot

/// A snapshot written under its temporary name. The caller syncs it and renames it into place.
template <Storage S>
struct WrittenSnapshot {
  typename S::Replacement file;
  Fingerprint fingerprint;
  SnapshotInfo info;  ///< as in SnapshotSummary
};

/// What a snapshot in a file is known by.
struct SnapshotSummary {
  Fingerprint fingerprint;
  SnapshotInfo info;  ///< `elapsed` does not include the time to put it in place
};

/// Writes a snapshot of `index` into `file`, which is new. Throws PersistError io, and what the index's save_to or
/// config.on_progress throws.
template <Persistable I, FileReplacement R>
[[nodiscard]] SnapshotSummary write_snapshot_into(R& file, const I& index, const PersistConfig& config) {
  const auto started = std::chrono::steady_clock::now();
  FileHeader header{.version = snapshot_version,
                    .index_type = std::string(PersistTraits<I>::index_type),
                    .dim = persisted_dim(index),
                    .metric = persisted_metric(index),
                    .vectors = persisted_size(index)};
  // Written again at the end, when checksum and lengths are known.
  RegionPreamble preamble;
  const auto head = [&] {
    return bytes_of([&](Writer& writer) {
      write_header(writer, header);
      write_preamble(writer, preamble);
    });
  };

  const std::vector<std::byte> provisional_head = head();
  BlockStream data(file, provisional_head.size(), buffers_in_block * config.buffer_bytes, config.helper_threads);
  data.write(provisional_head);
  const std::unique_ptr<PayloadEncoder> encoder = make_encoder(
      config.compression, data, {.buffer_bytes = config.buffer_bytes, .helper_threads = config.helper_threads});
  ProgressMeter progress(config.on_progress, Progress::Phase::save, 0);
  snapshot::PayloadSink payload(*encoder, progress, config.buffer_bytes);
  Writer writer(payload, config.buffer_bytes);
  PersistTraits<I>::save_to(index, writer);
  writer.flush();
  encoder->finish();
  data.finish();

  preamble = {.scheme = encoder->scheme(), .payload_bytes = writer.position()};
  Crc32 region(bytes_of([&](Writer& preamble_writer) { write_preamble(preamble_writer, preamble); }));
  region.append(data.checksum());
  header.crc32 = region.value();
  const std::vector<std::byte> complete_head = head();
  file.overwrite(0, complete_head);
  progress.finish();

  const std::uint64_t file_bytes = data.bytes();
  return {.fingerprint = fingerprint(header, file_bytes),
          .info = {.file_bytes = file_bytes,
                   .payload_bytes = preamble.payload_bytes,
                   .vectors = header.vectors,
                   .lsn = 0,
                   .elapsed = std::chrono::steady_clock::now() - started}};
}

/// Writes a snapshot of `index` beside the file at `path`, a resolved name, under its lock. put_in_place(result.file)
/// then puts it in place. Throws as write_snapshot_into does, and PersistError io; then no temporary file is left.
template <Persistable I, Storage S>
[[nodiscard]] WrittenSnapshot<S> write_snapshot(const I& index, S& storage, const typename S::Lock& lock,
                                                const std::filesystem::path& path, const PersistConfig& config) {
  auto file = storage.replace(path, lock);
  const SnapshotSummary summary = write_snapshot_into(file, index, config);
  return {.file = std::move(file), .fingerprint = summary.fingerprint, .info = summary.info};
}

/// Replaces the file at `path`, a resolved name, by a snapshot of `index`, under its lock. The new file is durable when
/// this returns. If it throws, the old file stands and no temporary file is left, with one exception: if only the sync
/// of the directory failed, the new file is in place and may not survive a crash. Throws as write_snapshot does.
template <Persistable I, Storage S>
SnapshotInfo save_snapshot(const I& index, S& storage, const typename S::Lock& lock, const std::filesystem::path& path,
                           const PersistConfig& config) {
  WrittenSnapshot<S> written = write_snapshot(index, storage, lock, path, config);
  put_in_place(written.file);
  return written.info;
}

/// An index loaded from a snapshot.
template <Persistable I>
struct LoadedSnapshot {
  I index;
  Fingerprint fingerprint;
};

/// Loads the index from the snapshot in `file`. Throws a PersistError of its own kind for each failure. The first one in
/// this order is reported: bad_magic, unsupported_version, invalid_payload for the index type's length,
/// invalid_index_type, invalid_metric (and truncated_header in between), checksum_mismatch, truncated_payload,
/// compression, what the index's decoder throws (index_build if that is not a PersistError), invalid_payload if bytes
/// are left over or the header does not agree with the index. Also throws io, std::bad_alloc, and what config.on_progress throws.
template <Persistable I, class F>
  requires ReadableFile<std::remove_reference_t<F>>
[[nodiscard]] LoadedSnapshot<I> load_snapshot(F&& file, const PersistConfig& config) {
  constexpr auto verify = TrustsNothing<I> ? snapshot::Verify::while_decoding : snapshot::Verify::before_decoding;
  snapshot::SnapshotFile read(file, std::string_view(PersistTraits<I>::index_type), config, verify);
  return read.decode([&](Reader& reader, PayloadDecoder& decoder, ProgressMeter& progress) -> LoadedSnapshot<I> {
    I index = snapshot::made_of_payload(decoder, progress, [&] { return PersistTraits<I>::load_from(reader); });
    const PayloadFacts facts{
        .dim = persisted_dim(index), .metric = persisted_metric(index), .vectors = persisted_size(index)};
    snapshot::require_whole(reader, decoder, read.header(), facts);
    progress.finish();
    return {.index = std::move(index), .fingerprint = fingerprint(read.header(), read.report().file_bytes)};
  });
}

}  // namespace iqdb
