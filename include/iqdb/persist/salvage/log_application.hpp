// The mutations of a salvaged log, made in an index.
//
// Invariant: each mutation behind those that the index holds is made, or counted, or named in the report.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/salvage/log_frames.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/salvage/salvage_report.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

[[nodiscard]] inline bool contains(std::span<const LsnRange> ranges, std::uint64_t lsn) {
  return std::ranges::any_of(ranges, [lsn](const LsnRange& each) { return each.first <= lsn && lsn <= each.last; });
}

// The mutations of a frame that the frame behind it takes back.
[[nodiscard]] inline std::vector<LsnRange> aborted_of(const SalvagedLog& log, std::size_t number) {
  const auto& frames = log.frames();
  const SalvagedFrame& frame = frames[number];
  if (number + 1 == frames.size() || frames[number + 1].offset != frame.end) {
    return {};
  }
  return FrameBody(frames[number + 1].body, log.header().log.version).aborted_within(frame.first_lsn, frame.mutations);
}

// Replays a salvaged log onto an index.
template <Index I>
class LogApplication {
 public:
  LogApplication(I& index, const SalvagedLog& log, const SalvageOptions& options, SalvageReport& report)
      : index_(&index), log_(&log), options_(&options), report_(&report) {}

  // Applies what is behind the mutation `covered`.
  void apply(std::uint64_t covered) { apply_from(0, covered, nullptr); }

  // Applies what is behind the mutation `covered`, from the frame of this number on, but to the vectors in `changed_since`.
  void apply_from(std::size_t first_frame, std::uint64_t covered, const std::unordered_set<VectorId>* changed_since) {
    changed_since_ = changed_since;
    const auto& frames = log_->frames();
    for (std::size_t number = first_frame; number < frames.size(); ++number) {
      const SalvagedFrame& frame = frames[number];
      if (frame.mutations == 0) {
        continue;
      }
      const std::uint64_t last = frame.first_lsn + frame.mutations - 1;
      if (log_->header().log.version != 1 && frame.first_lsn <= covered) {
        report_->covered += frame.mutations;
        continue;
      }
      if (frame.is_behind_damage && !options_->also_behind) {
        append_range(report_->left_out, {.first = frame.first_lsn, .last = last});
        continue;
      }
      const SalvagedFrame* const next = number + 1 < frames.size() ? &frames[number + 1] : nullptr;
      const std::vector<LsnRange> aborted = aborted_of(*log_, number);
      if (is_damaged_at(frame.end)) {
        append_range(report_->unsettled, {.first = frame.first_lsn, .last = last});
      }
      const bool is_last = next == nullptr && !is_damaged_at(frame.end);
      apply_frame(frame, aborted, is_last);
    }
  }

 private:
  [[nodiscard]] bool is_damaged_at(std::uint64_t offset) const {
    return std::ranges::any_of(log_->damages(), [offset](const LogDamage& each) { return each.offset == offset; });
  }

  void apply_frame(const SalvagedFrame& frame, std::span<const LsnRange> aborted, bool is_last) {
    FrameBody body(frame.body, log_->header().log.version);
    for (std::uint32_t at = 0; at < frame.mutations; ++at) {
      body.read_next(mutation_);
      const std::uint64_t lsn = frame.first_lsn + at;
      if (contains(aborted, lsn)) {
        ++report_->aborted;
        continue;
      }
      if (changed_since_ != nullptr && changed_since_->contains(mutation_.id)) {
        ++report_->superseded;
        continue;
      }
      if (!applied(lsn) && is_last) {
        // The crash came between the rejection and its abort: nobody was told that it was made.
        report_->refused.pop_back();
        report_->aborted += frame.mutations - at;
        return;
      }
      report_->applied_behind += frame.is_behind_damage ? 1 : 0;
    }
  }

  bool applied(std::uint64_t lsn) {
    bool half_done = false;
    try {
      as_logged(*index_, [&](auto& index) { apply_mutation(index, mutation_, copied(mutation_.metadata), half_done); });
      ++report_->applied;
      return true;
    } catch (const IndexError& error) {
      return excused(error) || refuse(lsn, error.what(), half_done);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      return refuse(lsn, error.what(), half_done);
    }
  }

  // Whether the rejection follows from what is known to be lost, or from version 1, which repeats what a snapshot holds.
  bool excused(const IndexError& error) {
    const bool is_version_1 = log_->header().log.version == 1;
    if (mutation_.op == FrameOp::erase && error.kind() == IndexErrorKind::not_found) {
      const bool excuse = is_version_1 || report_->snapshot == SalvagedSnapshot::lost ||
                          report_->snapshot == SalvagedSnapshot::rows || report_->snapshot == SalvagedSnapshot::missing;
      report_->unknown_erased += excuse ? 1 : 0;
      return excuse;
    }
    if (is_version_1 && mutation_.op == FrameOp::insert && error.kind() == IndexErrorKind::duplicate) {
      bool half_done = false;
      mutation_.op = FrameOp::upsert;
      apply_mutation(*index_, mutation_, copied(mutation_.metadata), half_done);
      ++report_->applied;
      return true;
    }
    return false;
  }

  bool refuse(std::uint64_t lsn, const std::string& why, bool half_done) {
    report_->refused.push_back({.lsn = lsn,
                                .op = mutation_.op,
                                .id = mutation_.id,
                                .why = half_done ? why + "; the earlier vector of that identifier is gone" : why});
    return false;
  }

  I* index_;
  const SalvagedLog* log_;
  const SalvageOptions* options_;
  SalvageReport* report_;
  const std::unordered_set<VectorId>* changed_since_ = nullptr;
  Mutation mutation_;
};

// The last mutation that the snapshot holds, by what the log says of it. `exact` is whether the file's size counts, too: of
// a snapshot that is cut short it is another. Nothing if the log continues another snapshot.
inline std::optional<std::uint64_t> covered_by(const SalvagedLog& log, const Fingerprint& snapshot, bool exact) {
  const auto is_it = [&](const Fingerprint& named) {
    return named.header_crc32 == snapshot.header_crc32 && named.region_crc32 == snapshot.region_crc32 &&
           (!exact || named.file_bytes == snapshot.file_bytes);
  };
  std::optional<std::uint64_t> covered;
  const LogIdentity& identity = log.header().log;
  if (identity.version == 1 || (log.header().state <= HeaderState::corrected && is_it(identity.header.base))) {
    covered = identity.header.base_lsn;
  }
  for (const SalvagedFrame& frame : log.frames()) {
    if (frame.op == FrameOp::checkpoint) {
      const FrameBody body(frame.body, identity.version);
      if (is_it(body.fingerprint())) {
        covered = body.checkpoint_lsn().value_or(frame.first_lsn - 1);
      }
    }
  }
  return covered;
}

// The dimension of the first vector of a log.
inline std::uint64_t dim_in(const SalvagedLog& log) {
  Mutation mutation;
  for (const SalvagedFrame& frame : log.frames()) {
    FrameBody body(frame.body, log.header().log.version);
    for (std::uint32_t at = 0; at < frame.mutations; ++at) {
      body.read_next(mutation);
      if (mutation.op == FrameOp::insert || mutation.op == FrameOp::upsert) {
        return mutation.vector.size();
      }
    }
  }
  return 0;
}

}  // namespace salvage

}  // namespace iqdb
