// check_replay: what it finds in an index with one fault, and that it finds nothing in one without.
#include "iqdb/persist/testing/replay_check.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/faulty_index.hpp"

namespace of_replay_check {

namespace {

using Catch::Matchers::Contains;
using iqdb::testing::ConformanceOptions;
using iqdb::testing::Subject;
using iqdb_test::Fault;
using iqdb_test::FaultyIndex;

const Subject<FaultyIndex> subject{.make = [] { return FaultyIndex(4); }};

std::string replay_finding(Fault fault, const ConformanceOptions& options = {}) {
  return iqdb_test::finding_of(
      fault, [](const auto& of, const auto& with) { return iqdb::testing::check_replay(of, with); }, subject, options);
}

}  // namespace

TEST_CASE("check_replay: finds nothing in an index without a fault") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    CHECK(replay_finding(Fault::none, {.seed = seed}) == "");
  }
}

TEST_CASE("check_replay: finds nothing in an index that rejects what it does not take") {
  CHECK(replay_finding(Fault::limited) == "");
  CHECK(replay_finding(Fault::takes_no_bytes) == "");
  CHECK(replay_finding(Fault::takes_no_metadata) == "");
  CHECK(replay_finding(Fault::cannot_erase) == "");
}

TEST_CASE("check_replay: reports what it has done") {
  FaultyIndex::give(Fault::none);
  const auto report = iqdb::testing::check_replay(subject);
  CHECK(report.loads > 10);
  CHECK(report.mutations > 300);
  CHECK(report.rejections > 10);
}

TEST_CASE("check_replay: takes the durable index through everything that changes its files") {
  FaultyIndex::give(Fault::none);
  std::string steps;
  const ConformanceOptions options{.trace = [&](const std::string& step) { steps += step + "\n"; }};
  static_cast<void>(iqdb::testing::check_replay(subject, options));
  CHECK_THAT(steps, Contains(": insert") && Contains(": erase") && Contains(": a batch (insert") &&
                        Contains(": save\n") && Contains(": checkpoint\n") && Contains(": close and load\n"));
  CHECK_THAT(steps, Contains(": erase 1000"));  // what was never there
  CHECK_THAT(steps, Contains("(3 components") && Contains("(5 components"));
  CHECK_THAT(steps, Contains("no metadata") && Contains("0 entries of metadata") && Contains("5 entries of metadata"));
}

TEST_CASE("check_replay: repeats exactly") {
  FaultyIndex::give(Fault::none);
  const auto steps_of = [](std::uint64_t seed) {
    std::vector<std::string> steps;
    const ConformanceOptions options{.seed = seed, .trace = [&](const std::string& step) { steps.push_back(step); }};
    static_cast<void>(iqdb::testing::check_replay(subject, options));
    return steps;
  };
  CHECK(steps_of(3) == steps_of(3));
  CHECK(steps_of(3) != steps_of(4));
}

TEST_CASE("check_replay: inserts no vectors of wrong dimensions where that is not wanted") {
  FaultyIndex::give(Fault::none);
  std::string steps;
  const ConformanceOptions options{.wrong_dimensions = false,
                                   .trace = [&](const std::string& step) { steps += step + "\n"; }};
  static_cast<void>(iqdb::testing::check_replay(subject, options));
  CHECK_THAT(steps, Contains("(4 components") && !Contains("(3 components") && !Contains("(5 components"));
}

TEST_CASE("check_replay: finds a mutation that is rejected at replay") {
  CHECK_THAT(replay_finding(Fault::loads_with_a_limit),
             Contains("a mutation is answered differently at replay: the load is refused") &&
                 Contains("that it once took: not this one") && Contains("what does the decision depend on"));
}

TEST_CASE("check_replay: finds a mutation that is taken after a load and was rejected before") {
  CHECK_THAT(replay_finding(Fault::forgets_limit),
             Contains("the last mutation is answered differently by the durable index, which was loaded ") &&
                 Contains("it takes it; one that was never saved rejects it (IndexError resource_limit"));
}

TEST_CASE("check_replay: finds a mutation that changes the index although it throws") {
  CHECK_THAT(replay_finding(Fault::changes_what_it_rejects),
             Contains("a mutation that throws has changed the index: ") &&
                 Contains("it threw IndexError duplicate: not this one") &&
                 Contains("before the first member is changed"));
}

TEST_CASE("check_replay: finds a rejection that is no IndexError") {
  CHECK_THAT(replay_finding(Fault::rejects_by_out_of_range),
             Contains("the index rejects a mutation by an exception (it is there), which is no IndexError") &&
                 Contains("replay_rejected"));
}

TEST_CASE("check_replay: finds what a load does not restore") {
  CHECK_THAT(replay_finding(Fault::forgets_metadata),
             Contains("the durable index is not the one that was never saved, after a load: a search finds vector") &&
                 Contains("the index forgets metadata"));
}

TEST_CASE("check_replay: finds what a load does not restore and shows later") {
  std::string found;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    found += replay_finding(Fault::ignores_metadata_after_load, {.seed = seed});
  }
  // With a log to be replayed the load shows it, with none the first insert after it.
  CHECK_THAT(found, Contains("the durable index is not the one that was never saved, after a load"));
  CHECK_THAT(found, Contains("the durable index is not the one that was never saved, after the same mutations"));
}

TEST_CASE("check_replay: finds a payload that cannot be loaded") {
  CHECK_THAT(replay_finding(Fault::throws_at_every_second_load),
             Contains("what the durable index has saved cannot be loaded") && Contains("once too often"));
}

}  // namespace of_replay_check
