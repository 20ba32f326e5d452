// What an index on a store over S3 costs beside a bare client of libcurl that asks the same store: snapshots beside an upload in parts
// and reads of ranges with four in flight; durable insertions beside puts of as many bytes, one in flight; what a follower is behind,
// beside one put; and the memory that a snapshot takes beside the index.
//
//   S3_ENDPOINT=… S3_ACCESS_KEY=… S3_SECRET_KEY=… S3_REGION=… S3_BUCKET=… iqdb_object_store_figures [MiB [rounds]]
//   tests/ceph/with-ceph iqdb_object_store_figures                     beside a Ceph of its own, with the state in memory
//
// Prints Markdown: medians, and those of the ratios of one round. What is compared is done in turns, in one process. Everything is put
// below a prefix of its own, and deleted.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bare_s3.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::S3ObjectStore;
using iqdb_benchmarks::BareBucket;
using iqdb_benchmarks::BareS3;
using Storage = iqdb::ObjectStorage<S3ObjectStore>;
using Database = iqdb::PersistedIndex<FlatIndex, Storage>;
using Shared = iqdb::SharedIndex<FlatIndex, Storage>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t dim = 128;
constexpr std::size_t mebibyte = std::size_t{1} << 20U;
constexpr std::size_t part_bytes = 8 * mebibyte;
constexpr unsigned in_flight = 4;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double quantile(std::vector<double> values, double part) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

std::string variable(const char* name, const char* unless_set = nullptr) {
  const char* const value = std::getenv(name);
  if (value == nullptr && unless_set == nullptr) {
    throw std::runtime_error(std::string("the environment has no ") + name + "; see the top of object_store.cpp");
  }
  return value == nullptr ? unless_set : value;
}

/// The store that the environment names, and a prefix in it that nobody else has.
class Place {
 public:
  Place() : prefix_("iqdb-figures-" + std::to_string(std::random_device()()) + "/"), store_(config()) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    try {
      for (auto keys = store_.list("", "", 1000); !keys.empty(); keys = store_.list("", "", 1000)) {
        for (const std::string& key : keys) {
          store_.remove(key);
        }
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "objects are left below %s: %s\n", prefix_.c_str(), error.what());
    }
  }

  [[nodiscard]] iqdb::S3Config config() const {
    return {.endpoint = variable("S3_ENDPOINT"),
            .region = variable("S3_REGION", "us-east-1"),
            .bucket = variable("S3_BUCKET"),
            .prefix = prefix_,
            .credentials = iqdb::s3_fixed_credentials(variable("S3_ACCESS_KEY"), variable("S3_SECRET_KEY"))};
  }

  [[nodiscard]] BareBucket bare() const {
    return {.url = variable("S3_ENDPOINT") + "/" + variable("S3_BUCKET"),
            .region = variable("S3_REGION", "us-east-1"),
            .access_key = variable("S3_ACCESS_KEY"),
            .secret_key = variable("S3_SECRET_KEY")};
  }

  [[nodiscard]] std::string bare_key(const std::string& name) const { return prefix_ + name; }
  [[nodiscard]] S3ObjectStore& store() noexcept { return store_; }
  [[nodiscard]] Storage storage() const { return Storage(S3ObjectStore(config())); }

 private:
  std::string prefix_;
  S3ObjectStore store_;
};

/// Calls `work(thread, number)` for the numbers below `count` in `in_flight` threads.
void in_parallel(std::size_t count, const std::function<void(std::size_t, std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < in_flight; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::size_t number = next++; number < count; number = next++) {
        work(thread, number);
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
}

/// A figure of /proc/self/status, in bytes.
std::size_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return std::stoul(line.substr(name.size() + 1)) * 1024;
    }
  }
  return 0;
}

void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

double in_mib(std::size_t bytes) { return static_cast<double>(bytes) / static_cast<double>(mebibyte); }

iqdb::PersistConfig settings(const std::string& name) {
  return {.path = name, .wal_enabled = true, .checkpoint = iqdb::CheckpointPolicy::manual(), .take_over = true};
}

std::vector<float> vector_of(std::uint64_t id) {
  std::vector<float> vector(dim);
  for (std::size_t at = 0; at < dim; ++at) {
    vector[at] = static_cast<float>((id * 31 + at * 17) % 1009);
  }
  return vector;
}

// ---- Snapshots ------------------------------------------------------------------------------------------------------------------

struct BareClients {
  std::vector<std::unique_ptr<BareS3>> clients = {};

  explicit BareClients(const BareBucket& bucket) {
    for (unsigned number = 0; number < in_flight; ++number) {
      clients.push_back(std::make_unique<BareS3>(bucket));
    }
  }

  void write(const std::string& key, std::span<const std::byte> bytes) {
    const std::size_t parts = (bytes.size() + part_bytes - 1) / part_bytes;
    const std::string id = clients[0]->begin_upload(key);
    std::vector<std::string> etags(parts);
    in_parallel(parts, [&](std::size_t thread, std::size_t number) {
      const std::size_t begin = number * part_bytes;
      etags[number] = clients[thread]->put_part(key, id, number + 1,
                                                bytes.subspan(begin, std::min(part_bytes, bytes.size() - begin)));
    });
    clients[0]->complete(key, id, etags);
  }

  void read(const std::string& key, std::span<std::byte> into) {
    in_parallel((into.size() + part_bytes - 1) / part_bytes, [&](std::size_t thread, std::size_t number) {
      const std::size_t begin = number * part_bytes;
      clients[thread]->get(key, begin, into.subspan(begin, std::min(part_bytes, into.size() - begin)));
    });
  }
};

void print_row(const char* what, const std::vector<double>& bare, const std::vector<double>& own) {
  std::vector<double> ratios;
  for (std::size_t at = 0; at < own.size(); ++at) {
    ratios.push_back(own[at] / bare[at]);
  }
  std::printf("| %s | %.0f | %.0f | %.2f |\n", what, median(bare), median(own), median(ratios));
}

void measure_snapshots(Place& place, std::size_t mib, unsigned rounds) {
  const std::uint64_t vectors = mib * mebibyte / (dim * sizeof(float));
  FlatIndex index(dim, iqdb::DistanceMetric::euclidean);
  index.reserve(vectors);
  for (std::uint64_t id = 1; id <= vectors; ++id) {
    index.insert(id, vector_of(id));
  }
  auto database =
      std::make_unique<Database>(Database::open_with(std::move(index), settings("snapshots"), place.storage()));
  const std::size_t bytes = static_cast<std::size_t>(database->checkpoint().file_bytes);

  std::vector<std::byte> content(bytes, std::byte{0x5A});
  BareClients bare(place.bare());
  bare.write(place.bare_key("bare"), content);
  std::vector<double> bare_writes;
  std::vector<double> writes;
  std::vector<double> write_memory;
  for (unsigned round = 0; round < rounds; ++round) {
    auto begin = Clock::now();
    bare.write(place.bare_key("bare"), content);
    bare_writes.push_back(in_mib(bytes) / seconds_since(begin));
    forget_peak();
    const std::size_t before = status_bytes("VmRSS");
    begin = Clock::now();
    database->checkpoint();
    writes.push_back(in_mib(bytes) / seconds_since(begin));
    write_memory.push_back(in_mib(status_bytes("VmHWM") - std::min(before, status_bytes("VmHWM"))));
  }
  database->close();
  database.reset();

  std::vector<double> bare_reads;
  std::vector<double> reads;
  std::vector<double> loads;
  std::vector<double> load_memory;
  iqdb::PersistConfig only_read = settings("snapshots");
  only_read.read_only = true;
  for (unsigned round = 0; round < rounds; ++round) {
    auto begin = Clock::now();
    bare.read(place.bare_key("bare"), content);
    bare_reads.push_back(in_mib(bytes) / seconds_since(begin));

    begin = Clock::now();
    {
      auto file = place.storage().open("snapshots");
      iqdb::HelperThreads helpers(in_flight - 1);
      const std::function<void(const iqdb::Progress&)> nobody;
      iqdb::ProgressMeter silent(nobody, iqdb::Progress::Phase::verify, 0);
      static_cast<void>(iqdb::checksum_of(*file, 0, part_bytes / 2, &helpers, silent));
    }
    reads.push_back(in_mib(bytes) / seconds_since(begin));

    forget_peak();
    begin = Clock::now();
    const Database loaded = Database::load(only_read, place.storage());
    loads.push_back(in_mib(bytes) / seconds_since(begin));
    load_memory.push_back(in_mib(status_bytes("VmHWM") - std::min(status_bytes("VmRSS"), status_bytes("VmHWM"))));
  }
  std::printf("\n| a snapshot of %.0f MiB, in MiB/s | bare client | iqdb | ratio |\n| --- | --- | --- | --- |\n",
              in_mib(bytes));
  print_row("written: an upload in parts of 8 MiB, 4 in flight", bare_writes, writes);
  print_row("read and summed by 4 threads, beside ranges of 8 MiB, 4 in flight", bare_reads, reads);
  print_row("loaded: an index is made of it", bare_reads, loads);
  std::printf("\nPeak memory beside the index: %.0f MiB while a snapshot is written, %.0f MiB while it is loaded.\n",
              median(write_memory), median(load_memory));
}

// ---- Insertions -----------------------------------------------------------------------------------------------------------------

/// Puts of `bytes` bytes each, one in flight, for so long. Returns how many a second.
double bare_puts(const Place& place, BareS3& client, std::size_t bytes, double seconds,
                 std::vector<double>* each = {}) {
  static std::uint64_t number = 0;
  const std::vector<std::byte> content(bytes, std::byte{0x5A});
  const auto begin = Clock::now();
  std::uint64_t puts = 0;
  while (seconds_since(begin) < seconds) {
    const auto one = Clock::now();
    client.put_if_absent(place.bare_key("puts/" + std::to_string(++number)), content);
    if (each != nullptr) {
      each->push_back(seconds_since(one) * 1000);
    }
    ++puts;
  }
  return static_cast<double>(puts) / seconds_since(begin);
}

struct Inserted {
  double a_second = 0;
  double in_group = 0;
};

Inserted insert_for(Shared& index, std::size_t threads, double seconds) {
  static std::atomic<std::uint64_t> last_id = 0;
  const std::uint64_t groups_before = index.stats().syncs.count();
  std::atomic<std::uint64_t> inserted = 0;
  std::atomic<bool> is_over = false;
  std::vector<std::thread> running;
  const auto begin = Clock::now();
  for (std::size_t thread = 0; thread < threads; ++thread) {
    running.emplace_back([&] {
      while (!is_over) {
        const std::uint64_t id = ++last_id;
        index.insert(id, vector_of(id));
        ++inserted;
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  is_over = true;
  for (std::thread& each : running) {
    each.join();
  }
  const double took = seconds_since(begin);
  const auto groups = static_cast<double>(std::max<std::uint64_t>(index.stats().syncs.count() - groups_before, 1));
  return {.a_second = static_cast<double>(inserted) / took, .in_group = static_cast<double>(inserted) / groups};
}

void measure_insertions(const Place& place, unsigned rounds) {
  constexpr double seconds = 2;
  constexpr std::size_t record_bytes = dim * sizeof(float) + 50;
  const FlatIndex empty(dim, iqdb::DistanceMetric::euclidean);
  Shared index = Shared::load_or_create(settings("insertions"), empty, place.storage());
  BareS3 client(place.bare());
  std::printf(
      "\n| threads | vectors/s | in a group | bare puts/s of as many bytes | vectors/s by puts/s × group |\n"
      "| --- | --- | --- | --- | --- |\n");
  for (const std::size_t threads : {std::size_t{1}, std::size_t{16}, std::size_t{64}, std::size_t{1024}}) {
    double group = insert_for(index, threads, seconds / 4).in_group;
    std::vector<double> rates;
    std::vector<double> groups;
    std::vector<double> puts;
    std::vector<double> ratios;
    for (unsigned round = 0; round < rounds; ++round) {
      const double bare = bare_puts(place, client, static_cast<std::size_t>(group * record_bytes), seconds / 2);
      const Inserted own = insert_for(index, threads, seconds);
      group = own.in_group;
      rates.push_back(own.a_second);
      groups.push_back(own.in_group);
      puts.push_back(bare);
      ratios.push_back(own.a_second / (bare * own.in_group));
    }
    std::printf("| %zu | %.0f | %.1f | %.0f | %.2f |\n", threads, median(rates), median(groups), median(puts),
                median(ratios));
    std::fflush(stdout);
  }
}

// ---- A follower -------------------------------------------------------------------------------------------------------------------

void measure_follower(const Place& place) {
  constexpr std::uint64_t insertions = 500;
  const FlatIndex empty(dim, iqdb::DistanceMetric::euclidean);
  Shared index = Shared::load_or_create(settings("followed"), empty, place.storage());
  index.insert(insertions + 1, vector_of(1));
  using Follower = iqdb::Follower<FlatIndex, Storage>;
  const std::unique_ptr<Follower> follower(new Follower(Follower::load(settings("followed"), place.storage())));
  const std::uint64_t first = follower->lsn() + 1;
  std::vector<std::atomic<double>> seen(insertions);
  const auto begin = Clock::now();
  std::thread following([&] {
    std::uint64_t next = first;
    while (next < first + insertions) {
      follower->catch_up();
      const double now = seconds_since(begin);
      for (const std::uint64_t last = follower->lsn(); next <= last; ++next) {
        seen[static_cast<std::size_t>(next - first)] = now;
      }
    }
  });
  std::vector<double> told;
  for (std::uint64_t id = 1; id <= insertions; ++id) {
    index.insert(id, vector_of(id));
    told.push_back(seconds_since(begin));
  }
  following.join();
  std::vector<double> behind;
  for (std::size_t at = 0; at < insertions; ++at) {
    behind.push_back((seen[at] - told[at]) * 1000);
  }
  BareS3 client(place.bare());
  std::vector<double> puts;
  bare_puts(place, client, dim * sizeof(float) + 50, 3, &puts);
  std::printf(
      "\n| ms | median | p99 |\n| --- | --- | --- |\n"
      "| a follower that looks without a pause, behind what a writer was told | %.1f | %.1f |\n"
      "| one bare put of a vector | %.1f | %.1f |\n",
      median(behind), quantile(behind, 0.99), median(puts), quantile(puts, 0.99));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const std::size_t mib = argc > 1 ? std::stoul(argv[1]) : 256;
    const auto rounds = static_cast<unsigned>(argc > 2 ? std::stoul(argv[2]) : 5);
    Place place;
    measure_snapshots(place, mib, rounds);
    std::fflush(stdout);
    measure_insertions(place, rounds);
    measure_follower(place);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
