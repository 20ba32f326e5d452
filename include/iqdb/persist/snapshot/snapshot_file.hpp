// A snapshot that is read: its header, its checksum, and the payload on its way to the index.
//
//   decode: file -> SharedFileRange (checksum) -> decoder -> MeteredSource -> Reader -> index
//   check:  file -> checksum of the whole region; beside that: file again -> decoder -> Reader -> what is looked at
//
// Invariants: a wrong checksum is what is reported, whatever else fails because of it. Of what is kept, every byte was
// summed as it was read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/codec/compression.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/storage/past_cache.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The result of verify_snapshot.
struct SnapshotReport {
  FileHeader header;                                   ///< the header of the file
  CompressionScheme scheme = CompressionScheme::none;  ///< how the payload is compressed
  std::uint64_t file_bytes = 0;                        ///< the size of the file
  std::uint64_t payload_bytes = 0;                     ///< the size of the payload after decompression
};

namespace snapshot {

// The header of the snapshot in `file`. Throws what read_header throws.
template <ReadableFile F>
[[nodiscard]] FileHeader read_header_of(F& file, std::optional<std::string_view> expected_type = {}) {
  FileRange source(file, 0, file.size());
  Reader reader(source, file.size(), LengthEvidence::stored, header_bytes(longest_index_type));
  return read_header(reader, expected_type);
}

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

  std::uint64_t skip(std::uint64_t count) override {
    const std::uint64_t skipped = source_->skip(std::min(count, ProgressMeter::step));
    progress_->advance(skipped);
    return skipped;
  }

 private:
  ByteSource* source_;
  ProgressMeter* progress_;
};

// Whether the region is read once to verify its checksum before it is decoded.
enum class Verify : std::uint8_t { before_decoding, while_decoding };

// How much of the payload a check reads, beside the sum of all.
enum class CheckReads : std::uint8_t { little, everything };

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
      verify_checksum(*file_, config_->buffer_bytes);
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
      auto decoded = decode_region(data, config_->on_progress, cancelled, std::forward<Decode>(decode));
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

  // As decode(), for a `check` that keeps nothing of the payload. If that is stored as it is, `check` has it from a reading of
  // its own, which skips what it skips, while other threads compute the checksum: the disk waits for neither. Then what
  // is read twice comes from the memory of the system; if that is little, the sum reads past it. With no helpers the one is done
  // behind the other.
  template <class Check>
  void check(CheckReads reads, Check&& check) {
    const auto checked = [&check](Reader& reader, PayloadDecoder& decoder, ProgressMeter& progress) {
      check(reader, decoder, progress);
      return true;
    };
    if (!is_stored()) {
      decode(checked);
      return;
    }
    std::exception_ptr failure;
    const auto run = [&] {
      const std::function<void(const Progress&)> silent;  // the sum reports: it reads everything
      bool cancelled = false;
      try {
        FileRange data(*file_, region_, file_->size());
        decode_region(data, silent, cancelled, checked);
      } catch (...) {
        failure = std::current_exception();
      }
    };
    std::optional<PastCache<F>> past_cache;
    if (reads == CheckReads::little) {
      past_cache.emplace(*file_);
    }
    HelperThreads beside(std::min(config_->helper_threads, 1U));
    const bool is_beside = beside.begin([&run](unsigned /*number*/) { run(); }) > 0;
    if (past_cache && past_cache->is_open()) {
      verify_checksum(*past_cache, past_cache_piece_bytes);
    } else {
      verify_checksum(*file_, config_->buffer_bytes);
    }
    if (!is_beside) {
      run();
    }
    beside.end();
    if (failure) {
      std::rethrow_exception(failure);
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
  auto decode_region(ByteSource& data, const std::function<void(const Progress&)>& on_progress, bool& cancelled,
                     Decode&& decode) {
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
    ProgressMeter progress(on_progress, Progress::Phase::load, preamble_.payload_bytes);
    MeteredSource source(*decoder, progress);
    Reader reader(source, preamble_.payload_bytes, decoder->evidence(), config_->buffer_bytes);
    try {
      return std::forward<Decode>(decode)(reader, *decoder, progress);
    } catch (...) {
      cancelled = progress.cancelled();
      throw;
    }
  }

  // What the preamble says, whether or not it is damaged.
  [[nodiscard]] bool is_stored() const {
    if (header_.version < 2) {
      return true;
    }
    try {
      FileRange data(*file_, region_, file_->size());
      Reader reader(data, file_->size() - region_, LengthEvidence::stored, RegionPreamble::bytes);
      return read_preamble(reader).scheme == CompressionScheme::none;
    } catch (const PersistError&) {
      return false;  // decode() finds out why
    }
  }

  template <ReadableFile Source>
  void verify_checksum(Source& source, std::size_t piece_bytes) {
    ProgressMeter progress(config_->on_progress, Progress::Phase::verify, file_->size() - region_);
    const std::uint32_t found = checksum_of(source, region_, piece_bytes, helpers_.if_any(), progress);
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

}  // namespace snapshot

}  // namespace iqdb
