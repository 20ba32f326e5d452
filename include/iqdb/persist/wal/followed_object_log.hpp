// A log on an object store that is read while it is written: object by object, by their numbers.
//
// Invariants: an object is applied only if it continues what was read before. What was applied and is then rejected by its writer
// makes the index be loaded anew.
//
// What is not there is not written yet, or was swept, and the index must be loaded anew: the object that was read last tells which. It
// goes only where others were written behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/followed_log.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_frame.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_storage.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/replay.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// As the one of files. One thread uses it at a time.
template <Index I, ObjectStore Store>
class FollowedLog<I, ObjectStorage<Store>> {
 public:
  using Storage = ObjectStorage<Store>;

  /// Goes on behind `read`, which has a log.
  FollowedLog(read_only::ReadFiles<Storage>&& read, std::size_t /*piece_bytes*/)
      : place_(read.log->end_of_log()), lsn_(read.end.position.next_lsn - 1), is_tolerated_(read.tolerated) {}

  /// The LSN of the last mutation that was read.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return lsn_; }

  /// Reads the objects that are there since. As FollowedLog::go_on() of files; also throws what the store throws.
  template <class Alone>
  [[nodiscard]] Followed go_on(Storage& storage, const std::filesystem::path& /*log*/, Alone&& alone) {
    while (!lost_) {
      auto object = storage.object_of_log(place_.name, place_.next_number);
      if (!object) {
        if (storage.is_swept(place_, ++looks_in_vain_)) {
          lost_ = Followed::lost;
        }
        break;
      }
      looks_in_vain_ = 0;
      if (const Followed followed = read(*object, alone); followed != Followed::to_the_end) {
        lost_ = followed;
      }
    }
    return lost_.value_or(Followed::to_the_end);
  }

 private:
  using Replay = recovery::Replay<I, Storage>;

  template <class Alone>
  [[nodiscard]] Followed read(const LogObject& object, Alone&& alone) {
    if (!place_.goes_on_with(object.header, lsn_)) {
      return Followed::lost;
    }
    if (object.header.kind != LogObjectKind::fence) {
      const bool is_abort = object.header.kind == LogObjectKind::frames && op_of(object, 0) == FrameOp::abort;
      if (is_tolerated_ || is_abort) {
        return Followed::taken_back;  // of the frame before, which was read already
      }
    }
    if (object.header.kind == LogObjectKind::checkpoint && place_.is_fence() &&
        object.snapshot.lsn == object.header.base_lsn) {
      // Its writer may have loaded nothing, and put another index in the place of the one before.
      return Followed::lost;
    }
    Followed followed = Followed::to_the_end;
    for (std::size_t next = 0; next < object.frames.size() && followed == Followed::to_the_end;) {
      alone([&](I& index, auto&& is_enough) { followed = apply(index, object, next, is_enough); });
    }
    if (followed == Followed::to_the_end) {
      ++place_.next_number;
      place_.fence = object.header.fence;
      lsn_ = object.last_lsn();
    }
    return followed;
  }

  // Applies frames from `next` on, until there are none or `is_enough()`.
  template <class IsEnough>
  [[nodiscard]] Followed apply(I& index, const LogObject& object, std::size_t& next, IsEnough&& is_enough) {
    lost_ = Followed::lost;  // until everything that was taken is applied
    const recovery::ReplayRules rules{.version = log_objects::frame_version};
    RecoveryReport report;
    HelperThreads no_helpers(0);
    Replay replay(index, nullptr, rules, report, no_helpers);
    for (bool enough = false; next < object.frames.size() && !enough; ++next) {
      const LogObjectFrame& at = object.frames[next];
      const LogFrame frame{.position = {.offset = at.begin, .next_lsn = at.lsn},
                           .end = at.begin + at.bytes,
                           .body = object.body(at),
                           .crc32 = 0,
                           .fields = {}};
      FrameBody body(frame.body, log_objects::frame_version);
      if (replay.take(frame, body, aborted_behind(object, next)) != Replay::Taken::done) {
        return Followed::lost;
      }
      enough = is_enough();
    }
    if (replay.settle() != Replay::Taken::done) {
      return Followed::lost;
    }
    lost_.reset();
    return Followed::to_the_end;
  }

  [[nodiscard]] static FrameOp op_of(const LogObject& object, std::size_t frame) {
    return static_cast<FrameOp>(object.body(object.frames[frame]).front());
  }

  // What the frame behind this one in its object aborts of it.
  [[nodiscard]] static std::vector<LsnRange> aborted_behind(const LogObject& object, std::size_t frame) {
    if (frame + 1 == object.frames.size() || op_of(object, frame + 1) != FrameOp::abort) {
      return {};
    }
    const FrameBody abort(object.body(object.frames[frame + 1]), log_objects::frame_version);
    return abort.aborted_within(object.frames[frame].lsn, object.frames[frame].mutations);
  }

  EndOfObjectLog place_;
  std::uint64_t lsn_;  // of the last mutation that was read
  bool is_tolerated_;  // a mutation of the last frame was passed over when it was loaded
  unsigned looks_in_vain_ = 0;
  std::optional<Followed> lost_;  // why the index must be loaded anew
};

}  // namespace iqdb
