// Lives of callers that go on beside a checkpoint: who goes on where, what is promised behind it, and whose failure it is.
#include "iqdb/persist/testing/checkpoint_under_way.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/crash_exploration.hpp"
#include "iqdb/persist/testing/fault_exploration.hpp"
#include "iqdb/persist/testing/life_run.hpp"
#include "support/catch.hpp"
#include "support/hasty_index.hpp"

namespace of_checkpoint_under_way {

namespace {

namespace beside_tests {

using Catch::Matchers::Contains;
using iqdb::FsyncPolicy;
using iqdb::testing::CallerCall;
using iqdb::testing::CheckpointCounts;
using iqdb::testing::CheckpointUnderWay;
using iqdb::testing::Fault;
using iqdb::testing::FileCallRecord;
using iqdb::testing::Life;
using iqdb::testing::LifeMachine;
using iqdb::testing::LifeRun;
using iqdb::testing::Step;
using iqdb::testing::Subject;
using iqdb::testing::Violation;
using iqdb_test::HastyIndex;
using Kind = CallerCall::Kind;

constexpr std::size_t dim = 2;
const Subject<HastyIndex> subject{.make = [] { return HastyIndex(dim, iqdb::DistanceMetric::euclidean); }};

// The places of a checkpoint in which others go on.
constexpr std::size_t begins = 0;
constexpr std::size_t freezes = 1;
constexpr std::size_t writes = 2;
constexpr std::size_t in_place = 3;
constexpr std::size_t copies = 4;
constexpr std::size_t ends = 6;

CallerCall insert(std::uint64_t number, std::optional<std::size_t> place = {}, std::uint64_t behind = 0) {
  return {.mutations = {insert_of(subject, dim, number)}, .behind = behind, .place = place};
}
CallerCall alone(Kind kind, std::optional<std::size_t> place = {}) { return {.kind = kind, .place = place}; }
const CallerCall checkpoint = alone(Kind::checkpoint_beside);

Life life_of(std::vector<CallerCall> calls, FsyncPolicy policy = FsyncPolicy::always()) {
  return {.policy = policy, .steps = {{.kind = Step::Kind::together, .calls = std::move(calls)}}};
}

// How many moments are possible, the first that a kill may leave, and the first that a power cut may leave.
using Promise = std::tuple<std::size_t, std::size_t, std::size_t>;

Promise promise_of(const LifeRun<HastyIndex>& run) {
  return {run.oracle().moments().size(), run.oracle().acknowledged(), run.oracle().durable()};
}

// A life whose first sync at a place of a checkpoint fails.
struct LifeWithFailedSync {
  LifeWithFailedSync(const Life& life, std::size_t place, bool with_faults = true)
      : run(
            subject, life, 1,
            [this, place](const FileCallRecord& call) -> Fault {
              const bool fails = !failed && run.checkpoints().place == place && is_sync(call.call);
              failed = failed || fails;
              return {.error = iqdb::testing::system_error(fails ? EIO : 0)};
            },
            with_faults) {
    run.run();
  }

  bool failed = false;
  LifeRun<HastyIndex> run;
};

}  // namespace beside_tests

}  // namespace

using namespace beside_tests;

TEST_CASE("LifeRun: others go on at each place of a checkpoint but in its steps that go alone", "[testing]") {
  const Life life = life_of({checkpoint, insert(2, begins), insert(3, writes), insert(4, copies), insert(6, ends)},
                            FsyncPolicy::never());
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.checkpoints().begun == 1);
  CHECK(run.checkpoints().completed == 1);
  CHECK(run.checkpoints().groups == CheckpointCounts{1, 0, 1, 0, 1, 0, 1});
  CHECK_FALSE(run.checkpoints().place);
  // What comes behind its last step is in no synced log.
  CHECK(promise_of(run) == Promise(5, 4, 3));
}

TEST_CASE("LifeRun: who comes in front of a step that goes alone waits there, and who comes in it waits for its end",
          "[testing]") {
  const Life life = life_of({checkpoint, insert(2, freezes), insert(3, in_place), insert(4, in_place, 2)});
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.checkpoints().groups == CheckpointCounts{1, 0, 1, 0, 1, 0, 0});
}

TEST_CASE("LifeRun: a call that waits for a place that is never reached is made in the end", "[testing]") {
  const Life life = life_of({insert(2, copies), checkpoint, insert(3, writes, 1000)});
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.checkpoints().groups == CheckpointCounts{1});  // the first one, which comes before the checkpoint
  CHECK(promise_of(run) == Promise(3, 2, 2));
}

TEST_CASE("LifeRun: one checkpoint waits for another, and each kind for the other kind", "[testing]") {
  const Life life = life_of({checkpoint, checkpoint, alone(Kind::checkpoint, writes), checkpoint, insert(2, copies)});
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.checkpoints().begun == 3);
  CHECK(run.checkpoints().completed == 3);
}

TEST_CASE("LifeRun: who closes ends a checkpoint that is under way", "[testing]") {
  const Life life = life_of({insert(2), checkpoint, insert(3, writes), alone(Kind::close, writes), insert(4)});
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.checkpoints().begun == 1);
  CHECK(run.checkpoints().completed == 0);
  CHECK(promise_of(run) == Promise(1, 0, 0));  // of the load behind it
}

TEST_CASE("LifeRun: with the log off nobody goes on beside a checkpoint", "[testing]") {
  Life life = life_of({insert(2), checkpoint, insert(3, writes)});
  life.wal_enabled = false;
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.checkpoints().begun == 0);
  CHECK(promise_of(run) == Promise(2, 1, 1));
}

TEST_CASE("LifeRun: a snapshot that cannot be synced beside others costs the checkpoint alone", "[testing][faults]") {
  const LifeWithFailedSync life(life_of({insert(2), checkpoint, insert(3, writes, 3), insert(4)}), writes);
  CHECK(life.failed);
  CHECK(life.run.checkpoints().completed == 0);
  CHECK_FALSE(life.run.poisoned());
  CHECK(promise_of(life.run) == Promise(3, 2, 2));
}

TEST_CASE("LifeRun: a sync that fails in a step of a checkpoint poisons, and who comes behind fails",
          "[testing][faults]") {
  const LifeWithFailedSync life(life_of({insert(2), checkpoint, insert(3, writes), insert(4, copies)}), in_place);
  CHECK(life.failed);
  CHECK(life.run.checkpoints().completed == 0);
  CHECK(life.run.poisoned());
  CHECK(promise_of(life.run) == Promise(3, 2, 2));
}

TEST_CASE("LifeRun: a checkpoint that fails though nothing was planned to is noticed", "[testing][violations]") {
  CHECK_THROWS_WITH(LifeWithFailedSync(life_of({insert(2), checkpoint}), writes, false),
                    Contains("a checkpoint fails though nothing failed below it"));
}

TEST_CASE("CheckpointUnderWay: what its caller may not be told is noticed", "[testing][violations]") {
  LifeMachine machine({}, 1);
  CheckpointUnderWay under_way(machine);
  under_way.begin();
  const auto io = std::make_exception_ptr(iqdb::PersistError(iqdb::PersistErrorKind::io, "no"));
  CHECK(under_way.conclude(nullptr, true, false));
  CHECK_FALSE(under_way.conclude(io, false, true));
  CHECK_THROWS_AS(under_way.conclude(io, true, false), Violation);
  CHECK_THROWS_AS(under_way.conclude(nullptr, false, true), Violation);
  CHECK_THROWS_AS(under_way.conclude(std::make_exception_ptr(std::bad_alloc()), false, false), Violation);
  under_way.end();
  CHECK(machine.checkpoints().completed == 1);
}

TEST_CASE("CrashExploration: what others were told beside a checkpoint is there behind every crash", "[testing]") {
  for (const FsyncPolicy policy : {FsyncPolicy::always(), FsyncPolicy::never()}) {
    iqdb::testing::CrashExploration<HastyIndex> exploration(
        subject,
        {.seed = 1,
         .one_in_bits = 64,
         .depths = {{{.most_states = 50}, {.one_in = 0, .one_in_kills = 0}, {.one_in = 0, .one_in_kills = 0}}}});
    exploration.explore(
        life_of({insert(2), checkpoint, insert(3, writes), insert(3, copies), insert(4, copies, 1)}, policy));
    CHECK(exploration.report().checkpoints.completed == 1);
    for (const std::size_t place : {begins, writes, in_place, copies, copies + 1}) {
      CHECK(exploration.report().checkpoints.tried.at(place) > 0);
    }
  }
}

TEST_CASE("FaultExploration: what others were told beside a checkpoint is true behind every fault", "[testing]") {
  constexpr iqdb::testing::CrashDepths few = {
      {{.most_states = 1}, {.one_in = 0, .one_in_kills = 0}, {.one_in = 0, .one_in_kills = 0}}};
  iqdb::testing::FaultExploration<HastyIndex> exploration(
      subject, {.seed = 1, .crashes = few, .crashes_after_failed_sync = few});
  exploration.explore(life_of({checkpoint, insert(3, writes)}));
  for (const std::size_t place : {begins, writes, in_place, copies, copies + 1}) {
    CHECK(exploration.report().checkpoints.tried.at(place) > 0);
  }
}

}  // namespace of_checkpoint_under_way
