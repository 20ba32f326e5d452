// Indexes that keep a history, and what is loaded of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "support/durable.hpp"
#include "support/sample_index.hpp"

namespace iqdb_test {

[[nodiscard]] inline iqdb::PersistConfig with_history(iqdb::PersistConfig config, const iqdb::HistoryPolicy& policy) {
  config.history = policy;
  return config;
}

/// The entries of the history of the index at `path`.
template <class S = iqdb::FileStorage>
[[nodiscard]] std::vector<iqdb::HistoryEntry> entries_of(const std::filesystem::path& path, S storage = S()) {
  return iqdb::history::entries(storage, path);
}

/// What is loaded, without a lock, of the state behind a mutation.
template <class S = iqdb::FileStorage>
Ids ids_at(const std::filesystem::path& path, std::uint64_t lsn, S storage = S()) {
  using Loaded = iqdb::PersistedIndex<iqdb::FlatIndex, S>;
  const auto db = Loaded::load(
      {.path = path, .read_only = true, .up_to = lsn, .buffer_bytes = 4096, .helper_threads = 0}, std::move(storage));
  if (db.lsn() != lsn) {
    throw std::runtime_error("LSN " + std::to_string(db.lsn()) + " was loaded in place of " + std::to_string(lsn));
  }
  return ids_of(db.index());
}

/// 1 to `last`: what an index holds behind so many insertions of ascending numbers.
[[nodiscard]] inline Ids up_to(std::uint64_t last) {
  Ids ids;
  for (std::uint64_t id = 1; id <= last; ++id) {
    ids.push_back(id);
  }
  return ids;
}

/// Makes `db` and lets it live a random life of so many mutations, which follows from the seed of `random`. Between them, two steps
/// in `steps_of` are a checkpoint or a save, and one is a restart. Returns what the index held behind each mutation, by its
/// number.
[[nodiscard]] inline std::vector<Ids> random_life(std::optional<DurableIndex>& db, const iqdb::PersistConfig& config,
                                                  std::size_t mutations, std::uint64_t steps_of,
                                                  iqdb::testing::Random random) {
  db = DurableIndex::open_with(empty_index(), config);
  std::vector<Ids> states{{}};
  while (states.size() <= mutations) {
    switch (random.below(steps_of)) {
      case 0:
        db->checkpoint();
        break;
      case 1:
        db->save();
        break;
      case 2:
        db.reset();
        db = DurableIndex::load(config);
        break;
      default: {
        const std::uint64_t id = 1 + random.below(40);
        if (db->index().contains(id)) {
          db->erase(id);
        } else {
          insert_row(*db, id);
        }
        states.push_back(ids_of(db->index()));
      }
    }
  }
  return states;
}

}  // namespace iqdb_test
