// What searches and insertions wait for beside a writer and beside a checkpoint.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "concurrent_inserts.hpp"
#include "iqdb/persist/shared_index.hpp"

namespace iqdb_benchmarks {

namespace {

using Clock = std::chrono::steady_clock;

// How long each of many calls took.
class Latencies {
 public:
  template <class Call>
  void measure(Call&& call) {
    const auto began = Clock::now();
    std::forward<Call>(call)();
    nanoseconds_.push_back((Clock::now() - began).count());
  }

  void add(const Latencies& other) {
    nanoseconds_.insert(nanoseconds_.end(), other.nanoseconds_.begin(), other.nanoseconds_.end());
  }

  void tell(benchmark::State& state) {
    std::ranges::sort(nanoseconds_);
    const auto of = [&](double share) {
      const auto place = static_cast<std::size_t>(share * static_cast<double>(nanoseconds_.size()));
      return static_cast<double>(nanoseconds_.at(std::min(place, nanoseconds_.size() - 1))) / 1000;
    };
    state.counters["calls"] = static_cast<double>(nanoseconds_.size());
    state.counters["median_us"] = of(0.5);
    state.counters["p99.9_us"] = of(0.999);
    state.counters["longest_us"] = of(1);
  }

 private:
  std::vector<std::int64_t> nanoseconds_;
};

// A small index that is searched, with as many bytes beside it in its payload as a large one has.
class HeavyIndex : public iqdb::FlatIndex {
 public:
  static constexpr std::string_view index_type = "heavy";

  HeavyIndex(iqdb::FlatIndex index, std::size_t bytes) : FlatIndex(std::move(index)), ballast_(bytes / sizeof(float)) {}

  void save_to(iqdb::Writer& writer) const {
    FlatIndex::save_to(writer);
    writer.write_array(ballast_);
  }
  [[nodiscard]] static HeavyIndex load_from(iqdb::Reader& reader) { return {FlatIndex::load_from(reader), 0}; }

 private:
  std::vector<float> ballast_;
};

constexpr std::size_t searched_vectors = 10'000;
constexpr std::size_t searched_dimension = 64;
constexpr std::size_t readers = 4;

iqdb::FlatIndex searched_index() {
  std::vector<float> components(searched_vectors * searched_dimension);
  fill_with_vectors(components);
  iqdb::FlatIndex index(searched_dimension, iqdb::DistanceMetric::euclidean);
  for (std::size_t id = 0; id < searched_vectors; ++id) {
    index.insert(std::uint64_t{id}, std::span(components).subspan(id * searched_dimension, searched_dimension));
  }
  return index;
}

enum class Beside : std::uint8_t { nothing, writer, checkpoint };

// Four threads search while another one does what is asked for.
void add_searches(const std::string& name, const Options& options, Beside beside) {
  add_single(name, [options, beside](benchmark::State& state) {
    using Database = iqdb::SharedIndex<HeavyIndex>;
    const ScratchDirectory scratch(options.directory);
    const std::size_t bytes =
        beside == Beside::checkpoint ? static_cast<std::size_t>(options.vectors) * vector_bytes : 0;
    Database database = Database::open_with(HeavyIndex(searched_index(), bytes),
                                            {.path = scratch.path() / "index.iqdb", .wal_enabled = true});
    settle(scratch.path());
    std::vector<Latencies> searches(readers);
    const std::uint64_t searches_each = std::max<std::uint64_t>(options.commits, 1);
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] {
        std::atomic<std::size_t> searching = readers;
        run_in_threads(readers + 1, [&](std::size_t thread) {
          std::vector<float> query(searched_dimension, static_cast<float>(thread));
          if (thread < readers) {
            for (std::uint64_t number = 0; number < searches_each; ++number) {
              query[0] = static_cast<float>(number % 17);
              searches[thread].measure([&] { benchmark::DoNotOptimize(database.search(query, {.k = 10})); });
            }
            --searching;
            return;
          }
          for (std::uint64_t id = searched_vectors; searching > 0 && beside != Beside::nothing; ++id) {
            if (beside == Beside::checkpoint) {
              database.checkpoint();
            } else {
              database.insert(id, query);
              database.erase(id);
            }
          }
        });
        return 0;
      });
    }
    for (std::size_t thread = 1; thread < readers; ++thread) {
      searches.front().add(searches[thread]);
    }
    searches.front().tell(state);
  });
}

// One thread inserts into a large index, and for `beside` of it another one makes a checkpoint.
void add_insertions(const std::string& name, const Options& options, Beside beside) {
  add_single(name, [options, beside](benchmark::State& state) {
    using Database = iqdb::SharedIndex<iqdb::FlatIndex>;
    const ScratchDirectory scratch(options.directory);
    Database database = Database::open_with(make_flat_index(options.vectors),
                                            {.path = scratch.path() / "index.iqdb", .wal_enabled = true});
    const Records records;
    settle(scratch.path());
    Latencies insertions;
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] {
        std::atomic<bool> done = false;
        run_in_threads(2, [&](std::size_t thread) {
          if (thread == 1) {
            if (beside == Beside::checkpoint) {
              database.checkpoint();
            } else {
              std::this_thread::sleep_for(std::chrono::seconds(2));
            }
            done = true;
            return;
          }
          for (std::uint64_t id = options.vectors; !done; ++id) {
            insertions.measure([&] { database.insert(id, records.vector(id)); });
          }
        });
        return 0;
      });
    }
    insertions.tell(state);
    state.SetItemsProcessed(static_cast<std::int64_t>(database.lsn()));
  });
}

// A small index that is changed for long: a vector comes and one goes. What its log takes at most.
void add_bounded_log(const Options& options) {
  add_single("bounded_log/iqdb-persist", [options](benchmark::State& state) {
    using Database = iqdb::SharedIndex<iqdb::FlatIndex>;
    const ScratchDirectory scratch(options.directory);
    Database database = Database::open_with(
        iqdb::FlatIndex(dimension, iqdb::DistanceMetric::euclidean),
        {.path = scratch.path() / "index.iqdb", .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never()});
    const Records records;
    std::uint64_t most = 0;
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] {
        for (std::uint64_t id = 0; id < options.unsynced_records; ++id) {
          database.insert(id, records.vector(id));
          if (id >= 8) {
            database.erase(id - 8);
          }
          most = std::max(most, database.log_bytes());
        }
        return 0;
      });
    }
    state.counters["most_log_bytes"] = static_cast<double>(most);
    state.counters["logged_bytes"] = static_cast<double>(database.stats().logged_bytes);
  });
}

}  // namespace

void add_concurrent_use(const Options& options) {
  add_searches("search_beside/nothing/iqdb-persist", options, Beside::nothing);
  add_searches("search_beside/writer/iqdb-persist", options, Beside::writer);
  add_searches("search_beside/checkpoint/iqdb-persist", options, Beside::checkpoint);
  add_insertions("insert_beside/nothing/iqdb-persist", options, Beside::nothing);
  add_insertions("insert_beside/checkpoint/iqdb-persist", options, Beside::checkpoint);
  add_bounded_log(options);
}

}  // namespace iqdb_benchmarks
