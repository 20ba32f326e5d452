// What an index must answer where its directory or lock file was exchanged, where its callback calls it, and where its
// files are of two moments: what is found if it does not, and that the calls reach what they are to reach.
#include "iqdb/persist/testing/disturbances.hpp"

#include <cerrno>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/testing/life_run.hpp"
#include "support/catch.hpp"

namespace of_disturbances {

namespace {

namespace disturbances_tests {

using Catch::Matchers::Contains;
using iqdb::FlatIndex;
using iqdb::PersistError;
using iqdb::PersistErrorKind;
using iqdb::testing::DiskState;
using iqdb::testing::FileCallRecord;
using iqdb::testing::Life;
using iqdb::testing::LifeRun;
using iqdb::testing::Moment;
using iqdb::testing::Oracle;
using iqdb::testing::SimulatedFileSystem;
using iqdb::testing::SimulatedIndex;
using iqdb::testing::Step;
using iqdb::testing::Subject;
using iqdb::testing::Violation;
using Kind = Step::Kind;

constexpr std::size_t dim = 2;
const Subject<FlatIndex> subject{.make = [] { return FlatIndex(dim, iqdb::DistanceMetric::euclidean); }};

iqdb::Mutation insert(std::uint64_t number) { return insert_of(subject, dim, number); }

// What a check finds; empty where it finds nothing.
template <class Check>
std::string finding(Check&& check) {
  try {
    std::forward<Check>(check)();
    return "";
  } catch (const Violation& violation) {
    return violation.what();
  }
}

SimulatedIndex<FlatIndex> opened(const SimulatedFileSystem& machine) {
  const Life life;
  return open_index(subject, life, simulated_config(life), machine);
}

}  // namespace disturbances_tests

}  // namespace

TEST_CASE("require_error: finds a call that succeeds or throws something else", "[testing]") {
  using namespace disturbances_tests;
  const auto finding_of = [](auto&& call) {
    return finding([&] {
      iqdb::testing::require_error("the call", call,
                                   [](const PersistError& error) { return error.kind() == PersistErrorKind::io; });
    });
  };
  CHECK(finding_of([] { iqdb::throw_persist_error(PersistErrorKind::io, "right"); }) == "");
  CHECK(finding_of([] {}) == "the call succeeds");
  CHECK_THAT(finding_of([] { iqdb::throw_persist_error(PersistErrorKind::locked, "wrong"); }),
             Contains("the call throws") && Contains("wrong"));
  CHECK(finding_of([] { throw std::runtime_error("what"); }) == "the call throws what is no PersistError: what");
}

TEST_CASE("require_stale: finds a save that is not refused", "[testing]") {
  using namespace disturbances_tests;
  const SimulatedFileSystem machine;
  SimulatedIndex<FlatIndex> index = opened(machine);
  iqdb::testing::make_mutation(index, insert(1));
  CHECK_THAT(finding([&] { require_stale(subject, index, machine, false); }),
             Contains("a save where directory or lock file was exchanged succeeds"));
}

TEST_CASE("require_stale: an error of another cause counts only where calls fail", "[testing]") {
  using namespace disturbances_tests;
  const SimulatedFileSystem machine;
  SimulatedIndex<FlatIndex> index = opened(machine);
  SimulatedFileSystem(machine).plan([](const FileCallRecord& call) {
    return iqdb::testing::Fault{
        .error = iqdb::testing::system_error(call.call == iqdb::testing::FileCall::status ? EIO : 0)};
  });
  CHECK_THAT(finding([&] { require_stale(subject, index, machine, false); }),
             Contains("a save where directory or lock file was exchanged throws"));
  CHECK(finding([&] { require_stale(subject, index, machine, true); }) == "");
  SimulatedFileSystem(machine).plan({});
}

TEST_CASE("require_all_refused: finds an index that takes a call", "[testing]") {
  using namespace disturbances_tests;
  const SimulatedFileSystem machine;
  SimulatedIndex<FlatIndex> index = opened(machine);
  CHECK(finding([&] { require_all_refused(subject, index, PersistErrorKind::poisoned, " of it"); }) ==
        "an insert of it succeeds");
  index.close();
  CHECK(finding([&] { require_all_refused(subject, index, PersistErrorKind::poisoned, " of it"); }) == "");
  CHECK_THAT(finding([&] { require_reentered(subject, index, machine); }),
             Contains("an insert of the index by its own callback throws") && Contains("closed"));
}

TEST_CASE("require_no_mixture: finds files of two moments that load to what is not promised", "[testing]") {
  using namespace disturbances_tests;
  const SimulatedFileSystem machine;
  SimulatedIndex<FlatIndex> index = opened(machine);
  iqdb::testing::make_mutation(index, insert(1));
  const DiskState earlier = machine.visible();
  iqdb::testing::make_mutation(index, insert(2));
  const DiskState later = machine.visible();
  // Both have the same snapshot, so that each mixture loads, to one or to two vectors.
  const auto oracle_of = [&](bool promised) {
    Oracle oracle({.lsn = 1, .contents = "something else"});
    if (promised) {
      FlatIndex expected = subject.make();
      iqdb::testing::make_mutation(expected, insert(1));
      oracle.expect({.lsn = 1, .contents = subject.contents(expected)});
    }
    oracle.expect(moment_of(subject, index));
    return oracle;
  };
  const Life life;
  const auto finding_of = [&](const Life& of, bool promised) {
    return finding([&] { require_no_mixture(subject, of, oracle_of(promised), earlier, later, false); });
  };
  CHECK(finding_of(life, true) == "");
  CHECK_THAT(finding_of(life, false), Contains("a backup with the later snapshot and the earlier log"));
  CHECK(finding_of(Life{.wal_enabled = false}, false) == "");
}

TEST_CASE("require_no_mixture: finds a load that is refused for another reason", "[testing]") {
  using namespace disturbances_tests;
  const SimulatedFileSystem machine;
  const SimulatedIndex<FlatIndex> index = opened(machine);
  const DiskState files = machine.visible();
  DiskState damaged = files;
  damaged["/index.wal"] = std::make_shared<const std::vector<std::byte>>(70);
  const Oracle oracle(moment_of(subject, index));
  const auto finding_of = [&](bool with_faults) {
    return finding([&] { require_no_mixture(subject, Life{}, oracle, files, damaged, with_faults); });
  };
  CHECK_THAT(finding_of(false), Contains("a backup with the earlier snapshot and the later log is no log_mismatch"));
  CHECK(finding_of(true) == "");
}

TEST_CASE("LifeRun: mutations go on in a directory that lost its name and the other one stays empty", "[testing]") {
  using namespace disturbances_tests;
  const Life life{.steps = {{.kind = Kind::mutate, .mutations = {insert(1)}},
                            {.kind = Kind::exchange, .mutations = {insert(2), insert(3)}}}};
  std::size_t within = 0;
  LifeRun<FlatIndex>* running = nullptr;
  LifeRun<FlatIndex> run(
      subject, life, 1,
      [&](const FileCallRecord& call) {
        const DiskState names = running->machine().visible();
        if (!names.contains("/index.wal") && names.contains("/elsewhere/index.wal")) {
          within += changes_disk(call.call) ? 1U : 0U;
          CHECK_FALSE(names.contains("/index"));
          CHECK(running->machine_to_load().visible().contains("/index.wal"));
          CHECK_FALSE(running->machine_to_load().visible().contains("/elsewhere/index.wal"));
        }
        return iqdb::testing::Fault{};
      },
      false);
  running = &run;
  run.run();
  CHECK(within >= 4);  // two mutations, each written and synced
  CHECK(run.machine().visible().contains("/index.wal"));
  CHECK(run.oracle().moments().back().lsn == 3);
  CHECK(run.oracle().durable() + 1 == run.oracle().moments().size());
}

TEST_CASE("LifeRun: the process that lost its lock leaves the files to the next one", "[testing]") {
  using namespace disturbances_tests;
  const Life life{.policy = iqdb::FsyncPolicy::never(),
                  .steps = {{.kind = Kind::mutate, .mutations = {insert(1)}},
                            {.kind = Kind::lose_lock},
                            {.kind = Kind::mutate, .mutations = {insert(2)}}}};
  LifeRun<FlatIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.oracle().moments().back().lsn == 2);
  run.close();
  CHECK(run.machine().open_files() == 0);
}

TEST_CASE("LifeRun: with the log off no directory and no lock is held", "[testing]") {
  using namespace disturbances_tests;
  const Life life{.wal_enabled = false,
                  .steps = {{.kind = Kind::mutate, .mutations = {insert(1)}},
                            {.kind = Kind::exchange},
                            {.kind = Kind::lose_lock},
                            {.kind = Kind::call_back}}};
  LifeRun<FlatIndex> run(subject, life, 1, {}, false);
  run.run();
  CHECK(run.machine().visible().contains("/index"));
}

}  // namespace of_disturbances
