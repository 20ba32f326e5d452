// How much memory a save and a load take beyond the index itself: a fixed amount, whatever the size of the file.
//
// Each job runs in a process of its own, which compares the peak of its resident memory during the call (VmHWM) with
// what the index alone takes (VmRSS). LZ4's single block is the exception: a save also holds the block, a load first block
// and payload, then payload and index.
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"

namespace {

using iqdb::Compression;
using iqdb::FlatIndex;
using iqdb::PersistedIndex;
using iqdb_test::sanitized;

constexpr int skipped = 77;

constexpr double mib = 1024.0 * 1024.0;
constexpr double allowance = 32.0;  // MiB

// Two shapes of a payload of 1 GB: many rows, and rows so long that their number says little about the size.
struct Shape {
  const char* name;
  std::size_t dim;
  std::size_t rows;
};
constexpr Shape shapes[] = {{"many rows", 128, 2'000'000}, {"long rows", 65'536, 3'906}};  // NOLINT(*-c-arrays)

// The figure in MiB that /proc/self/status gives for `name`.
double memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return std::stod(line.substr(name.size() + 1)) / 1024.0;
    }
  }
  throw std::runtime_error("/proc/self/status does not say " + name);
}

// Lets the peak start again from what is resident now.
void reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << 5;
  file.close();
  if (!file || memory("VmHWM") > memory("VmRSS") + 1) {
    throw std::runtime_error("the peak cannot be reset through /proc/self/clear_refs");
  }
}

// Components of 8 significant bits: data that a codec can do something with, but not much.
FlatIndex make_index(const Shape& shape) {
  iqdb_test::Random random(shape.dim);
  FlatIndex index(shape.dim, iqdb::DistanceMetric::euclidean);
  std::vector<float> vector(shape.dim);
  for (std::uint64_t row = 0; row < shape.rows; ++row) {
    for (std::size_t at = 0; at < shape.dim;) {
      std::uint64_t bits = random.next();
      for (int taken = 0; taken < 8 && at < shape.dim; ++taken, bits >>= 8U) {
        vector[at++] = static_cast<float>(bits & 0xFFU) / 256.0F;
      }
    }
    index.insert(row, std::span<const float>(vector));
  }
  return index;
}

Compression compression_named(const std::string& name) {
  return name == "zstd" ? Compression::zstd(3) : name == "lz4" ? Compression::lz4() : Compression::none();
}

// Prints what was found beside what is allowed.
bool report(const char* job, const Shape& shape, const std::string& codec, double index, double peak, double allowed,
            double file, double payload, double seconds) {
  const bool good = peak <= allowed;
  std::printf(
      "%-4s %-4s %s: index %7.1f MiB, peak %7.1f MiB = index %+7.1f MiB, allowed %7.1f MiB  %s   (payload %.1f MiB, "
      "file "
      "%.1f MiB, %.2f s)\n",
      job, codec.c_str(), shape.name, index, peak, peak - index, allowed, good ? "good" : "TOO MUCH", payload, file,
      seconds);
  std::fflush(stdout);
  return good;
}

bool save_job(const Shape& shape, const std::string& codec, const std::filesystem::path& path) {
  auto db = PersistedIndex<FlatIndex>::open_with(
      make_index(shape), {.path = path, .compression = compression_named(codec), .replace_existing = true});
  ::malloc_trim(0);
  reset_peak();
  const double index = memory("VmRSS");
  const iqdb::SnapshotInfo info = db.save();
  const double file = static_cast<double>(info.file_bytes) / mib;
  const double payload = static_cast<double>(info.payload_bytes) / mib;
  return report("save", shape, codec, index, memory("VmHWM"), index + allowance + (codec == "lz4" ? file : 0), file,
                payload, static_cast<double>(info.elapsed.count()) / 1e9);
}

bool load_job(const Shape& shape, const std::string& codec, const std::filesystem::path& path) {
  reset_peak();
  const auto started = std::chrono::steady_clock::now();
  const auto db = PersistedIndex<FlatIndex>::load({.path = path});
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  const double peak = memory("VmHWM");
  if (db.index().size() != shape.rows) {
    throw std::runtime_error("the index that was loaded has another size");
  }
  ::malloc_trim(0);
  const double index = memory("VmRSS");
  const double file = static_cast<double>(std::filesystem::file_size(path)) / mib;
  const double payload = static_cast<double>(shape.rows * shape.dim * sizeof(float)) / mib;
  return report("load", shape, codec, index, peak,
                allowance + (codec == "lz4" ? payload + std::max(index, file) : index), file, payload, elapsed.count());
}

// Runs a job in a new process, so that nothing of an earlier one is in its memory.
bool run_job(const char* program, const std::string& job, const std::string& shape, const std::string& codec,
             const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(program, program, job.c_str(), shape.c_str(), codec.c_str(), path.c_str(), nullptr);
    ::_exit(EXIT_FAILURE);
  }
  int status = 0;
  return child != -1 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int run_all() {
  if (sanitized) {
    std::puts("peak memory: N/A under sanitizers");
    return skipped;
  }
  std::vector<std::string> codecs{"none"};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.emplace_back("zstd");
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.emplace_back("lz4");
  }
  const auto directory = std::filesystem::current_path() / ("peak_memory." + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  const std::string path = directory / "big.iqdb";
  bool good = true;
  for (std::size_t shape = 0; shape < std::size(shapes); ++shape) {
    for (const std::string& codec : codecs) {
      good = run_job("/proc/self/exe", "save", std::to_string(shape), codec, path) && good;
      good = run_job("/proc/self/exe", "load", std::to_string(shape), codec, path) && good;
    }
  }
  std::filesystem::remove_all(directory);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::vector<std::string> given(arguments + 1, arguments + count);
    if (given.size() != 4) {
      return run_all();
    }
    const Shape& shape = shapes[std::stoul(given[1])];
    const bool good = given[0] == "save" ? save_job(shape, given[2], given[3]) : load_job(shape, given[2], given[3]);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "peak_memory: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
