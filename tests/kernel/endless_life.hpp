// A life of a durable index on a real file system, which goes on until the process is killed or the power is cut.
//
// Beside the durable index the same mutations go to one in memory: what it holds is what is expected.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "kernel/witness.hpp"
#include "reliability/laboratory.hpp"

namespace iqdb_test {

using iqdb::testing::Violation;

/// What a life is made of, all of which follows from its number.
struct Plan {
  FlatSubject subject;               ///< makes the index that it begins with
  std::size_t dim = 1;               ///< of that
  iqdb::PersistConfig config = {};   ///< its settings, but for the path
  bool direct_io = false;            ///< whether it writes past the page cache
  std::uint64_t other_steps_of = 1;  ///< of the steps that are no mutation one in so many is taken
};

/// The plan of the life with this number.
[[nodiscard]] inline Plan plan_of(std::uint64_t number) {
  Random random(number);
  constexpr std::size_t dims[] = {1, 7, 40, 150};
  Plan plan;
  plan.dim = dims[random.below(std::size(dims))];
  plan.subject = flat_subject(plan.dim, random.one_in(6) ? 1000 : random.below(20));
  plan.subject.contents = [](const iqdb::FlatIndex& index) { return digest(iqdb::testing::payload_of(index)); };
  const Life life = iqdb::testing::any_life(plan.subject, plan.dim, 0, random);
  plan.config = {.wal_enabled = life.wal_enabled,
                 .fsync_policy = life.policy,
                 .compression = life.compression,
                 .helper_threads = random.one_in(2) ? 2U : 0U};
  if (life.policy.is_periodic()) {
    plan.config.fsync_policy = iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(1 + random.below(20)));
  }
  if (random.one_in(2)) {
    plan.config.buffer_bytes = 4096;
    plan.config.log_extent_bytes = life.log_extent_bytes;
  }
  plan.direct_io = life.policy.is_always() && random.one_in(2);
  constexpr std::uint64_t rarities[] = {1, 8, 64};
  plan.other_steps_of = rarities[random.below(std::size(rarities))];
  return plan;
}

/// The plan's settings in words.
[[nodiscard]] inline std::string to_string(const Plan& plan) {
  Life life;
  life.wal_enabled = plan.config.wal_enabled;
  life.policy = plan.config.fsync_policy;
  life.compression = plan.config.compression;
  life.log_extent_bytes = plan.config.log_extent_bytes;
  life.direct_io = plan.direct_io;
  return to_string(life) + " dimension " + std::to_string(plan.dim);
}

/// A process' part of a life: it takes the index up as some process has left it, and goes on with it.
class EndlessLife {
 public:
  /// `plan` and `witness` must outlive this.
  EndlessLife(const Plan& plan, const std::filesystem::path& path, Witness& witness, std::uint64_t seed)
      : plan_(&plan), config_(plan.config), witness_(&witness), random_(seed), mirror_(plan.subject.make()) {
    config_.path = path;
  }

  /// Goes on until a call fails: throws PersistError. Or throws Violation.
  [[noreturn]] void run() {
    load();
    for (;;) {
      const std::size_t steps = 100;
      for (const Step& step : any_life(plan_->subject, plan_->dim, steps, random_).steps) {
        const bool is_mutation = step.kind == Step::Kind::mutate || step.kind == Step::Kind::batch;
        if (is_mutation || random_.one_in(plan_->other_steps_of)) {
          take(step);
        }
      }
    }
  }

  /// Ends the life: what a load gives takes three more inserts, and is there again when it was closed.
  void finish() {
    load();
    for (std::uint64_t number = 1000; number < 1003; ++number) {
      take({.kind = Step::Kind::mutate, .mutations = {insert_of(plan_->subject, plan_->dim, number)}});
    }
    take({.kind = config_.wal_enabled ? Step::Kind::reopen : Step::Kind::save});
    load();
  }

 private:
  using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

  [[nodiscard]] Moment moment() const {
    return {.lsn = index_->lsn(), .contents = plan_->subject.contents(index_->index())};
  }

  void load() {
    index_.reset();  // lets go of the path
    index_.emplace(Database::load_or_create(
        config_, plan_->subject.make, iqdb::FileStorage(iqdb::FileStorageOptions{.direct_io = plan_->direct_io})));
    const Moment now = moment();
    const Oracle& oracle = witness_->oracle();
    const auto which = oracle.find(now, oracle.acknowledged());
    if (!which) {
      throw Violation(oracle.explain(now, oracle.acknowledged()));
    }
    witness_->found(*which);
    mirror_ = iqdb::testing::copy_of(index_->index());
  }

  void take(const Step& step) {
    switch (step.kind) {
      case Step::Kind::mutate:
        mutate(step, [&] { iqdb::testing::make_mutation(*index_, step.mutations.front()); });
        return;
      case Step::Kind::batch:
        mutate(step, [&] { index_->apply(iqdb::testing::batch_of(step.mutations)); });
        return;
      case Step::Kind::sync:
        index_->sync();
        if (config_.wal_enabled) {
          witness_->make_durable();
        }
        return;
      case Step::Kind::save:
        save([&] { index_->save(); });
        return;
      case Step::Kind::checkpoint:
        save([&] { index_->checkpoint(); });
        return;
      case Step::Kind::reopen:
        index_->close();
        if (config_.wal_enabled) {
          witness_->make_durable();
        }
        load();
        return;
      case Step::Kind::drop:
        load();
        return;
      case Step::Kind::kill:
      case Step::Kind::power_cut:
      case Step::Kind::restore:
        return;  // from outside, and at any moment
      case Step::Kind::exchange:
      case Step::Kind::lose_lock:
      case Step::Kind::call_back:
      case Step::Kind::mix_backups:
        return;  // no part of any_life
    }
  }

  template <class Action>
  void mutate(const Step& step, Action&& action) {
    if (step.mutations.empty()) {
      return;
    }
    const std::uint64_t lsn = index_->lsn() + (config_.wal_enabled ? step.mutations.size() : 0);
    bool rejected = false;
    try {
      for (const iqdb::Mutation& mutation : step.mutations) {
        iqdb::testing::make_mutation(mirror_, mutation);
      }
    } catch (const iqdb::IndexError&) {
      rejected = true;
    }
    const Moment after{.lsn = lsn, .contents = plan_->subject.contents(mirror_)};
    if (config_.wal_enabled) {
      witness_->expect(after);
    }
    bool was_rejected = false;
    try {
      std::forward<Action>(action)();
    } catch (const iqdb::IndexError&) {
      was_rejected = true;
    }
    if (rejected != was_rejected || moment() != after) {
      throw Violation("the index does not hold what one in memory holds after the same mutations");
    }
    if (config_.wal_enabled) {
      witness_->acknowledge();
      if (config_.fsync_policy.is_always()) {
        witness_->make_durable();
      }
    }
  }

  template <class Action>
  void save(Action&& action) {
    if (!config_.wal_enabled) {
      witness_->expect(moment());
    }
    std::forward<Action>(action)();
    witness_->acknowledge();
    witness_->make_durable();
  }

  const Plan* plan_;
  iqdb::PersistConfig config_;
  Witness* witness_;
  Random random_;
  iqdb::FlatIndex mirror_;
  std::optional<Database> index_;
};

}  // namespace iqdb_test
