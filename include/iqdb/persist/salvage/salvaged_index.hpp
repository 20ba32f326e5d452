// Makes an index of what is whole of a damaged snapshot and a damaged log, and reports what is lost.
//
//   SnapshotBytes -> the index; or an older state of its history, with the logs that lead from it; or its rows if the caller
//                    asks for unchecked ones; or an empty index
//   SalvagedLog   -> the mutations before the damage, and those behind it if the caller asks for them
//   torn log      -> what it holds behind its torn place if the caller asks for it; all of it where there is no log
//
// Invariants: what a checksum does not vouch for is in the index only on request. The report names everything that the
// files show to be lost. Nothing is written.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/salvage/log_application.hpp"
#include "iqdb/persist/salvage/log_frames.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/salvage/older_state.hpp"
#include "iqdb/persist/salvage/payload_rows.hpp"
#include "iqdb/persist/salvage/salvage_report.hpp"
#include "iqdb/persist/salvage/snapshot_bytes.hpp"
#include "iqdb/persist/salvage/torn_log.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What an empty index is made like.
struct SalvageBasis {
  std::uint64_t dim = 0;
  std::optional<DistanceMetric> metric = {};    ///< nothing if no file says it
  const salvage::SalvagedRows* rows = nullptr;  ///< what the payload says, if its rows are taken
};

namespace salvage {

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

// Makes `older`, if there is one, the index, with what its logs lead to. Returns the last mutation that it then holds.
template <class I>
std::optional<std::uint64_t> begin_with(std::optional<OlderState<I>> older, std::optional<I>& index,
                                        SalvageReport& report) {
  if (!older) {
    return std::nullopt;
  }
  const SalvagedSnapshot was = std::exchange(report.snapshot, SalvagedSnapshot::older);
  report.vectors_taken = persisted_size(older->snapshot.index);
  const std::optional<std::uint64_t> led_to = older->lead_on(report);
  if (!led_to) {
    report.snapshot = was;
    report.vectors_taken = 0;
    return std::nullopt;
  }
  report.older_state = path_text(older->path.filename());
  index = std::move(older->snapshot.index);
  return led_to;
}

}  // namespace salvage

/// Makes an index of a snapshot and a log, null for one that is missing, and reports. `make(basis)` returns an empty I for
/// where there is no whole snapshot; `whole` is the snapshot if it could be loaded as it is; `older()` finds an older state, if
/// there is a history, and is called if the snapshot is lost; `torn` is the log that a load has replaced because its end was
/// torn. Returns nothing if there is nothing of which an index could be made. Throws what `make` and `older` throw, and
/// std::bad_alloc.
template <class I, class Make>
  requires Persistable<I> && Index<I>
[[nodiscard]] std::optional<I> salvage_index(salvage::SnapshotBytes* snapshot, const salvage::SalvagedLog* log,
                                             Make&& make, const SalvageOptions& options, SalvageReport& report,
                                             std::optional<LoadedSnapshot<I>> whole = {},
                                             const std::function<std::optional<salvage::OlderState<I>>()>& older = {},
                                             const salvage::SalvagedLog* torn = nullptr) {
  std::optional<I> index;
  std::optional<salvage::SalvagedRows> rows;
  std::optional<Fingerprint> known_as;
  if (salvage::is_needed_as_log(torn, log, whole ? std::optional(whole->fingerprint) : std::nullopt)) {
    log = torn;
    report.torn.use = SalvagedTornUse::instead;
  }
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
  }
  std::optional<std::uint64_t> led_to;  // the last mutation that an older state and its logs give
  if (!index && older) {
    led_to = salvage::begin_with(older(), index, report);
  }
  if (!index && snapshot != nullptr && snapshot->header() && options.unchecked_rows) {
    rows = salvage::salvage_rows(snapshot->payload_prefix(), snapshot->header()->index_type);
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
  const bool is_sure =
      led_to || report.snapshot == SalvagedSnapshot::whole || report.snapshot == SalvagedSnapshot::corrected;
  std::optional<std::uint64_t> covered = led_to;
  if (!led_to && known_as) {
    covered = salvage::covered_by(*log, *known_as, is_sure);
  }
  if (!covered && is_sure && log->header().state != salvage::HeaderState::rebuilt) {
    report.log = SalvagedLogUse::foreign;
    return index;
  }
  report.log = SalvagedLogUse::taken;
  // Without rows of a snapshot there is nothing that the log's mutations could be in already.
  const bool has_rows = is_sure || report.snapshot == SalvagedSnapshot::rows;
  report.log_assumed_to_fit = has_rows && !covered;
  salvage::LogApplication<I>(*index, *log, options, report).apply(has_rows ? covered.value_or(0) : 0);
  if (torn != nullptr && torn != log) {
    if (salvage::continue_the_same(*torn, *log, known_as, is_sure)) {
      salvage::apply_torn_tail(*index, *torn, *log, has_rows ? covered.value_or(0) : 0, options, report);
    } else {
      report.torn.use = SalvagedTornUse::foreign;
    }
  }
  return index;
}

}  // namespace iqdb
