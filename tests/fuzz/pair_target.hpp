// The target `pair`: a snapshot and the log beside it.
//
//   input: length of the snapshot u32 | snapshot | log
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/durable_files.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/log_target.hpp"
#include "fuzz/numbers.hpp"
#include "fuzz/snapshot_target.hpp"

namespace iqdb_fuzz {

/// What an input is taken apart into, and put together from.
struct FilePair {
  Bytes snapshot;
  Bytes log;

  explicit FilePair(Input input) {
    if (input.size() < sizeof(std::uint32_t)) {
      return;
    }
    const Input files = input.subspan(sizeof(std::uint32_t));
    const Input first = files.first(std::min<std::size_t>(number_at<std::uint32_t>(input, 0), files.size()));
    const Input second = files.subspan(first.size());
    snapshot.assign(first.begin(), first.end());
    log.assign(second.begin(), second.end());
  }

  [[nodiscard]] Bytes joined() const {
    Bytes input(sizeof(std::uint32_t));
    put_at(std::span(input), 0, static_cast<std::uint32_t>(snapshot.size()));
    input.insert(input.end(), snapshot.begin(), snapshot.end());
    input.insert(input.end(), log.begin(), log.end());
    return input;
  }
};

inline constexpr FuzzTarget pair_target{
    .name = "pair",
    .examine =
        [](Input input) {
          const FilePair files(input);
          examine_durable(files.snapshot, files.log);
        },
    .reshape =
        [](Bytes& input, Random& random) {
          FilePair files(input);
          if (random.one_in(4)) {
            reshape_snapshot(files.snapshot, random);
          } else {
            constexpr std::uint64_t largest_dim = 128;
            const bool has_dim = files.snapshot.size() >= SnapshotLayout::region;
            const auto dim = has_dim ? number_at<std::uint64_t>(files.snapshot, SnapshotLayout::dim) : 1;
            reshape_log_of(static_cast<std::size_t>(std::min(dim, largest_dim)), files.log, random);
          }
          input = files.joined();
        },
    .repair =
        [](Bytes& input, Random& random) {
          FilePair files(input);
          repair_snapshot(files.snapshot, random);
          repair_log_of(files.snapshot, files.log, random);
          input = files.joined();
        }};

}  // namespace iqdb_fuzz
