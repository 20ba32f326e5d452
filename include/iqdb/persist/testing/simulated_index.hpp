// A durable index on a simulated machine: its type, its settings, and how it is opened.
#pragma once

#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A durable index on a simulated machine.
template <Persistable I>
using SimulatedIndex = PersistedIndex<I, BasicFileStorage<SimulatedFileSystem>>;

/// The settings of a simulated index: small buffers, no threads and no other process, so that a simulation is fast and
/// repeats exactly.
[[nodiscard]] inline PersistConfig simulated_config(const Life& life) {
  return {.path = "/index",
          .wal_enabled = life.wal_enabled,
          .fsync_policy = life.policy,
          .history = life.older_states > 0 ? HistoryPolicy::keep_last(life.older_states) : HistoryPolicy::none(),
          .compression = life.compression,
          .freezing = Freezing::by_copy,
          .buffer_bytes = 4096,
          .helper_threads = 0,
          .log_extent_bytes = life.log_extent_bytes};
}

/// The index of `life` on `machine`, made by subject.make() if the machine does not hold it yet.
template <Persistable I>
[[nodiscard]] SimulatedIndex<I> open_index(const Subject<I>& subject, const Life& life, const PersistConfig& config,
                                           const SimulatedFileSystem& machine) {
  return SimulatedIndex<I>::load_or_create(
      config, subject.make, BasicFileStorage<SimulatedFileSystem>(machine, {.direct_io = life.direct_io}));
}

/// The index's LSN and contents.
template <Persistable I>
[[nodiscard]] Moment moment_of(const Subject<I>& subject, const SimulatedIndex<I>& index) {
  return {.lsn = index.lsn(), .contents = subject.contents(index.index())};
}

}  // namespace testing
}  // namespace iqdb
