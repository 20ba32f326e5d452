// LifeRun: a life is lived to its end, and at each call it is known what a load may find.
#include "iqdb/persist/testing/life_run.hpp"

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

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"
#include "support/wrong_index.hpp"

namespace of_life_run {

namespace {

using Catch::Matchers::Contains;
using iqdb::FsyncPolicy;
using iqdb::testing::FailedSync;
using iqdb::testing::Fault;
using iqdb::testing::FaultPlan;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::Life;
using iqdb::testing::LifeRun;
using iqdb::testing::Random;
using iqdb::testing::Step;
using iqdb::testing::Subject;
using iqdb::testing::system_error;
using iqdb::testing::Violation;
using iqdb_test::insert;
using iqdb_test::just;
using iqdb_test::MistakesIn;
using iqdb_test::wrong_subject;
using iqdb_test::WrongIndex;
using Kind = Step::Kind;

constexpr std::size_t dim = WrongIndex::dimension;

const Subject<WrongIndex> subject = wrong_subject();

Step erase(std::uint64_t number) { return {.kind = Kind::mutate, .mutations = {erase_of(subject, number)}}; }
Step batch(const std::vector<std::uint64_t>& inserted) {
  Step step{.kind = Kind::batch};
  for (const std::uint64_t number : inserted) {
    step.mutations.push_back(insert_of(subject, dim, number));
  }
  return step;
}

Life with_log(FsyncPolicy policy, std::vector<Step> steps) { return {.policy = policy, .steps = std::move(steps)}; }
Life without_log(std::vector<Step> steps) { return {.wal_enabled = false, .steps = std::move(steps)}; }

// How many moments are possible, the first that a kill may leave, and the first that a power cut may leave.
using Promise = std::tuple<std::size_t, std::size_t, std::size_t>;

Promise promise_of(const LifeRun<WrongIndex>& run) {
  return {run.oracle().moments().size(), run.oracle().acknowledged(), run.oracle().durable()};
}

Promise promise_after(const Life& life) {
  LifeRun<WrongIndex> run(subject, life, 1, {}, false);
  run.run();
  return promise_of(run);
}

// What is found wrong with a life; empty where nothing is.
std::string finding(const Life& life, const FaultPlan& plan = {}, bool with_faults = false,
                    const Subject<WrongIndex>& of = subject, std::uint64_t seed = 1) {
  try {
    LifeRun<WrongIndex> run(of, life, seed, plan, with_faults);
    run.run();
    run.close();
    return "";
  } catch (const Violation& violation) {
    return violation.what();
  }
}

// Every second time, beginning with the first or the second.
std::function<bool()> every_second_time(bool first) {
  return [due = first]() mutable { return std::exchange(due, !due); };
}

}  // namespace

// ---- Nothing is wrong -----------------------------------------------------------------------------------------------

TEST_CASE("LifeRun: a life of every step is lived without a violation", "[testing]") {
  const std::vector<Step> steps = {insert(1),
                                   insert(1),
                                   batch({2, 3, 4}),
                                   batch({5, 2, 6}),
                                   batch({}),
                                   erase(3),
                                   erase(99),
                                   just(Kind::sync),
                                   just(Kind::save),
                                   insert(7),
                                   just(Kind::kill),
                                   insert(8),
                                   just(Kind::drop),
                                   insert(9),
                                   just(Kind::checkpoint),
                                   insert(10),
                                   just(Kind::reopen),
                                   insert(11),
                                   just(Kind::power_cut),
                                   insert(12),
                                   just(Kind::save),
                                   insert(13),
                                   just(Kind::restore),
                                   insert(14),
                                   just(Kind::power_cut),
                                   just(Kind::save),
                                   {.kind = Kind::exchange, .mutations = batch({15, 1}).mutations},
                                   just(Kind::lose_lock),
                                   insert(16),
                                   just(Kind::call_back),
                                   erase(16),
                                   just(Kind::mix_backups),
                                   just(Kind::mix_backups),
                                   insert(16),
                                   just(Kind::lose_lock)};
  for (const FsyncPolicy policy :
       {FsyncPolicy::always(), FsyncPolicy::never(), FsyncPolicy::periodic(std::chrono::hours(1))}) {
    CHECK(finding(with_log(policy, steps)) == "");
  }
  CHECK(finding(without_log(steps)) == "");
}

TEST_CASE("LifeRun: any life is lived without a violation", "[testing]") {
  Random random(1);
  for (std::uint64_t number = 0; number < 300; ++number) {
    const Life life = any_life(subject, dim, 20, random);
    INFO(to_string(life));
    CHECK(finding(life) == "");
  }
}

TEST_CASE("LifeRun: a power cut may leave anything that the disk may hold", "[testing]") {
  for (const Kind before : {Kind::kill, Kind::restore, Kind::drop, Kind::save}) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const std::vector<Step> steps = {insert(1), just(Kind::save), insert(2), just(before), just(Kind::power_cut)};
      CAPTURE(seed, to_string(just(before)));
      CHECK(finding(with_log(FsyncPolicy::never(), steps), {}, false, subject, seed) == "");
      CHECK(finding(without_log(steps), {}, false, subject, seed) == "");
    }
  }
}

TEST_CASE("LifeRun: it says where it is", "[testing]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(3), just(Kind::save)});
  std::vector<std::string> places;
  const LifeRun<WrongIndex>* running = nullptr;
  LifeRun<WrongIndex> run(
      subject, life, 1,
      [&](const FileCallRecord&) {
        if (places.empty() || places.back() != running->where()) {
          places.push_back(running->where());
        }
        return Fault{};
      },
      false);
  running = &run;
  run.run();
  CHECK(places == std::vector<std::string>{"at the beginning", "in step 1, insert 3", "in step 2, save"});
  CHECK(run.where() == "at the end");
}

TEST_CASE("LifeRun: the calls of a life are numbered through all of its machines", "[testing]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1), just(Kind::kill), insert(2), just(Kind::power_cut)});
  std::vector<std::size_t> numbers;
  const FaultPlan plan = [&](const FileCallRecord& call) {
    numbers.push_back(call.number);
    return Fault{};
  };
  CHECK(finding(life, plan) == "");
  REQUIRE(numbers.size() > 60);
  for (std::size_t at = 0; at < numbers.size(); ++at) {
    CHECK(numbers[at] == at);
  }
}

TEST_CASE("LifeRun: the same seed makes the same calls", "[testing]") {
  Random random(4);
  const auto calls_of = [](const Life& life) {
    std::string all;
    CHECK(finding(life, [&](const FileCallRecord& call) {
            all += call.text() + " " + std::to_string(call.bytes) + "\n";
            return Fault{};
          }) == "");
    return all;
  };
  for (int round = 0; round < 20; ++round) {
    const Life life = any_life(subject, dim, 12, random);
    CHECK(calls_of(life) == calls_of(life));
  }
}

TEST_CASE("LifeRun: a load of copies that nobody has synced is not planned", "[testing]") {
  const Life life = with_log(FsyncPolicy::always(), {just(Kind::restore), just(Kind::checkpoint)});
  const LifeRun<WrongIndex>* running = nullptr;
  bool seen = false;
  LifeRun<WrongIndex> run(
      subject, life, 1,
      [&](const FileCallRecord&) {
        // Until the load has synced them nothing is promised: what a power cut leaves then is not to be examined.
        seen = seen || (running->where().find("put unsynced copies") != std::string::npos);
        return Fault{};
      },
      false);
  running = &run;
  run.run();
  CHECK_FALSE(seen);
}

// ---- What is promised -----------------------------------------------------------------------------------------------

TEST_CASE("LifeRun: under always a mutation is durable when it was taken", "[testing]") {
  CHECK(promise_after(with_log(FsyncPolicy::always(), {})) == Promise(1, 0, 0));
  CHECK(promise_after(with_log(FsyncPolicy::always(), {insert(1), insert(2)})) == Promise(3, 2, 2));
  CHECK(promise_after(with_log(FsyncPolicy::always(), {insert(1), erase(1)})) == Promise(3, 2, 2));
}

TEST_CASE("LifeRun: under never a mutation is durable behind the next sync or save", "[testing]") {
  const auto after = [](std::vector<Step> steps) {
    return promise_after(with_log(FsyncPolicy::never(), std::move(steps)));
  };
  CHECK(after({insert(1), insert(2)}) == Promise(3, 2, 0));
  CHECK(after({insert(1), just(Kind::sync), insert(2)}) == Promise(3, 2, 1));
  CHECK(after({insert(1), just(Kind::save), insert(2)}) == Promise(3, 2, 1));
  CHECK(after({insert(1), just(Kind::checkpoint), insert(2)}) == Promise(3, 2, 1));
}

TEST_CASE("LifeRun: a batch is one moment and an empty one none", "[testing]") {
  CHECK(promise_after(with_log(FsyncPolicy::always(), {batch({1, 2, 3})})) == Promise(2, 1, 1));
  CHECK(promise_after(with_log(FsyncPolicy::always(), {batch({})})) == Promise(1, 0, 0));
}

TEST_CASE("LifeRun: a rejected mutation is a moment of its own that is promised", "[testing]") {
  CHECK(promise_after(with_log(FsyncPolicy::always(), {insert(1), insert(1)})) == Promise(3, 2, 2));
  CHECK(promise_after(with_log(FsyncPolicy::never(), {insert(1), insert(1)})) == Promise(3, 2, 0));
}

TEST_CASE("LifeRun: after a load what it found is the only moment", "[testing]") {
  for (const Kind kind : {Kind::reopen, Kind::drop, Kind::kill, Kind::power_cut, Kind::restore}) {
    CAPTURE(to_string(just(kind)));
    CHECK(promise_after(with_log(FsyncPolicy::always(), {insert(1), just(kind)})) == Promise(1, 0, 0));
    CHECK(promise_after(with_log(FsyncPolicy::never(), {insert(1), just(kind)})) == Promise(1, 0, 0));
  }
}

TEST_CASE("LifeRun: with the log off what was saved is promised", "[testing]") {
  CHECK(promise_after(without_log({insert(1)})) == Promise(1, 0, 0));
  CHECK(promise_after(without_log({insert(1), just(Kind::save), insert(2)})) == Promise(2, 1, 1));
  CHECK(promise_after(without_log({insert(1), just(Kind::save), insert(2), just(Kind::kill)})) == Promise(2, 1, 1));
  CHECK(promise_after(without_log({insert(1), just(Kind::sync)})) == Promise(1, 0, 0));
}

TEST_CASE("LifeRun: while a mutation is being made it is possible and not promised", "[testing]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1)});
  const LifeRun<WrongIndex>* running = nullptr;
  std::vector<Promise> promises;
  LifeRun<WrongIndex> run(
      subject, life, 1,
      [&](const FileCallRecord& call) {
        if (running->where().starts_with("in step 1") && changes_disk(call.call)) {
          promises.push_back(promise_of(*running));
        }
        return Fault{};
      },
      false);
  running = &run;
  run.run();
  CHECK(promises == std::vector<Promise>{{2, 0, 0}, {2, 0, 0}});
}

TEST_CASE("LifeRun: an orderly end makes all durable", "[testing]") {
  const Life life = with_log(FsyncPolicy::never(), {insert(1), insert(2)});
  LifeRun<WrongIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(promise_of(run) == Promise(3, 2, 0));
  run.close();
  CHECK(promise_of(run) == Promise(3, 2, 2));
  CHECK(run.machine().open_files() == 0);
}

TEST_CASE("LifeRun: its destruction promises nothing but lets go of every file", "[testing]") {
  const Life life = with_log(FsyncPolicy::never(), {insert(1)});
  LifeRun<WrongIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.machine().open_files() > 0);
  run.end();
  CHECK(promise_of(run) == Promise(2, 1, 0));
  CHECK(run.machine().open_files() == 0);
}

// ---- Faults ---------------------------------------------------------------------------------------------------------

namespace {

// The calls of one kind fail in the steps of a life, beginning with its `first`-th step; so many of them.
struct FaultyRun {
  std::optional<LifeRun<WrongIndex>> run;

  FaultyRun(const Life& life, FileCall failing, int error, int times = 1) {
    run.emplace(
        subject, life, 1,
        [this, failing, error, times](const FileCallRecord& call) mutable {
          return call.call == failing && run->where().starts_with("in step") && times-- > 0
                     ? Fault{.error = system_error(error)}
                     : Fault{};
        },
        true);
    run->run();
  }
};

}  // namespace

TEST_CASE("LifeRun: a mutation that failed without a trace is not possible any more and the life goes on",
          "[testing][faults]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1), insert(2), insert(1)});
  const FaultyRun faulty(life, FileCall::write, EIO);
  CHECK_FALSE(faulty.run->poisoned());
  CHECK(faulty.run->where() == "at the end");
  CHECK(promise_of(*faulty.run) == Promise(3, 2, 2));
}

TEST_CASE("LifeRun: a mutation whose sync failed stays possible and ends the life", "[testing][faults]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1), insert(2)});
  const FaultyRun faulty(life, FileCall::sync_data, EIO);
  CHECK(faulty.run->poisoned());
  CHECK(promise_of(*faulty.run) == Promise(2, 0, 0));
  CHECK(faulty.run->machine().open_files() == 0);
}

TEST_CASE("LifeRun: a sync that was interrupted is no failure", "[testing][faults]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1)});
  const FaultyRun faulty(life, FileCall::sync_data, EINTR);
  CHECK_FALSE(faulty.run->poisoned());
  CHECK(promise_of(*faulty.run) == Promise(2, 1, 1));
}

TEST_CASE("LifeRun: where calls fail what was acknowledged without a sync may be lost with the process",
          "[testing][faults]") {
  const Life life = with_log(FsyncPolicy::never(), {insert(1), just(Kind::reopen), insert(2)});
  for (const FailedSync model : {FailedSync::dropped, FailedSync::kept_clean, FailedSync::reverted}) {
    const auto plan = [model, failed = false](const FileCallRecord& call) mutable {
      return call.call == FileCall::sync_data && !std::exchange(failed, true)
                 ? Fault{.error = system_error(EIO), .most_bytes = {}, .failed_sync = model}
                 : Fault{};
    };
    CHECK(finding(life, plan, true) == "");
  }
}

TEST_CASE("LifeRun: a load that fails ends the life", "[testing][faults]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1), just(Kind::kill), insert(2)});
  const FaultyRun faulty(life, FileCall::open, EIO);
  CHECK_FALSE(faulty.run->poisoned());
  CHECK(promise_of(*faulty.run) == Promise(2, 1, 1));
}

// ---- Something is wrong ---------------------------------------------------------------------------------------------

namespace {

// Another row in place of one: as many as there were.
void spoil(iqdb::FlatIndex& rows) {
  if (rows.contains(3)) {
    rows.erase(3);
    rows.insert(77, {1.0F, 2.0F});
  }
}

}  // namespace

TEST_CASE("LifeRun: a mutation that is not replayed is missed by the next load", "[testing][violations]") {
  // The first is made in memory, the second by the durable index, the third by the load.
  const MistakesIn mistakes(
      {.loses_insert = [times = 0](const iqdb::VectorId& id) mutable { return id == 3 && ++times == 3; }});
  const std::string found = finding(with_log(FsyncPolicy::always(), {insert(2), insert(3), just(Kind::reopen)}));
  CHECK_THAT(found, Contains("the load gives number 2 with contents that it had before what was promised, at number 1; "
                             "expected one of the numbers from 2 to 2"));
  CHECK_THAT(found, Contains("(in step 3, close and load)"));
}

TEST_CASE("LifeRun: what is saved otherwise than it is is noticed by the next load", "[testing][violations]") {
  const MistakesIn mistakes({.before_save = spoil});
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {insert(3), just(Kind::checkpoint), just(Kind::reopen)})),
             Contains("with contents that it never had"));
}

TEST_CASE("LifeRun: what is loaded otherwise than it was saved is noticed by every step that loads",
          "[testing][violations]") {
  for (const Kind kind : {Kind::reopen, Kind::drop, Kind::kill, Kind::power_cut, Kind::restore}) {
    for (const bool log : {true, false}) {
      const MistakesIn mistakes({.after_load = spoil});
      Life life = with_log(FsyncPolicy::always(), {insert(3), just(Kind::save), just(kind)});
      life.wal_enabled = log;
      const std::string found = finding(life);
      CHECK_THAT(found, Contains("with contents that it never had"));
      CHECK_THAT(found, Contains("(in step 3, " + to_string(just(kind)) + ")"));
    }
  }
}

TEST_CASE("LifeRun: a mutation that changes the durable index otherwise is noticed at once", "[testing][violations]") {
  const MistakesIn mistakes({.loses_insert = [second = every_second_time(false)](const auto&) { return second(); }});
  CHECK_THAT(
      finding(with_log(FsyncPolicy::always(), {insert(3)})),
      Contains("the index does not hold what one in memory holds after the same mutations (in step 1, insert 3)"));
}

namespace {

bool throwing(bool now) {
  if (now) {
    throw std::runtime_error("no");
  }
  return false;
}

}  // namespace

TEST_CASE("LifeRun: an index that takes or rejects otherwise is noticed", "[testing][violations]") {
  for (const bool log : {true, false}) {
    Life life = with_log(FsyncPolicy::always(), {insert(3)});
    life.wal_enabled = log;
    {
      const MistakesIn mistakes(
          {.loses_insert = [first = every_second_time(true)](const auto&) { return throwing(first()); }});
      CHECK_THAT(finding(life), Contains("the index takes a mutation that one in memory rejects"));
    }
    {
      const MistakesIn mistakes(
          {.loses_insert = [second = every_second_time(false)](const auto&) { return throwing(second()); }});
      CHECK_THAT(finding(life), Contains("the index rejects a mutation that one in memory takes"));
    }
  }
}

TEST_CASE("LifeRun: a save that changes the index is noticed", "[testing][violations]") {
  for (const Kind kind : {Kind::save, Kind::checkpoint}) {
    int saves = 0;
    const MistakesIn mistakes({.before_save = [&saves](const iqdb::FlatIndex&) { ++saves; }});
    Subject<WrongIndex> counting = subject;
    counting.contents = [&saves](const WrongIndex&) { return std::to_string(saves); };
    CHECK_THAT(finding(without_log({just(kind)}), {}, false, counting),
               Contains("a call that is no mutation has changed the index"));
  }
}

TEST_CASE("LifeRun: a load that throws what is no PersistError is noticed", "[testing][violations]") {
  Subject<WrongIndex> throwing_at_second = subject;
  throwing_at_second.make = [made = 0]() mutable {
    return ++made > 1 ? throw std::runtime_error("no") : wrong_subject().make();
  };
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {}), {}, false, throwing_at_second),
             Contains("a load throws what is no PersistError (at the beginning)"));
}

TEST_CASE("LifeRun: a call that fails though nothing was planned to is noticed", "[testing][violations]") {
  const FaultPlan plan = [](const FileCallRecord& call) {
    return Fault{.error = system_error(call.call == FileCall::sync_data ? EIO : 0)};
  };
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {insert(3)}), plan),
             Contains("a call fails though nothing failed below it: "));
}

TEST_CASE("LifeRun: a call that succeeds though a sync failed in it is noticed", "[testing][violations]") {
  // As EINVAL a storage takes the answer for that of a file system that syncs no directories.
  const FaultPlan plan = [](const FileCallRecord& call) {
    return Fault{.error = system_error(call.call == FileCall::sync_directory ? EINVAL : 0),
                 .most_bytes = {},
                 .failed_sync = FailedSync::kept_clean};
  };
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {}), plan, true),
             Contains("a call succeeds though a sync failed in it"));
}

TEST_CASE("LifeRun: a failed sync that does not poison is noticed", "[testing][violations]") {
  // The sync is taken for one of a file system that has none, and then something else fails.
  const LifeRun<WrongIndex>* running = nullptr;
  const Life life = with_log(FsyncPolicy::always(), {insert(3), just(Kind::checkpoint)});
  LifeRun<WrongIndex> run(
      subject, life, 1,
      [&running](const FileCallRecord& call) {
        if (!running->where().starts_with("in step 2")) {
          return Fault{};
        }
        const int error = call.call == FileCall::sync_directory   ? EINVAL
                          : call.text() == "create index.wal.tmp" ? EIO
                                                                  : 0;
        return Fault{.error = system_error(error), .most_bytes = {}, .failed_sync = FailedSync::kept_clean};
      },
      true);
  running = &run;
  CHECK_THROWS_WITH(run.run(), Contains("a failed sync has not poisoned the index (in step 2, checkpoint)"));
}

TEST_CASE("LifeRun: a failed mutation that has changed the index is noticed", "[testing][violations]") {
  bool failed = false;
  const FaultPlan plan = [&failed](const FileCallRecord& call) {
    failed = failed || (call.call == FileCall::write && call.file == "index.wal.tmp" && call.offset > 64);
    return Fault{.error = system_error(failed ? EIO : 0)};
  };
  Subject<WrongIndex> changing = subject;
  changing.contents = [&failed](const WrongIndex& index) { return subject.contents(index) + (failed ? "!" : ""); };
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {insert(3), insert(4)}), plan, true, changing),
             Contains("a mutation that failed has changed the index"));
}

}  // namespace of_life_run
