// The form in which a vector is kept by a library that has no cosine.
#include "iqdb/index/support/direction.hpp"

#include <array>
#include <vector>

#include "iqdb/index/support/distance.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::index_support::direction_for;
using iqdb::index_support::directions_for;
using iqdb::index_support::is_direction;

}  // namespace

TEST_CASE("direction_for: gives a vector a length of 1 for the cosine", "[adapters]") {
  CHECK(direction_for(DistanceMetric::cosine, std::array{3.0F, 4.0F}) == std::vector<float>{0.6F, 0.8F});
}

TEST_CASE("direction_for: leaves a vector as it is for other metrics", "[adapters]") {
  for (const auto metric : {DistanceMetric::euclidean, DistanceMetric::dot_product}) {
    CHECK(direction_for(metric, std::array{3.0F, 4.0F}) == std::vector<float>{3.0F, 4.0F});
  }
}

TEST_CASE("direction_for: leaves a vector of zeros as it is", "[adapters]") {
  CHECK(direction_for(DistanceMetric::cosine, std::array{0.0F, 0.0F}) == std::vector<float>{0.0F, 0.0F});
}

TEST_CASE("direction_for: components whose squares overflow a float have a direction", "[adapters]") {
  const auto kept = direction_for(DistanceMetric::cosine, std::array{3e30F, 4e30F});
  CHECK(kept.at(0) == Approx(0.6F));
  CHECK(kept.at(1) == Approx(0.8F));
}

TEST_CASE("directions_for: gives each row what direction_for gives it", "[adapters]") {
  const std::vector<float> rows = {3.0F, 4.0F, 0.0F, 0.0F, 0.0F, 2.0F};
  std::vector<float> memory;
  const auto kept = directions_for(DistanceMetric::cosine, rows, 2, memory);
  CHECK(std::vector<float>(kept.begin(), kept.end()) == std::vector<float>{0.6F, 0.8F, 0.0F, 0.0F, 0.0F, 1.0F});
  CHECK(directions_for(DistanceMetric::euclidean, rows, 2, memory).data() == rows.data());
}

TEST_CASE("is_direction: takes a length of 1 but for rounding and a vector of zeros", "[adapters]") {
  CHECK(is_direction(1.0));
  CHECK(is_direction(1.0005));
  CHECK(is_direction(0.9995));
  CHECK(is_direction(0.0));
  CHECK(!is_direction(1.01));
  CHECK(!is_direction(0.99));
}

TEST_CASE("is_direction: takes what direction_for gives", "[adapters]") {
  for (const float component : {1e-20F, 0.3F, 7.0F, 1e20F}) {
    const auto kept = direction_for(DistanceMetric::cosine, std::array{component, 2 * component, -component});
    CHECK(is_direction(iqdb::squared_norm(kept)));
  }
}
