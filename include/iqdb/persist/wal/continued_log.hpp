// What a load and a checkpoint do where a log goes on instead of being written anew: nothing, but for the abort of what a load
// has passed over.
//
// Invariant: no mutation is appended behind one that a load has passed over before an abort that names it stands in the log. A
// later load could not tell the two kinds apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Takes what would be written to a new log, and counts it: it stands in the log already. One thread uses it.
template <Storage S>
  requires ContinuesLogs<S>
class NewLog<S> {
 public:
  /// Goes on with the log of `lock`, of which a load needs what stands behind `base_lsn`. Throws what continue_log() throws.
  NewLog(S& storage, const std::filesystem::path& /*path*/, const typename S::Lock& lock, Fingerprint base,
         std::uint64_t base_lsn, std::optional<std::uint64_t> history_id, const PersistConfig& /*config*/)
      : log_(storage.continue_log(lock)),
        header_{.log_id = storage.new_log_id(),
                .base_lsn = base_lsn,
                .base = base,
                .history_id = history_id ? *history_id : storage.new_log_id()},
        end_{.offset = log_header_bytes, .next_lsn = base_lsn + 1} {}

  /// Counts a frame. Throws PersistError unsupported if mutations in front of it were passed over.
  void append(const LogFrame& frame, std::uint64_t mutations) {
    require_none_passed_over();
    counted(frame.body.size(), mutations);
  }

  /// Counts a frame whose body `write_body(writer)` writes. Throws as append().
  template <class WriteBody>
  void append_body(std::uint64_t mutations, WriteBody&& write_body) {
    require_none_passed_over();
    counted(bytes_of(std::forward<WriteBody>(write_body)).size(), mutations);
  }

  /// Counts an abort, or if `passed_over` of these mutations are named by none yet, keeps it for finish(). Throws PersistError
  /// unsupported if an abort names some of them already: only one stands behind a frame.
  void append_abort(std::span<const LsnRange> ranges, std::uint64_t passed_over) {
    std::uint64_t named = 0;
    for (const LsnRange& range : ranges) {
      named += range.last - range.first + 1;
    }
    if (passed_over != 0 && passed_over != named) {
      throw_cannot_skip();
    }
    if (passed_over != 0) {
      passed_over_.assign(ranges.begin(), ranges.end());
    }
    counted(bytes_of([&](Writer& writer) { write_abort(writer, ranges); }).size(), 0);
  }

  /// Takes what a time frame of the log says.
  void append_time(std::int64_t milliseconds) noexcept { last_time_ = milliseconds; }

  /// Does nothing: the next mutation notes its time.
  void append_time_so_far(const LogClock& /*clock*/) noexcept {}

  [[nodiscard]] std::optional<std::int64_t> last_time() const noexcept { return last_time_; }

  /// Does nothing: an abort settles the last frame.
  void append_close() noexcept {}

  /// Does nothing: the numbers of what was passed over are not given again.
  void begin_history(std::uint64_t /*history_id*/) noexcept {}

  /// Makes the abort durable, if there is one. Throws what the log throws; then nothing was acknowledged.
  void finish() {
    if (passed_over_.empty()) {
      return;
    }
    FrameEncoder encoder;
    write_abort(encoder.begin(), passed_over_);
    log_.append(encoder.finish(header_.log_id, end_.next_lsn, 0));
    // Without this sync a crash could leave the next mutation behind one that this load has passed over and the next would not.
    log_.sync();
    passed_over_.clear();
  }

  /// Of what lies between `from` and `end`, the log has everything.
  void continues(const LogPosition& from, const LogPosition& end) noexcept {
    end_ = {.offset = log_header_bytes + (end.offset - from.offset), .next_lsn = end.next_lsn};
  }

  /// The log, for appending. Precondition: finish() was called.
  [[nodiscard]] typename S::Log open(S& /*storage*/, LogOptions /*options*/) noexcept { return std::move(log_); }

  [[nodiscard]] const LogHeader& header() const noexcept { return header_; }
  [[nodiscard]] const LogPosition& end() const noexcept { return end_; }

 private:
  [[noreturn, gnu::cold, gnu::noinline]] static void throw_cannot_skip() {
    throw_persist_error(
        PersistErrorKind::unsupported,
        "skip_rejected passes over mutations in front of others, which a log on an object store cannot note; "
        "load the index with read_only and skip_rejected, and store it under another name with save_copy()");
  }

  void require_none_passed_over() const {
    if (!passed_over_.empty()) {
      throw_cannot_skip();
    }
  }

  void counted(std::size_t body_bytes, std::uint64_t mutations) noexcept {
    end_.offset += FrameHeader::bytes + body_bytes;
    end_.next_lsn += mutations;
  }

  typename S::Log log_;
  LogHeader header_;
  LogPosition end_;
  std::optional<std::int64_t> last_time_;
  std::vector<LsnRange> passed_over_;  // of the last frame, and named by no abort yet
};

}  // namespace iqdb
