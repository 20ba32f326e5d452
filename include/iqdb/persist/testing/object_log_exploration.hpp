// Explores a log on an object store: several clients write, read, sweep, take over, sleep and die on a SimulatedObjectStore.
//
// Checked at each reading, and at the end when all requests under way have arrived or are lost:
//
// - what was acknowledged before the reading began is there, with its number, once;
// - what was reported as not written is not there, nor later;
// - nothing is acknowledged by a writer after another one had opened the log;
// - a writer is told that it is fenced only if another one has put a fence behind its own;
// - a log is opened without take_over only behind its close, or where there is none;
// - no log ever looks damaged, and a log that the last one can reach can be opened and written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/testing/clients_in_turn.hpp"
#include "iqdb/persist/testing/object_schedule.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_object_store.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_sweep.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What an exploration met, so that a test can see that it met everything.
struct ObjectLogEvents {
  std::uint64_t schedules = 0;
  std::uint64_t opened = 0;        ///< logs opened for writing
  std::uint64_t refused = 0;       ///< openings without take_over of a log that was not closed
  std::uint64_t acknowledged = 0;  ///< groups
  std::uint64_t fenced = 0;        ///< writers that were told so
  std::uint64_t in_doubt = 0;      ///< groups of which their writer never learned whether they were stored
  std::uint64_t published = 0;     ///< checkpoints
  std::uint64_t removed = 0;       ///< objects that a sweep deleted
  std::uint64_t copied = 0;        ///< writers that went on twice, as after a fork
  std::uint64_t read = 0;          ///< readings
  std::uint64_t closed = 0;        ///< logs closed in order

  friend bool operator==(const ObjectLogEvents&, const ObjectLogEvents&) = default;
};

/// One schedule of several clients. Everything follows from its seed.
class ObjectLogSchedule {
 public:
  /// Counts what it meets in `events`, which must outlive this.
  ObjectLogSchedule(std::uint64_t seed, ObjectLogEvents& events)
      : seed_(seed),
        random_(seed),
        has_twins_(random_.one_in(4)),
        turns_(random_.next()),
        objects_(random_.next(), any_faults()),
        events_(&events) {
    options_ = any_object_options(random_, turns_);
  }

  /// Runs it. Throws Violation, which names the seed.
  void run() {
    ++events_->schedules;
    naming_seed(seed_, [this] {
      const std::uint64_t clients = 2 + random_.below(3);
      turns_.run(std::vector<std::function<void()>>(static_cast<std::size_t>(clients), [this] { be_client(); }));
      objects_.settle();
      objects_.calm();
      look_at_the_end();
    });
  }

 private:
  using State = std::vector<std::uint64_t>;  // the mutations in their order

  struct Acknowledged {
    std::uint64_t lsn;
    std::uint64_t mutation;
  };

  struct Twin {
    ObjectLogPosition position;
    State state;
  };

  struct Frozen {
    std::uint64_t lsn = 0;
    State state = {};
  };

  static constexpr const char* name = "index";

  ObjectFaults any_faults() {
    if (random_.one_in(4)) {
      return {.reply_lost = 3, .request_lost = 4, .delayed = 4, .repeated = 4, .client_dies = 80};
    }
    return {.reply_lost = 20, .request_lost = 30, .delayed = 20, .repeated = 20, .client_dies = 100};
  }

  [[nodiscard]] SimulatedObjectStore store() {
    return SimulatedObjectStore(objects_, [this] { turns_.step(); });
  }

  // A process that may die at any request, and comes back as another one.
  void be_client() {
    for (std::uint64_t lives = 1 + random_.below(3); lives > 0; --lives) {
      try {
        live();
      } catch (const ClientDied&) {
        turns_.step();
      } catch (const PersistError& error) {
        // What the store's faults explain, and what one client may do to another.
        if (error.kind() != PersistErrorKind::io && error.kind() != PersistErrorKind::locked) {
          throw;
        }
      }
    }
  }

  void live() {
    SimulatedObjectStore own = store();
    if (twin_ && random_.one_in(2)) {
      Twin twin = *std::exchange(twin_, std::nullopt);
      ++events_->copied;
      write(own, ObjectLogWriter<SimulatedObjectStore>(own, name, twin.position, options_), std::move(twin.state));
      return;
    }
    const bool take_over = random_.one_in(2);
    const std::size_t acknowledged = acknowledged_.size();
    try {
      auto opened = open_object_log(own, name, take_over, options_);
      const ObjectLogPosition& position = opened.writer.position();
      displaced_up_to_ = std::max(displaced_up_to_, position.fence);
      ++events_->opened;
      if (!take_over) {
        require_closed_before(position.fence);
      }
      write(own, std::move(opened.writer), state_of(own, opened.run, acknowledged));
    } catch (const PersistError& error) {
      events_->refused += error.kind() == PersistErrorKind::locked ? 1U : 0U;
      throw;
    }
  }

  // It may have been swept since, if others took the log over.
  void require_closed_before(std::uint64_t fence) const {
    const auto found = fence == 0 ? objects_.objects().end() : objects_.objects().find(log_object_key(name, fence - 1));
    if (found != objects_.objects().end() &&
        read_log_object_header(found->second, found->first, fence - 1).kind != LogObjectKind::close) {
      throw Violation("the log was opened without take_over at number " + std::to_string(fence) +
                      ", in front of which there is no close");
    }
  }

  // A twin may have put something else there.
  void require_fence_behind(std::uint64_t fence) const {
    const auto& all = objects_.objects();
    for (auto at = all.upper_bound(log_object_key(name, fence)); at != all.end(); ++at) {
      const auto number = log_object_number(name, at->first);
      if (number && read_log_object_header(at->second, at->first, *number).kind == LogObjectKind::fence) {
        return;
      }
    }
    if (!has_twins_) {
      throw Violation("the writer with the fence " + std::to_string(fence) +
                      " was told that another one has taken over, and there is no fence behind its own");
    }
  }

  void write(SimulatedObjectStore& own, ObjectLogWriter<SimulatedObjectStore> writer, State state) {
    Frozen frozen;
    for (std::uint64_t actions = 1 + random_.below(30); actions > 0 && writer.usable(); --actions) {
      attempt(writer, [&] { act(own, writer, state, frozen); });
    }
    if (writer.usable() && random_.one_in(3)) {
      attempt(writer, [&] {
        writer.close();
        ++events_->closed;
      });
    }
  }

  // Calls what a writer may fail to do: its store does not answer, or another one has taken over.
  template <class Call>
  void attempt(const ObjectLogWriter<SimulatedObjectStore>& writer, Call&& call) {
    try {
      call();
    } catch (const PersistError& error) {
      if (error.kind() == PersistErrorKind::fenced) {
        ++events_->fenced;
        require_fence_behind(writer.position().fence);
      } else if (error.kind() != PersistErrorKind::io) {
        throw;
      }
    }
  }

  void act(SimulatedObjectStore& own, ObjectLogWriter<SimulatedObjectStore>& writer, State& state, Frozen& frozen) {
    const std::uint64_t action = random_.below(16);
    if (action < 8) {
      append(writer, state);
    } else if (action < 10) {
      frozen = {.lsn = state.size(), .state = state};
    } else if (action < 13) {
      publish(own, writer, frozen);
    } else if (action < 14 && !has_twins_) {
      events_->removed += sweep_object_log(own, name, options_).removed;
    } else if (action < 15) {
      const std::size_t acknowledged = acknowledged_.size();
      std::ignore = state_of(own, read_object_run(own, name, options_), acknowledged);
    } else if (has_twins_) {
      twin_ = Twin{.position = writer.position(), .state = state};
    }
  }

  void append(ObjectLogWriter<SimulatedObjectStore>& writer, State& state) {
    std::vector<std::vector<std::byte>> bodies;
    State mutations;
    for (std::uint64_t frames = 1 + random_.below(2); frames > 0; --frames) {
      std::vector<Mutation> batch;
      for (std::uint64_t count = 1 + random_.below(2); count > 0; --count) {
        mutations.push_back(++mutations_);
        batch.push_back({.op = FrameOp::erase, .id = mutations_});
      }
      bodies.push_back(bytes_of([&](Writer& to) { write_batch(to, batch); }));
    }
    const std::vector<std::span<const std::byte>> spans(bodies.begin(), bodies.end());
    const bool is_displaced = displaced_up_to_ > writer.position().fence;
    LsnRange given;
    try {
      given = writer.append(spans);
    } catch (const PersistError&) {
      if (writer.usable()) {
        not_written_.insert(mutations.begin(), mutations.end());
      }
      ++events_->in_doubt;
      throw;
    }
    if (is_displaced) {
      throw Violation("mutation " + std::to_string(given.first) + " was acknowledged by the writer with the fence " +
                      std::to_string(writer.position().fence) + ", when the log had been opened with the fence " +
                      std::to_string(displaced_up_to_));
    }
    for (std::uint64_t at = 0; at < mutations.size(); ++at) {
      acknowledged_.push_back({.lsn = given.first + at, .mutation = mutations[static_cast<std::size_t>(at)]});
    }
    state.insert(state.end(), mutations.begin(), mutations.end());
    ++events_->acknowledged;
  }

  void publish(SimulatedObjectStore& own, ObjectLogWriter<SimulatedObjectStore>& writer, const Frozen& frozen) {
    const std::string key = std::string(name) + "/snapshot/" + std::to_string(writer.position().fence) + "-" +
                            std::to_string(random_.next());
    const auto bytes = bytes_of([&](Writer& to) { to.write_array(frozen.state); });
    // A put that overwrites its own object with the same bytes may be repeated until there is an answer.
    std::ignore = asked_again(options_, [&] {
      own.put(key, bytes);
      return true;
    });
    writer.publish({.key = key, .fingerprint = {.file_bytes = bytes.size()}, .lsn = frozen.lsn});
    ++events_->published;
  }

  // The state that a load makes of this run. Throws Violation if it lacks one of the first `acknowledged` acknowledged ones.
  [[nodiscard]] State state_of(SimulatedObjectStore& own, const ObjectRun& run, std::size_t acknowledged) {
    State state;
    if (run.checkpoint) {
      const PublishedSnapshot& snapshot = run.objects[*run.checkpoint].snapshot;
      const auto bytes = asked_again(options_, [&] { return own.get(snapshot.key); });
      if (!bytes || bytes->size() != snapshot.lsn * sizeof(std::uint64_t)) {
        throw Violation("the snapshot " + snapshot.key + " is not there, or not whole");
      }
      state = Reader(*bytes).read_vector<std::uint64_t>(snapshot.lsn);
    }
    for (const LogObject& object : run.objects) {
      for (const LogObjectFrame& frame : object.frames) {
        replay(object, frame, state);
      }
    }
    ++events_->read;
    require_promises(state, acknowledged);
    return state;
  }

  static void replay(const LogObject& object, const LogObjectFrame& frame, State& state) {
    if (frame.lsn <= state.size() || frame.mutations == 0) {
      return;
    }
    if (frame.lsn != state.size() + 1) {
      throw Violation("the mutations from " + std::to_string(state.size() + 1) + " to " +
                      std::to_string(frame.lsn - 1) + " are in no object");
    }
    FrameBody body(object.body(frame), log_version);
    for (std::uint64_t at = 0; at < frame.mutations; ++at) {
      Mutation mutation;
      body.read_next(mutation);
      state.push_back(mutation.id.integer());
    }
  }

  void require_promises(const State& state, std::size_t acknowledged) const {
    for (const Acknowledged& each : std::span(acknowledged_).first(acknowledged)) {
      if (state.size() < each.lsn || state[static_cast<std::size_t>(each.lsn - 1)] != each.mutation) {
        throw Violation("the acknowledged mutation " + std::to_string(each.lsn) + " is not in its place; the log has " +
                        std::to_string(state.size()));
      }
    }
    std::set<std::uint64_t> seen;
    for (const std::uint64_t mutation : state) {
      if (!seen.insert(mutation).second) {
        throw Violation("a mutation is in the log twice");
      }
      if (not_written_.contains(mutation)) {
        throw Violation("a mutation is in the log whose writer could go on, and had reported it as not written");
      }
    }
  }

  void look_at_the_end() {
    SimulatedObjectStore last(objects_);
    for (std::uint64_t rounds = 0; rounds < 2; ++rounds) {
      const std::size_t acknowledged = acknowledged_.size();
      auto opened = open_object_log(last, name, true, alone(options_));
      State state = state_of(last, opened.run, acknowledged);
      displaced_up_to_ = opened.writer.position().fence;
      append(opened.writer, state);
    }
  }

  std::uint64_t seed_;
  Random random_;
  // Writers that go on twice, and sweeps, are not in one schedule: what one twin has written, and others have swept, is free for
  // the other twin, and no fence stands there. docs/object-store.md says so to users.
  bool has_twins_;
  ClientsInTurn turns_;
  SimulatedObjects objects_;
  ObjectLogOptions options_;
  ObjectLogEvents* events_;
  std::vector<Acknowledged> acknowledged_;  // in the order in which clients learned of it
  std::set<std::uint64_t> not_written_;
  std::optional<Twin> twin_;           // a writer that somebody else goes on with
  std::uint64_t displaced_up_to_ = 0;  // the largest fence of a log that was opened
  std::uint64_t mutations_ = 0;
};

/// Runs `schedules` schedules. Schedule n has the seed `seed` + n. Returns what they met. Throws Violation, which names the seed of
/// its schedule.
inline ObjectLogEvents explore_object_logs(std::uint64_t seed, std::uint64_t schedules) {
  ObjectLogEvents events;
  for (std::uint64_t at = 0; at < schedules; ++at) {
    ObjectLogSchedule(seed + at, events).run();
  }
  return events;
}

}  // namespace testing
}  // namespace iqdb
