// Lives of many callers: who is in a group, what each caller must be told, what a load may find, and what is found if one
// of them is wrong.
#include "iqdb/persist/testing/callers_run.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/callers.hpp"
#include "iqdb/persist/testing/crash_exploration.hpp"
#include "iqdb/persist/testing/expected_group.hpp"
#include "iqdb/persist/testing/fault_exploration.hpp"
#include "iqdb/persist/testing/life_run.hpp"
#include "support/catch.hpp"
#include "support/hasty_index.hpp"
#include "support/wrong_index.hpp"

namespace of_callers_run {

namespace {

namespace callers_tests {

using Catch::Matchers::Contains;
using iqdb::FsyncPolicy;
using iqdb::Mutation;
using iqdb::testing::CallerCall;
using iqdb::testing::Callers;
using iqdb::testing::CallersRun;
using iqdb::testing::expected_group;
using iqdb::testing::ExpectedGroup;
using iqdb::testing::Fault;
using iqdb::testing::FaultPlan;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::Life;
using iqdb::testing::LifeRun;
using iqdb::testing::Moment;
using iqdb::testing::SimulatedFileSystem;
using iqdb::testing::SimulatedIndex;
using iqdb::testing::Step;
using iqdb::testing::Subject;
using iqdb::testing::Violation;
using iqdb_test::HastyIndex;
using iqdb_test::MistakesIn;
using iqdb_test::wrong_subject;
using iqdb_test::WrongIndex;
using Kind = CallerCall::Kind;
using Storage = iqdb::BasicFileStorage<SimulatedFileSystem>;

constexpr std::size_t dim = 2;
const Subject<HastyIndex> subject{.make = [] { return HastyIndex(dim, iqdb::DistanceMetric::euclidean); }};

Mutation inserted(std::uint64_t number) { return insert_of(subject, dim, number); }
CallerCall insert(std::uint64_t number, std::uint64_t behind = 0) {
  return {.mutations = {inserted(number)}, .behind = behind};
}
CallerCall erase(std::uint64_t number, std::uint64_t behind = 0) {
  return {.mutations = {erase_of(subject, number)}, .behind = behind};
}
CallerCall batch(const std::vector<std::uint64_t>& numbers, std::uint64_t behind = 0) {
  CallerCall call{.kind = Kind::batch, .behind = behind};
  for (const std::uint64_t number : numbers) {
    call.mutations.push_back(inserted(number));
  }
  return call;
}
CallerCall alone(Kind kind, std::uint64_t behind = 0) { return {.kind = kind, .behind = behind}; }
Step together(std::vector<CallerCall> calls) { return {.kind = Step::Kind::together, .calls = std::move(calls)}; }
Life life_of(std::vector<CallerCall> calls, FsyncPolicy policy = FsyncPolicy::always()) {
  return {.policy = policy, .steps = {together(std::move(calls))}};
}

// How many moments are possible, the first that a kill may leave, and the first that a power cut may leave.
using Promise = std::tuple<std::size_t, std::size_t, std::size_t>;

template <class I>
Promise promise_of(const LifeRun<I>& run) {
  return {run.oracle().moments().size(), run.oracle().acknowledged(), run.oracle().durable()};
}

Promise promise_after(const Life& life) {
  LifeRun<HastyIndex> run(subject, life, 1, {}, false);
  run.run();
  return promise_of(run);
}

// What is found wrong with a life; empty where nothing is.
template <class I>
std::string finding(const Subject<I>& of, const Life& life, const FaultPlan& plan = {}, bool with_faults = false) {
  try {
    LifeRun<I> run(of, life, 1, plan, with_faults);
    run.run();
    run.close();
    return "";
  } catch (const Violation& violation) {
    return violation.what();
  }
}

// Throws, or answers true, at the third time only: the first two are the indexes in memory.
std::function<bool(const iqdb::VectorId&)> at_the_third_time(bool throws) {
  return [throws, times = 0](const iqdb::VectorId&) mutable {
    if (++times == 3 && throws) {
      throw std::runtime_error("no");
    }
    return times == 3;
  };
}

// The opposite: the index in memory rejects, the durable one does not.
std::function<bool(const iqdb::VectorId&)> throwing_at_first() {
  return [times = 0](const iqdb::VectorId&) mutable {
    if (++times == 1) {
      throw std::runtime_error("no");
    }
    return false;
  };
}

// An index, the calls of which a test submits.
struct Machine {
  Life life;
  SimulatedFileSystem files;
  std::optional<SimulatedIndex<HastyIndex>> index = open_index(subject, life, simulated_config(life), files);
};

iqdb::MutationCall call_of(const Mutation& mutation) {
  return {.op = mutation.op, .id = mutation.id, .vector = mutation.vector, .metadata = mutation.metadata};
}

}  // namespace callers_tests

}  // namespace

using namespace callers_tests;

// ---- Callers --------------------------------------------------------------------------------------------------------

TEST_CASE("Callers: those who wait are one group, and each has its own result", "[testing]") {
  Machine machine;
  const Mutation first = inserted(2);
  const Mutation second = inserted(3);
  const Mutation missing = erase_of(subject, 4);
  const Mutation later = inserted(6);
  {
    Callers<HastyIndex, Storage> callers(machine.index, 1024, 4096);
    Callers<HastyIndex, Storage>::Ticket tickets[3];
    Callers<HastyIndex, Storage>::Ticket next;
    CHECK_FALSE(callers.may_lead());
    callers.submit(tickets[0], call_of(first));
    callers.submit(tickets[1], call_of(missing));
    callers.submit(tickets[2], call_of(second));
    CHECK(callers.may_lead());
    std::size_t calls = 0;
    callers.lead([&](const auto& group) {
      calls = group.size();
      CHECK_FALSE(group.front()->is_done());
      callers.submit(next, call_of(later));
      CHECK_FALSE(callers.may_lead());  // while this group is in flight
    });
    CHECK(calls == 3);
    CHECK(callers.may_lead());
    CHECK_FALSE(next.is_done());
    for (const auto& ticket : tickets) {
      CHECK(ticket.is_done());
      CHECK((ticket.error() != nullptr) == (&ticket == &tickets[1]));
    }
    CHECK(callers.shared().lsn() == 2);
  }
  CHECK(machine.index->lsn() == 2);
  CHECK(machine.index->index().size() == 2);
}

TEST_CASE("Callers: the index comes back with calls that nobody led", "[testing]") {
  Machine machine;
  const Mutation mutation = inserted(2);
  {
    Callers<HastyIndex, Storage>::Ticket ticket;
    Callers<HastyIndex, Storage> callers(machine.index, 1024, 4096);
    callers.submit(ticket, call_of(mutation));
  }
  CHECK(machine.index->index().size() == 0);
  machine.index->insert(2, std::span<const float>(mutation.vector));
  CHECK(machine.index->lsn() == 1);
}

TEST_CASE("Callers: what is wrong with a call whatever the index holds is thrown before it waits", "[testing]") {
  Machine machine;
  Mutation invalid = inserted(2);
  invalid.vector.push_back(0.0F);
  Callers<HastyIndex, Storage>::Ticket ticket;
  Callers<HastyIndex, Storage> callers(machine.index, 1024, 4096);
  CHECK_THROWS_AS(callers.submit(ticket, call_of(invalid)), iqdb::IndexError);
  CHECK_FALSE(callers.may_lead());
}

// ---- expected_group -------------------------------------------------------------------------------------------------

namespace {

ExpectedGroup expected_of(const std::vector<CallerCall>& calls, bool wal_enabled = true) {
  HastyIndex mirror = subject.make();
  std::vector<const std::vector<Mutation>*> mutations;
  for (const CallerCall& call : calls) {
    mutations.push_back(&call.mutations);
  }
  return expected_group(subject, mirror, mutations, {.lsn = 10, .contents = subject.contents(mirror)}, wal_enabled);
}

std::string contents_of(const std::vector<std::uint64_t>& numbers) {
  HastyIndex index = subject.make();
  for (const std::uint64_t number : numbers) {
    iqdb::testing::make_mutation(index, inserted(number));
  }
  return subject.contents(index);
}

}  // namespace

TEST_CASE("expected_group: calls have the results that they have one behind the other", "[testing]") {
  const ExpectedGroup expected = expected_of({insert(2), insert(3), erase(4), insert(2), batch({6, 7})});
  REQUIRE(expected.calls.size() == 5);
  for (const std::size_t refused : {2U, 3U}) {
    CHECK(expected.calls[refused].refused);
    CHECK(expected.calls[refused].rejected);
  }
  for (const std::size_t taken : {0U, 1U, 4U}) {
    CHECK_FALSE(expected.calls[taken].rejected);
  }
  CHECK_FALSE(expected.needs_abort);
  CHECK(expected.after == Moment{.lsn = 14, .contents = contents_of({2, 3, 6, 7})});
  CHECK(expected.moments == std::vector<Moment>{expected.after});
}

TEST_CASE("expected_group: without its abort a group ends at the first mutation that is rejected again", "[testing]") {
  const ExpectedGroup expected = expected_of({insert(2), batch({3, 3, 4}), insert(6)});
  CHECK(expected.needs_abort);
  CHECK_FALSE(expected.need_not_repeat);
  CHECK(expected.calls[1].rejected);
  CHECK_FALSE(expected.calls[1].refused);
  CHECK(expected.moments == std::vector<Moment>{{.lsn = 15, .contents = contents_of({2, 3})},
                                                {.lsn = 15, .contents = contents_of({2, 3, 6})}});
  // Nothing stands behind the rejection.
  CHECK(expected_of({insert(2), batch({3, 3, 4})}).moments.size() == 1);
}

TEST_CASE("expected_group: a replay may take what found no memory", "[testing]") {
  constexpr std::uint64_t unlucky = HastyIndex::first_unlucky;
  const ExpectedGroup expected = expected_of({insert(2), insert(unlucky)});
  CHECK(expected.need_not_repeat);
  CHECK(expected.calls[1].rejected);
  REQUIRE(expected.moments.size() == 2);
  CHECK(expected.moments.front().contents != expected.after.contents);
  CHECK(expected.after.contents == contents_of({2}));
}

TEST_CASE("expected_group: with the log off, or with nothing logged, there is no moment", "[testing]") {
  CHECK(expected_of({insert(2)}, false).moments.empty());
  CHECK(expected_of({insert(2)}, false).after == Moment{.lsn = 10, .contents = contents_of({2})});
  CHECK(expected_of({erase(2), erase(3)}).moments.empty());
}

// ---- LifeRun --------------------------------------------------------------------------------------------------------

TEST_CASE("LifeRun: a group of many callers is one moment", "[testing]") {
  // The first call leads alone, since the others come while it is in flight.
  const std::vector<CallerCall> calls = {insert(2), insert(3, 1), batch({4, 6}, 1), erase(9, 1)};
  CHECK(promise_after(life_of(calls)) == Promise(3, 2, 2));
  CHECK(promise_after(life_of(calls, FsyncPolicy::never())) == Promise(3, 2, 0));
  CHECK(promise_after(life_of({insert(2), insert(3)})) == Promise(2, 1, 1));
  CHECK(promise_after(life_of({erase(2), erase(2)})) == Promise(1, 0, 0));
}

TEST_CASE("LifeRun: two callers that name one identifier are two groups", "[testing]") {
  CHECK(promise_after(life_of({insert(2), erase(2), insert(2)})) == Promise(4, 3, 3));
}

TEST_CASE("LifeRun: a sync or a checkpoint between groups makes durable what was acknowledged", "[testing]") {
  for (const Kind kind : {Kind::sync, Kind::checkpoint}) {
    CHECK(promise_after(life_of({insert(2), insert(3), alone(kind), insert(4)}, FsyncPolicy::never())) ==
          Promise(3, 2, 1));
  }
}

TEST_CASE("LifeRun: where a caller closes the index the life goes on with a load", "[testing]") {
  const std::vector<CallerCall> calls = {insert(2), alone(Kind::close), insert(3), alone(Kind::sync)};
  CHECK(promise_after(life_of(calls, FsyncPolicy::never())) == Promise(1, 0, 0));
  Life life = life_of(calls);
  life.steps.push_back(together({insert(3), alone(Kind::close)}));
  CHECK(finding(subject, life).empty());
  life.wal_enabled = false;  // it closes nothing
  CHECK(finding(subject, life).empty());
}

TEST_CASE("LifeRun: a rejection that need not repeat is durable with its abort under every policy", "[testing]") {
  const auto unlucky = insert(HastyIndex::first_unlucky);
  CHECK(promise_after(life_of({insert(2), unlucky}, FsyncPolicy::never())) == Promise(3, 2, 2));
  CHECK(promise_after(life_of({batch({2, 2}), insert(3)}, FsyncPolicy::never())) == Promise(3, 2, 0));
}

TEST_CASE("LifeRun: callers call while a group is in flight, and are done behind it", "[testing]") {
  const Life life = life_of({insert(2), insert(3, 1), insert(4, 2)});
  std::vector<std::size_t> moments;
  const LifeRun<HastyIndex>* running = nullptr;
  LifeRun<HastyIndex> run(
      subject, life, 1,
      [&](const FileCallRecord& call) -> Fault {
        if (running != nullptr && running->where().starts_with("in step") && call.call == FileCall::sync_data) {
          moments.push_back(running->oracle().moments().size());
        }
        return {};
      },
      false);
  running = &run;
  run.run();
  CHECK(moments == std::vector<std::size_t>{2, 3});
}

TEST_CASE("LifeRun: an append that fails fails its group and is no moment", "[testing][faults]") {
  const Life life = life_of({insert(2), insert(3, 1), insert(4, 1)}, FsyncPolicy::never());
  std::size_t writes = 0;
  const LifeRun<HastyIndex>* running = nullptr;
  LifeRun<HastyIndex> run(
      subject, life, 1,
      [&](const FileCallRecord& call) -> Fault {
        if (running == nullptr || !running->where().starts_with("in step") || call.call != FileCall::write) {
          return {};
        }
        return {.error = iqdb::testing::system_error(++writes == 2 ? ENOSPC : 0)};
      },
      true);
  running = &run;
  run.run();
  CHECK(writes == 2);
  CHECK_FALSE(run.poisoned());
  CHECK(promise_of(run) == Promise(2, 1, 0));
}

TEST_CASE("LifeRun: a sync that fails stays possible, and who waits fails", "[testing][faults]") {
  const Life life = life_of({insert(2), insert(3, 1), alone(Kind::checkpoint, 1), insert(4, 1)});
  bool failed = false;
  const LifeRun<HastyIndex>* running = nullptr;
  LifeRun<HastyIndex> run(
      subject, life, 1,
      [&](const FileCallRecord& call) -> Fault {
        const bool fails = !failed && running != nullptr && running->where().starts_with("in step") &&
                           call.call == FileCall::sync_data;
        failed = failed || fails;
        return {.error = iqdb::testing::system_error(fails ? EIO : 0)};
      },
      true);
  running = &run;
  run.run();
  CHECK(failed);
  CHECK(run.poisoned());
  CHECK(promise_of(run) == Promise(2, 0, 0));
}

// ---- Something is wrong ---------------------------------------------------------------------------------------------

TEST_CASE("LifeRun: a group that is applied otherwise than its calls are in memory is noticed",
          "[testing][violations]") {
  const Life life = life_of({insert(3), insert(4)});
  const Subject<WrongIndex> wrong = wrong_subject();
  {
    // The two calls are made twice in memory: of the mirror, and of what a replay makes.
    const MistakesIn mistakes({.loses_insert = [times = 0](const auto&) mutable { return ++times == 5; }});
    CHECK_THAT(
        finding(wrong, life),
        Contains("the index does not hold what one in memory holds after the same calls, one behind the other (in "
                 "step 1, together, in groups of 1024 [insert 3, insert 4"));
  }
  const Life short_life = life_of({insert(3)});
  {
    const MistakesIn mistakes({.loses_insert = at_the_third_time(true)});
    CHECK_THAT(finding(wrong, short_life),
               Contains("a caller is told that its call is rejected, but it succeeds: insert 3"));
  }
  {
    const MistakesIn mistakes({.loses_insert = throwing_at_first()});
    CHECK_THAT(finding(wrong, short_life),
               Contains("a caller is told that its call succeeds, but it is rejected: insert 3"));
  }
}

TEST_CASE("LifeRun: a call of many that fails though nothing was planned to is noticed", "[testing][violations]") {
  const Life life = life_of({insert(2), insert(3, 1)});
  const FaultPlan plan = [syncs = 0](const FileCallRecord& call) mutable -> Fault {
    // The syncs of the creation are no sync of data alone.
    return {.error = iqdb::testing::system_error(call.call == FileCall::sync_data && ++syncs == 2 ? EIO : 0)};
  };
  CHECK_THAT(finding(subject, life, plan), Contains("fails though nothing failed below it"));
}

// ---- Explorations ---------------------------------------------------------------------------------------------------

TEST_CASE("CrashExploration: what many callers were told is there behind every crash", "[testing]") {
  for (const FsyncPolicy policy : {FsyncPolicy::always(), FsyncPolicy::never()}) {
    iqdb::testing::CrashExploration<HastyIndex> exploration(subject, {.seed = 1, .one_in_bits = 16});
    exploration.explore(life_of({insert(2), batch({3, 3}, 1), insert(4, 1), alone(Kind::checkpoint, 2)}, policy));
    CHECK(exploration.report().all_states() > 1000);
  }
}

TEST_CASE("FaultExploration: what many callers were told is true behind every fault", "[testing]") {
  iqdb::testing::FaultExploration<HastyIndex> exploration(
      subject, {.seed = 1,
                .crashes = {{{.most_states = 1}, {.one_in = 0, .one_in_kills = 0}, {.one_in = 0, .one_in_kills = 0}}}});
  exploration.explore(life_of({insert(2), batch({3, 3}, 1), insert(4, 1)}));
  CHECK(exploration.report().faults > 200);
  CHECK(exploration.report().poisoned > 20);
}

}  // namespace of_callers_run
