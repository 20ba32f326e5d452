// Inserting records one commit after the other: the loop that is the same for everyone.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "measure.hpp"
#include "options.hpp"
#include "system.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

/// What a store is told before the clock starts.
struct InsertPlan {
  std::filesystem::path directory;
  std::size_t batch;      ///< records a commit
  std::uint64_t commits;  ///< commits to come

  /// Bytes of records to come.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return commits * batch * Records::record_bytes; }
};

/// What keeps records: `commit(first_key)` adds `batch` of them, with ascending keys; `finish(next_key)` throws if it
/// does not hold what it was given.
template <class S>
concept Store = std::constructible_from<S, const InsertPlan&> && requires(S& store, std::uint64_t key) {
  store.commit(key);
  store.finish(key);
};

inline constexpr std::size_t batch_sizes[] = {1, 100, 1000};  // NOLINT(*-avoid-c-arrays)

/// Registers `commits` commits of `batch` records each.
template <Store S>
void add_inserts(const std::string& name, const Options& options, std::size_t batch, std::uint64_t commits) {
  const auto insert_all = [directory = options.directory, batch, commits](benchmark::State& state) {
    const ScratchDirectory scratch(directory);
    const InsertPlan plan{.directory = scratch.path(), .batch = batch, .commits = commits};
    S store(plan);
    // A store may write a record to its log and again to a table, and cache both.
    touch_free_memory(4 * plan.bytes() + (std::uint64_t{64} << 20U));
    settle(plan.directory);
    std::uint64_t next_key = 0;
    for ([[maybe_unused]] auto _ : state) {
      store.commit(next_key);
      next_key += batch;
    }
    store.finish(next_key);
    state.SetItemsProcessed(static_cast<std::int64_t>(next_key));
    state.SetBytesProcessed(static_cast<std::int64_t>(next_key * Records::record_bytes));
  };
  benchmark::internal::Benchmark* const added = add_benchmark(name, insert_all);
  added->Iterations(static_cast<benchmark::IterationCount>(commits))->UseRealTime()->Unit(benchmark::kMicrosecond);
}

/// Registers durable inserts for one batch size.
template <Store S>
void add_durable_inserts(const std::string& subject, const Options& options, std::size_t batch) {
  add_inserts<S>("durable_insert/" + std::to_string(batch) + "/" + subject, options, batch, options.commits_of(batch));
}

/// Registers durable inserts for every batch size.
template <Store S>
void add_durable_inserts(const std::string& subject, const Options& options) {
  for (const std::size_t batch : batch_sizes) {
    add_durable_inserts<S>(subject, options, batch);
  }
}

}  // namespace iqdb_benchmarks
