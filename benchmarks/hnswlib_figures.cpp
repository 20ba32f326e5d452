// What durability costs an hnswlib index, and what it leaves unchanged: insertions by policy beside a bare addPoint,
// a snapshot beside saveIndex and fsync, recall after a save and after a crash.
//
//   iqdb_hnswlib_figures [vectors] [--directory=<where the files go>]
//
// Prints Markdown. What is compared is done in turns, in one process.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/persist.hpp"
#include "system.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FsyncPolicy;
using iqdb::HnswIndex;
using Database = iqdb::PersistedIndex<HnswIndex>;
using Graph = hnswlib::HierarchicalNSW<float>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t dim = 128;
constexpr iqdb::HnswConfig config{};
constexpr double mib = 1024.0 * 1024.0;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Vectors with normally distributed components, one behind the other.
class Vectors {
 public:
  Vectors(std::size_t count, std::uint32_t seed) : components_(count * dim) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> component;
    std::ranges::generate(components_, [&] { return component(engine); });
  }

  [[nodiscard]] std::size_t size() const noexcept { return components_.size() / dim; }
  [[nodiscard]] std::span<const float> operator[](std::size_t number) const noexcept {
    return std::span(components_).subspan(number * dim, dim);
  }

 private:
  std::vector<float> components_;
};

/// The memory of this process in MiB, by its name in /proc/self/status.
double memory(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) {
      return std::stod(line.substr(field.size() + 1)) / 1024;
    }
  }
  throw std::runtime_error("/proc/self/status does not say " + std::string(field));
}

/// The seconds that `action` takes, and by how many MiB memory grows meanwhile.
struct Cost {
  double seconds;
  double mib;
};

template <class Action>
Cost cost_of(Action action) {
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak starts again from what there is now
  const double before = memory("VmRSS");
  const auto begin = Clock::now();
  action();
  return {.seconds = seconds_since(begin), .mib = memory("VmHWM") - before};
}

/// What is compared, all made of the same vectors: an index of hnswlib's, and durable ones.
class Figures {
 public:
  Figures(std::size_t count, std::filesystem::path directory)
      : directory_(std::move(directory)),
        vectors_(count, 1),
        bare_(&space_, count, config.links, config.ef_construction) {
    for (std::size_t each = 0; each < std::size(policies); ++each) {
      durable_.push_back(
          Database::open_with(HnswIndex(dim, DistanceMetric::euclidean, {.capacity = count}),
                              {.path = file(each), .wal_enabled = true, .fsync_policy = policies[each].policy}));
    }
  }

  /// Blocks in turns, so that all graphs are of the same size when they are measured.
  void insert() {
    std::vector<double> seconds(1 + durable_.size());
    constexpr std::size_t block = 1000;
    for (std::size_t begin = 0; begin < vectors_.size(); begin += block) {
      const std::size_t end = std::min(begin + block, vectors_.size());
      const auto insert_block = [&](double& sum, const auto& insert) {
        const auto started = Clock::now();
        for (std::size_t id = begin; id < end; ++id) {
          insert(id);
        }
        sum += seconds_since(started);
      };
      insert_block(seconds[0], [&](std::size_t id) { bare_.addPoint(vectors_[id].data(), id); });
      for (std::size_t each = 0; each < durable_.size(); ++each) {
        insert_block(seconds[1 + each], [&](std::size_t id) { durable_[each].insert(id, vectors_[id]); });
      }
    }
    const auto count = static_cast<double>(vectors_.size());
    std::printf("| insertions | a second | beside `addPoint` |\n| --- | ---: | ---: |\n");
    std::printf("| hnswlib `addPoint`, nothing durable | %.0f | 1 |\n", count / seconds[0]);
    for (std::size_t each = 0; each < durable_.size(); ++each) {
      std::printf("| durable, `%s` | %.0f | %.2f |\n", policies[each].name, count / seconds[1 + each],
                  seconds[0] / seconds[1 + each]);
    }
    std::printf("\n");
  }

  /// Recall of the index in memory, of one that was loaded from log alone as after a crash, and of one from a snapshot.
  void compare_recall() {
    measure_exact();
    bare_.setEf(config.ef);
    const double bare = recall([&](std::span<const float> query) {
      std::vector<std::uint64_t> found;
      for (auto nearest = bare_.searchKnn(query.data(), neighbours); !nearest.empty(); nearest.pop()) {
        found.push_back(nearest.top().second);
      }
      return found;
    });
    const double in_memory = recall_of(durable_[0].index());

    // The files as a crash leaves them: the database goes on, and has synced what is in its log.
    durable_[0].sync();
    const std::filesystem::path crashed = directory_ / "crashed.iqdb";
    copy(file(0), crashed);
    copy(iqdb::log_path(file(0)), iqdb::log_path(crashed));
    const auto begin = Clock::now();
    auto recovered = Database::load({.path = crashed, .wal_enabled = true});
    const double replay_seconds = seconds_since(begin);
    const double after_crash = recall_of(recovered.index());
    recovered.checkpoint();
    recovered.close();
    const double after_save = recall_of(Database::load({.path = crashed, .wal_enabled = true}).index());

    std::printf("| recall@10 of %zu vectors of %zu dimensions | %% |\n| --- | ---: |\n", vectors_.size(), dim);
    std::printf("| hnswlib | %.2f |\n| HnswIndex, in memory | %.2f |\n", bare, in_memory);
    std::printf("| after a crash and a replay of every insertion (%.0f s) | %.2f |\n", replay_seconds, after_crash);
    std::printf("| after a save and a load | %.2f |\n\n", after_save);
  }

  /// A snapshot beside saveIndex and fsync, in turns.
  void compare_snapshots() {
    constexpr int rounds = 7;
    constexpr std::size_t programs = 2;
    std::vector<double> seconds[programs];
    std::vector<double> mibs[programs];
    const std::filesystem::path native = directory_ / "hnswlib.bin";
    const std::filesystem::path ours = directory_ / "snapshot.iqdb";
    auto database =
        Database::open_with(iqdb::hnswlib_import(saved(native), dim, DistanceMetric::euclidean), {.path = ours});
    for (int round = 0; round < rounds; ++round) {
      const Cost costs[programs] = {cost_of([&] { saved(native); }), cost_of([&] { database.save(); })};
      for (std::size_t program = 0; program < programs; ++program) {
        seconds[program].push_back(costs[program].seconds);
        mibs[program].push_back(costs[program].mib);
      }
    }
    const std::filesystem::path files[programs] = {native, ours};
    const char* const names[programs] = {"hnswlib `saveIndex`, then `fsync`: neither atomic nor checked", "`save`"};
    std::printf("| snapshot | seconds | beside `saveIndex` | file, MiB | memory beside the index, MiB |\n");
    std::printf("| --- | ---: | ---: | ---: | ---: |\n");
    for (std::size_t program = 0; program < programs; ++program) {
      std::printf("| %s | %.2f | %.2f | %.1f | %.1f |\n", names[program], median(seconds[program]),
                  median(seconds[program]) / median(seconds[0]),
                  static_cast<double>(std::filesystem::file_size(files[program])) / mib, median(mibs[program]));
    }
  }

 private:
  struct Policy {
    const char* name;
    FsyncPolicy policy;
  };
  static constexpr Policy policies[] = {{"never", FsyncPolicy::never()},
                                        {"periodic", FsyncPolicy::periodic(std::chrono::milliseconds(100))},
                                        {"always", FsyncPolicy::always()}};
  static constexpr std::size_t neighbours = 10;

  [[nodiscard]] std::filesystem::path file(std::size_t policy) const {
    return directory_ / (std::string(policies[policy].name) + ".iqdb");
  }

  static void copy(const std::filesystem::path& from, const std::filesystem::path& to) {
    std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  }

  const std::filesystem::path& saved(const std::filesystem::path& path) {
    bare_.saveIndex(path.string());
    iqdb_benchmarks::sync_file(path);
    return path;
  }

  void measure_exact() {
    iqdb::FlatIndex flat(dim, DistanceMetric::euclidean);
    for (std::size_t id = 0; id < vectors_.size(); ++id) {
      flat.insert(id, vectors_[id]);
    }
    for (std::size_t query = 0; query < queries_.size(); ++query) {
      exact_.push_back(ids_of(flat.search(queries_[query], {.k = neighbours})));
    }
  }

  static std::vector<std::uint64_t> ids_of(const std::vector<iqdb::Hit>& hits) {
    std::vector<std::uint64_t> ids;
    for (const iqdb::Hit& hit : hits) {
      ids.push_back(hit.id.integer());
    }
    return ids;
  }

  double recall_of(const HnswIndex& index) const {
    return recall([&](std::span<const float> query) { return ids_of(index.search(query, {.k = neighbours})); });
  }

  template <class Search>
  double recall(const Search& search) const {
    std::size_t found = 0;
    for (std::size_t query = 0; query < queries_.size(); ++query) {
      for (const std::uint64_t id : search(queries_[query])) {
        found += static_cast<std::size_t>(std::ranges::count(exact_[query], id));
      }
    }
    return 100.0 * static_cast<double>(found) / static_cast<double>(queries_.size() * neighbours);
  }

  std::filesystem::path directory_;
  Vectors vectors_;
  Vectors queries_{1000, 2};
  std::vector<std::vector<std::uint64_t>> exact_;  // the identifiers nearest to each query
  hnswlib::L2Space space_{dim};
  Graph bare_;
  std::vector<Database> durable_;
};

}  // namespace

int main(int count, char** arguments) {
  try {
    std::size_t vectors = 100'000;
    std::filesystem::path parent = std::filesystem::current_path();
    for (const std::string argument : std::span(arguments, static_cast<std::size_t>(count)).subspan(1)) {
      constexpr std::string_view directory = "--directory=";
      if (argument.starts_with(directory)) {
        parent = argument.substr(directory.size());
      } else {
        vectors = std::stoul(argument);
      }
    }
    const iqdb_benchmarks::ScratchDirectory scratch(parent);
    Figures figures(vectors, scratch.path());
    figures.insert();
    figures.compare_recall();
    figures.compare_snapshots();
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "iqdb_hnswlib_figures: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
