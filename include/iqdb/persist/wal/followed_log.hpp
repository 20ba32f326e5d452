// Where a reader stands in a log that another process writes, and how it goes on from there.
//
// Invariant: the mutations that it has applied stand in the log, with the same bytes and the same aborts, or it says that
// they do not: then the index must be loaded anew. It looks at the last one only. A writer that takes a frame back takes the
// last one back; and a log in which numbers were given again, or mutations left out, is of another history.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/replay.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What came of an attempt to go on in a log.
enum class Followed : std::uint8_t {
  to_the_end,  ///< everything that the log holds is applied
  taken_back,  ///< a mutation that was applied is no part of the log any more: the index must be loaded anew
  lost,        ///< what comes next cannot be told from this log: the index must be loaded anew
};

/// A log that is read while it is written. One thread uses it at a time.
template <Index I, Storage S>
  requires GrowingFile<typename S::File>
class FollowedLog {
 public:
  using File = typename S::File;

  /// Goes on behind `read`, which was read from the files of `path`, a resolved name. `read.log` must be there. Reads pieces
  /// of `piece_bytes`. Throws PersistError io, log_corrupted.
  FollowedLog(read_only::ReadFiles<S>&& read, std::size_t piece_bytes)
      : file_(std::move(*read.log)),
        log_(identify_log(file_)),
        piece_bytes_(piece_bytes),
        begin_(read.end.position),
        lsn_(read.end.position.next_lsn - 1) {
    if (read.end.last_frame) {
      FrameReader<File> reader(file_, log_, *read.end.last_frame, piece_bytes_);
      const auto frame = reader.next();
      if (frame && frame->crc32 == read.end.last_crc32) {
        remember(*frame, reader.abort_behind(*frame, FrameBody(frame->body, log_.version).mutations()));
      } else {
        is_lost_ = true;  // it was taken back while it was loaded
      }
    }
  }

  /// The LSN of the last mutation that was read.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return lsn_; }

  /// Reads on, in the log that was read last and then in the one that has taken its name in `storage`. Each `alone(apply)`
  /// calls `apply(index, is_enough)`, which applies frames to the index until there are none or `is_enough()`. Throws
  /// PersistError io, log_corrupted, unsupported; std::bad_alloc.
  template <class Alone>
  [[nodiscard]] Followed go_on(S& storage, const std::filesystem::path& path, Alone&& alone) {
    if (is_lost_) {
      return Followed::taken_back;
    }
    if (const Followed here = read_on(alone); here != Followed::to_the_end) {
      return here;
    }
    std::optional<File> named = storage.open(path);
    if (!named) {
      return Followed::lost;  // it was removed: mutations are not logged any more, or a log begins anew
    }
    const LogIdentity other = identify_log(*named);
    if (other.version == log_.version && other.header.log_id == log_.header.log_id) {
      return Followed::to_the_end;
    }
    // The name leads to another log, so nobody appends to this one any more: what it holds now is all.
    if (const Followed rest = read_on(alone); rest != Followed::to_the_end) {
      return rest;
    }
    if (!stands_in(*named, other)) {
      return Followed::lost;
    }
    return read_on(alone);
  }

 private:
  // Keeps what tells the frame that was applied last from another one.
  void remember(const LogFrame& frame, std::vector<LsnRange> aborted) {
    last_ = frame.position;
    last_crc32_ = frame.crc32;
    last_body_.assign(frame.body.begin(), frame.body.end());
    last_aborted_ = std::move(aborted);
  }

  // Reads the file to its end.
  template <class Alone>
  [[nodiscard]] Followed read_on(Alone&& alone) {
    file_.refresh();
    FrameReader<File> reader(file_, log_, last_ ? *last_ : begin_, piece_bytes_);
    if (last_) {
      const auto frame = reader.next();
      if (!frame || frame->crc32 != last_crc32_ || !std::ranges::equal(frame->body, last_body_)) {
        return Followed::taken_back;
      }
      const std::uint32_t mutations = FrameBody(frame->body, log_.version).mutations();
      if (reader.abort_behind(*frame, mutations) != last_aborted_) {
        return Followed::taken_back;  // it was rejected after it was read
      }
      reader.advance(mutations);
    }
    Followed followed = Followed::to_the_end;
    const LogPosition from = reader.position();
    for (std::optional<LogFrame> frame = reader.next(); frame && followed == Followed::to_the_end;) {
      alone([&](I& index, auto&& is_enough) { followed = apply(index, reader, frame, is_enough); });
    }
    if (reader.position() == from && std::exchange(size_examined_, file_.size()) != file_.size()) {
      // The file grows, but not behind what was read. Is that a frame that is being written, or damage?
      try {
        static_cast<void>(reader.torn_bytes());
      } catch (const PersistError& error) {
        if (error.kind() != PersistErrorKind::log_corrupted) {
          throw;
        }
        return Followed::lost;
      }
    }
    return followed;
  }

  // Applies `frame` and those behind it, until there is none, which is then `frame`, or `is_enough()`.
  template <class IsEnough>
  [[nodiscard]] Followed apply(I& index, FrameReader<File>& reader, std::optional<LogFrame>& frame,
                               IsEnough&& is_enough) {
    using Replay = recovery::Replay<I, S>;
    const recovery::ReplayRules rules{.version = log_.version, .covered_lsn = lsn_};
    RecoveryReport report;
    HelperThreads no_helpers(0);
    Replay replay(index, nullptr, rules, report, no_helpers);
    bool enough = false;
    while (frame && !enough) {
      FrameBody body = frame->decoded([&] { return FrameBody(frame->body, log_.version); });
      std::vector<LsnRange> aborted = reader.abort_behind(*frame, body.mutations());
      if (replay.take(*frame, body, aborted) != Replay::Taken::done) {
        is_lost_ = true;  // a part of it may be applied
        return Followed::lost;
      }
      if (body.mutations() > 0) {
        remember(*frame, std::move(aborted));
      }
      reader.advance(body.mutations());
      enough = is_enough();
      frame = reader.next();
    }
    if (replay.settle() != Replay::Taken::done) {
      is_lost_ = true;
      return Followed::lost;
    }
    lsn_ = reader.position().next_lsn - 1;
    return Followed::to_the_end;
  }

  // Whether the mutation that was applied last stands in another log, or is the one up to which its snapshot has them all. Then
  // goes on in that log.
  [[nodiscard]] bool stands_in(File& file, const LogIdentity& log) {
    constexpr std::uint32_t first_with_history = 3;
    if (log.version < first_with_history || log_.version < first_with_history ||
        log.header.history_id != log_.header.history_id || log.header.base_lsn > lsn_) {
      return false;
    }
    std::optional<LogPosition> found;
    if (log.header.base_lsn < lsn_) {
      FrameReader<File> reader(file, log, log.first_frame(), piece_bytes_);
      while (const auto frame = reader.next()) {
        const std::uint32_t mutations = FrameBody(frame->body, log.version).mutations();
        const std::vector<LsnRange> aborted = reader.abort_behind(*frame, mutations);
        if (last_ && frame->position.next_lsn == last_->next_lsn && mutations > 0) {
          if (!std::ranges::equal(frame->body, last_body_) || aborted != last_aborted_) {
            return false;
          }
          found = frame->position;
          last_crc32_ = frame->crc32;
          break;
        }
        reader.advance(mutations);
      }
      if (!found) {
        return false;
      }
    }
    file_ = std::move(file);
    log_ = log;
    last_ = found;
    begin_ = log_.first_frame();
    return true;
  }

  File file_;
  LogIdentity log_;
  std::size_t piece_bytes_;
  LogPosition begin_;                // where to go on if no frame was applied yet
  std::optional<LogPosition> last_;  // the frame that was applied last
  std::uint32_t last_crc32_ = 0;     // its checksum in this log
  std::vector<std::byte> last_body_;
  std::vector<LsnRange> last_aborted_;  // its mutations that are no part of the state
  std::uint64_t lsn_;                   // of the last mutation that was read
  std::uint64_t size_examined_ = 0;     // the size of the file when its end was last told from damage
  bool is_lost_ = false;
};

}  // namespace iqdb
