// Random: the same numbers on every machine.
#include "iqdb/persist/testing/random.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>

#include "support/catch.hpp"
#include "support/sample_index.hpp"

namespace of_random {

namespace {

using iqdb::testing::Random;

}  // namespace

TEST_CASE("Random: the numbers are those of splitmix64", "[testing]") {
  // As the reference implementation gives them.
  Random of_zero(0);
  CHECK(of_zero.next() == 0xE220A8397B1DCDAFU);
  CHECK(of_zero.next() == 0x6E789E6AA1B965F4U);
  CHECK(of_zero.next() == 0x06C45D188009454FU);
  Random of_another(1234567);
  CHECK(of_another.next() == 6457827717110365317U);
  CHECK(of_another.next() == 3203168211198807973U);
}

TEST_CASE("Random: a copy goes on as the original does", "[testing]") {
  Random one(5);
  one.next();
  Random other = one;
  CHECK(one.next() == other.next());
}

TEST_CASE("Random: below gives every number under its bound and no other", "[testing]") {
  Random random(1);
  std::set<std::uint64_t> seen;
  for (int draw = 0; draw < 500; ++draw) {
    seen.insert(random.below(7));
  }
  CHECK(seen == std::set<std::uint64_t>{0, 1, 2, 3, 4, 5, 6});
  CHECK(random.below(1) == 0);
}

TEST_CASE("Random: one_in comes true about once in so many times", "[testing]") {
  Random random(1);
  int hits = 0;
  for (int draw = 0; draw < 4000; ++draw) {
    hits += random.one_in(4) ? 1 : 0;
    CHECK(random.one_in(1));
  }
  CHECK(hits > 900);
  CHECK(hits < 1100);
}

TEST_CASE("Random: components are from -1 to just below 1", "[testing]") {
  Random random(1);
  float least = 1;
  float most = -1;
  for (int draw = 0; draw < 2000; ++draw) {
    const float component = random.component();
    least = component < least ? component : least;
    most = component > most ? component : most;
  }
  CHECK(least >= -1.0F);
  CHECK(least < -0.99F);
  CHECK(most < 1.0F);
  CHECK(most > 0.99F);
}

TEST_CASE("Random: what tests draw by the hand of sample_index is of the same generator", "[testing]") {
  Random random(9);
  iqdb_test::Random sample(9);
  CHECK(sample.next() == random.next());
  CHECK(sample.vector(3)[0] == random.component());
}

}  // namespace of_random
