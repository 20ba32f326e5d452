// What an index refuses to be given, and how it says so.
#include "iqdb/index/support/argument_checks.hpp"

#include <array>
#include <limits>

#include "iqdb/types.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::IndexErrorKind;
using iqdb_test::mentions;
using iqdb_test::require_kind;
namespace index_support = iqdb::index_support;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float largest = std::numeric_limits<float>::max();

}  // namespace

TEST_CASE("check_metric: takes the three metrics that the libraries have", "[adapters]") {
  for (const auto metric : {DistanceMetric::euclidean, DistanceMetric::dot_product, DistanceMetric::cosine}) {
    CHECK_NOTHROW(index_support::check_metric(metric, "a library"));
  }
}

TEST_CASE("check_metric: refuses any other metric and names the library", "[adapters]") {
  for (const auto metric : {DistanceMetric::manhattan, DistanceMetric::hamming, static_cast<DistanceMetric>(9)}) {
    const auto error =
        require_kind(IndexErrorKind::invalid_metric, [&] { index_support::check_metric(metric, "quicklib"); });
    CHECK(mentions(error, "quicklib"));
  }
}

TEST_CASE("check_range: takes both ends of the range", "[adapters]") {
  CHECK_NOTHROW(index_support::check_range(2, 2, 5, "setting", "an index"));
  CHECK_NOTHROW(index_support::check_range(5, 2, 5, "setting", "an index"));
}

TEST_CASE("check_range: refuses what is outside and says what there may be", "[adapters]") {
  require_kind(IndexErrorKind::invalid_config, [] { index_support::check_range(1, 2, 5, "setting", "an index"); });
  const auto error = require_kind(IndexErrorKind::invalid_config,
                                  [] { index_support::check_range(6, 2, 5, "number of links", "an index"); });
  CHECK(mentions(error, "the number of links is 6; an index takes 2 to 5"));
}

TEST_CASE("check_dimension: refuses fewer components and more", "[adapters]") {
  CHECK_NOTHROW(index_support::check_dimension(3, 3, "vector"));
  require_kind(IndexErrorKind::dimension_mismatch, [] { index_support::check_dimension(2, 3, "vector"); });
  const auto error =
      require_kind(IndexErrorKind::dimension_mismatch, [] { index_support::check_dimension(4, 3, "query"); });
  CHECK(mentions(error, "the query has 4 components, but the index has dimension 3"));
}

TEST_CASE("check_components: takes every finite number", "[adapters]") {
  CHECK_NOTHROW(index_support::check_components(std::array{0.0F, -0.0F, largest, -largest}, "vector"));
}

TEST_CASE("check_components: refuses what is not finite and says where it stands", "[adapters]") {
  for (const float wrong : {nan_value, -nan_value, infinity, -infinity}) {
    const auto error = require_kind(IndexErrorKind::invalid_vector, [wrong] {
      index_support::check_components(std::array{1.0F, wrong}, "query");
    });
    CHECK(mentions(error, "component 1 of the query"));
  }
}

TEST_CASE("check_components: refuses what is larger than the index keeps", "[adapters]") {
  CHECK_NOTHROW(index_support::check_components(std::array{10.0F, -10.0F}, "vector", 10.0F));
  for (const float wrong : {10.5F, -10.5F}) {
    const auto error = require_kind(IndexErrorKind::invalid_vector,
                                    [wrong] { index_support::check_components(std::array{wrong}, "vector", 10.0F); });
    CHECK(mentions(error, "up to 10"));
  }
}

TEST_CASE("is_finite: no component is an infinity or a NaN", "[adapters]") {
  CHECK(index_support::is_finite({}));
  CHECK(index_support::is_finite(std::array{0.0F, largest}));
  for (const float wrong : {nan_value, infinity, -infinity}) {
    CHECK(!index_support::is_finite(std::array{1.0F, wrong}));
  }
}
