// Insertions of many vectors in one call: what the measurements of the adapters share.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/insert_many.hpp"
#include "iqdb/types.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

/// Vectors in one call.
inline constexpr std::size_t joint_rows = 1000;

/// One of several ways to insert the same vectors.
struct JointWay {
  std::string name;
  std::function<void(const iqdb::InsertedRows& rows, std::size_t first)> insert;
  std::vector<double> seconds = {};  ///< of each call
};

/// Inserts all vectors in each way, in turns call by call, so that all indexes are of the same size when they are
/// measured. The time is that of the last way. Reports for each other way how many times as fast the last one is, in all,
/// and at least and at most in a tenth of the calls.
inline void insert_in_turns(benchmark::State& state, std::size_t vectors, std::vector<JointWay> ways) {
  std::vector<float> components(vectors * dimension);
  fill_with_vectors(components);
  const std::size_t row_count = std::min(joint_rows, vectors);
  const std::vector<std::optional<iqdb::Metadata>> metadata(row_count);
  for ([[maybe_unused]] auto _ : state) {  // once
    for (std::size_t first = 0; first + row_count <= vectors; first += row_count) {
      std::vector<iqdb::VectorId> ids;
      for (std::size_t row = 0; row < row_count; ++row) {
        ids.emplace_back(first + row);
      }
      const auto part = std::span<const float>(components).subspan(first * dimension, row_count * dimension);
      for (JointWay& way : ways) {
        const auto started = std::chrono::steady_clock::now();
        way.insert({.ids = ids, .vectors = part, .metadata = metadata}, first);
        way.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
      }
    }
    const auto sum = [](const JointWay& way, std::size_t begin, std::size_t end) {
      return std::accumulate(way.seconds.begin() + static_cast<std::ptrdiff_t>(begin),
                             way.seconds.begin() + static_cast<std::ptrdiff_t>(end), 0.0);
    };
    const JointWay& measured = ways.back();
    const std::size_t calls = measured.seconds.size();
    const std::size_t tenth = std::max<std::size_t>(1, calls / 10);
    for (const JointWay& way : std::span(ways).first(ways.size() - 1)) {
      const double times = sum(way, 0, calls) / sum(measured, 0, calls);
      double least = times;
      double most = times;
      for (std::size_t begin = 0; begin + tenth <= calls; begin += tenth) {
        const double in_tenth = sum(way, begin, begin + tenth) / sum(measured, begin, begin + tenth);
        least = std::min(least, in_tenth);
        most = std::max(most, in_tenth);
      }
      state.counters["times_" + way.name] = times;
      state.counters["times_" + way.name + "_least"] = least;
      state.counters["times_" + way.name + "_most"] = most;
    }
    state.counters["microseconds"] = 1e6 * sum(measured, 0, calls) / static_cast<double>(calls * row_count);
    state.SetIterationTime(sum(measured, 0, calls));
  }
}

}  // namespace iqdb_benchmarks
