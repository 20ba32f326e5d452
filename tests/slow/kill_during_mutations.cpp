// A process that is killed at any moment loses nothing that was acknowledged, whatever it was doing.
//
// A child opens an index with the log on and works through an endless script of inserts, erases, batches, rejected
// mutations, saves, checkpoints and reopenings, which a seed determines; behind each step it reports that the step has
// returned. The parent kills it at a random moment, and the loaded index must then be exactly what the reported steps
// make, or those and the one that was under way. Each round then inserts three more vectors, closes, and loads again.
//
//   kill_during_mutations [SEED [ROUNDS]]
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/child_process.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using Database = iqdb::PersistedIndex<FlatIndex>;

constexpr std::size_t dimension = 8;
constexpr std::uint64_t identifiers = 60;  // few, so that duplicates and absent ones are common

// What an index of the script holds: the number that the vector's components are made of, by identifier.
using Model = std::map<std::uint64_t, float>;

std::vector<float> vector_of(float number) { return std::vector<float>(dimension, number); }

// Mutates a model as FlatIndex does.
struct ModelTarget {
  Model* model;
  void insert(std::uint64_t id, float number) const {
    if (!model->emplace(id, number).second) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::duplicate, "");
    }
  }
  void erase(std::uint64_t id) const {
    if (model->erase(id) == 0) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "");
    }
  }
};

// Mutates a database, or what else takes insert and erase with vectors.
template <class Target>
struct VectorTarget {
  Target* target;
  void insert(std::uint64_t id, float number) const {
    target->insert(id, vector_of(number), iqdb::Metadata{{"number", static_cast<double>(number)}});
  }
  void erase(std::uint64_t id) const { target->erase(id); }
};

// The mutations of one step; stops, as a batch does, at the first that is rejected.
template <class Target>
void mutate(std::mt19937_64& random, std::uint64_t count, const Target& target) {
  for (std::uint64_t at = 0; at < count; ++at) {
    const std::uint64_t id = random() % identifiers;
    if (random() % 3 == 0) {
      target.erase(id);
    } else {
      target.insert(id, static_cast<float>(random() % 1000));
    }
  }
}

// What FlatIndex's checks ask before a batch is logged: whether the first mutation of each identifier will be taken.
struct CheckTarget {
  const Model* model;
  std::set<std::uint64_t>* seen;
  bool* refused;
  void insert(std::uint64_t id, float /*number*/) const {
    *refused = *refused || (seen->insert(id).second && model->contains(id));
  }
  void erase(std::uint64_t id) const { *refused = *refused || (seen->insert(id).second && !model->contains(id)); }
};

// Whether a batch of the mutations that `random` makes is refused before it is logged.
bool is_refused(std::mt19937_64 random, std::uint64_t count, const Model& model) {
  std::set<std::uint64_t> seen;
  bool refused = false;
  mutate(random, count, CheckTarget{.model = &model, .seen = &seen, .refused = &refused});
  return refused;
}

enum class Step : std::uint8_t { single, batch, save, checkpoint, reopen };

// The step with this number: what it does, and the generator for its mutations.
std::pair<Step, std::mt19937_64> step_of(std::uint64_t seed, std::uint64_t number) {
  std::mt19937_64 random(seed ^ (number * 0x9E3779B97F4A7C15));
  const auto choice = random() % 100;
  const Step step = choice < 70   ? Step::single
                    : choice < 88 ? Step::batch
                    : choice < 92 ? Step::save
                    : choice < 97 ? Step::checkpoint
                                  : Step::reopen;
  return {step, random};
}

void apply_to_model(std::uint64_t seed, std::uint64_t number, Model& model) {
  auto [step, random] = step_of(seed, number);
  try {
    if (step == Step::single) {
      mutate(random, 1, ModelTarget{&model});
    } else if (step == Step::batch) {
      const auto count = 1 + random() % 6;
      if (!is_refused(random, count, model)) {
        mutate(random, count, ModelTarget{&model});
      }
    }
  } catch (const iqdb::IndexError&) {
  }
}

void apply_to_database(std::uint64_t seed, std::uint64_t number, std::optional<Database>& db,
                       const iqdb::PersistConfig& config) {
  auto [step, random] = step_of(seed, number);
  try {
    switch (step) {
      case Step::single:
        mutate(random, 1, VectorTarget<Database>{&*db});
        break;
      case Step::batch: {
        iqdb::WriteBatch batch;
        const auto count = 1 + random() % 6;
        mutate(random, count, VectorTarget<iqdb::WriteBatch>{&batch});
        db->apply(batch);
        break;
      }
      case Step::save:
        db->save();
        break;
      case Step::checkpoint:
        db->checkpoint();
        break;
      case Step::reopen:
        db->close();
        db.reset();
        db.emplace(Database::load(config));
        break;
    }
  } catch (const iqdb::IndexError&) {
  }
}

Model model_of(const FlatIndex& index) {
  Model model;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    if (!metadata || std::get<double>(metadata->at("number")) != static_cast<double>(vector[0])) {
      throw std::runtime_error("a vector lost its metadata");
    }
    model.emplace(id.integer(), vector[0]);
  });
  return model;
}

iqdb::PersistConfig config_for(const std::filesystem::path& path, std::uint64_t round) {
  const FsyncPolicy policies[] = {FsyncPolicy::always(), FsyncPolicy::periodic(std::chrono::milliseconds(2)),
                                  FsyncPolicy::never()};
  return {.path = path, .wal_enabled = true, .fsync_policy = policies[round % 3], .buffer_bytes = 4096};
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t seed = argc > 1 ? std::stoull(argv[1]) : std::random_device{}();
  const std::uint64_t rounds = argc > 2 ? std::stoull(argv[2]) : 100;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  try {
    const iqdb_test::TemporaryDirectory directory;
    const auto path = directory.path() / "index.iqdb";
    std::mt19937_64 random(seed);
    Model model;
    std::uint64_t done = 0;  // steps that the model has taken
    std::uint64_t torn = 0;
    std::uint64_t under_way = 0;
    std::uint64_t extra = identifiers;  // for the vectors of the parent
    {
      auto db = Database::open_with(FlatIndex(dimension, iqdb::DistanceMetric::euclidean), config_for(path, 0));
      db.close();
    }
    for (std::uint64_t round = 0; round < rounds; ++round) {
      const auto config = config_for(path, round);
      int ends[2];
      if (::pipe(ends) != 0) {
        throw std::runtime_error("cannot make a pipe");
      }
      iqdb_test::ChildProcess child([&] {
        std::optional<Database> db(Database::load(config));
        for (std::uint64_t number = done;; ++number) {
          apply_to_database(seed, number, db, config);
          if (::write(ends[1], &number, sizeof number) != sizeof number) {
            return 1;
          }
        }
      });
      ::close(ends[1]);
      std::this_thread::sleep_for(std::chrono::microseconds(2000 + random() % 40000));
      if (const int ended = child.kill(); ended != -SIGKILL) {
        throw std::runtime_error("the child ended by itself: " + std::to_string(ended));
      }
      for (std::uint64_t number = 0; ::read(ends[0], &number, sizeof number) == sizeof number;) {
        for (; done <= number; ++done) {
          apply_to_model(seed, done, model);
        }
      }
      ::close(ends[0]);

      auto db = Database::load(config);
      torn += db.recovery().dropped_bytes > 0 ? 1U : 0U;
      Model loaded = model_of(db.index());
      if (loaded != model) {
        // The step that was under way is there as a whole, or not at all.
        apply_to_model(seed, done++, model);
        ++under_way;
        if (loaded != model) {
          std::printf("round %llu: step %llu: the loaded index is neither with nor without the step under way\n",
                      static_cast<unsigned long long>(round), static_cast<unsigned long long>(done));
          return EXIT_FAILURE;
        }
      }
      for (int more = 0; more < 3; ++more, ++extra) {
        db.insert(extra, vector_of(1), {{"number", 1.0}});
        model.emplace(extra, 1.0F);
      }
      db.close();
      const auto again = Database::load(config);
      if (model_of(again.index()) != model) {
        std::printf("round %llu: what was inserted after the recovery is missing\n",
                    static_cast<unsigned long long>(round));
        return EXIT_FAILURE;
      }
    }
    std::printf(
        "%llu rounds, %llu steps, %llu with a step under way that was logged, %llu with a torn tail: nothing lost\n",
        static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(done),
        static_cast<unsigned long long>(under_way), static_cast<unsigned long long>(torn));
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
