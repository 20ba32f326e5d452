// What backups and followers cost the writers of an index, and how far a follower is behind.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "benchmarks.hpp"
#include "concurrent_inserts.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/shared_index.hpp"

namespace iqdb_benchmarks {

namespace {

using Clock = std::chrono::steady_clock;
using Database = iqdb::SharedIndex<iqdb::FlatIndex>;

// Eight threads insert durably. In every other second another thread makes backups, one after the other. What is compared are the
// insertions of the seconds with them and without.
void add_backups(const Options& options) {
  add_single("insert_beside/backups/iqdb-persist", [options](benchmark::State& state) {
    const ScratchDirectory scratch(options.directory);
    Database database = Database::open_with(make_flat_index(std::min<std::uint64_t>(options.vectors, 20'000)),
                                            {.path = scratch.path() / "index.iqdb", .wal_enabled = true});
    const Records records;
    settle(scratch.path());
    constexpr std::size_t writers = 8;
    const std::uint64_t backups = std::max<std::uint64_t>(options.commits / 15, 1);
    std::array<std::uint64_t, 2> insertions{};  // in seconds without backups, and with
    std::array<double, 2> seconds{};
    std::uint64_t made = 0;
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] {
        std::atomic<bool> done = false;
        run_in_threads(writers + 1, [&](std::size_t thread) {
          if (thread < writers) {
            for (std::uint64_t id = options.vectors + thread; !done; id += writers) {
              database.insert(id, records.vector(id));
            }
            return;
          }
          // Writers become slower as the index grows: which of the two kinds comes first must take turns.
          for (bool begins_with_backups = false; made < backups; begins_with_backups = !begins_with_backups) {
            for (const bool with_backups : {begins_with_backups, !begins_with_backups}) {
              const auto began = Clock::now();
              const std::uint64_t first = database.lsn();
              while (Clock::now() - began < std::chrono::seconds(1) && made < backups) {
                if (with_backups) {
                  const auto place = scratch.path() / ("backup-" + std::to_string(made++));
                  database.backup(place);
                  std::filesystem::remove_all(place);
                } else {
                  std::this_thread::sleep_for(std::chrono::milliseconds(10));
                }
              }
              insertions.at(with_backups ? 1 : 0) += database.lsn() - first;
              seconds.at(with_backups ? 1 : 0) += std::chrono::duration<double>(Clock::now() - began).count();
            }
          }
          done = true;
        });
        return 0;
      });
    }
    state.counters["backups"] = static_cast<double>(made);
    state.counters["per_second_without"] = static_cast<double>(insertions[0]) / seconds[0];
    state.counters["per_second_beside"] = static_cast<double>(insertions[1]) / seconds[1];
  });
}

// One thread inserts 5,000 vectors a second, and so many followers catch up every 10 ms. Of each mutation and each follower: how
// long it took from the return of the insertion to the end of the catch_up() that showed it.
void add_followers(const Options& options, std::size_t followers) {
  add_single("insert_beside/" + std::to_string(followers) + "_followers/iqdb-persist", [options, followers](
                                                                                           benchmark::State& state) {
    const ScratchDirectory scratch(options.directory);
    const iqdb::PersistConfig config{.path = scratch.path() / "index.iqdb",
                                     .wal_enabled = true,
                                     .fsync_policy = iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(100))};
    Database database = Database::open_with(iqdb::FlatIndex(dimension, iqdb::DistanceMetric::euclidean), config);
    const Records records;
    settle(scratch.path());
    constexpr std::chrono::microseconds pause{200};
    const std::uint64_t insertions = std::max<std::uint64_t>(options.commits * 5, 100);
    std::vector<std::atomic<std::int64_t>> returned(static_cast<std::size_t>(insertions + 1));
    std::vector<std::vector<std::int64_t>> lags(followers);
    double seconds = 0;
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] {
        run_in_threads(followers + 1, [&](std::size_t thread) {
          if (thread == followers) {
            const auto began = Clock::now();
            for (std::uint64_t lsn = 1; lsn <= insertions; ++lsn) {
              std::this_thread::sleep_until(began + lsn * pause);
              database.insert(lsn, records.vector(lsn));
              returned[static_cast<std::size_t>(lsn)] = Clock::now().time_since_epoch().count();
            }
            seconds = std::chrono::duration<double>(Clock::now() - began).count();
            return;
          }
          auto follower = iqdb::Follower<iqdb::FlatIndex>::load(config);
          for (std::uint64_t shown = follower.lsn(); shown < insertions;) {
            const std::uint64_t next = follower.catch_up();
            const std::int64_t now = Clock::now().time_since_epoch().count();
            for (; shown < next; ++shown) {
              const std::int64_t then = returned[static_cast<std::size_t>(shown + 1)];
              lags[thread].push_back(then == 0 ? 0 : std::max<std::int64_t>(now - then, 0));
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
          }
        });
        return 0;
      });
    }
    std::vector<std::int64_t> all;
    for (const std::vector<std::int64_t>& each : lags) {
      all.insert(all.end(), each.begin(), each.end());
    }
    std::ranges::sort(all);
    const auto of = [&](double share) {
      const auto place = static_cast<std::size_t>(share * static_cast<double>(all.size()));
      return all.empty() ? 0 : static_cast<double>(all.at(std::min(place, all.size() - 1))) / 1e6;
    };
    state.counters["per_second"] = static_cast<double>(insertions) / seconds;
    state.counters["lag_median_ms"] = of(0.5);
    state.counters["lag_p99_ms"] = of(0.99);
    state.counters["lag_longest_ms"] = of(1);
  });
}

}  // namespace

void add_beside_writer(const Options& options) {
  add_backups(options);
  add_followers(options, 0);
  add_followers(options, 8);
}

}  // namespace iqdb_benchmarks
