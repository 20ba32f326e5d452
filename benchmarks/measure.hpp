// How a measurement is registered with Google Benchmark, and ends when something fails.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <exception>
#include <string>
#include <utility>

#include "system.hpp"

namespace iqdb_benchmarks {

/// Whether a measurement has failed, rather than been skipped: the program then does.
inline bool any_failed = false;

/// Registers `body(state)`. What it throws ends this measurement with the reason, and leaves the others alone.
template <class Body>
benchmark::internal::Benchmark* add_benchmark(const std::string& name, Body body) {
  return benchmark::RegisterBenchmark(name.c_str(), [body](benchmark::State& state) {
    try {
      body(state);
    } catch (const Unsupported& reason) {
      state.SkipWithError((std::string("not here: ") + reason.what()).c_str());
    } catch (const std::exception& error) {
      any_failed = true;
      state.SkipWithError(error.what());
    }
  });
}

/// Registers `body(state)` as one iteration, whose time it takes with `timed`.
template <class Body>
void add_single(const std::string& name, Body body) {
  add_benchmark(name, std::move(body))->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}

/// Measures `action()` alone as one iteration, and returns what it returns: to be destroyed, or checked, off the clock.
template <class Action>
auto timed(benchmark::State& state, Action&& action) {
  const auto started = std::chrono::steady_clock::now();
  auto result = std::forward<Action>(action)();
  state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  return result;
}

}  // namespace iqdb_benchmarks
