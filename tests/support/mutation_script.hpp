// An endless script of inserts, erases, batches, rejected mutations, saves, checkpoints and reopenings, which a seed determines,
// and what an index holds behind each step. For processes that are killed while they work through it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

namespace iqdb_test::mutation_script {

using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

inline constexpr std::size_t dimension = 8;
inline constexpr std::uint64_t identifiers = 60;  // few, so that duplicates and absent ones are common

// What an index of the script holds: the number that the vector's components are made of, by identifier.
using Model = std::map<std::uint64_t, float>;

inline std::vector<float> vector_of(float number) { return std::vector<float>(dimension, number); }

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
inline bool is_refused(std::mt19937_64 random, std::uint64_t count, const Model& model) {
  std::set<std::uint64_t> seen;
  bool refused = false;
  mutate(random, count, CheckTarget{.model = &model, .seen = &seen, .refused = &refused});
  return refused;
}

enum class Step : std::uint8_t { single, batch, save, checkpoint, reopen };

// The step with this number: what it does, and the generator for its mutations.
inline std::pair<Step, std::mt19937_64> step_of(std::uint64_t seed, std::uint64_t number) {
  std::mt19937_64 random(seed ^ (number * 0x9E3779B97F4A7C15));
  const auto choice = random() % 100;
  const Step step = choice < 70   ? Step::single
                    : choice < 88 ? Step::batch
                    : choice < 92 ? Step::save
                    : choice < 97 ? Step::checkpoint
                                  : Step::reopen;
  return {step, random};
}

inline void apply_to_model(std::uint64_t seed, std::uint64_t number, Model& model) {
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

inline void apply_to_database(std::uint64_t seed, std::uint64_t number, std::optional<Database>& db,
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

inline Model model_of(const iqdb::FlatIndex& index) {
  Model model;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    if (!metadata || std::get<double>(metadata->at("number")) != static_cast<double>(vector[0])) {
      throw std::runtime_error("a vector lost its metadata");
    }
    model.emplace(id.integer(), vector[0]);
  });
  return model;
}

inline iqdb::PersistConfig config_for(const std::filesystem::path& path, std::uint64_t round) {
  const iqdb::FsyncPolicy policies[] = {iqdb::FsyncPolicy::always(),
                                        iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(2)),
                                        iqdb::FsyncPolicy::never()};
  return {.path = path, .wal_enabled = true, .fsync_policy = policies[round % 3], .buffer_bytes = 4096};
}

}  // namespace iqdb_test::mutation_script
