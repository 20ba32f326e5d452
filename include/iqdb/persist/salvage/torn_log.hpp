// What a log that a load has replaced, because its end was torn, holds behind the torn place.
//
// Such a log has all that the load has taken, and the log that replaced it goes on from there with the same numbers. What
// is behind the torn place is a second history: it came before what was logged since.
//
// Invariants: a mutation is made only if the log continues the same snapshot as the present one and has the same records
// before the torn place, and if nothing has changed its vector since.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/salvage/log_application.hpp"
#include "iqdb/persist/salvage/log_frames.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/salvage/salvage_report.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

// A torn log, divided where the load that replaced it stopped reading.
class TornLog {
 public:
  // `log` must outlive this object.
  explicit TornLog(const SalvagedLog& log) : log_(&log), torn_at_(log.bytes()) {
    if (!log.damages().empty()) {
      torn_at_ = log.damages().front().offset;
    }
    // A load does not correct bits: a record with a flipped one is where it stopped.
    for (const BitPosition& bit : log.corrections()) {
      for (const SalvagedFrame& frame : log.frames()) {
        if (frame.offset <= bit.offset && bit.offset < frame.end) {
          torn_at_ = std::min(torn_at_, frame.offset);
        }
      }
    }
    kept_lsn_ = log.header().log.header.base_lsn;
    for (const SalvagedFrame& frame : log.frames()) {
      if (frame.offset < torn_at_) {
        kept_lsn_ = std::max(kept_lsn_, frame.first_lsn + frame.mutations - 1);
        ++kept_frames_;
      }
    }
  }

  // The last mutation that the load has taken.
  [[nodiscard]] std::uint64_t kept_lsn() const noexcept { return kept_lsn_; }

  // The number of the first frame behind the torn place.
  [[nodiscard]] std::size_t kept_frames() const noexcept { return kept_frames_; }

  // The mutations of the whole frames behind the torn place, and behind `covered`.
  [[nodiscard]] std::vector<LsnRange> tail_behind(std::uint64_t covered) const {
    std::vector<LsnRange> tail;
    for (std::size_t number = kept_frames_; number < log_->frames().size(); ++number) {
      const SalvagedFrame& frame = log_->frames()[number];
      if (frame.mutations > 0 && frame.first_lsn > covered) {
        append_range(tail, {.first = frame.first_lsn, .last = frame.first_lsn + frame.mutations - 1});
      }
    }
    return tail;
  }

  // Whether `present` is a log that may have replaced this one: the records that both have before the torn place are the
  // same.
  [[nodiscard]] bool agrees_with(const SalvagedLog& present) const {
    std::size_t at = 0;
    const auto& frames = log_->frames();
    for (const SalvagedFrame& frame : present.frames()) {
      if (frame.mutations == 0 || frame.first_lsn > kept_lsn_) {
        continue;
      }
      while (at < kept_frames_ && (frames[at].mutations == 0 || frames[at].first_lsn < frame.first_lsn)) {
        ++at;
      }
      const bool both =
          at < kept_frames_ && frames[at].first_lsn == frame.first_lsn && frames[at].mutations == frame.mutations;
      if (both && !std::ranges::equal(frames[at].body, frame.body)) {
        return false;
      }
    }
    return true;
  }

  [[nodiscard]] const SalvagedLog& log() const noexcept { return *log_; }

 private:
  const SalvagedLog* log_;
  std::uint64_t torn_at_;
  std::uint64_t kept_lsn_ = 0;
  std::size_t kept_frames_ = 0;
};

// The vectors that a log changes behind the mutation `lsn`.
[[nodiscard]] inline std::unordered_set<VectorId> changed_behind(const SalvagedLog& log, std::uint64_t lsn) {
  std::unordered_set<VectorId> changed;
  Mutation mutation;
  for (std::size_t number = 0; number < log.frames().size(); ++number) {
    const SalvagedFrame& frame = log.frames()[number];
    if (frame.mutations == 0 || frame.first_lsn <= lsn) {
      continue;
    }
    const std::vector<LsnRange> aborted = aborted_of(log, number);
    FrameBody body(frame.body, log.header().log.version);
    for (std::uint32_t at = 0; at < frame.mutations; ++at) {
      body.read_next(mutation);
      if (!contains(aborted, frame.first_lsn + at)) {
        changed.insert(mutation.id);
      }
    }
  }
  return changed;
}

// Whether the logs continue the same snapshot, by their headers or by what a torn log says of the one that is `known_as`.
[[nodiscard]] inline bool continue_the_same(const SalvagedLog& torn, const SalvagedLog& present,
                                            const std::optional<Fingerprint>& known_as, bool exact) {
  const auto names_base = [](const SalvagedLog& log) {
    return log.header().state <= HeaderState::corrected && log.header().log.version != 1;
  };
  if (!names_base(torn)) {
    return false;
  }
  return (names_base(present) && torn.header().log.header.base == present.header().log.header.base) ||
         (known_as && covered_by(torn, *known_as, exact));
}

// Whether `torn`, null for none, takes the place of `present`, null for none: of one that is missing or cannot be read. If
// the snapshot is `whole`, the torn log must continue it.
[[nodiscard]] inline bool is_needed_as_log(const SalvagedLog* torn, const SalvagedLog* present,
                                           const std::optional<Fingerprint>& whole) {
  const bool is_lost = present == nullptr || (present->header().state == HeaderState::lost && present->bytes() > 0);
  return torn != nullptr && is_lost && torn->header().state <= HeaderState::corrected &&
         torn->header().log.version != 1 && (!whole || covered_by(*torn, *whole, true));
}

// Makes what the torn log holds behind the torn place, if options.also_behind, and reports it. `index` holds what the present
// log leads to, from the mutation `covered` on.
template <Index I>
void apply_torn_tail(I& index, const SalvagedLog& torn_log, const SalvagedLog& present, std::uint64_t covered,
                     const SalvageOptions& options, SalvageReport& report) {
  const TornLog torn(torn_log);
  if (covered > torn.kept_lsn() || !torn.agrees_with(present)) {
    report.torn.use = SalvagedTornUse::foreign;
    return;
  }
  report.torn.tail = torn.tail_behind(torn.kept_lsn());
  report.torn.use = report.torn.tail.empty() ? SalvagedTornUse::empty : SalvagedTornUse::left_out;
  if (report.torn.tail.empty() || !options.also_behind) {
    return;
  }
  report.torn.use = SalvagedTornUse::taken;
  SalvageReport of_tail{.snapshot = report.snapshot};
  const std::unordered_set<VectorId> changed = changed_behind(present, torn.kept_lsn());
  LogApplication<I>(index, torn_log, options, of_tail).apply_from(torn.kept_frames(), torn.kept_lsn(), &changed);
  report.torn.applied = of_tail.applied;
  report.torn.superseded = of_tail.superseded;
  report.torn.refused = std::move(of_tail.refused);
}

}  // namespace salvage

}  // namespace iqdb
