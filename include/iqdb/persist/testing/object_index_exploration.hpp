// Explores indexes on an object store: several clients open one index, write to it, make checkpoints, read, sleep, die and come
// back, and their requests go wrong in every way that a store may get them wrong.
//
// Checked at each load, and at the end: every vector whose insertion was acknowledged is there, and none whose removal was; none of
// which its writer was told that nothing was written; none that nobody inserted. No writer is told success for a call that began
// when another one had the index.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
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
#include "iqdb/persist/testing/object_schedule.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_object_store.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What an exploration met, so that a test can see that it met everything.
struct ObjectIndexEvents {
  std::uint64_t schedules = 0;
  std::uint64_t opened = 0;        ///< indexes opened for writing
  std::uint64_t refused = 0;       ///< openings without take_over of an index that was not closed
  std::uint64_t acknowledged = 0;  ///< mutations
  std::uint64_t fenced = 0;        ///< writers that were told so
  std::uint64_t rejected = 0;      ///< mutations that the index did not take
  std::uint64_t in_doubt = 0;      ///< mutations of which their writer never learned whether they were stored
  std::uint64_t checkpoints = 0;   ///< snapshots that were published
  std::uint64_t read = 0;          ///< loads to read
  std::uint64_t followed = 0;      ///< times that a follower caught up
  std::uint64_t died = 0;          ///< clients
  std::uint64_t closed = 0;        ///< indexes closed in order
  std::uint64_t uploaded = 0;      ///< snapshots that were stored in parts
  std::uint64_t given_up = 0;      ///< uploads that were aborted, by their writer or by a sweep

  friend bool operator==(const ObjectIndexEvents&, const ObjectIndexEvents&) = default;
};

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
        events_(&events) {
    options_ = any_object_options(random_, turns_);
    // Of some vectors each, so that snapshots have several, and any request may lie between two of them.
    options_.part_bytes = smallest_part + random_.below(smallest_part);
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

  // What is known of a vector. Its one component is its identifier.
  struct Fate {
    bool is_acknowledged = false;
    bool is_refused = false;      // its writer was told that nothing was written
    unsigned removals = 0;        // that have begun, and of which no writer was told that nothing was written
    bool must_be_erased = false;  // its removal was acknowledged
  };
  using Fates = std::map<std::uint64_t, Fate>;

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
            .helper_threads = 0,
            .take_over = take_over};
  }

  // Whether the store's faults, or a client that has taken over, explain a failure. That one may have swept what a load had begun to
  // read, again and again.
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
    Database database = Database::load_or_create(config(random_.one_in(2)), *empty_, Storage(store, options_));
    const std::string own = opened_with(store);
    ++events_->opened;
    require_promises(database.index(), before);
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
        ++events_->checkpoints;
      });
    } else if (action < 15) {
      allowed([&] { read(store); });
    } else {
      Database moved = std::move(database);
      database = std::move(moved);
    }
  }

  // The fence of an index that was opened. The keys of fences are in their order. One that was opened is a fence that counts.
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

  // Makes a mutation of some vectors. Calls `take(fate)` for the fate of each if it is acknowledged, and `refuse(fate)` if the
  // writer knows that it is not in the log.
  template <class Call, class Take, class Refuse>
  void mutate(const std::vector<std::uint64_t>& ids, const std::string& own, Call&& call, Take&& take,
              Refuse&& refuse) {
    const bool is_displaced = displaced_up_to_ > own;
    const auto failed = allowed(std::forward<Call>(call));
    if (!failed && is_displaced) {
      throw Violation("a mutation was acknowledged by a writer, when another one had opened the index");
    }
    for (const std::uint64_t id : ids) {
      if (!failed) {
        take(fates_[id]);
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
        ids, own, [&] { database.apply(batch); }, [](Fate& fate) { fate.is_acknowledged = true; },
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
        {*id}, own, [&] { database.erase(*id); }, [](Fate& fate) { fate.must_be_erased = true; },
        [](Fate& fate) { --fate.removals; });
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
          require_promises(index, before);
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
    require_promises(database.index(), before);
  }

  // Throws Violation unless the index has what was promised `before` it was loaded, less what others have begun to erase.
  void require_promises(const I& index, const Fates& before) const {
    for (const auto& [id, fate] : before) {
      if (fate.is_acknowledged && fates_.at(id).removals == 0 && !index.contains(id)) {
        throw Violation("the acknowledged vector " + std::to_string(id) + " is not there");
      }
      if (fate.must_be_erased && index.contains(id)) {
        throw Violation("the vector " + std::to_string(id) + " is there, whose removal was acknowledged");
      }
      if (fate.is_refused && index.contains(id)) {
        throw Violation("the vector " + std::to_string(id) + " is there, of which its writer was told that it is not");
      }
    }
    for (const VectorId& id : index.ids()) {
      if (!fates_.contains(id.integer()) || index.find(id)->vector.front() != static_cast<float>(id.integer())) {
        throw Violation("there is a vector that nobody has inserted: " + to_string(id));
      }
    }
  }

  void look_at_the_end() {
    const ObjectLogOptions calm = alone(options_);
    for (std::uint64_t rounds = 0; rounds < 2; ++rounds) {
      const MortalObjectStore store{SimulatedObjectStore(objects_)};
      const Fates before = fates_;
      Database database = Database::load_or_create(config(true), *empty_, Storage(store, calm));
      const std::string own = opened_with(store);
      require_promises(database.index(), before);
      insert(database, 1, own);
      database.checkpoint();
    }
    if (objects_.pending_uploads() != 0) {
      throw Violation("an upload that was given up is still pending, behind two checkpoints");
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
  std::string displaced_up_to_;  // the last fence of an index that was opened
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
