// Explores indexes on an object store: several clients open one index, write to it, make checkpoints, read, sleep, die and come
// back, and their requests go wrong in every way that a store may get them wrong.
//
// Checked at each load, and at the end: every vector whose insertion was acknowledged is there, and none whose removal was; none of
// which its writer was told that nothing was written; none that nobody inserted. No writer is told success for a call that began
// when another one had the index. An older state has the mutations up to its number, and no others; and at the end every state can be
// loaded that the history keeps.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/testing/clients_in_turn.hpp"
#include "iqdb/persist/testing/mortal_object_store.hpp"
#include "iqdb/persist/testing/object_index_events.hpp"
#include "iqdb/persist/testing/object_schedule.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_object_store.hpp"
#include "iqdb/persist/testing/vector_fates.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// One schedule of several clients of an index of type I, which takes vectors of one dimension. Everything follows from its seed.
template <class I>
class ObjectIndexSchedule {
 public:
  /// Each index is made as a copy of `empty`. Counts what it meets in `events`. Both must outlive this.
  ObjectIndexSchedule(std::uint64_t seed, const I& empty, ObjectIndexEvents& events)
      : seed_(seed),
        random_(seed),
        turns_(random_.next()),
        objects_(random_.next(), any_faults()),
        empty_(&empty),
        events_(&events),
        some_know_of_none_(random_.one_in(2)) {
    options_ = any_object_options(random_, turns_);
    // Of some vectors each, so that snapshots have several, and any request may lie between two of them.
    options_.part_bytes = smallest_part + random_.below(smallest_part);
    history_ = random_.one_in(3) ? HistoryPolicy::none() : HistoryPolicy::keep_last(1 + random_.below(5));
    options_.parts_in_flight = 0;
  }

  /// Runs it. Throws Violation, which names the seed.
  void run() {
    ++events_->schedules;
    naming_seed(seed_, [this] {
      const std::uint64_t clients = 2 + random_.below(2);
      turns_.run(std::vector<std::function<void()>>(static_cast<std::size_t>(clients), [this] { be_client(); }));
      objects_.settle();
      objects_.calm();
      look_at_the_end();
    });
    events_->uploaded += objects_.completed_uploads();
    events_->given_up += objects_.aborted_uploads();
  }

 private:
  using Storage = ObjectStorage<MortalObjectStore>;
  using Database = PersistedIndex<I, Storage>;
  using Fate = VectorFate;
  using Fates = VectorFates;

  static constexpr const char* name = "index";
  static constexpr std::uint64_t smallest_part = 96;  // holds the header of a snapshot

  ObjectFaults any_faults() {
    if (random_.one_in(4)) {
      return {.reply_lost = 3, .request_lost = 4, .delayed = 4, .repeated = 4, .client_dies = 120};
    }
    return {.reply_lost = 20, .request_lost = 30, .delayed = 20, .repeated = 20, .client_dies = 150};
  }

  [[nodiscard]] PersistConfig config(bool take_over) const {
    return {.path = name,
            .wal_enabled = true,
            .checkpoint = CheckpointPolicy::manual(),
            .history = history_,
            .helper_threads = 0,
            .take_over = take_over};
  }

  // The same for a program that may not know of the history.
  [[nodiscard]] PersistConfig config_of_client() {
    PersistConfig chosen = config(random_.one_in(2));
    if (some_know_of_none_ && random_.one_in(3)) {
      chosen.history = HistoryPolicy::none();
    }
    return chosen;
  }

  // Whether the store's faults, or a client that has taken over, explain a failure. That one may sweep what a load is reading.
  [[nodiscard]] static bool is_explained(PersistErrorKind kind) noexcept {
    return kind == PersistErrorKind::io || kind == PersistErrorKind::fenced || kind == PersistErrorKind::log_mismatch;
  }

  // A process that may die at any request, and comes back as another one.
  void be_client() {
    for (std::uint64_t lives = 1 + random_.below(3); lives > 0; --lives) {
      try {
        live();
      } catch (const ClientDied&) {
        ++events_->died;
        turns_.step();
      } catch (const PersistError& error) {
        events_->refused += error.kind() == PersistErrorKind::locked ? 1U : 0U;
        if (!is_explained(error.kind()) && error.kind() != PersistErrorKind::locked) {
          throw;
        }
      }
    }
  }

  void live() {
    const MortalObjectStore store(SimulatedObjectStore(objects_, [this] { turns_.step(); }));
    const Fates before = fates_;
    Database database = Database::load_or_create(config_of_client(), *empty_, Storage(store, options_));
    const std::string own = opened_with(store);
    ++events_->opened;
    require_promises(database.index(), before, fates_);
    std::unique_ptr<Follower<I, Storage>> follower;
    for (std::uint64_t actions = 1 + random_.below(24); actions > 0 && !database.poisoned(); --actions) {
      if (random_.one_in(8)) {
        allowed([&] { follow(follower, store); });
      } else {
        act(database, store, own);
      }
    }
    if (!database.poisoned() && random_.one_in(2)) {
      allowed([&] {
        database.close();
        ++events_->closed;
      });
    }
  }

  void act(Database& database, const MortalObjectStore& store, const std::string& own) {
    const std::uint64_t action = random_.below(16);
    if (action < 7) {
      insert(database, 1 + random_.below(3), own);
    } else if (action < 8) {
      insert_twice(database);
    } else if (action < 10) {
      erase_any(database, own);
    } else if (action < 13) {
      allowed([&] {
        std::ignore = random_.one_in(3) ? database.save() : database.checkpoint();
        published_.insert(database.lsn());
        ++events_->checkpoints;
      });
    } else if (action < 15) {
      allowed([&] { random_.one_in(2) ? read(store) : read_older(store); });
    } else {
      Database moved = std::move(database);
      database = std::move(moved);
    }
  }

  // The fence of an index that was opened, which counts. The keys of fences are in their order.
  std::string opened_with(const MortalObjectStore& store) {
    displaced_up_to_ = std::max(displaced_up_to_, store.last_fence());
    return store.last_fence();
  }

  // Makes a call that may fail as the store's faults and other clients explain. Returns what it failed with.
  template <class Call>
  std::optional<PersistErrorKind> allowed(Call&& call) {
    try {
      std::forward<Call>(call)();
      return std::nullopt;
    } catch (const PersistError& error) {
      events_->fenced += error.kind() == PersistErrorKind::fenced ? 1U : 0U;
      if (!is_explained(error.kind()) && error.kind() != PersistErrorKind::poisoned) {
        throw;
      }
      return error.kind();
    }
  }

  // Makes a mutation of some vectors. Calls `take(fate, number)` for the fate of each if it is acknowledged, and `refuse(fate)` if
  // the writer knows that it is not in the log.
  template <class Call, class Take, class Refuse>
  void mutate(const Database& database, const std::vector<std::uint64_t>& ids, const std::string& own, Call&& call,
              Take&& take, Refuse&& refuse) {
    const bool is_displaced = displaced_up_to_ > own;
    const auto failed = allowed(std::forward<Call>(call));
    if (!failed && is_displaced) {
      throw Violation("a mutation was acknowledged by a writer, when another one had opened the index");
    }
    std::uint64_t number = database.lsn() + 1 - ids.size();  // of the first one
    for (const std::uint64_t id : ids) {
      if (!failed) {
        take(fates_[id], number++);
        ++events_->acknowledged;
      } else if (failed == PersistErrorKind::fenced || failed == PersistErrorKind::poisoned) {
        refuse(fates_[id]);
      } else {
        ++events_->in_doubt;
      }
    }
  }

  void insert(Database& database, std::uint64_t count, const std::string& own) {
    std::vector<std::uint64_t> ids;
    WriteBatch batch;
    for (; count > 0; --count) {
      ids.push_back(++last_id_);
      fates_[last_id_] = {};
      const std::array<float, 1> vector{static_cast<float>(last_id_)};
      batch.insert(last_id_, vector);
    }
    mutate(
        database, ids, own, [&] { database.apply(batch); },
        [](Fate& fate, std::uint64_t number) { fate.inserted_by = number; },
        [](Fate& fate) { fate.is_refused = true; });
  }

  // A vector of the index, if it has any.
  [[nodiscard]] std::optional<std::uint64_t> any_present(const Database& database) {
    const std::vector<VectorId> ids = database.index().ids();
    return ids.empty() ? std::nullopt
                       : std::optional(ids[static_cast<std::size_t>(random_.below(ids.size()))].integer());
  }

  void erase_any(Database& database, const std::string& own) {
    const auto id = any_present(database);
    if (!id) {
      return;
    }
    ++fates_[*id].removals;
    mutate(
        database, {*id}, own, [&] { database.erase(*id); },
        [](Fate& fate, std::uint64_t number) { fate.erased_by = number; }, [](Fate& fate) { --fate.removals; });
  }

  // Inserts a vector that is there, with other components. An index that checks nothing beforehand rejects it when it is logged.
  void insert_twice(Database& database) {
    if (const auto id = any_present(database)) {
      const std::array<float, 1> other{-1.0F};
      const auto failed = allowed([&] {
        try {
          database.insert(*id, other);
        } catch (const IndexError&) {
          ++events_->rejected;
          return;
        }
        throw Violation("an index took a vector that it holds");
      });
      std::ignore = failed;
    }
  }

  // Follows what other clients and this one write.
  void follow(std::unique_ptr<Follower<I, Storage>>& follower, const MortalObjectStore& store) {
    const Fates before = fates_;
    if (!follower) {
      // It cannot be moved.
      follower.reset(new Follower<I, Storage>(Follower<I, Storage>::load(config(false), Storage(store, options_))));
    }
    ++events_->followed;
    const Follower<I, Storage>& shown = *follower;
    // It looks behind a put that came late to a swept number only now and then.
    constexpr unsigned most_looks = 65;
    for (unsigned looks = 1;; ++looks) {
      follower->catch_up();
      try {
        shown.read([&](const I& index) {
          require_promises(index, before, fates_);
          return 0;
        });
        return;
      } catch (const Violation&) {
        if (looks == most_looks) {
          throw;
        }
      }
    }
  }

  void read(const MortalObjectStore& store) {
    const Fates before = fates_;
    PersistConfig only_read = config(false);
    only_read.read_only = true;
    const Database database = Database::load(only_read, Storage(store, options_));
    ++events_->read;
    require_promises(database.index(), before, fates_);
  }

  // Loads the index as it was behind a mutation, if that is kept.
  void read_older(const MortalObjectStore& store) {
    try {
      read_at(Storage(store, options_), random_.below(last_acknowledged(fates_) + 1));
      ++events_->older;
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::invalid_config) {
        throw;
      }
    }
  }

  // Throws PersistError invalid_config if the state behind the mutation `number` is not kept; Violation if it is another one.
  void read_at(Storage storage, std::uint64_t number) {
    PersistConfig older = config(false);
    older.read_only = true;
    older.up_to = number;
    const Database database = Database::load(older, std::move(storage));
    require_state_behind(database.index(), number, fates_);
  }

  void look_at_the_end() {
    checkpoint_again();
    checkpoint_again();
    look_at_the_history();
    // An upload stays of which a state is made that is kept: the store may list what was completed.
    for (std::size_t states = history_.count(); states > 0; --states) {
      checkpoint_again();
    }
    if (objects_.pending_uploads() != 0) {
      throw Violation("an upload that was given up is still pending, behind two checkpoints");
    }
  }

  void checkpoint_again() {
    const MortalObjectStore store{SimulatedObjectStore(objects_)};
    const Fates before = fates_;
    Database database = Database::load_or_create(config(true), *empty_, Storage(store, alone(options_)));
    const std::string own = opened_with(store);
    require_promises(database.index(), before, fates_);
    insert(database, 1, own);
    database.checkpoint();
    published_.insert(database.lsn());
  }

  // Throws Violation unless every state can be loaded that is to be kept, and no others are.
  void look_at_the_history() {
    Storage storage(MortalObjectStore{SimulatedObjectStore(objects_)}, alone(options_));
    const std::vector<HistoryEntry> entries = history::entries(storage, name);
    events_->kept += entries.size();
    const std::size_t least = some_know_of_none_ ? 1 : published_.size() - 1;
    if (entries.size() > history_.count() || entries.size() < std::min(least, history_.count())) {
      throw Violation("the history has " + std::to_string(entries.size()) + " states; it is to keep " +
                      std::to_string(history_.count()) + " of more than " + std::to_string(least));
    }
    const std::uint64_t last = last_acknowledged(fates_);
    for (auto number = entries.empty() ? last : *storage.snapshot_lsn(entries.front().path); number <= last; ++number) {
      read_at(storage, number);
    }
  }

  std::uint64_t seed_;
  Random random_;
  ClientsInTurn turns_;
  SimulatedObjects objects_;
  const I* empty_;
  ObjectIndexEvents* events_;
  ObjectLogOptions options_;
  Fates fates_;
  std::uint64_t last_id_ = 0;
  HistoryPolicy history_ = HistoryPolicy::none();
  bool some_know_of_none_;             // some clients are programs that do not know of the history
  std::set<std::uint64_t> published_;  // the last mutations of snapshots
  std::string displaced_up_to_;        // the last fence of an index that was opened
};

/// Runs `schedules` schedules of an index that is made as a copy of `empty`, which has dimension 1. Schedule n has the seed `seed` +
/// n. Returns what they met. Throws Violation, which names the seed of its schedule.
template <class I>
ObjectIndexEvents explore_object_indexes(const I& empty, std::uint64_t seed, std::uint64_t schedules) {
  ObjectIndexEvents events;
  for (std::uint64_t at = 0; at < schedules; ++at) {
    ObjectIndexSchedule<I>(seed + at, empty, events).run();
  }
  return events;
}

}  // namespace testing
}  // namespace iqdb
