// Saving and loading a snapshot: the measurements that are the same for everyone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "measure.hpp"
#include "options.hpp"
#include "system.hpp"

namespace iqdb_benchmarks {

/// The bytes of `options.vectors` vectors, rounded up to whole pages: made when first needed, and kept.
[[nodiscard]] const Pages& shared_payload(const Options& options);

/// Where files lie that are made when they are first needed, and kept for later measurements.
[[nodiscard]] const std::filesystem::path& shared_files(const Options& options);

/// Removes all that is shared.
void remove_shared();

/// Registers saves: `save.prepare()` is off the clock; `save(path)` makes a file that was not there before, durably,
/// and returns its bytes of payload; `save.memory()` says how much memory that may take, the page cache's share
/// included.
template <class Save>
void add_save(const std::string& name, const Options& options, Save save) {
  add_single("snapshot_save/" + name, [options, save](benchmark::State& state) {
    const ScratchDirectory scratch(options.directory);
    std::uint64_t bytes = 0;
    for ([[maybe_unused]] auto _ : state) {
      save.prepare();
      touch_free_memory(save.memory());
      settle(scratch.path());
      bytes += timed(state, [&] { return save(scratch.path() / "snapshot"); });
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  });
}

enum class Temperature : std::uint8_t { warm, cold };

/// Registers loads: `load.file()` is the file, made if it is not there; `load(file)` returns what holds all that was
/// loaded; `load.bytes(loaded)` says how many bytes of payload those are, or throws where they are not what was saved;
/// `load.memory()` is as for add_save.
template <class Load>
void add_load(const std::string& subject, Temperature temperature, Load load) {
  const std::string name =
      std::string("snapshot_load/") + (temperature == Temperature::warm ? "warm/" : "cold/") + subject;
  add_single(name, [temperature, load](benchmark::State& state) {
    std::uint64_t bytes = 0;
    for ([[maybe_unused]] auto _ : state) {
      const std::filesystem::path file = load.file();
      settle(file.parent_path());
      if (temperature == Temperature::warm) {
        bring_into_cache(file);
      } else {
        drop_from_cache(file);
      }
      touch_free_memory(load.memory());
      const auto loaded = timed(state, [&] { return load(file); });
      bytes += load.bytes(loaded);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  });
}

/// Registers a load both from the page cache and from the disk.
template <class Load>
void add_loads(const std::string& subject, const Load& load) {
  add_load(subject, Temperature::warm, load);
  add_load(subject, Temperature::cold, load);
}

}  // namespace iqdb_benchmarks
