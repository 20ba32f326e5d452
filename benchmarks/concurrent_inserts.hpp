// Inserting records from many threads, one a commit: the loop that is the same for everyone.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "inserts.hpp"
#include "measure.hpp"
#include "options.hpp"
#include "system.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

/// What keeps the records of many threads: `commit(key)` adds one, from any thread; `finish(count)` throws if it does not
/// hold that many.
template <class S>
concept SharedStore = std::constructible_from<S, const InsertPlan&> && requires(S& store, std::uint64_t key) {
  store.commit(key);
  store.finish(key);
};

/// Calls `work(thread)` in `threads` threads at once. Throws what one of them throws.
template <class Work>
void run_in_threads(std::size_t threads, Work&& work) {
  std::exception_ptr error;
  std::mutex mutex;
  std::vector<std::thread> running;
  for (std::size_t thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      try {
        work(thread);
      } catch (...) {
        const std::lock_guard guard(mutex);
        error = std::current_exception();
      }
    });
  }
  for (std::thread& each : running) {
    each.join();
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

inline constexpr std::size_t thread_counts[] = {1, 2, 4, 16, 64};  // NOLINT(*-avoid-c-arrays)

/// Registers `commits` commits of one record each, shared by `threads` threads.
template <SharedStore S>
void add_concurrent_inserts(const std::string& name, const Options& options, std::size_t threads,
                            std::uint64_t commits) {
  const auto insert_all = [directory = options.directory, threads, commits](benchmark::State& state) {
    const ScratchDirectory scratch(directory);
    const std::uint64_t each = std::max<std::uint64_t>(commits / threads, 1);
    const InsertPlan plan{.directory = scratch.path(), .batch = 1, .commits = each * threads};
    S store(plan);
    touch_free_memory(4 * plan.bytes() + (std::uint64_t{64} << 20U));
    settle(plan.directory);
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] {
        run_in_threads(threads, [&](std::size_t thread) {
          for (std::uint64_t number = 0; number < each; ++number) {
            store.commit(number * threads + thread);
          }
        });
        return 0;
      });
    }
    store.finish(plan.commits);
    state.SetItemsProcessed(static_cast<std::int64_t>(plan.commits));
    state.SetBytesProcessed(static_cast<std::int64_t>(plan.bytes()));
  };
  add_single(name, insert_all);
}

/// Registers durable inserts for each number of threads.
template <SharedStore S>
void add_concurrent_durable_inserts(const std::string& subject, const Options& options) {
  for (const std::size_t threads : thread_counts) {
    add_concurrent_inserts<S>("concurrent_insert/" + std::to_string(threads) + "/" + subject, options, threads,
                              options.commits * std::min<std::size_t>(threads, 16));
  }
}

}  // namespace iqdb_benchmarks
