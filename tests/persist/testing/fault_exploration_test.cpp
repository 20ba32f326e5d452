// FaultExploration: every way in which a call can fail, and what is found behind it.
#include "iqdb/persist/testing/fault_exploration.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"
#include "support/wrong_index.hpp"

namespace of_fault_exploration {

namespace {

using Catch::Matchers::Contains;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::testing::can_fail_with;
using iqdb::testing::FailedSync;
using iqdb::testing::FaultExploration;
using iqdb::testing::FaultKind;
using iqdb::testing::FaultOptions;
using iqdb::testing::FaultReport;
using iqdb::testing::faults_of;
using iqdb::testing::FileCall;
using iqdb::testing::Life;
using iqdb::testing::Step;
using iqdb::testing::Subject;
using iqdb::testing::Violation;
using iqdb_test::insert;
using iqdb_test::just;
using iqdb_test::MistakesIn;
using iqdb_test::wrong_subject;
using iqdb_test::WrongIndex;
using Kind = Step::Kind;

constexpr std::size_t dim = WrongIndex::dimension;

const Subject<WrongIndex> subject = wrong_subject();
const Subject<FlatIndex> flat{.make = [] { return FlatIndex(dim, iqdb::DistanceMetric::euclidean); }};

// Few states behind each fault, so that there is time for every fault.
FaultOptions few_crashes(std::uint64_t seed = 1) {
  return {.seed = seed,
          .crashes = {{{.most_states = 1}, {.one_in = 0, .one_in_kills = 0}, {.one_in = 0, .one_in_kills = 0}}},
          .crashes_after_failed_sync = {
              {{.most_states = 4}, {.one_in = 0, .one_in_kills = 0}, {.one_in = 0, .one_in_kills = 0}}}};
}

template <class I>
FaultReport report_of(const Subject<I>& of, const Life& life, const FaultOptions& options = few_crashes()) {
  FaultExploration<I> exploration(of, options);
  exploration.explore(life);
  return exploration.report();
}

std::string finding(const Life& life, const FaultOptions& options = few_crashes(),
                    const Subject<WrongIndex>& of = subject) {
  try {
    static_cast<void>(report_of(of, life, options));
    return "";
  } catch (const Violation& violation) {
    return violation.what();
  }
}

std::set<std::string> texts_of(FileCall call, std::size_t bytes = 0) {
  std::set<std::string> texts;
  for (const FaultKind& fault : faults_of({.call = call, .file = "file", .bytes = bytes})) {
    texts.insert(fault.text());
  }
  return texts;
}

std::string message_of(int error) { return iqdb::testing::system_error(error).message(); }

}  // namespace

// ---- Which faults there are -----------------------------------------------------------------------------------------

TEST_CASE("can_fail_with: any call that answers can fail with EIO", "[testing]") {
  for (auto call = static_cast<unsigned>(FileCall::resolve); call < static_cast<unsigned>(FileCall::unlock); ++call) {
    CHECK(can_fail_with(static_cast<FileCall>(call), EIO));
  }
  CHECK_FALSE(can_fail_with(FileCall::unlock, EIO));
  CHECK_FALSE(can_fail_with(FileCall::unlock, EINTR));
}

TEST_CASE("can_fail_with: a close is not interrupted since it has closed all the same", "[testing]") {
  CHECK_FALSE(can_fail_with(FileCall::close, EINTR));
  CHECK(can_fail_with(FileCall::write, EINTR));
  CHECK(can_fail_with(FileCall::sync, EINTR));
}

TEST_CASE("can_fail_with: a full disk is answered by what takes space and too many files by what opens", "[testing]") {
  for (const int full : {ENOSPC, EDQUOT}) {
    for (const FileCall call : {FileCall::create, FileCall::write, FileCall::rename, FileCall::link, FileCall::lock,
                                FileCall::sync, FileCall::sync_data, FileCall::sync_directory}) {
      CHECK(can_fail_with(call, full));
    }
    for (const FileCall call : {FileCall::open, FileCall::read, FileCall::truncate, FileCall::remove, FileCall::close,
                                FileCall::status, FileCall::resolve}) {
      CHECK_FALSE(can_fail_with(call, full));
    }
  }
  for (const FileCall call :
       {FileCall::open, FileCall::open_to_write, FileCall::create, FileCall::open_directory, FileCall::lock}) {
    CHECK(can_fail_with(call, EMFILE));
  }
  CHECK_FALSE(can_fail_with(FileCall::write, EMFILE));
  CHECK_FALSE(can_fail_with(FileCall::write, ENOENT));
}

TEST_CASE("faults_of: each error strikes once and for good but an interruption once", "[testing]") {
  const std::string io = message_of(EIO);
  const std::string interrupted = message_of(EINTR);
  CHECK(texts_of(FileCall::remove) == std::set<std::string>{io + ", once", io + ", for good", interrupted + ", once"});
  CHECK(texts_of(FileCall::close) == std::set<std::string>{io + ", once", io + ", for good"});
  CHECK(texts_of(FileCall::unlock).empty());
}

TEST_CASE("faults_of: a sync fails under each model of what it loses", "[testing]") {
  for (const FileCall call : {FileCall::sync, FileCall::sync_data, FileCall::sync_directory}) {
    const std::set<std::string> texts = texts_of(call);
    // Three errors, three models, once and for good; and the interruption, which loses nothing.
    CHECK(texts.size() == 3 * 3 * 2 + 1);
    CHECK(texts.contains(message_of(ENOSPC) + ", pages kept but clean, for good"));
    CHECK(texts.contains(message_of(EIO) + ", reverted, once"));
    CHECK(texts.contains(message_of(EDQUOT) + ", once"));
    CHECK(texts.contains(message_of(EINTR) + ", once"));
  }
}

TEST_CASE("faults_of: a read or a write can be cut short behind its first byte and before its last", "[testing]") {
  const std::set<std::string> reads = texts_of(FileCall::read, 10);
  CHECK(reads.contains("cut short to 1 bytes, once"));
  CHECK(reads.contains("cut short to 9 bytes, once"));
  CHECK(texts_of(FileCall::write, 10).contains("cut short to 9 bytes, once"));
  for (const std::string& text : texts_of(FileCall::write, 1)) {
    CHECK(text.find("cut short") == std::string::npos);
  }
}

TEST_CASE("faults_of: a write can be cut short by a disk that is full or fails then", "[testing]") {
  const std::set<std::string> texts = texts_of(FileCall::write, 10);
  for (const std::string part : {"5", "9"}) {
    const std::string cut = "cut short to " + part + " bytes, then ";
    CHECK(texts.contains(cut + message_of(ENOSPC) + ", once"));
    CHECK(texts.contains(cut + message_of(ENOSPC) + ", for good"));
    // The rest is not written, and what was cannot be cut off.
    CHECK(texts.contains(cut + message_of(EIO) + ", 2 times"));
  }
  // No two are the same.
  CHECK(texts.size() == faults_of({.call = FileCall::write, .file = "file", .bytes = 10}).size());
}

TEST_CASE("FaultKind: what loses nothing must not be noticed", "[testing]") {
  CHECK(FaultKind{.error = EINTR}.is_harmless());
  CHECK(FaultKind{.most_bytes = 1}.is_harmless());
  CHECK_FALSE(FaultKind{.error = EIO}.is_harmless());
  CHECK_FALSE(FaultKind{.error = ENOSPC, .most_bytes = 1}.is_harmless());
}

// ---- Nothing is wrong -----------------------------------------------------------------------------------------------

TEST_CASE("FaultExploration: a flat index keeps every promise behind every fault", "[testing]") {
  const Life life{.steps = {insert(1), just(Kind::checkpoint)}};
  const FaultReport report = report_of(flat, life);
  CHECK(report.lives == 1);
  CHECK(report.calls > 50);
  CHECK(report.calls < 150);
  // Every call but an unlock fails in two ways at least.
  CHECK(report.faults > 2 * report.calls);
  CHECK(report.poisoned > 20);
  CHECK(report.poisoned < report.faults / 2);
  CHECK(report.crashes.points[0] > report.faults);
  CHECK(report.crashes.states[0] > 20);
}

TEST_CASE("FaultExploration: a flat index keeps every promise in every kind of life", "[testing]") {
  for (const bool log : {true, false}) {
    const Life life{.wal_enabled = log,
                    .policy = FsyncPolicy::never(),
                    .steps = {insert(1), just(Kind::save), just(Kind::drop), insert(2)}};
    const FaultReport report = report_of(flat, life);
    CHECK(report.faults > 100);
    CHECK((report.poisoned > 0) == log);
  }
}

TEST_CASE("FaultExploration: a write that fails for good poisons since nothing can be cut back", "[testing]") {
  // In the only step there is one write and no sync: what fails once is cut back. Each error for good poisons, and so
  // does a write cut short, of either length, with a disk that is full from then on or that fails a second time.
  const FaultReport report = report_of(flat, {.policy = FsyncPolicy::never(), .steps = {insert(1)}});
  CHECK(report.poisoned >= 3 + 2 * 2);
}

TEST_CASE("FaultExploration: the same seed explores the same", "[testing]") {
  const Life life{.policy = FsyncPolicy::never(), .steps = {insert(1), insert(2)}};
  const FaultReport first = report_of(flat, life);
  const FaultReport again = report_of(flat, life);
  CHECK(first.calls == again.calls);
  CHECK(first.faults == again.faults);
  CHECK(first.poisoned == again.poisoned);
  CHECK(first.crashes.points == again.crashes.points);
  CHECK(first.crashes.states == again.crashes.states);
}

TEST_CASE("FaultReport: reports are added up", "[testing]") {
  FaultReport sum{.lives = 1, .calls = 2, .faults = 3, .poisoned = 4, .crashes = {.lives = 5}};
  const FaultReport other = sum;
  sum += other;
  CHECK(sum.lives == 2);
  CHECK(sum.calls == 4);
  CHECK(sum.faults == 6);
  CHECK(sum.poisoned == 8);
  CHECK(sum.crashes.lives == 10);
}

// ---- Something is wrong ---------------------------------------------------------------------------------------------

namespace {

// Another row in place of one.
void spoil(FlatIndex& rows) {
  if (rows.contains(3)) {
    rows.erase(3);
    rows.insert(77, {1.0F, 2.0F});
  }
}

const Life saving{.steps = {insert(3), just(Kind::save)}};

}  // namespace

TEST_CASE("FaultExploration: a violation tells the fault and the life and the seed", "[testing][violations]") {
  const MistakesIn mistakes({.after_load = spoil});
  const std::string found = finding(saving, few_crashes(77));
  CHECK_THAT(found, Contains("with contents that it never had"));
  CHECK_THAT(found, Contains("\n  crash behind the fault: "));
  CHECK_THAT(found, Contains("\n  the fault: call 0, resolve index: "));
  CHECK_THAT(found, Contains("\n  the life: " + to_string(saving)));
  CHECK_THAT(found, Contains("\n  the seed: 77"));
}

TEST_CASE("FaultExploration: the same seed finds the same violation", "[testing][violations]") {
  const MistakesIn mistakes({.after_load = spoil});
  const std::string found = finding(saving);
  CHECK(!found.empty());
  CHECK(finding(saving) == found);
}

TEST_CASE("FaultExploration: a violation within a call of the life is told when the life has ended",
          "[testing][violations]") {
  // Of the inserts of the row the first two are of the life without a fault. The first fault that a life survives is an
  // interruption: there the third is made in memory, and the fourth by a load before the call that syncs the insert.
  const MistakesIn mistakes(
      {.loses_insert = [times = 0](const iqdb::VectorId& id) mutable { return id == 3 && ++times == 4; }});
  const std::string found = finding({.steps = {insert(3)}});
  CHECK_THAT(found, Contains("the load gives number 1 with contents that it had at number 0"));
  CHECK_THAT(found, Contains("\n  crash behind the fault: the process is killed"));
  CHECK_THAT(found, Contains("\n  the fault: call 0, resolve index: " + message_of(EINTR) + ", once"));
}

TEST_CASE("FaultExploration: a violation that the life itself finds is told with its fault", "[testing][violations]") {
  // The third insert is lost by the one in memory: it is the durable index then that differs.
  const MistakesIn mistakes(
      {.loses_insert = [times = 0](const iqdb::VectorId& id) mutable { return id == 3 && ++times == 3; }});
  const std::string found = finding({.policy = FsyncPolicy::never(), .steps = {insert(3)}});
  CHECK_THAT(found, Contains("the index does not hold what one in memory holds after the same mutations"));
  CHECK_THAT(found, Contains("(in step 1, insert 3)"));
  CHECK_THAT(found, Contains("\n  the fault: call 0, resolve index: " + message_of(EINTR) + ", once"));
}

}  // namespace of_fault_exploration
