// What a history must hold after a crash: every state since the oldest one that it kept before.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/simulated_index.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/history_search.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The oldest state that processes see in the history of `life` on `machine`: the last mutation that its snapshot holds. From
/// there on every state is kept, whatever happens now. Nothing if there is no history, or no snapshot with a log.
[[nodiscard]] inline std::optional<std::uint64_t> oldest_kept(const Life& life, const SimulatedFileSystem& machine) {
  if (life.older_states == 0 || !life.wal_enabled) {
    return std::nullopt;
  }
  const PersistConfig config = simulated_config(life);
  // A copy: calls of this are none of the life.
  BasicFileStorage<SimulatedFileSystem> storage(machine.after_kill());
  const std::filesystem::path state = history::states(storage, config.path).back().path;
  auto log = storage.open(log_path(state));
  const auto snapshot = log_guard::fingerprint_at(storage, state);
  if (!log || !snapshot) {
    return std::nullopt;
  }
  const LogScan scan = scan_log(*log, *snapshot, config.buffer_bytes);
  return scan.replay ? std::optional(scan.replay->covered_lsn) : std::nullopt;
}

/// Loads some states of the history on `machine`, where a load has found the moment `which`: those behind random mutations since
/// `oldest`, and those of the entries themselves. Each must be what the index held then. As many entries as the history keeps
/// must be there, once so many snapshots were replaced, and no more than `too_many` beside those. Throws Violation; PersistError
/// where a state cannot be loaded.
template <Persistable I>
void require_history(const Subject<I>& subject, const Life& life, const Oracle& oracle, std::size_t which,
                     std::uint64_t oldest, std::size_t too_many, const SimulatedFileSystem& machine, Random& random) {
  PersistConfig config = simulated_config(life);
  config.read_only = true;
  using SimulatedStorage = BasicFileStorage<SimulatedFileSystem>;
  SimulatedStorage storage(machine);
  const auto require = [&](const std::filesystem::path& path, std::optional<std::uint64_t> up_to) {
    config.path = path;
    config.up_to = up_to;
    const Moment found = moment_of(subject, SimulatedIndex<I>::load(config, storage));
    const std::string* expected = oracle.contents_at(found.lsn, which);
    if ((up_to && found.lsn != *up_to) || (expected != nullptr && *expected != found.contents)) {
      throw Violation(
          path.native() + (up_to ? " up to number " + std::to_string(*up_to) : std::string()) + " gives number " +
          std::to_string(found.lsn) +
          (expected != nullptr && *expected != found.contents ? " with other contents than the index had then" : ""));
    }
  };
  const std::filesystem::path index = config.path;
  const std::uint64_t last = oracle.moments()[which].lsn;
  constexpr int states_tried = 2;
  for (int tried = 0; tried < states_tried && oldest <= last; ++tried) {
    // The oldest first: it is the one that a sweep too early would lose.
    const std::uint64_t lsn = tried == 0 ? oldest : oldest + random.below(last - oldest + 1);
    if (oracle.contents_at(lsn, which) != nullptr) {
      require(index, lsn);
    }
  }
  std::size_t snapshots = 0;
  std::size_t whole = 0;
  for (const HistoryEntry& entry : history::entries(storage, index)) {
    snapshots += entry.has_snapshot ? 1U : 0U;
    // A crash may keep the second name of a snapshot and lose that of its log.
    if (entry.has_snapshot && entry.has_log) {
      ++whole;
      if (random.one_in(2)) {
        require(entry.path, std::nullopt);
      }
    }
  }
  const std::size_t least = std::min(life.older_states, oracle.replaced());
  if (whole < least || snapshots > life.older_states + too_many) {
    throw Violation("the history has " + std::to_string(whole) + " states, and " + std::to_string(snapshots - whole) +
                    " without a log; expected " + std::to_string(least) + " to " +
                    std::to_string(life.older_states + too_many));
  }
}

}  // namespace testing
}  // namespace iqdb
