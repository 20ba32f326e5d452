// The options of the checks of an index, and their report.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// How an index is checked. These options and the index determine a run completely, so a run repeats exactly.
struct ConformanceOptions {
  /// The seed of everything random.
  std::uint64_t seed = 1;

  /// The sizes, in vectors, of the indexes that are saved and loaded. An index of size 0 is the one that make()
  /// returns.
  std::vector<std::size_t> sizes = {0, 1, 2, 7, 40};

  /// The number of steps of the durable index: mutations, batches, saves, checkpoints, loads.
  std::size_t steps = 400;

  /// The number of lives of a durable index that are stopped at every call that changes the disk.
  std::size_t lives = 4;

  /// Payloads up to this size are truncated at every length, and every bit of them is flipped.
  std::size_t exhaustive_bytes = 1024;

  /// For a larger payload, the number of lengths and the number of bits that are tried, besides those near both ends.
  std::size_t samples = 500;

  /// Whether vectors with a component too many or too few are inserted. An index that does not check the dimension may
  /// then read or write outside its own memory.
  bool wrong_dimensions = true;

  /// Whether a search may find other vectors after a load, so that only vectors that both searches found are compared.
  /// For an index that is rebuilt when it is loaded.
  bool approximate_search = false;

  /// Whether a decoder may answer a damaged payload with std::bad_alloc or std::length_error. A decoder that trusts
  /// nothing may not, whatever is said here.
  bool accept_failed_allocations = false;

  /// How many bytes the program has asked operator new for since it began. If it is given, a decoder that trusts nothing
  /// may ask, for a damaged payload, for 64 MiB and 64 times the payload at most.
  std::function<std::uint64_t()> allocated_bytes = {};

  /// Called with a description of the next step. If a check crashes, the last call names the step.
  std::function<void(const std::string&)> trace = {};
};

/// Counts of what was checked.
struct ConformanceReport {
  std::uint64_t round_trips = 0;       ///< indexes saved and loaded
  std::uint64_t mutations = 0;         ///< insertions, removals and upserts that an index was asked for
  std::uint64_t rejections = 0;        ///< how many of them it rejected
  std::uint64_t upserts = 0;           ///< how many of them were upserts
  std::uint64_t loads = 0;             ///< how often the durable index was closed and loaded
  std::uint64_t damaged_payloads = 0;  ///< payloads cut off, lengthened, or with bytes changed
  std::uint64_t refused_payloads = 0;  ///< how many of them the decoder refused
  std::uint64_t crash_states = 0;      ///< states of a disk after a crash that the durable index recovered from
  std::uint64_t damaged_files = 0;     ///< files with a flipped bit that a load read or refused
  bool metadata_seen = false;          ///< metadata is kept: it shows in a search or in the payload

  /// Adds the counts of another check.
  ConformanceReport& operator+=(const ConformanceReport& other) noexcept {
    round_trips += other.round_trips;
    mutations += other.mutations;
    rejections += other.rejections;
    upserts += other.upserts;
    loads += other.loads;
    damaged_payloads += other.damaged_payloads;
    refused_payloads += other.refused_payloads;
    crash_states += other.crash_states;
    damaged_files += other.damaged_files;
    metadata_seen = metadata_seen || other.metadata_seen;
    return *this;
  }
};

/// The report in words, in one line.
[[nodiscard]] inline std::string to_string(const ConformanceReport& report) {
  std::string words =
      std::to_string(report.round_trips) + " round trips, " + std::to_string(report.mutations) + " mutations (" +
      std::to_string(report.rejections) + " rejected, " + std::to_string(report.upserts) + " upserts), " +
      std::to_string(report.loads) + " loads of the durable index, " + std::to_string(report.damaged_payloads) +
      " damaged payloads (" + std::to_string(report.refused_payloads) + " refused), " +
      std::to_string(report.crash_states) + " crash states, " + std::to_string(report.damaged_files) + " damaged files";
  if (report.mutations > 0 && !report.metadata_seen) {
    words += "; no metadata is seen in a search or in the payload";
  }
  return words;
}

}  // namespace testing
}  // namespace iqdb
