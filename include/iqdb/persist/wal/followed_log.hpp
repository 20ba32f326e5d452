// Where a reader stands in a log that another process writes, and how it goes on from there.
//
// Invariant: the mutations that it has applied stand in the log, with the same bytes and the same aborts, or it says that
// they do not: then the index must be loaded anew. In a log that is appended to it looks at the last frame only, since a writer
// takes back none but that; a log that takes the name of another one is compared frame by frame.
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
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_marks.hpp"
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
class FollowedLog {
  static_assert(GrowingFile<typename S::File>,
                "for a follower of an index on an object store, include iqdb/persist/object_storage.hpp");

 public:
  using File = typename S::File;

  /// Goes on behind `read`, which was read from the files of `path`, a resolved name. `read.log` must be there. Reads pieces
  /// of `piece_bytes`. Throws PersistError io, log_corrupted.
  FollowedLog(read_only::ReadFiles<S>&& read, std::size_t piece_bytes)
      : file_(std::move(*read.log)),
        log_(identify_log(file_)),
        piece_bytes_(piece_bytes),
        begin_(read.end.position),
        last_(read.end.last_frame),
        last_crc32_(read.end.last_crc32),
        last_aborted_(std::move(read.end.last_aborted)),
        marks_(std::move(read.marks)),
        lsn_(read.end.position.next_lsn - 1),
        is_tolerated_(read.tolerated) {
    marks_.take_base(read.snapshot);
  }

  /// The LSN of the last mutation that was read.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return lsn_; }

  /// Reads on, in the log that was read last and then in the one that has taken its name in `storage`. Each `alone(apply)`
  /// calls `apply(index, is_enough)`, which applies frames to the index until there are none or `is_enough()`. If it does not
  /// come to the end, or throws, the index must be loaded anew: it says so in every later call. Throws PersistError io,
  /// log_corrupted, unsupported; std::bad_alloc.
  template <class Alone>
  [[nodiscard]] Followed go_on(S& storage, const std::filesystem::path& path, Alone&& alone) {
    if (!lost_) {
      if (const Followed followed = read_both(storage, path, alone); followed != Followed::to_the_end) {
        lost_ = followed;
      }
    }
    return lost_.value_or(Followed::to_the_end);
  }

 private:
  template <class Alone>
  [[nodiscard]] Followed read_both(S& storage, const std::filesystem::path& path, Alone&& alone) {
    std::optional<File> named = storage.open(path);
    if (!named) {
      return Followed::lost;  // it was removed: mutations are not logged any more, or a log begins anew
    }
    const LogIdentity other = identify_log(*named);
    if (other.version == log_.version && other.header.log_id == log_.header.log_id) {
      file_ = std::move(*named);  // the same, or a copy that has taken its place
      return read_on(alone);
    }
    // Nobody appends any more to the log that has lost its name: what it holds now is all.
    if (const Followed rest = read_on(alone); rest != Followed::to_the_end) {
      return rest;
    }
    named->refresh();
    if (!stands_in(*named, other)) {
      return Followed::lost;
    }
    return read_on(alone);
  }

  // Reads the file to its end.
  template <class Alone>
  [[nodiscard]] Followed read_on(Alone&& alone) {
    file_.refresh();
    FrameReader<File> reader(file_, log_, last_ ? *last_ : begin_, piece_bytes_);
    if (last_) {
      const auto frame = reader.next();
      if (!frame || frame->crc32 != last_crc32_) {
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
    std::optional<LogFrame> frame = reader.next();
    if (frame && is_tolerated_) {
      return Followed::taken_back;  // the writer has settled the frame of which a mutation was passed over
    }
    if (!frame && is_stuck(from)) {
      return Followed::lost;
    }
    while (frame && followed == Followed::to_the_end) {
      alone([&](I& index, auto&& is_enough) { followed = apply(index, reader, frame, is_enough); });
    }
    return followed;
  }

  // Whether the log is damaged where the next frame should stand. What is being written is not the same for two looks, and is
  // told from damage as at a load.
  [[nodiscard]] bool is_stuck(const LogPosition& at) {
    FileWindow<File> window(file_, FrameHeader::bytes);
    const auto bytes = window.at(at.offset, FrameHeader::bytes);
    const bool is_empty = std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
    const std::vector<std::byte> now(bytes.begin(), bytes.end());
    if (is_empty || std::exchange(stuck_at_, now) != now) {
      return false;
    }
    try {
      FrameReader<File> reader(file_, log_, at, piece_bytes_);
      static_cast<void>(reader.torn_bytes());
      return false;
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::log_corrupted) {
        throw;
      }
      return true;
    }
  }

  // Applies `frame` and those behind it, until there is none, which is then `frame`, or `is_enough()`.
  template <class IsEnough>
  [[nodiscard]] Followed apply(I& index, FrameReader<File>& reader, std::optional<LogFrame>& frame,
                               IsEnough&& is_enough) {
    using Replay = recovery::Replay<I, S>;
    lost_ = Followed::lost;  // until everything that was taken is applied
    const recovery::ReplayRules rules{.version = log_.version, .covered_lsn = lsn_};
    RecoveryReport report;
    HelperThreads no_helpers(0);
    Replay replay(index, nullptr, rules, report, no_helpers);
    for (bool enough = false; frame && !enough;) {
      FrameBody body = frame->decoded([&] { return FrameBody(frame->body, log_.version); });
      const std::vector<LsnRange> aborted = reader.abort_behind(*frame, body.mutations());
      if (replay.take(*frame, body, aborted) != Replay::Taken::done) {
        return Followed::lost;
      }
      if (body.mutations() > 0) {
        last_ = frame->position;
        last_crc32_ = frame->crc32;
        last_aborted_ = aborted;
        marks_.take(marks_.of(*frame, aborted));
      } else if (body.op() == FrameOp::checkpoint) {
        marks_.take_base(body.fingerprint());
      }
      reader.advance(body.mutations());
      enough = is_enough();
      frame = reader.next();
    }
    if (replay.settle() != Replay::Taken::done) {
      return Followed::lost;
    }
    lsn_ = reader.position().next_lsn - 1;
    lost_.reset();
    return Followed::to_the_end;
  }

  // Whether another log continues what was read: it is of the same history, its snapshot is one that this log knows, and it
  // begins with what was read behind that snapshot. Then goes on in it.
  [[nodiscard]] bool stands_in(File& file, const LogIdentity& log) {
    constexpr std::uint32_t first_with_history = 3;
    if (log.version < first_with_history || log_.version < first_with_history ||
        log.header.history_id != log_.header.history_id || log.header.base_lsn > lsn_ ||
        !marks_.has_base(log.header.base)) {
      return false;
    }
    FrameMarks marks;
    marks.take_base(log.header.base);
    std::optional<LogPosition> last;
    std::uint32_t last_crc32 = 0;
    const std::span<const FrameMark> all = marks_.frames();
    auto known = std::ranges::find_if(all, [&](const FrameMark& mark) { return mark.lsn > log.header.base_lsn; });
    FrameReader<File> reader(file, log, log.first_frame(), piece_bytes_);
    while (known != all.end()) {
      const auto frame = reader.next();
      if (!frame) {
        return false;
      }
      const FrameBody body(frame->body, log.version);
      if (body.mutations() > 0) {
        const FrameMark mark = marks.of(*frame, reader.abort_behind(*frame, body.mutations()));
        if (mark != *known) {
          return false;
        }
        marks.take(mark);
        last = frame->position;
        last_crc32 = frame->crc32;
        ++known;
      } else if (body.op() == FrameOp::checkpoint) {
        marks.take_base(body.fingerprint());
      }
      reader.advance(body.mutations());
    }
    if (reader.position().next_lsn != lsn_ + 1) {
      return false;
    }
    file_ = std::move(file);
    log_ = log;
    begin_ = log_.first_frame();
    last_ = last;
    last_crc32_ = last_crc32;
    if (!last_) {
      last_aborted_.clear();
    }
    marks_ = std::move(marks);
    return true;
  }

  File file_;
  LogIdentity log_;
  std::size_t piece_bytes_;
  LogPosition begin_;                   // where to go on if no frame was applied yet
  std::optional<LogPosition> last_;     // the frame that was applied last
  std::uint32_t last_crc32_;            // its checksum in this log
  std::vector<LsnRange> last_aborted_;  // its mutations that are no part of the state
  FrameMarks marks_;                    // of this log
  std::uint64_t lsn_;                   // of the last mutation that was read
  bool is_tolerated_;                   // a mutation of the last frame was passed over when it was loaded
  std::vector<std::byte> stuck_at_;     // what stood where no frame stands, at the last look
  std::optional<Followed> lost_;        // why the index must be loaded anew
};

}  // namespace iqdb
