// Makes a new index of what is whole of damaged files, for each type that this program was built with.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/salvage/salvaged_index.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/save_alone.hpp"

namespace iqdb_tool {

/// Damaged files, and where the new index goes.
struct RecoverJob {
  iqdb::FileStorage::File* snapshot = nullptr;               ///< null if there is none
  std::function<iqdb::salvage::SnapshotBytes&()> in_memory;  ///< reads the snapshot into memory
  const iqdb::salvage::SalvagedLog* log = nullptr;           ///< null if there is none
  const iqdb::salvage::SalvagedLog* torn_log = nullptr;      ///< that a load has replaced; null if there is none
  std::optional<iqdb::DistanceMetric> metric;                ///< that of the command line
  iqdb::SalvageOptions options;
  std::filesystem::path source = {};  ///< of the damaged index, a resolved name: its history lies beside it
  iqdb::FileStorage* storage = nullptr;
  const iqdb::FileStorage::Lock* lock = nullptr;  ///< of the new index, where there is nothing
  iqdb::PersistConfig config;                     ///< its path is that of the new index
  iqdb::SalvageReport report;
};

/// Recovers into a new snapshot, and fills the report. Returns nothing, and writes nothing, if nothing could be recovered.
/// Throws PersistError invalid_config if only the command line can say what the index is like, io, and std::bad_alloc.
using Recoverer = std::function<std::optional<iqdb::SnapshotInfo>(RecoverJob&)>;

/// That of a type, or an empty function for one that this program does not know.
[[nodiscard]] Recoverer recoverer_of(std::string_view index_type);

/// The metric of a new index. Throws PersistError invalid_config if nothing says it.
[[nodiscard]] iqdb::DistanceMetric metric_of(const RecoverJob& job, const iqdb::SalvageBasis& basis);

/// The Recoverer of an index. `make(dim, metric, rows)` returns an empty one; `rows` is null if there are none.
template <class I, class Make>
std::optional<iqdb::SnapshotInfo> recover_as(RecoverJob& job, Make&& make) {
  std::optional<iqdb::LoadedSnapshot<I>> whole;
  iqdb::salvage::SnapshotBytes* damaged = nullptr;
  if (job.snapshot != nullptr) {
    try {
      whole.emplace(iqdb::load_snapshot<I>(*job.snapshot, job.config));
    } catch (const iqdb::PersistError& error) {
      if (error.kind() == iqdb::PersistErrorKind::io) {
        throw;
      }
      job.report.snapshot_problem = error.what();
      damaged = &job.in_memory();
    }
  }
  const auto make_like = [&](const iqdb::SalvageBasis& basis) {
    const iqdb::DistanceMetric metric = metric_of(job, basis);
    try {
      return make(static_cast<std::size_t>(basis.dim), metric, basis.rows);
    } catch (const iqdb::IndexError& error) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_payload,
                                "no index can be made as the files say: " + std::string(error.what()));
    }
  };
  const std::optional<I> index = iqdb::salvage_index<I>(
      damaged, job.log, make_like, job.options, job.report, std::move(whole),
      [&] { return iqdb::salvage::newest_older_state<I>(*job.storage, job.source, job.log, job.config); },
      job.torn_log);
  const bool any =
      job.report.vectors_taken > 0 || job.report.applied > 0 || job.report.snapshot == iqdb::SalvagedSnapshot::whole ||
      job.report.snapshot == iqdb::SalvagedSnapshot::older || job.report.snapshot == iqdb::SalvagedSnapshot::corrected;
  if (!index || !any) {
    return std::nullopt;
  }
  return iqdb::save_snapshot(*index, *job.storage, *job.lock, job.config.path, job.config);
}

[[nodiscard]] std::optional<iqdb::SnapshotInfo> recover_hnswlib(RecoverJob& job);
[[nodiscard]] std::optional<iqdb::SnapshotInfo> recover_faiss(RecoverJob& job);
[[nodiscard]] std::optional<iqdb::SnapshotInfo> recover_usearch(RecoverJob& job);

}  // namespace iqdb_tool
