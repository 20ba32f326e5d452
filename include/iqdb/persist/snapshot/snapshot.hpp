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

/// The result of verify_snapshot.
struct SnapshotReport {
  FileHeader header;                                   ///< the header of the file
  CompressionScheme scheme = CompressionScheme::none;  ///< how the payload is compressed
  std::uint64_t file_bytes = 0;                        ///< the size of the file
  std::uint64_t payload_bytes = 0;                     ///< the size of the payload after decompression
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

// The header of the snapshot in `file`. Throws what read_header throws.
template <ReadableFile F>
[[nodiscard]] FileHeader read_header_of(F& file, std::optional<std::string_view> expected_type = {}) {
  FileRange source(file, 0, file.size());
  Reader reader(source, file.size(), LengthEvidence::stored, header_bytes(longest_index_type));
  return read_header(reader, expected_type);
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

// The stage of a load that precedes the Reader: counts the payload.
class MeteredSource final : public ByteSource {
 public:
  MeteredSource(ByteSource& source, ProgressMeter& progress) : source_(&source), progress_(&progress) {}

  std::size_t read(std::span<std::byte> into) override {
    // In pieces, so that progress is reported in between.
    const std::size_t count = source_->read(into.first(std::min<std::size_t>(into.size(), ProgressMeter::step)));
    progress_->advance(count);
    return count;
  }

 private:
  ByteSource* source_;
  ProgressMeter* progress_;
};

// Whether the region is read once to verify its checksum before it is decoded.
enum class Verify : std::uint8_t { before_decoding, while_decoding };

// A snapshot that is read.
template <ReadableFile F>
class SnapshotFile {
 public:
  // `file` and `config` must outlive this object. Throws what read_header throws, and PersistError io. Before decoding
  // it reads the whole file: also throws PersistError checksum_mismatch, and what config.on_progress throws.
  SnapshotFile(F& file, std::optional<std::string_view> expected_type, const PersistConfig& config,
               Verify verify = Verify::before_decoding)
      : file_(&file),
        config_(&config),
        helpers_(config.helper_threads),
        header_(read_header_of(file, expected_type)),
        region_(header_bytes(header_.index_type.size())) {
    if (verify == Verify::before_decoding) {
      verify_checksum();
    }
  }

  // Calls `decode(reader, decoder, progress)` with the payload and returns its result, if the checksum of what was read
  // is right. Also if `decode` throws, a wrong checksum is what is reported: the failure follows from it. Throws what
  // `decode` and read_preamble throw, and PersistError checksum_mismatch.
  template <class Decode>
  decltype(auto) decode(Decode&& decode) {
    SharedFileRange data(*file_, region_, helpers_.if_any());
    bool cancelled = false;
    try {
      auto decoded = decode_region(data, cancelled, std::forward<Decode>(decode));
      require_checksum(data);
      return decoded;
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::io && error.kind() != PersistErrorKind::checksum_mismatch) {
        require_checksum(data);
      }
      throw;
    } catch (...) {
      if (!cancelled) {
        require_checksum(data);
      }
      throw;
    }
  }

  [[nodiscard]] const FileHeader& header() const noexcept { return header_; }

  [[nodiscard]] SnapshotReport report() const {
    return {.header = header_,
            .scheme = preamble_.scheme,
            .file_bytes = file_->size(),
            .payload_bytes = preamble_.payload_bytes};
  }

 private:
  template <class Decode>
  auto decode_region(SharedFileRange<F>& data, bool& cancelled, Decode&& decode) {
    std::uint64_t data_bytes = file_->size() - region_;
    preamble_.payload_bytes = data_bytes;
    if (header_.version >= 2) {
      Reader reader(data, data_bytes, LengthEvidence::stored, RegionPreamble::bytes);
      preamble_ = read_preamble(reader);
      data_bytes -= reader.position();
    }
    const std::unique_ptr<PayloadDecoder> decoder =
        make_decoder(preamble_, data, data_bytes,
                     {.buffer_bytes = config_->buffer_bytes, .helper_threads = config_->helper_threads});
    ProgressMeter progress(config_->on_progress, Progress::Phase::load, preamble_.payload_bytes);
    MeteredSource source(*decoder, progress);
    Reader reader(source, preamble_.payload_bytes, decoder->evidence(), config_->buffer_bytes);
    try {
      return std::forward<Decode>(decode)(reader, *decoder, progress);
    } catch (...) {
      cancelled = progress.cancelled();
      throw;
    }
  }

  void verify_checksum() {
    ProgressMeter progress(config_->on_progress, Progress::Phase::verify, file_->size() - region_);
    const std::uint32_t found = checksum_of(*file_, region_, config_->buffer_bytes, helpers_.if_any(), progress);
    progress.finish();
    require(found);
  }

  // Without this check a file that is overwritten between two readings, or damaged, would be loaded as half of one
  // snapshot and half of another.
  void require_checksum(SharedFileRange<F>& data) { require(data.checksum(config_->buffer_bytes).value()); }

  void require(std::uint32_t found) const {
    if (found != header_.crc32) {
      throw_persist_error(PersistErrorKind::checksum_mismatch,
                          "the snapshot is damaged: the checksum of its contents is " + hexadecimal(found) + ", but " +
                              hexadecimal(header_.crc32) + " was written; restore the file from a copy");
    }
  }

  F* file_;
  const PersistConfig* config_;
  HelperThreads helpers_;
  FileHeader header_;
  RegionPreamble preamble_;
  std::uint64_t region_ = 0;  // the offset of the region
};

// Makes the index from its payload. If the index's decoder throws, decoder.finish() reads the rest first: damage to the
// compressed data comes earlier in the order of checks, so it is reported instead.
template <Persistable I>
I build(Reader& reader, PayloadDecoder& decoder, const ProgressMeter& progress) {
  try {
    return PersistTraits<I>::load_from(reader);
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
    I index = snapshot::build<I>(reader, decoder, progress);
    decoder.finish();
    if (reader.remaining() > 0) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the index left " + std::to_string(reader.remaining()) +
                      " bytes of its payload unread; was it saved by another version of the index?");
    }
    const FileHeader& header = read.header();
    snapshot::require_agreement("number of dimensions", header.dim, persisted_dim(index));
    snapshot::require_agreement("metric's tag", static_cast<std::uint64_t>(header.metric),
                                static_cast<std::uint64_t>(persisted_metric(index)));
    snapshot::require_agreement("number of vectors", header.vectors, persisted_size(index));
    progress.finish();
    return {.index = std::move(index), .fingerprint = fingerprint(header, read.report().file_bytes)};
  });
}

}  // namespace iqdb
