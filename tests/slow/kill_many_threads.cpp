// A process that is killed at any moment while many threads use one SharedIndex loses nothing that any of them was told
// is there.
//
// Each thread of a child works through an endless script of inserts, upserts, erases and batches of identifiers of its
// own, which a seed determines, and counts in shared memory the steps that have returned; one makes checkpoints between
// them, and one backups. The parent kills the child at a random moment. What the load finds of each thread's identifiers must be
// exactly what its counted steps make, or those and the one that was under way. A follower, which the parent has beside the
// child, must come to the same. A backup holds each step that was counted before it, and none without those before it. Each older
// state that the history kept loads.
//
//   kill_many_threads [SEED [ROUNDS]]
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "kernel/shared_memory.hpp"
#include "support/child_process.hpp"
#include "support/temporary_directory.hpp"

namespace {

using Database = iqdb::SharedIndex<iqdb::FlatIndex>;

constexpr std::size_t dimension = 8;
constexpr std::uint64_t threads = 8;
constexpr std::uint64_t own_ids = 30;  // of each thread: few, so that upserts and erases meet something

// What an index holds of a thread's identifiers: the number that the vector's components are made of.
using Model = std::map<std::uint64_t, float>;

struct Change {
  bool erases;
  std::uint64_t id;
  float number;
};

// One or several mutations, or a checkpoint.
struct Step {
  std::vector<Change> mutations;
  bool checkpoints = false;
};

// The step of this number, where these are there.
Step step_of(std::uint64_t seed, std::uint64_t thread, std::uint64_t number, const Model& before) {
  std::mt19937_64 random((seed * threads + thread) ^ (number * 0x9E3779B97F4A7C15));
  Step step;
  if (thread == 0 && random() % 40 == 0) {
    step.checkpoints = true;
    return step;
  }
  Model after = before;
  for (auto count = random() % 4 == 0 ? 2 + random() % 5 : 1; count > 0; --count) {
    const std::uint64_t id = 1000 * thread + random() % own_ids;
    const bool erases = after.contains(id) && random() % 3 == 0;
    const auto value = static_cast<float>(random() % 1000);
    step.mutations.push_back({.erases = erases, .id = id, .number = value});
    erases ? void(after.erase(id)) : void(after[id] = value);
  }
  return step;
}

void apply_to_model(const Step& step, Model& model) {
  for (const auto& [erases, id, number] : step.mutations) {
    if (erases) {
      model.erase(id);
    } else {
      model[id] = number;
    }
  }
}

void apply_to_database(const Step& step, Database& db, const Model& before) {
  if (step.checkpoints) {
    db.checkpoint();
    return;
  }
  iqdb::WriteBatch batch;
  for (const auto& [erases, id, number] : step.mutations) {
    const std::vector<float> vector(dimension, number);
    const std::span<const float> components(vector);
    if (step.mutations.size() == 1) {
      if (erases) {
        db.erase(id);
      } else if (before.contains(id)) {
        db.upsert(id, components);
      } else {
        db.insert(id, components);
      }
    } else if (erases) {
      batch.erase(id);
    } else {
      batch.upsert(id, components);
    }
  }
  if (batch.size() > 0) {
    db.apply(batch);
  }
}

// How many steps of each thread have returned.
using Counters = std::array<std::atomic<std::uint64_t>, threads>;

// A backup that was made, and how many steps of each thread had returned before it and behind it.
struct MadeBackup {
  std::array<std::uint64_t, threads> before;
  std::array<std::uint64_t, threads> behind;
};

constexpr std::uint64_t most_backups = 16;  // in a round

// What the parent sees of the child.
struct Progress {
  Counters done;
  std::array<MadeBackup, most_backups> backups;
  std::atomic<std::uint64_t> backups_made;
};

std::filesystem::path backup_place(const iqdb::PersistConfig& config, std::uint64_t number) {
  return config.path.parent_path() / ("backup-" + std::to_string(number));
}

void back_up(Database& db, Progress& progress) {
  const std::uint64_t number = progress.backups_made;
  if (number == most_backups) {
    return;
  }
  MadeBackup& made = progress.backups[number];
  std::copy(progress.done.begin(), progress.done.end(), made.before.begin());
  db.backup(backup_place(db.config(), number));
  std::copy(progress.done.begin(), progress.done.end(), made.behind.begin());
  ++progress.backups_made;
}

// Lets the threads of a child go on where their models are, until it is killed.
int work(const iqdb::PersistConfig& config, std::uint64_t seed, std::vector<Model> models, Progress& progress) {
  auto db = Database::load(config);
  Counters& done = progress.done;
  std::vector<std::thread> running;
  for (std::uint64_t thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      try {
        Model& model = models[thread];
        for (;;) {
          if (thread == 1 && done[thread] % 40 == 20) {
            back_up(db, progress);
          }
          const Step step = step_of(seed, thread, done[thread], model);
          apply_to_database(step, db, model);
          ++done[thread];
          apply_to_model(step, model);
        }
      } catch (const std::exception& error) {
        std::fprintf(stderr, "thread %llu: %s\n", static_cast<unsigned long long>(thread), error.what());
        std::_Exit(1);
      }
    });
  }
  for (std::thread& each : running) {
    each.join();
  }
  return 1;
}

// Loads the index. If the process was killed in the instant in which it forked for a checkpoint, its child holds the lock
// until the system lets it run, and it finds that its parent is gone.
iqdb::PersistedIndex<iqdb::FlatIndex> load_once_free(const iqdb::PersistConfig& config) {
  for (int tries = 1;; ++tries) {
    try {
      return iqdb::PersistedIndex<iqdb::FlatIndex>::load(config);
    } catch (const iqdb::PersistError& error) {
      if (error.kind() != iqdb::PersistErrorKind::locked || tries == 1000) {
        throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

// The identifiers of each thread, as they are in a loaded index.
std::vector<Model> models_of(const iqdb::FlatIndex& index) {
  std::vector<Model> models(threads);
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& /*metadata*/) {
    models.at(id.integer() / 1000).emplace(id.integer(), vector[0]);
  });
  return models;
}

// Whether an index holds of each thread what it held behind some step, of those that had returned before the backup and those
// that were under way behind it. `taken` steps of each thread made `models`.
bool is_backup(const iqdb::FlatIndex& index, const MadeBackup& made, std::uint64_t seed, std::vector<Model> models,
               std::array<std::uint64_t, threads> taken) {
  const std::vector<Model> loaded = models_of(index);
  for (std::uint64_t thread = 0; thread < threads; ++thread) {
    Model& model = models[thread];
    const auto take_step = [&] { apply_to_model(step_of(seed, thread, taken[thread]++, model), model); };
    while (taken[thread] < made.before[thread]) {
      take_step();
    }
    while (loaded[thread] != model && taken[thread] <= made.behind[thread]) {
      take_step();
    }
    if (loaded[thread] != model) {
      return false;
    }
  }
  return true;
}

// Loads the older states that the history kept. Returns how many there are.
std::uint64_t load_older_states(const iqdb::PersistConfig& config) {
  iqdb::FileStorage storage;
  std::uint64_t loaded = 0;
  for (const iqdb::HistoryEntry& entry : iqdb::history::entries(storage, config.path)) {
    if (entry.has_snapshot && entry.has_log) {
      const auto state = iqdb::PersistedIndex<iqdb::FlatIndex>::load({.path = entry.path, .read_only = true});
      ++loaded;
    }
  }
  return loaded;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t seed = argc > 1 ? std::stoull(argv[1]) : std::random_device{}();
  const std::uint64_t rounds = argc > 2 ? std::stoull(argv[2]) : 30;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  try {
    const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());  // more steps a round
    const iqdb::PersistConfig config{.path = directory / "index.iqdb",
                                     .wal_enabled = true,
                                     .history = iqdb::HistoryPolicy::keep_last(2),
                                     .buffer_bytes = 4096};
    std::mt19937_64 random(seed);
    const iqdb_test::SharedMemory<Progress> progress;
    Counters& done = progress->done;
    std::vector<Model> models(threads);
    std::array<std::uint64_t, threads> taken{};  // steps that the models have taken
    std::uint64_t under_way = 0;
    std::uint64_t torn = 0;
    std::uint64_t replayed = 0;
    std::uint64_t backups = 0;
    std::uint64_t older_states = 0;
    iqdb::FollowerStats followed;
    { const auto db = Database::open_with({dimension, iqdb::DistanceMetric::euclidean}, config); }
    for (std::uint64_t round = 0; round < rounds; ++round) {
      iqdb_test::ChildProcess child([&] { return work(config, seed, models, *progress); });
      iqdb::Follower<iqdb::FlatIndex> follower = iqdb::Follower<iqdb::FlatIndex>::load(config);
      follower.catch_up_every(std::chrono::milliseconds(1));
      std::this_thread::sleep_for(std::chrono::microseconds(2000 + random() % 60000));
      if (const int ended = child.kill(); ended != -SIGKILL) {
        throw std::runtime_error("the child ended by itself: " + std::to_string(ended));
      }
      const auto db = load_once_free(config);
      torn += db.recovery().dropped_bytes > 0 ? 1U : 0U;
      replayed += db.recovery().replayed;
      const std::vector<Model> loaded = models_of(db.index());
      if (follower.catch_up() != db.lsn() || follower.read(models_of) != loaded) {
        std::printf("round %llu: a follower is at %llu, and the index at %llu, or they hold other vectors\n",
                    static_cast<unsigned long long>(round), static_cast<unsigned long long>(follower.lsn()),
                    static_cast<unsigned long long>(db.lsn()));
        return EXIT_FAILURE;
      }
      followed.reloads += follower.stats().reloads;
      followed.taken_back += follower.stats().taken_back;
      for (std::uint64_t number = 0; number < progress->backups_made; ++number, ++backups) {
        const auto backup = iqdb::PersistedIndex<iqdb::FlatIndex>::load(
            {.path = backup_place(config, number) / config.path.filename(), .read_only = true});
        if (!is_backup(backup.index(), progress->backups[number], seed, models, taken)) {
          std::printf("round %llu: the backup %llu is none of a moment of its call\n",
                      static_cast<unsigned long long>(round), static_cast<unsigned long long>(number));
          return EXIT_FAILURE;
        }
      }
      // Also the one that was under way.
      for (std::uint64_t number = 0; number <= progress->backups_made; ++number) {
        std::filesystem::remove_all(backup_place(config, number));
      }
      progress->backups_made = 0;
      older_states += load_older_states(config);
      for (std::uint64_t thread = 0; thread < threads; ++thread) {
        Model& model = models[thread];
        const auto take_step = [&] { apply_to_model(step_of(seed, thread, taken[thread]++, model), model); };
        while (taken[thread] < done[thread]) {
          take_step();
        }
        if (loaded[thread] != model) {
          // The step that was under way is there as a whole, or not at all.
          take_step();
          ++under_way;
          if (loaded[thread] != model) {
            std::printf("round %llu: what thread %llu has is neither with nor without the step under way, %llu\n",
                        static_cast<unsigned long long>(round), static_cast<unsigned long long>(thread),
                        static_cast<unsigned long long>(taken[thread]));
            return EXIT_FAILURE;
          }
        }
        done[thread] = taken[thread];
      }
    }
    std::uint64_t steps = 0;
    for (const std::uint64_t each : taken) {
      steps += each;
    }
    std::printf(
        "%llu rounds, %llu steps of %llu threads, %llu with a step under way that was logged, %llu with a torn tail, "
        "%llu mutations replayed, %llu backups, %llu older states, a follower that loaded the files anew %llu times "
        "and took "
        "back %llu times: nothing lost\n",
        static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(steps),
        static_cast<unsigned long long>(threads), static_cast<unsigned long long>(under_way),
        static_cast<unsigned long long>(torn), static_cast<unsigned long long>(replayed),
        static_cast<unsigned long long>(backups), static_cast<unsigned long long>(older_states),
        static_cast<unsigned long long>(followed.reloads), static_cast<unsigned long long>(followed.taken_back));
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
