// CrashExploration: finds nothing in what is right, and what is wrong wherever a crash brings it to light.
#include "iqdb/persist/testing/crash_exploration.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"
#include "support/wrong_index.hpp"

namespace of_crash_exploration {

namespace {

using Catch::Matchers::Contains;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::testing::CrashDepth;
using iqdb::testing::CrashExploration;
using iqdb::testing::CrashOptions;
using iqdb::testing::CrashReport;
using iqdb::testing::CrashStates;
using iqdb::testing::Life;
using iqdb::testing::LifeRun;
using iqdb::testing::Moment;
using iqdb::testing::Oracle;
using iqdb::testing::Step;
using iqdb::testing::Subject;
using iqdb::testing::Violation;
using iqdb_test::insert;
using iqdb_test::just;
using iqdb_test::Mistakes;
using iqdb_test::MistakesIn;
using iqdb_test::wrong_subject;
using iqdb_test::WrongIndex;
using Kind = Step::Kind;

constexpr std::size_t dim = WrongIndex::dimension;

const Subject<WrongIndex> subject = wrong_subject();
const Subject<FlatIndex> flat{.make = [] { return FlatIndex(dim, iqdb::DistanceMetric::euclidean); }};

Life with_log(FsyncPolicy policy, std::vector<Step> steps) { return {.policy = policy, .steps = std::move(steps)}; }

// One crash in every state, no other; hardly any damage.
CrashOptions one_crash(std::uint64_t seed = 1) {
  return {.seed = seed,
          .one_in_bits = 500,
          .depths = {{{}, {.one_in = 0, .one_in_kills = 0}, {.one_in = 0, .one_in_kills = 0}}}};
}

// Damage to every bit, and few crashes.
CrashOptions all_damage() {
  CrashOptions options = one_crash();
  options.one_in_bits = 1;
  options.depths[0].most_states = 1;
  return options;
}

// A crash of every recovery as well, in a few states.
CrashOptions two_crashes() {
  CrashOptions options = one_crash();
  options.depths[0].most_states = 4;
  options.depths[1] = {.most_states = 2, .one_in = 1, .one_in_kills = 1};
  return options;
}

template <class I>
CrashReport report_of(const Subject<I>& of, const Life& life, const CrashOptions& options) {
  CrashExploration<I> exploration(of, options);
  exploration.explore(life);
  return exploration.report();
}

// The violation of a life; empty where there is none.
std::string finding(const Life& life, const CrashOptions& options = one_crash(),
                    const Subject<WrongIndex>& of = subject) {
  try {
    static_cast<void>(report_of(of, life, options));
    return "";
  } catch (const Violation& violation) {
    return violation.what();
  }
}

// The inserts of one row are lost from the `first`-th to the `last`-th.
Mistakes losing(std::uint64_t number, int first, int last = 1'000'000) {
  return {.loses_insert = [id = insert_of(subject, dim, number).id, first, last,
                           times = 0](const iqdb::VectorId& inserted) mutable {
    if (inserted != id) {
      return false;
    }
    ++times;
    return times >= first && times <= last;
  }};
}

// A life that was lived to its last step and may be stopped there, with promises that a test may change.
struct Stopped {
  Life life;
  LifeRun<WrongIndex> run{subject, life, 1, {}, false};
  std::optional<Oracle> oracle;

  explicit Stopped(Life lived) : life(std::move(lived)) {
    run.run();
    oracle = run.oracle();
  }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;
  ~Stopped() = default;

  [[nodiscard]] std::string finding(const CrashOptions& options = one_crash()) const {
    CrashExploration<WrongIndex> exploration(subject, options);
    try {
      exploration.explore(run.machine(), life, *oracle, "here");
      return "";
    } catch (const Violation& violation) {
      return violation.what();
    }
  }
};

bool same(const CrashReport& a, const CrashReport& b) {
  return a.lives == b.lives && a.points == b.points && a.states == b.states && a.sampled_points == b.sampled_points &&
         a.damages == b.damages;
}

}  // namespace

// ---- Nothing is wrong -----------------------------------------------------------------------------------------------

TEST_CASE("CrashExploration: a flat index keeps every promise in every state", "[testing]") {
  for (const Life& life : {with_log(FsyncPolicy::always(), {insert(1), insert(1)}),
                           with_log(FsyncPolicy::never(), {insert(2), just(Kind::save)})}) {
    const CrashReport report = report_of(flat, life, one_crash());
    CHECK(report.lives == 1);
    // Creating it alone is 10 calls that a disk notices; each write of a record and each sync is another.
    CHECK(report.points[0] > 15);
    CHECK(report.points[0] < 60);
    CHECK(report.states[0] > 300);
    CHECK(report.sampled_points[0] < report.points[0] / 4);
    CHECK(report.points[1] == 0);
    CHECK(report.states[1] == 0);
    CHECK(report.all_states() == report.states[0]);
  }
}

TEST_CASE("CrashExploration: a flat index keeps every promise with the log off", "[testing]") {
  const CrashReport report = report_of(
      flat, {.wal_enabled = false, .steps = {insert(1), just(Kind::save), insert(2), just(Kind::save)}}, one_crash());
  CHECK(report.points[0] > 8);
  CHECK(report.states[0] > 50);
}

TEST_CASE("CrashExploration: recoveries are stopped and the recoveries from that", "[testing]") {
  CrashOptions options = two_crashes();
  options.depths[0].most_states = 2;
  options.depths[1] = {.most_states = 2, .one_in = 3, .one_in_kills = 3};
  options.depths[2] = {.most_states = 1, .one_in = 30, .one_in_kills = 30};
  const CrashReport report = report_of(flat, with_log(FsyncPolicy::always(), {insert(1)}), options);
  for (const std::uint64_t points : report.points) {
    CHECK(points > 10);
  }
  for (const std::uint64_t states : report.states) {
    CHECK(states > 10);
  }
  CHECK(report.points[1] > report.points[0]);
  CHECK(report.all_states() == report.states[0] + report.states[1] + report.states[2]);
}

TEST_CASE("CrashExploration: a point with more states than were asked for is sampled", "[testing]") {
  CrashOptions options = one_crash();
  options.depths[0].most_states = 3;
  const CrashReport sampled = report_of(flat, with_log(FsyncPolicy::always(), {insert(1)}), options);
  const CrashReport whole = report_of(flat, with_log(FsyncPolicy::always(), {insert(1)}), one_crash());
  CHECK(sampled.sampled_points[0] > 0);
  CHECK(sampled.points == whole.points);
  CHECK(sampled.states[0] < whole.states[0]);
}

TEST_CASE("CrashExploration: every state that a point can leave is examined once", "[testing]") {
  const Stopped stopped(with_log(FsyncPolicy::never(), {insert(1)}));
  const CrashStates states(stopped.run.machine(), one_crash().seed);
  std::set<std::map<std::string, std::vector<std::byte>>> distinct;
  const auto add = [&](const iqdb::testing::DiskState& state) {
    std::map<std::string, std::vector<std::byte>> files;
    for (const auto& [name, bytes] : state) {
      files[name] = *bytes;
    }
    distinct.insert(files);
  };
  for (std::uint64_t number = 0; number < states.count(); ++number) {
    add(states.at(number));
  }
  const std::size_t without_prefixes = distinct.size();
  for (std::size_t bytes = 0; bytes < states.last_write_bytes(); ++bytes) {
    add(states.with_prefix_of_last_write(bytes));
  }
  CHECK(without_prefixes > 40);
  CHECK(distinct.size() > without_prefixes + 50);
  CrashExploration<WrongIndex> exploration(subject, one_crash());
  for (std::uint64_t points = 1; points < 3; ++points) {
    exploration.explore(stopped.run.machine(), stopped.life, *stopped.oracle, "here");
    CHECK(exploration.report().points[0] == points);
    CHECK(exploration.report().states[0] == distinct.size());
  }
}

TEST_CASE("CrashExploration: every life is examined anew", "[testing]") {
  // With the log off nothing of a file is random: both lives leave the same.
  const Life life{.wal_enabled = false, .steps = {insert(1), just(Kind::save)}};
  CrashExploration<FlatIndex> exploration(flat, one_crash());
  exploration.explore(life);
  const CrashReport once = exploration.report();
  exploration.explore(life);
  CHECK(exploration.report().lives == 2);
  CHECK(exploration.report().points[0] == 2 * once.points[0]);
  CHECK(exploration.report().states[0] == 2 * once.states[0]);
}

TEST_CASE("CrashExploration: every bit that was synced is flipped before and behind an orderly end", "[testing]") {
  const Life life = with_log(FsyncPolicy::always(), {insert(1)});
  LifeRun<FlatIndex> run(flat, life, 1, {}, false);
  std::uint64_t bytes = 0;
  const auto count = [&] {
    for (const auto& [name, content] : CrashStates(run.machine(), 1).nothing_unsynced()) {
      bytes += content->size();
    }
  };
  run.run();
  count();
  run.close();
  count();
  CHECK(report_of(flat, life, all_damage()).damages == 8 * bytes);
  // Or some of them.
  const std::uint64_t some = report_of(flat, life, one_crash()).damages;
  CHECK(some > 0);
  CHECK(some < bytes);
}

TEST_CASE("CrashExploration: the same seed explores the same", "[testing]") {
  CrashOptions options = two_crashes();
  options.depths[1] = {.most_states = 2, .one_in = 9, .one_in_kills = 9};
  const Life life = with_log(FsyncPolicy::never(), {insert(1), just(Kind::power_cut), insert(2)});
  const CrashReport report = report_of(flat, life, options);
  CHECK(same(report_of(flat, life, options), report));
  options.seed = 2;
  CHECK_FALSE(same(report_of(flat, life, options), report));
}

TEST_CASE("CrashReport: reports are added up", "[testing]") {
  CrashReport sum{.lives = 1, .points = {1, 2, 3}, .states = {4, 5, 6}, .sampled_points = {7, 8, 9}, .damages = 10};
  const CrashReport other = sum;
  sum += other;
  CHECK(sum.lives == 2);
  CHECK(sum.points[2] == 6);
  CHECK(sum.states[1] == 10);
  CHECK(sum.sampled_points[0] == 14);
  CHECK(sum.damages == 20);
  CHECK(sum.all_states() == 30);
}

// ---- Something is wrong ---------------------------------------------------------------------------------------------

TEST_CASE("CrashExploration: a violation tells the life and where it was stopped and the seed",
          "[testing][violations]") {
  // Made in memory, and then lost by each load that replays it.
  const MistakesIn mistakes(losing(3, 2));
  const Life life = with_log(FsyncPolicy::always(), {insert(2), insert(3)});
  const std::string found = finding(life, one_crash(77));
  CHECK_THAT(found, Contains("with contents that it had"));
  CHECK_THAT(found, Contains("expected one of the numbers from "));
  CHECK_THAT(found, Contains("\n  crash before call "));
  CHECK_THAT(found, Contains("\n  the life: " + to_string(life)));
  CHECK_THAT(found, Contains("\n  the seed: 77"));
}

TEST_CASE("CrashExploration: the same seed finds the same violation", "[testing][violations]") {
  const auto found = [] {
    const MistakesIn mistakes(losing(3, 20));
    CrashOptions options = two_crashes();
    options.depths[1].one_in = 5;
    return finding(with_log(FsyncPolicy::never(), {insert(3), just(Kind::save)}), options);
  };
  const std::string first = found();
  CHECK(!first.empty());
  CHECK(found() == first);
}

TEST_CASE("CrashExploration: a snapshot that lacks what was mutated is found behind a checkpoint",
          "[testing][violations]") {
  const MistakesIn mistakes({.before_save = [](FlatIndex& saved) {
    if (saved.contains(3)) {
      saved.erase(3);
      saved.insert(77, {1.0F, 2.0F});
    }
  }});
  for (const bool log : {true, false}) {
    Life life = with_log(FsyncPolicy::always(), {insert(3), just(Kind::checkpoint)});
    life.wal_enabled = log;
    CHECK_THAT(finding(life), Contains("with contents that it never had"));
  }
}

TEST_CASE("CrashExploration: a load that fails in a state is a violation", "[testing][violations]") {
  const MistakesIn mistakes({.loses_insert = [times = 0](const iqdb::VectorId& id) mutable -> bool {
    return id == 3 && ++times > 2 ? throw std::runtime_error("no") : false;
  }});
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {insert(3)})),
             Contains("the index rejects the mutation of vector 3 that it once took"));
}

TEST_CASE("CrashExploration: what a life itself finds is told as well", "[testing][violations]") {
  const MistakesIn mistakes(losing(3, 2, 2));
  // Nothing is synced before the index itself loses it.
  CHECK_THAT(finding(with_log(FsyncPolicy::never(), {insert(3)}), one_crash(5)),
             Contains("the index does not hold what one in memory holds") && Contains("\n  the life: ") &&
                 Contains("\n  the seed: 5"));
}

TEST_CASE("CrashExploration: a promise to a killed process is examined", "[testing][violations]") {
  Stopped stopped(with_log(FsyncPolicy::never(), {insert(1)}));
  CHECK(stopped.finding() == "");
  // Acknowledged and not durable: only a kill must leave it.
  stopped.oracle->expect({.lsn = 2, .contents = "what was never there"});
  stopped.oracle->acknowledge();
  const std::string found = stopped.finding();
  CHECK_THAT(found, Contains("crash here: the process is killed"));
  CHECK_THAT(found, Contains("the load gives number 1 with contents that it had before what was promised, at number 1; "
                             "expected one of the numbers from 2 to 2"));
  CHECK_THAT(found, !Contains("the power is cut"));
}

TEST_CASE("CrashExploration: a promise for a power cut is examined", "[testing][violations]") {
  Stopped stopped(with_log(FsyncPolicy::never(), {insert(1)}));
  // It was not synced.
  stopped.oracle->make_durable();
  const std::string found = stopped.finding();
  CHECK_THAT(found, Contains("crash here: the power is cut, state "));
  CHECK_THAT(found, Contains("the load gives number 0"));
  CHECK_THAT(found, Contains("expected one of the numbers from 1 to 1"));
}

TEST_CASE("CrashExploration: a promise for a power cut is examined where states are drawn", "[testing][violations]") {
  Stopped stopped(with_log(FsyncPolicy::never(), {insert(1)}));
  stopped.oracle->make_durable();
  CrashOptions options = one_crash();
  options.depths[0].most_states = 20;
  CHECK_THAT(stopped.finding(options), Contains("crash here: the power is cut, draw "));
}

TEST_CASE("CrashExploration: what is there though it must not be is found", "[testing][violations]") {
  Stopped stopped(with_log(FsyncPolicy::never(), {insert(1), insert(2)}));
  stopped.oracle = Oracle({.lsn = 0, .contents = subject.contents(subject.make())});
  const std::string found = stopped.finding();
  CHECK_THAT(found, Contains("with contents that it never had"));
}

TEST_CASE("CrashExploration: prefixes of the last write are laid out beside the states that are drawn", "[testing]") {
  const Stopped stopped(with_log(FsyncPolicy::never(), {insert(1)}));
  constexpr std::uint64_t most = 40;
  const CrashStates states(stopped.run.machine(), 1);
  REQUIRE(states.count() > most);
  REQUIRE(states.last_write_bytes() > most);
  CrashOptions options = one_crash();
  options.depths[0].most_states = most;
  CrashExploration<WrongIndex> exploration(subject, options);
  exploration.explore(stopped.run.machine(), stopped.life, *stopped.oracle, "here");
  CHECK(exploration.report().sampled_points[0] == 1);
  CHECK(exploration.report().states[0] > 1 + most);
}

TEST_CASE("CrashExploration: an index that does not go on after a recovery is found", "[testing][violations]") {
  // The second of the three inserts is lost when it is replayed.
  std::map<std::string, int> times;
  const MistakesIn mistakes({.loses_insert = [&times](const iqdb::VectorId& id) {
    const std::string text = to_string(id);
    return id == insert_of(subject, dim, 2002).id && ++times[text] > 1;
  }});
  CHECK_THAT(finding(with_log(FsyncPolicy::always(), {})),
             Contains("after a recovery, three inserts and an orderly end a load gives number 3 and other contents; "
                      "expected number 3"));
}

TEST_CASE("CrashExploration: an index that does not go on after a recovery is found with the log off",
          "[testing][violations]") {
  const MistakesIn mistakes({.after_load = [](FlatIndex& loaded) {
    if (loaded.contains(2002)) {
      loaded.erase(2002);
      loaded.insert(77, {1.0F, 2.0F});
    }
  }});
  CHECK_THAT(finding({.wal_enabled = false, .steps = {just(Kind::save)}}),
             Contains("after a recovery, three inserts and an orderly end a load gives number 0 and other contents"));
}

TEST_CASE("CrashExploration: what only a crash of a recovery brings to light is found", "[testing][violations]") {
  // An insert that was made by the recovery is lost by the load behind the next crash, and by no later one.
  std::map<std::string, int> times;
  const auto mistakes = [&] {
    times.clear();
    return Mistakes{.loses_insert = [&times](const iqdb::VectorId& id) {
      // Beside the durable index one in memory shows what is expected.
      return id == insert_of(subject, dim, 2002).id && ++times[to_string(id)] == 3;
    }};
  };
  const Life life = with_log(FsyncPolicy::always(), {});
  const MistakesIn with_two(mistakes());
  const std::string found = finding(life, two_crashes());
  CHECK_THAT(found, Contains("\n  crash of the recovery before call "));
  CHECK_THAT(found, Contains("\n  crash before call "));
}

TEST_CASE("CrashExploration: a violation within a call that copes with exceptions is told", "[testing][violations]") {
  // The state with the insert is first there before the sync that the destructor makes. What the load of it finds is
  // found once only: nothing of it is left when the destructor is done.
  const Life life = with_log(FsyncPolicy::never(), {insert(3), just(Kind::drop)});
  {
    const MistakesIn mistakes(losing(3, 3, 3));
    const std::string found = finding(life);
    CHECK_THAT(found, Contains("sync data of index.wal.tmp"));
    CHECK_THAT(found, Contains("the load gives number 1"));
  }
  CHECK(finding(life) == "");
}

TEST_CASE("CrashExploration: damage that is not noticed is found", "[testing][violations]") {
  // A subject to whose contents something is added in the very last load, which is one of what was damaged.
  const Life life = with_log(FsyncPolicy::always(), {insert(3)});
  int calls = 0;
  Subject<WrongIndex> counting = subject;
  counting.contents = [&calls](const WrongIndex& index) {
    ++calls;
    return subject.contents(index);
  };
  CHECK(finding(life, all_damage(), counting) == "");
  const int last = std::exchange(calls, 0);
  counting.contents = [&calls, last](const WrongIndex& index) {
    return subject.contents(index) + (++calls == last ? "!" : "");
  };
  CHECK_THAT(
      finding(life, all_damage(), counting),
      Contains(" is flipped after an orderly end, and the load gives number 1 with contents that it never had") &&
          Contains("/index.wal") && Contains(", or an error"));
  calls = 0;
  counting.contents = [&calls, last](const WrongIndex& index) {
    return ++calls == last ? throw std::runtime_error("no") : subject.contents(index);
  };
  CHECK_THAT(finding(life, all_damage(), counting),
             Contains(" is flipped after an orderly end, and a load throws what is no PersistError: no"));
}

}  // namespace of_crash_exploration
