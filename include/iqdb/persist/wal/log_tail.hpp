// The tail of a log, copied into a new log while the old one is appended to.
//
// Invariant: what is copied ends exactly where the writer of the old log stands, or the copy fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where a log ends between two settled frames, and what its clock says there.
struct LogMoment {
  LogPosition end;
  LogClock clock;
};

/// Copies what a log holds behind a snapshot into a new log, which continues that snapshot. One thread uses it; another
/// one may append to the old log meanwhile.
template <Storage S>
class LogTail {
 public:
  /// Begins a new log beside the log at `path`, whose header is `header`. `from` is where that log ended when the snapshot
  /// `base` was taken: the snapshot holds the mutations before it. `storage` and `lock` must
  /// outlive this. Throws PersistError io.
  LogTail(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, const LogHeader& header,
          const LogMoment& from, const Fingerprint& base, const PersistConfig& config)
      : storage_(&storage),
        path_(path),
        lock_(&lock),
        // Frames of another log that took the name are then no frames of this one.
        source_{.header = header},
        piece_bytes_(config.buffer_bytes),
        copied_(from.end),
        log_(storage, path, lock, base, from.end.next_lsn - 1, header.history_id, config) {
    log_.append_time_so_far(from.clock);
  }

  /// Copies what stands between the end of the last copy and `end`, where a settled frame ended. Checkpoint frames are not
  /// taken over: they speak of older snapshots. Throws PersistError io, also if the file does not show what was written:
  /// then nothing more may be copied.
  void copy_up_to(const LogPosition& end) {
    if (copied_ == end) {
      return;
    }
    // Opened anew: a file that is open has the size that it had then.
    std::optional<typename S::File> file = storage_->open(path_, *lock_);
    if (!file) {
      fail(end, "the log is not there");
    }
    FrameReader<typename S::File> reader(*file, source_, copied_, piece_bytes_);
    while (reader.position().offset < end.offset) {
      const auto frame = reader.next();
      if (!frame) {
        fail(end, "no valid record stands at byte " + std::to_string(reader.position().offset));
      }
      const FrameBody body = frame->decoded([&] { return FrameBody(frame->body, log_version); });
      reader.advance(body.mutations());
      if (body.op() == FrameOp::time) {
        log_.append_time(body.time());
      } else if (body.op() != FrameOp::checkpoint) {
        log_.append(*frame, body.mutations());
      }
    }
    if (reader.position() != end) {
      fail(end, "the record at its end stops at byte " + std::to_string(reader.position().offset));
    }
    copied_ = end;
  }

  /// The new log, behind the last copy. The caller ends it and puts it in place. Throws PersistError io.
  [[nodiscard]] NewLog<S>& complete() {
    if (log_.end().offset != log_header_bytes) {
      // Without this frame a load would take the last copied frame for one that a crash may have left unsettled.
      log_.append_close();
    }
    return log_;
  }

 private:
  [[noreturn, gnu::cold, gnu::noinline]] void fail(const LogPosition& end, const std::string& found) const {
    throw_persist_error(PersistErrorKind::io,
                        "the log could not be copied while it is written: " + found +
                            ", but it was written up to byte " + std::to_string(end.offset) +
                            "; the log stays as it is, and nothing is lost: checkpoint again, or load the index again",
                        {.path = path_, .code = {}, .offset = {}});
  }

  S* storage_;
  std::filesystem::path path_;
  const typename S::Lock* lock_;
  LogIdentity source_;
  std::size_t piece_bytes_;
  LogPosition copied_;  // up to here the old log was copied
  NewLog<S> log_;
};

}  // namespace iqdb
