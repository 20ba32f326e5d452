// Makes an index of what is whole of a damaged snapshot and a damaged log, and reports what is lost.
//
//   SnapshotBytes -> the index, or its rows if the caller asks for unchecked ones, or an empty index
//   SalvagedLog   -> the mutations before the damage, and those behind it if the caller asks for them
//
// Invariants: what a checksum does not vouch for is in the index only on request. The report names everything that the
// files show to be lost. Nothing is written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/salvage/flipped_bit.hpp"
#include "iqdb/persist/salvage/log_frames.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/salvage/payload_rows.hpp"
#include "iqdb/persist/salvage/snapshot_bytes.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a salvage takes beside what is whole.
struct SalvageOptions {
  bool also_behind = false;     ///< whole records of the log behind its damage: what came between is missing
  bool unchecked_rows = false;  ///< rows of a snapshot whose checksum is wrong: some of them may be altered
};

/// What became of a snapshot.
enum class SalvagedSnapshot : std::uint8_t {
  missing,    ///< there is none
  whole,      ///< it is what was written
  corrected,  ///< it is what was written, after a flipped bit was corrected or its header was made again
  rows,       ///< its rows were taken unchecked
  lost,       ///< nothing was taken of it
};

/// What became of a log.
enum class SalvagedLogUse : std::uint8_t {
  missing,     ///< there is none
  taken,       ///< its mutations were made
  foreign,     ///< it continues another snapshot, and nothing was taken of it
  unreadable,  ///< nothing in it can be read
};

/// A mutation that is in the log and not in the index.
struct RefusedMutation {
  std::uint64_t lsn = 0;
  FrameOp op = FrameOp::insert;
  VectorId id = 0;
  std::string why = {};  ///< what the index said
};

/// What a salvage took, corrected and lost.
struct SalvageReport {
  SalvagedSnapshot snapshot = SalvagedSnapshot::missing;
  std::string snapshot_problem = {};                            ///< why it was not decoded, if it was not
  bool header_rebuilt = false;                                  ///< its header was lost, and made again
  std::vector<salvage::BitPosition> snapshot_corrections = {};  ///< flipped bits of it that were corrected
  std::optional<std::uint64_t> stated_vectors = {};             ///< how many vectors it says that it holds
  std::uint64_t vectors_taken = 0;                              ///< how many were taken of it
  std::vector<VectorId> vectors_lost = {};                      ///< those whose identifiers could be read
  std::vector<VectorId> metadata_lost = {};                     ///< vectors that were taken without their metadata

  SalvagedLogUse log = SalvagedLogUse::missing;
  salvage::HeaderState log_header = salvage::HeaderState::whole;
  std::vector<salvage::BitPosition> log_corrections = {};  ///< flipped bits of it that were corrected
  std::vector<salvage::LogDamage> damages = {};            ///< bytes that hold no whole record
  bool log_assumed_to_fit = false;                         ///< nothing says which snapshot it continues
  bool log_closed = false;                                 ///< its last record says that it was closed in order
  std::uint64_t covered = 0;                               ///< mutations that the snapshot holds already
  std::uint64_t applied = 0;                               ///< mutations that were made, of all of the log
  std::uint64_t applied_behind = 0;                        ///< those of them that stand behind damage
  std::uint64_t aborted = 0;                               ///< mutations that their writer had taken back
  std::uint64_t unknown_erased = 0;                        ///< removals of vectors that were in a snapshot that is lost
  std::vector<LsnRange> left_out = {};                     ///< whole mutations behind damage that were not made
  std::vector<LsnRange> unsettled = {};                    ///< made, but damage behind them may have taken them back
  std::vector<RefusedMutation> refused = {};               ///< mutations that the index did not take

  /// Whether nothing is known to be lost, refused, left out or doubtful.
  [[nodiscard]] bool is_whole() const noexcept {
    return snapshot != SalvagedSnapshot::lost && snapshot != SalvagedSnapshot::rows &&
           snapshot != SalvagedSnapshot::missing && (log == SalvagedLogUse::missing || log == SalvagedLogUse::taken) &&
           damages.empty() && left_out.empty() && refused.empty() && unsettled.empty() && !log_assumed_to_fit;
  }
};

/// What an empty index is made like.
struct SalvageBasis {
  std::uint64_t dim = 0;
  std::optional<DistanceMetric> metric = {};    ///< nothing if no file says it
  const salvage::SalvagedRows* rows = nullptr;  ///< what the payload says, if its rows are taken
};

namespace salvage {

// Replays a salvaged log onto an index.
template <Index I>
class LogApplication {
 public:
  LogApplication(I& index, const SalvagedLog& log, const SalvageOptions& options, SalvageReport& report)
      : index_(&index), log_(&log), options_(&options), report_(&report) {}

  // Applies what is behind the mutation `covered`.
  void apply(std::uint64_t covered) {
    const auto& frames = log_->frames();
    for (std::size_t number = 0; number < frames.size(); ++number) {
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
        note(report_->left_out, {.first = frame.first_lsn, .last = last});
        continue;
      }
      const SalvagedFrame* const next = number + 1 < frames.size() ? &frames[number + 1] : nullptr;
      std::vector<LsnRange> aborted;
      if (next != nullptr && next->offset == frame.end) {
        aborted = FrameBody(next->body, log_->header().log.version).aborted_within(frame.first_lsn, frame.mutations);
      } else if (is_damaged_at(frame.end)) {
        note(report_->unsettled, {.first = frame.first_lsn, .last = last});
      }
      const bool is_last = next == nullptr && !is_damaged_at(frame.end);
      apply_frame(frame, aborted, is_last);
    }
  }

 private:
  static void note(std::vector<LsnRange>& ranges, const LsnRange& range) {
    if (!ranges.empty() && ranges.back().last + 1 == range.first) {
      ranges.back().last = range.last;
    } else {
      ranges.push_back(range);
    }
  }

  [[nodiscard]] bool is_damaged_at(std::uint64_t offset) const {
    return std::ranges::any_of(log_->damages(), [offset](const LogDamage& each) { return each.offset == offset; });
  }

  void apply_frame(const SalvagedFrame& frame, std::span<const LsnRange> aborted, bool is_last) {
    FrameBody body(frame.body, log_->header().log.version);
    for (std::uint32_t at = 0; at < frame.mutations; ++at) {
      body.read_next(mutation_);
      const std::uint64_t lsn = frame.first_lsn + at;
      if (std::ranges::any_of(aborted, [lsn](const LsnRange& each) { return each.first <= lsn && lsn <= each.last; })) {
        ++report_->aborted;
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

// Fills an index with rows that nothing vouches for.
template <Index I>
void insert_rows(I& index, SalvagedRows& read, SalvageReport& report) {
  report.vectors_lost = std::move(read.lost);
  for (SalvagedRow& row : read.rows) {
    try {
      as_logged(index, [&](auto& taking) { taking.insert(row.id, row.vector, std::move(row.metadata)); });
      ++report.vectors_taken;
      if (row.metadata_lost) {
        report.metadata_lost.push_back(std::move(row.id));
      }
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception&) {
      report.vectors_lost.push_back(std::move(row.id));  // e.g. a component that is not finite
    }
  }
}

}  // namespace salvage

/// Makes an index of a snapshot and a log, null for one that is missing, and reports. `make(basis)` returns an empty I for
/// where there is no whole snapshot; `whole` is the snapshot if it could be loaded as it is. Returns nothing if there is
/// nothing of which an index could be made. Throws what `make` throws, and std::bad_alloc.
template <class I, class Make>
  requires Persistable<I> && Index<I>
[[nodiscard]] std::optional<I> salvage_index(salvage::SnapshotBytes* snapshot, const salvage::SalvagedLog* log,
                                             Make&& make, const SalvageOptions& options, SalvageReport& report,
                                             std::optional<LoadedSnapshot<I>> whole = {}) {
  std::optional<I> index;
  std::optional<salvage::SalvagedRows> rows;
  std::optional<Fingerprint> known_as;
  if (whole) {
    report.snapshot = SalvagedSnapshot::whole;
    report.stated_vectors = report.vectors_taken = persisted_size(whole->index);
    known_as = whole->fingerprint;
    index = std::move(whole->index);
  } else if (snapshot != nullptr) {
    report.snapshot = SalvagedSnapshot::lost;
    if (snapshot->header() && !snapshot->is_header_rebuilt()) {
      report.stated_vectors = snapshot->header()->vectors;
    }
    index = snapshot->decoded<I>(report.snapshot_problem);
    report.header_rebuilt = snapshot->is_header_rebuilt();
    report.snapshot_corrections = snapshot->corrections();
    if (index) {
      const bool changed = report.header_rebuilt || !report.snapshot_corrections.empty();
      report.snapshot = changed ? SalvagedSnapshot::corrected : SalvagedSnapshot::whole;
      report.stated_vectors = report.vectors_taken = persisted_size(*index);
    } else if (report.snapshot_problem.empty()) {
      report.snapshot_problem = snapshot->header() ? "its checksum is wrong" : "its header cannot be read";
    }
    if (snapshot->header()) {
      known_as = snapshot->known_as();
    }
    if (!index && snapshot->header() && options.unchecked_rows) {
      rows = salvage::salvage_rows(snapshot->payload_prefix(), snapshot->header()->index_type);
    }
  }
  SalvageBasis basis;
  if (!index) {
    if (rows && rows->dim > 0) {
      basis = {.dim = rows->dim, .metric = rows->metric, .rows = &*rows};
    } else if (snapshot != nullptr && snapshot->header()) {
      basis.dim = snapshot->header()->dim;
      // A wrong metric would change how vectors are kept. No checksum covers the header, but the log may name it.
      if (log != nullptr && log->header().log.version != 1 && salvage::covered_by(*log, *known_as, false)) {
        basis.metric = snapshot->header()->metric;
      }
    }
    if (log != nullptr && rows == std::nullopt) {
      // What a damaged file says of itself has less weight than a record whose checksum is right.
      if (const std::uint64_t dim = salvage::dim_in(*log)) {
        basis.dim = dim;
      }
    }
    if (basis.dim != 0) {
      index.emplace(std::forward<Make>(make)(basis));
      if (rows) {
        report.snapshot = SalvagedSnapshot::rows;
        salvage::insert_rows(*index, *rows, report);
      }
    }
  }
  if (log == nullptr) {
    return index;
  }
  report.log_header = log->header().state;
  report.log_corrections = log->corrections();
  report.damages = log->damages();
  report.log_closed = log->closed();
  if (log->header().state == salvage::HeaderState::lost) {
    report.log = log->damages().empty() ? SalvagedLogUse::taken : SalvagedLogUse::unreadable;
    return index;
  }
  if (!index) {
    report.log = log->frames().empty() && log->damages().empty() ? SalvagedLogUse::taken : SalvagedLogUse::unreadable;
    return index;
  }
  const bool is_sure = report.snapshot == SalvagedSnapshot::whole || report.snapshot == SalvagedSnapshot::corrected;
  std::optional<std::uint64_t> covered =
      known_as ? salvage::covered_by(*log, *known_as, is_sure) : std::optional<std::uint64_t>();
  if (!covered && is_sure && log->header().state != salvage::HeaderState::rebuilt) {
    report.log = SalvagedLogUse::foreign;
    return index;
  }
  report.log = SalvagedLogUse::taken;
  // Without rows of a snapshot there is nothing that the log's mutations could be in already.
  const bool has_rows = is_sure || report.snapshot == SalvagedSnapshot::rows;
  report.log_assumed_to_fit = has_rows && !covered;
  salvage::LogApplication<I>(*index, *log, options, report).apply(has_rows ? covered.value_or(0) : 0);
  return index;
}

}  // namespace iqdb
