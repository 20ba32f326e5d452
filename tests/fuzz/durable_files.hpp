// A snapshot, and the log beside it, in memory; and what must hold of an index that was loaded from them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "fuzz/decoded_index.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/heap_meter.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/memory_storage.hpp"

namespace iqdb_fuzz {

using Database = iqdb::PersistedIndex<iqdb::FlatIndex, iqdb_test::MemoryStorage>;

/// The name of the snapshot.
inline const std::filesystem::path snapshot_path = "fuzzed.iqdb";

/// How much of a payload is decoded at most. A few bytes may stand for gigabytes of it, which are a good index; to
/// make it would tell nothing that less of it does not tell.
inline constexpr std::uint64_t most_decoded = std::uint64_t{384} * 1024;

/// Thrown out of a load that has decoded most_decoded bytes.
struct TooLong {};

/// Settings that are fast with small files: no threads, the smallest buffers.
[[nodiscard]] inline iqdb::PersistConfig small_config(bool wal_enabled) {
  return {.path = snapshot_path,
          .wal_enabled = wal_enabled,
          .buffer_bytes = 4096,
          .helper_threads = 0,
          .log_extent_bytes = 0};
}

/// A store with these files.
[[nodiscard]] inline iqdb_test::MemoryStorage stored(Input snapshot, std::optional<Input> log = {}) {
  iqdb_test::MemoryStorage storage;
  storage.files()[snapshot_path] = Bytes(snapshot.begin(), snapshot.end());
  if (log) {
    storage.files()[iqdb::log_path(snapshot_path)] = Bytes(log->begin(), log->end());
  }
  return storage;
}

/// A store with the files that `storage` has now: what is there after a crash at this moment.
[[nodiscard]] inline iqdb_test::MemoryStorage crashed(iqdb_test::MemoryStorage& storage) {
  iqdb_test::MemoryStorage copy;
  copy.files() = storage.files();
  return copy;
}

/// Loads what is in `storage`; nothing where it is refused by a PersistError. Throws Violation where that has changed
/// the files, or where the load has taken too much memory.
[[nodiscard]] inline std::optional<Database> load(iqdb_test::MemoryStorage& storage, bool wal_enabled) {
  const auto before = storage.files();
  std::uint64_t bytes = 2 * most_decoded;
  for (const auto& [path, contents] : before) {
    bytes += contents.size();
  }
  iqdb::PersistConfig config = small_config(wal_enabled);
  config.on_progress = [](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::load && progress.done >= most_decoded) {
      throw TooLong();
    }
  };
  const HeapMeter::Peak peak;
  try {
    std::optional<Database> loaded = Database::load(config, storage);
    require_little_heap(peak, bytes);
    return loaded;
  } catch (const iqdb::PersistError&) {
    require_little_heap(peak, bytes);
    require(storage.files() == before, "a load that was refused has changed the files");
  } catch (const TooLong&) {
    require_little_heap(peak, bytes);
    require(storage.files() == before, "a load that was cancelled has changed the files");
  }
  return std::nullopt;
}

/// Loads what was saved, and must therefore load, and hold `contents`.
[[nodiscard]] inline Database load_saved(iqdb_test::MemoryStorage storage, bool wal_enabled, const Bytes& contents) {
  Database loaded = Database::load(small_config(wal_enabled), std::move(storage));
  require(contents_of(loaded.index()) == contents, "what was saved is not what is loaded");
  return loaded;
}

/// The codec that `number` stands for.
[[nodiscard]] inline iqdb::Compression compression(std::uint64_t number) {
  switch (number % 3) {
    case 0:
      return iqdb::Compression::none();
    case 1:
      return iqdb::Compression::lz4();
    default:
      return iqdb::Compression::zstd(1);
  }
}

/// Something that depends on the input alone, for what is to vary with it.
[[nodiscard]] inline std::uint64_t choice(Input input) { return iqdb::Crc32(input).value(); }

/// Examines a snapshot without a log: what loads can be saved, with any codec, and loads again as the same.
inline void examine_snapshot(Input snapshot) {
  iqdb_test::MemoryStorage storage = stored(snapshot);
  const std::optional<Database> loaded = load(storage, false);
  if (!loaded) {
    return;
  }
  const Bytes contents = contents_of(loaded->index());
  iqdb::PersistConfig config = small_config(false);
  config.compression = compression(choice(snapshot));
  iqdb_test::MemoryStorage saved;
  Database::open_with(loaded->index(), config, saved).save();
  std::ignore = load_saved(saved, false, contents);
}

/// Mutates a durable index, saves it in between, and loads what a crash leaves after about a third of the steps, which
/// ones is up to `choice`: it must be the same index.
inline void live_on(Database& database, iqdb_test::MemoryStorage& storage, std::uint64_t choice) {
  constexpr std::size_t largest_dim = 4096;
  auto crash = [&, moment = choice]() mutable {
    if (moment++ % 3 != 0) {
      return;
    }
    const Bytes contents = contents_of(database.index());
    const std::uint64_t lsn = database.lsn();
    const Database again = load_saved(crashed(storage), true, contents);
    require(again.lsn() == lsn, "a mutation was lost, or one came up");
    require(again.recovery().dropped_bytes == 0, "bytes were dropped that had been written in order");
  };
  crash();
  constexpr std::uint64_t mutations_below = 10;
  if (database.lsn() > iqdb::largest_lsn - mutations_below) {
    return;  // there are no numbers left
  }

  const iqdb::VectorId id = choice;
  const std::size_t dim = database.index().dim();
  if (dim <= largest_dim && !database.index().contains(id)) {
    const std::vector<float> vector(dim, 1.0F);
    database.insert(id, vector, iqdb::Metadata{{"key", "value"}});
    crash();
    bool rejected = false;
    try {
      database.insert(id, vector);
    } catch (const iqdb::IndexError&) {
      rejected = true;
    }
    require(rejected, "a vector was taken twice");
    crash();
    database.erase(id);
    crash();
  }
  if (choice % 2 == 0) {
    database.save();
  } else {
    database.checkpoint();
  }
  crash();
  const Bytes contents = contents_of(database.index());
  database.close();
  std::ignore = load_saved(storage, true, contents);
}

/// Examines a snapshot with a log: an index that loads goes on being a durable one.
inline void examine_durable(Input snapshot, Input log) {
  iqdb_test::MemoryStorage storage = stored(snapshot, log);
  std::optional<Database> loaded = load(storage, true);
  if (loaded) {
    live_on(*loaded, storage, choice(log));
  }
}

}  // namespace iqdb_fuzz
