// What the command line says: where to measure, and how much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace iqdb_benchmarks {

/// Sizes such that each measurement takes a second or less; `--quick` makes all of them tiny.
struct Options {
  std::filesystem::path directory;         ///< where files are written: on the disk that is to be measured
  std::uint64_t vectors = 2'000'000;       ///< in a snapshot: 1 GB
  std::uint64_t hnswlib_vectors = 50'000;  ///< in hnswlib's index, since building a large one takes minutes
  std::uint64_t commits = 3000;            ///< durable inserts of one record; of batches there are fewer
  std::uint64_t unsynced_records = 1'000'000;
  std::uint64_t replay_records = 1'000'000;
  std::vector<std::uint64_t> scale_bytes = {10'000'000, 100'000'000, 1'000'000'000};
  std::string scale_job;  ///< set in the processes that the scale benchmarks start

  /// How many commits of `batch` records are made.
  [[nodiscard]] std::uint64_t commits_of(std::size_t batch) const;
};

/// Takes what it knows out of the command line. Throws std::invalid_argument for a value that is none.
[[nodiscard]] Options parse_options(int& count, char** arguments);

/// What `--help` prints of them.
extern const char* const options_help;

}  // namespace iqdb_benchmarks
