// Oracle: which moments of a life a load may find.
#include "iqdb/persist/testing/oracle.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "support/catch.hpp"

namespace of_oracle {

namespace {

using iqdb::testing::Moment;
using iqdb::testing::Oracle;

Moment moment(std::uint64_t lsn, const std::string& contents) { return {.lsn = lsn, .contents = contents}; }

// The moments "0" to "3", of which the last was not acknowledged and only the first two are durable.
Oracle some_moments() {
  Oracle oracle(moment(0, "0"));
  oracle.expect(moment(1, "1"));
  oracle.acknowledge();
  oracle.make_durable();
  oracle.expect(moment(2, "2"));
  oracle.acknowledge();
  oracle.expect(moment(3, "3"));
  return oracle;
}

}  // namespace

TEST_CASE("Oracle: the moment that a life begins with is promised", "[testing]") {
  const Oracle oracle(moment(0, "0"));
  CHECK(oracle.moments().size() == 1);
  CHECK(oracle.acknowledged() == 0);
  CHECK(oracle.durable() == 0);
  CHECK(oracle.find(moment(0, "0"), oracle.durable()) == 0);
  CHECK(oracle.find(moment(1, "0"), oracle.durable()) == std::nullopt);
  CHECK(oracle.find(moment(0, "1"), oracle.durable()) == std::nullopt);
}

TEST_CASE("Oracle: what is expected is possible and not promised", "[testing]") {
  Oracle oracle(moment(0, "0"));
  oracle.expect(moment(1, "1"));
  CHECK(oracle.find(moment(1, "1"), oracle.acknowledged()) == 1);
  CHECK(oracle.find(moment(0, "0"), oracle.acknowledged()) == 0);
  oracle.make_durable();
  CHECK(oracle.durable() == 0);
}

TEST_CASE("Oracle: what was acknowledged must be found after a kill and not after a power cut", "[testing]") {
  const Oracle oracle = some_moments();
  CHECK(oracle.acknowledged() == 2);
  CHECK(oracle.durable() == 1);
  CHECK(oracle.find(moment(1, "1"), oracle.acknowledged()) == std::nullopt);
  CHECK(oracle.find(moment(1, "1"), oracle.durable()) == 1);
  CHECK(oracle.find(moment(0, "0"), oracle.durable()) == std::nullopt);
  CHECK(oracle.find(moment(3, "3"), oracle.acknowledged()) == 3);
}

TEST_CASE("Oracle: what was acknowledged becomes durable by a sync and what was not stays possible", "[testing]") {
  Oracle oracle = some_moments();
  oracle.make_durable();
  CHECK(oracle.durable() == 2);
  CHECK(oracle.acknowledged() == 2);
  CHECK(oracle.moments().size() == 4);
}

TEST_CASE("Oracle: a power cut takes the promise of what was not durable and leaves it possible", "[testing]") {
  Oracle oracle = some_moments();
  oracle.forget_volatile();
  CHECK(oracle.acknowledged() == 1);
  CHECK(oracle.durable() == 1);
  CHECK(oracle.find(moment(2, "2"), oracle.acknowledged()) == 2);
}

TEST_CASE("Oracle: what is withdrawn must not be found", "[testing]") {
  Oracle oracle = some_moments();
  oracle.withdraw();
  CHECK(oracle.find(moment(3, "3"), 0) == std::nullopt);
  CHECK(oracle.find(moment(2, "2"), 0) == 2);
  CHECK(oracle.acknowledged() == 2);
  CHECK(oracle.durable() == 1);
}

TEST_CASE("Oracle: after a load that settles there is one moment and it is durable", "[testing]") {
  Oracle oracle = some_moments();
  oracle.settle(2);
  CHECK(oracle.moments().size() == 1);
  CHECK(oracle.moments().front() == moment(2, "2"));
  CHECK(oracle.acknowledged() == 0);
  CHECK(oracle.durable() == 0);
  CHECK(oracle.find(moment(3, "3"), 0) == std::nullopt);
  CHECK(oracle.find(moment(1, "1"), 0) == std::nullopt);
}

TEST_CASE("Oracle: after a load that only reads the earlier moments stay possible for a power cut", "[testing]") {
  Oracle oracle = some_moments();
  oracle.read(2);
  CHECK(oracle.moments().size() == 3);
  CHECK(oracle.acknowledged() == 2);
  CHECK(oracle.durable() == 1);
  CHECK(oracle.find(moment(3, "3"), 0) == std::nullopt);
  CHECK(oracle.find(moment(1, "1"), oracle.durable()) == 1);
}

TEST_CASE("Oracle: of moments that are the same the latest is found", "[testing]") {
  Oracle oracle(moment(0, "a"));
  oracle.expect(moment(0, "b"));
  oracle.expect(moment(0, "a"));
  CHECK(oracle.find(moment(0, "a"), 0) == 2);
  CHECK(oracle.find(moment(0, "b"), 0) == 1);
  CHECK(oracle.find(moment(0, "b"), 2) == std::nullopt);
}

TEST_CASE("Oracle: what the index held at a moment is told whatever its number", "[testing]") {
  const Oracle oracle = some_moments();
  CHECK(oracle.held("1", 1));
  CHECK(oracle.held("3", 1));
  CHECK_FALSE(oracle.held("0", 1));
  CHECK(oracle.held("0", 0));
  CHECK_FALSE(oracle.held("x", 0));
}

TEST_CASE("Oracle: it says what was found and what was expected", "[testing]") {
  const Oracle oracle = some_moments();
  const std::string expected = "; expected one of the numbers from 1 to 3, with what the index held then";
  CHECK(oracle.explain(moment(0, "0"), 1) ==
        "the load gives number 0 with contents that it had before what was promised, at number 0" + expected);
  CHECK(oracle.explain(moment(5, "2"), 1) ==
        "the load gives number 5 with contents that it had at number 2" + expected);
  CHECK(oracle.explain(moment(2, "x"), 1) == "the load gives number 2 with contents that it never had" + expected);
}

}  // namespace of_oracle
