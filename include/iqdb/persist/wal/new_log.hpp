// A log that is written whole under a temporary name, to be put in place: logs are only ever created whole.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/block_stream.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A log file that is whole under its temporary name, or in place: to be appended to.
template <Storage S>
class NewLog {
 public:
  /// Begins a log at `path` that continues the snapshot `base`, which holds the mutations up to `base_lsn`. Of `config`
  /// buffer_bytes and helper_threads are used.
  NewLog(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, Fingerprint base,
         std::uint64_t base_lsn, const PersistConfig& config)
      : file_(storage.replace(path, lock)),
        header_{.log_id = storage.new_log_id(), .base_lsn = base_lsn, .base = base},
        end_{.offset = log_header_bytes, .next_lsn = base_lsn + 1},
        frames_(file_, nothing_checked, buffers_in_block * config.buffer_bytes, std::min(config.helper_threads, 1U)) {
    frames_.write(bytes_of([this](Writer& writer) { write_log_header(writer, header_); }));
  }

  /// Takes over a frame of an older log, of `mutations` mutations. Its body is not summed again: what the new checksum
  /// says of it is what the old one said.
  void append(const LogFrame& frame, std::uint64_t mutations) {
    FrameHeader header = next_header(frame.body);
    header.crc32 =
        rebaser_.rebased(frame.crc32, frame.fields, checksum_of_fields(header_.log_id, header), frame.body.size());
    append(header, frame.body, mutations);
  }

  /// Appends the abort of a mutation of the frame appended last.
  void append_abort(std::uint64_t lsn) {
    append_control([lsn](Writer& writer) { write_abort(writer, lsn); });
  }

  /// Ends what was taken over from an older log.
  void append_close() { append_control(write_close); }

  /// Writes what was appended to the file, before it is put in place; nothing may be appended afterwards.
  void finish() { frames_.finish(); }

  /// The file, to be put in place.
  [[nodiscard]] typename S::Replacement& file() noexcept { return file_; }

  /// The log, once it is in place; this is then empty.
  [[nodiscard]] typename S::Log open(S& storage, LogOptions options) {
    return storage.open_log(std::move(file_), options);
  }

  [[nodiscard]] const LogHeader& header() const noexcept { return header_; }
  [[nodiscard]] const LogPosition& end() const noexcept { return end_; }

 private:
  template <class WriteBody>
  void append_control(WriteBody&& write_body) {
    const std::vector<std::byte> body = bytes_of(std::forward<WriteBody>(write_body));
    FrameHeader header = next_header(body);
    header.crc32 = frame_checksum(header_.log_id, header, body);
    append(header, body, 0);
  }

  // But for the checksum.
  [[nodiscard]] FrameHeader next_header(std::span<const std::byte> body) const noexcept {
    // All of the file is synced before it is put in place: what stands before a frame is durable when it is read.
    return {.body_bytes = static_cast<std::uint32_t>(body.size()),
            .crc32 = 0,
            .lsn = end_.next_lsn,
            .durable = end_.offset};
  }

  void append(const FrameHeader& header, std::span<const std::byte> body, std::uint64_t mutations) {
    frames_.write(encoded(header));
    frames_.write(body);
    end_.offset += FrameHeader::bytes + body.size();
    end_.next_lsn += mutations;
  }

  static constexpr auto nothing_checked = std::numeric_limits<std::uint64_t>::max();  // frames have their own checksums

  typename S::Replacement file_;
  LogHeader header_;
  LogPosition end_;
  Crc32Rebaser rebaser_;
  // In large blocks, and by another thread: a call of the system for each frame would cost more than everything else.
  BlockStream<typename S::Replacement> frames_;
};

}  // namespace iqdb
