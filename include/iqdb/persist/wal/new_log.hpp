// A log that is written under a temporary name and then renamed into place.
//
// Invariant: a log file in place was created whole, so a header that cannot be read is damaged.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
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
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Writes a new log file. The caller puts file() in place after finish(), and then opens it for appending.
template <Storage S>
class NewLog {
 public:
  /// Begins a log at `path` that continues the snapshot `base`. That snapshot holds the mutations up to `base_lsn`. The
  /// log belongs to the history `history_id`, or begins a new one. Uses buffer_bytes and helper_threads of `config`.
  /// Throws PersistError io.
  NewLog(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, Fingerprint base,
         std::uint64_t base_lsn, std::optional<std::uint64_t> history_id, const PersistConfig& config)
      : NewLog(storage, storage.replace(path, lock), base, base_lsn, history_id, config) {}

  /// The same in a file that the caller has begun.
  NewLog(S& storage, typename S::Replacement file, Fingerprint base, std::uint64_t base_lsn,
         std::optional<std::uint64_t> history_id, const PersistConfig& config)
      : file_(std::move(file)),
        header_{.log_id = storage.new_log_id(),
                .base_lsn = base_lsn,
                .base = base,
                .history_id = history_id ? *history_id : storage.new_log_id()},
        end_{.offset = log_header_bytes, .next_lsn = base_lsn + 1},
        frames_(file_, nothing_checked, buffers_in_block * config.buffer_bytes, std::min(config.helper_threads, 1U)) {
    frames_.write(bytes_of([this](Writer& writer) { write_log_header(writer, header_); }));
  }

  /// Copies a frame of an older log, which holds `mutations` mutations. The new checksum is derived from the old one,
  /// and the body is not summed again: the new checksum covers the bytes that the old one covered. Throws PersistError
  /// io.
  void append(const LogFrame& frame, std::uint64_t mutations) {
    FrameHeader header = next_header(frame.body);
    header.crc32 =
        rebaser_.rebased(frame.crc32, frame.fields, checksum_of_fields(header_.log_id, header), frame.body.size());
    append(header, frame.body, mutations);
  }

  /// Appends a frame of `mutations` mutations, whose body `write_body(writer)` writes. Throws PersistError io, and what
  /// `write_body` throws.
  template <class WriteBody>
  void append_body(std::uint64_t mutations, WriteBody&& write_body) {
    const std::vector<std::byte> body = bytes_of(std::forward<WriteBody>(write_body));
    FrameHeader header = next_header(body);
    header.crc32 = frame_checksum(header_.log_id, header, body);
    append(header, body, mutations);
  }

  /// Appends an abort of mutations of the frame appended last: ascending ranges that do not touch. `passed_over` of these
  /// mutations were named by no abort yet. Throws PersistError io.
  void append_abort(std::span<const LsnRange> ranges, std::uint64_t /*passed_over*/) {
    append_body(0, [&](Writer& writer) { write_abort(writer, ranges); });
  }

  /// Appends a time frame: the mutations behind it were logged at this time, in milliseconds since 1970 UTC. Throws
  /// PersistError io.
  void append_time(std::int64_t milliseconds) {
    append_body(0, [&](Writer& writer) { write_time(writer, milliseconds); });
    last_time_ = milliseconds;
  }

  /// Appends a time frame that says when the last mutation so far was logged, if `clock` notes times. So a load up to a time
  /// knows whether the snapshot is too new for it. Throws PersistError io.
  void append_time_so_far(const LogClock& clock) {
    if (const auto time = clock.so_far(milliseconds_now)) {
      append_time(*time);
    }
  }

  /// What the last time frame says; nothing if there is none.
  [[nodiscard]] std::optional<std::int64_t> last_time() const noexcept { return last_time_; }

  /// Appends a close frame behind the frames copied from an older log. Throws PersistError io.
  void append_close() { append_body(0, write_close); }

  /// Begins a new history: the same LSNs may mean other mutations than in the log that was copied. Call it before
  /// finish().
  void begin_history(std::uint64_t history_id) {
    header_.history_id = history_id;
    header_changed_ = true;
  }

  /// Writes everything appended to the file. Call it before the file is put in place; nothing may be appended
  /// afterwards. Throws PersistError io.
  void finish() {
    frames_.finish();
    if (header_changed_) {
      file_.overwrite(0, bytes_of([this](Writer& writer) { write_log_header(writer, header_); }));
    }
  }

  /// The file, which the caller syncs and renames.
  [[nodiscard]] typename S::Replacement& file() noexcept { return file_; }

  /// Opens the file for appending. Precondition: it is in place. Afterwards only header() and end() may be called.
  [[nodiscard]] typename S::Log open(S& storage, LogOptions options) {
    return storage.open_log(std::move(file_), options);
  }

  [[nodiscard]] const LogHeader& header() const noexcept { return header_; }
  [[nodiscard]] const LogPosition& end() const noexcept { return end_; }

 private:
  // The header of the next frame, without its checksum.
  [[nodiscard]] FrameHeader next_header(std::span<const std::byte> body) const noexcept {
    // The whole file is synced before it is renamed: when a reader sees this frame, everything before it is durable.
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
  std::optional<std::int64_t> last_time_ = {};
  bool header_changed_ = false;
  Crc32Rebaser rebaser_;
  // Writes large blocks, in another thread: one system call for each frame would cost more than all other work.
  BlockStream<typename S::Replacement> frames_;
};

}  // namespace iqdb
