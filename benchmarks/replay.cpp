// Replaying a log, onto an index that does nothing.
#include <memory>

#include "benchmarks.hpp"
#include "log_files.hpp"
#include "measure.hpp"
#include "snapshots.hpp"

namespace iqdb_benchmarks {

void add_replay(const Options& options) {
  const auto made = std::make_shared<std::filesystem::path>();
  add_single("replay/warm/iqdb-persist", [options, made](benchmark::State& state) {
    using Database = iqdb::PersistedIndex<NullIndex>;
    if (made->empty()) {
      const std::filesystem::path path = shared_files(options) / "replay.iqdb";
      make_log(path, options.replay_records, LogEnd::killed);
      *made = path;
    }
    const std::uint64_t bytes = std::filesystem::file_size(iqdb::log_path(*made));
    for ([[maybe_unused]] auto _ : state) {
      const ScratchDirectory scratch(options.directory);
      const std::filesystem::path path = scratch.path() / "index.iqdb";
      copy_log(*made, path);
      bring_into_cache(iqdb::log_path(path));
      touch_free_memory(2 * bytes);
      settle(scratch.path());
      const auto database = timed(state, [&] { return Database::load({.path = path, .wal_enabled = true}); });
      if (database.recovery().replayed != options.replay_records || database.index().size() != options.replay_records) {
        throw std::runtime_error("not all of the log was replayed");
      }
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(options.replay_records));
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  });
}

}  // namespace iqdb_benchmarks
