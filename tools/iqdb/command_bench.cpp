// iqdb bench DIR: what a disk gives to bare calls of the system, and what is left of it with this library.
//
// Both take turns, so that what else the machine does meanwhile falls on both. Nothing is printed before the files are
// gone.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "progress.hpp"
#include "raw_disk.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20U;
constexpr std::size_t components = 128;
constexpr std::size_t row_bytes = components * sizeof(float);
constexpr int most_rounds = 3;          // of whole files
constexpr double share_of_files = 0.6;  // of the time

struct BenchOptions {
  std::string path;
  double seconds = 10;
};

// One thing that was measured: as the disk does it, and as the library does.
struct Pair {
  double raw = 0;
  double library = 0;

  [[nodiscard]] double ratio() const { return raw > 0 ? library / raw : 0; }
};

struct Measured {
  std::uint64_t snapshot_bytes = 0;
  std::uint64_t record_bytes = 0;
  Pair write;          // bytes a second
  Pair read;           // bytes a second
  Pair appends;        // a second
  Pair median_append;  // seconds
  Pair slow_append;    // seconds: 99 of 100 are faster
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

double seconds_of(const std::function<void()>& work) {
  const auto began = Clock::now();
  work();
  return Seconds(Clock::now() - began).count();
}

std::vector<std::byte> random_bytes(std::size_t count) {
  std::mt19937 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same bytes in each run are fine
  std::vector<std::byte> bytes(count);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
  return bytes;
}

// A vector for this number, of a piece of random bytes. Any floats will do.
std::array<float, components> vector_of(std::uint64_t number, std::span<const std::byte> piece) {
  std::array<float, components> vector{};
  const std::size_t places = piece.size() - row_bytes;
  std::memcpy(vector.data(), piece.data() + static_cast<std::size_t>(number * 4099) % places, row_bytes);
  return vector;
}

void write_whole(const fs::path& path, std::uint64_t bytes, std::span<const std::byte> piece) {
  RawFile file = RawFile::create(path);
  for (std::uint64_t done = 0; done < bytes; done += piece.size()) {
    stop_if_interrupted();
    file.write(done, piece.first(static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - done))));
  }
  file.sync();
}

void read_whole(const fs::path& path, std::span<std::byte> piece) {
  RawFile file = RawFile::open(path);
  for (std::uint64_t done = 0;;) {
    stop_if_interrupted();
    const std::size_t count = file.read(done, piece);
    if (count == 0) {
      return;
    }
    done += count;
  }
}

// So many bytes that all rounds of writing and reading them, by both, take about their share of the time.
std::uint64_t bytes_to_write(const fs::path& directory, double seconds, std::uint64_t most,
                             std::span<const std::byte> piece) {
  constexpr std::uint64_t probe_bytes = 8 * mebibyte;
  constexpr double share = share_of_files / (most_rounds * 4);
  const fs::path probe = directory / "probe";
  const double speed = static_cast<double>(probe_bytes) / seconds_of([&] { write_whole(probe, probe_bytes, piece); });
  fs::remove(probe);
  return std::clamp(static_cast<std::uint64_t>(speed * seconds * share), probe_bytes, most);
}

// Whole files: written and read bare, and as a snapshot that is saved and loaded.
void measure_files(const fs::path& directory, double most_seconds, std::uint64_t bytes, std::span<std::byte> piece,
                   Measured& measured) {
  iqdb::FlatIndex index(components, iqdb::DistanceMetric::euclidean);
  for (std::uint64_t id = 0; id < bytes / row_bytes; ++id) {
    stop_if_interrupted();
    index.insert(id, vector_of(id, piece));
  }
  const fs::path raw = directory / "raw";
  iqdb::PersistConfig config{.path = directory / "snapshot.iqdb"};
  config.on_progress = [](const iqdb::Progress&) { stop_if_interrupted(); };
  Database saved = Database::open_with(std::move(index), config);
  std::array<std::vector<double>, 4> seconds;
  const auto end = Clock::now() + Seconds(most_seconds);
  for (int round = 0; round == 0 || (round < most_rounds && Clock::now() < end); ++round) {
    fs::remove(raw);
    seconds[0].push_back(seconds_of([&] { write_whole(raw, bytes, piece); }));
    seconds[1].push_back(seconds_of([&] { saved.save(); }));
    RawFile::open(raw).forget();
    seconds[2].push_back(seconds_of([&] { read_whole(raw, piece); }));
    RawFile::open(config.path).forget();
    seconds[3].push_back(seconds_of([&] { static_cast<void>(Database::load(config)); }));
  }
  fs::remove(raw);
  measured.snapshot_bytes = fs::file_size(config.path);
  const auto raw_bytes = static_cast<double>(bytes);
  const auto snapshot_bytes = static_cast<double>(measured.snapshot_bytes);
  measured.write = {.raw = raw_bytes / median(seconds[0]), .library = snapshot_bytes / median(seconds[1])};
  measured.read = {.raw = raw_bytes / median(seconds[2]), .library = snapshot_bytes / median(seconds[3])};
}

// Appends to a file whose space is written with zeros and durable before: the least that a durable append can cost.
class RawAppends {
 public:
  RawAppends(const fs::path& path, std::span<const std::byte> record) : file_(RawFile::create(path)), record_(record) {}

  void prepare() {
    if (end_ + record_.size() > ready_) {
      file_.write(ready_, zeros_);
      file_.sync();
      ready_ += zeros_.size();
    }
  }

  void append() {
    file_.write(end_, record_);
    file_.sync();
    end_ += record_.size();
  }

 private:
  RawFile file_;
  std::span<const std::byte> record_;
  std::vector<std::byte> zeros_ = std::vector<std::byte>(4 * mebibyte);
  std::uint64_t end_ = 0;
  std::uint64_t ready_ = 0;
};

// Durable appends of one record, bare and as insertions into an index.
void measure_appends(const fs::path& directory, double seconds, std::span<const std::byte> bytes, Measured& measured) {
  Database index = Database::open_with(
      iqdb::FlatIndex(components, iqdb::DistanceMetric::euclidean),
      {.path = directory / "logged.iqdb", .wal_enabled = true, .checkpoint = iqdb::CheckpointPolicy::manual()});
  const std::array<float, components> vector = vector_of(0, bytes);
  std::uint64_t id = 0;
  const std::uint64_t before = index.log_bytes();
  index.insert(id++, vector);
  measured.record_bytes = index.log_bytes() - before;
  RawAppends raw(directory / "appends", bytes.first(static_cast<std::size_t>(measured.record_bytes)));
  std::array<std::vector<double>, 2> each;
  constexpr int turns = 10;  // of both
  const Seconds turn(seconds / (2 * turns));
  for (int at = 0; at < turns; ++at) {
    for (const auto end = Clock::now() + turn; Clock::now() < end;) {
      stop_if_interrupted();
      raw.prepare();
      each[0].push_back(seconds_of([&] { raw.append(); }));
    }
    for (const auto end = Clock::now() + turn; Clock::now() < end;) {
      stop_if_interrupted();
      each[1].push_back(seconds_of([&] { index.insert(id++, vector); }));
    }
  }
  index.close();
  const auto put = [&](double Pair::*side, std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) {
      sum += value;
    }
    std::ranges::sort(values);
    measured.appends.*side = static_cast<double>(values.size()) / sum;
    measured.median_append.*side = values[values.size() / 2];
    measured.slow_append.*side = values[values.size() * 99 / 100];
  };
  put(&Pair::raw, each[0]);
  put(&Pair::library, each[1]);
}

Measured measure(const BenchOptions& options) {
  constexpr std::uint64_t least_free = 256 * mebibyte;
  const std::uint64_t free_bytes = free_bytes_at(options.path);
  if (free_bytes < least_free) {
    iqdb::throw_persist_error(
        iqdb::PersistErrorKind::io,
        "only " + bytes_text(free_bytes) + " are free there; the measurement needs " + bytes_text(least_free),
        {.path = options.path, .code = std::make_error_code(std::errc::no_space_on_device), .offset = {}});
  }
  Measured measured;
  const InterruptGuard guard;
  const PassingDirectory directory(options.path);
  std::vector<std::byte> piece = random_bytes(mebibyte);
  // There are up to three files of this size at a time, and the log: a quarter of the space.
  const std::uint64_t most = std::min(256 * mebibyte, free_bytes / 16);
  const std::uint64_t bytes = bytes_to_write(directory.path(), options.seconds, most, piece);
  measure_files(directory.path(), options.seconds * share_of_files, bytes, piece, measured);
  measure_appends(directory.path(), options.seconds * (1 - share_of_files), piece, measured);
  return measured;
}

Json json_of(const Pair& pair) { return {{"raw", pair.raw}, {"library", pair.library}, {"ratio", pair.ratio()}}; }

void print_row(Output& out, const std::string& what, const Pair& pair, double unit) {
  std::array<char, 128> text{};
  constexpr double few = 100;
  const auto decimals = [&](double value) { return value / unit < few ? 1 : 0; };
  static_cast<void>(std::snprintf(text.data(), text.size(), "  %-34s %12.*f %12.*f %8.2f", what.c_str(),
                                  decimals(pair.raw), pair.raw / unit, decimals(pair.library), pair.library / unit,
                                  pair.ratio()));
  out.line(text.data());
}

ExitCode bench(Output& out, const BenchOptions& options) {
  const Measured measured = measure(options);
  if (out.json()) {
    out.document({{"path", options.path},
                  {"snapshot_bytes", measured.snapshot_bytes},
                  {"record_bytes", measured.record_bytes},
                  {"write_bytes_per_second", json_of(measured.write)},
                  {"read_bytes_per_second", json_of(measured.read)},
                  {"appends_per_second", json_of(measured.appends)},
                  {"append_median_seconds", json_of(measured.median_append)},
                  {"append_p99_seconds", json_of(measured.slow_append)}});
    return ExitCode::fine;
  }
  constexpr double microsecond = 1e-6;
  std::array<char, 128> head{};
  static_cast<void>(
      std::snprintf(head.data(), head.size(), "  %-34s %12s %12s %8s", "", "disk alone", "library", "ratio"));
  out.line(out.bold(harmless(options.path)));
  out.line(head.data());
  print_row(out, "write, save a snapshot: MiB/s", measured.write, static_cast<double>(mebibyte));
  print_row(out, "read, load a snapshot: MiB/s", measured.read, static_cast<double>(mebibyte));
  print_row(out, "durable appends, insertions: 1/s", measured.appends, 1);
  print_row(out, "  the median one: microseconds", measured.median_append, microsecond);
  print_row(out, "  99 of 100 within: microseconds", measured.slow_append, microsecond);
  out.line("  a snapshot of " + bytes_text(measured.snapshot_bytes) + ", records of " +
           bytes_text(measured.record_bytes));
  return ExitCode::fine;
}

}  // namespace

void add_bench(Program& program) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App& command = program.add("bench", "Measure a disk, and what this library leaves of its speed",
                                  [options](Output& out) { return bench(out, *options); });
  command.add_option("directory", options->path, "A directory on the disk; what is written there is removed again")
      ->required();
  constexpr double most_seconds = 3600;
  command.add_option("--seconds", options->seconds, "About how long to measure; 10 by default")
      ->check(CLI::Range(0.1, most_seconds))
      ->option_text("N");
}

}  // namespace iqdb_tool
