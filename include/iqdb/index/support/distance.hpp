// The distance of two vectors by each metric. Every index uses these formulas.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace distance_detail {

// The sum of term(aᵢ, bᵢ). It is split into several partial sums, which become the lanes of a vector register, because
// a compiler may not reorder a single sum by itself.
template <class Number, class Term>
[[nodiscard]] Number sum(std::span<const float> a, std::span<const float> b, Term term) {
  constexpr std::size_t lanes = 8;
  std::array<Number, lanes> partial{};
  std::size_t at = 0;
  for (; at + lanes <= a.size(); at += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      partial[lane] += term(a[at + lane], b[at + lane]);
    }
  }
  Number total = 0;
  for (; at < a.size(); ++at) {
    total += term(a[at], b[at]);
  }
  for (const Number lane_sum : partial) {
    total += lane_sum;
  }
  return total;
}

}  // namespace distance_detail

/// The square of a vector's length. In double precision, because squares of large components overflow a float.
[[nodiscard]] inline double squared_norm(std::span<const float> vector) {
  return distance_detail::sum<double>(vector, vector, [](double x, double y) { return x * y; });
}

/// The distance of two vectors of the same dimension; smaller is nearer. The formulas are documented at
/// `FlatIndex::search`.
[[nodiscard]] inline float distance(DistanceMetric metric, std::span<const float> a, std::span<const float> b) {
  using distance_detail::sum;
  switch (metric) {
    case DistanceMetric::cosine: {
      // In double precision, because squares of large components overflow a float and squares of small ones vanish in
      // it.
      const double norms = std::sqrt(squared_norm(a)) * std::sqrt(squared_norm(b));
      const auto product = [](double x, double y) { return x * y; };
      return norms == 0.0 ? 1.0F : static_cast<float>(1.0 - sum<double>(a, b, product) / norms);
    }
    case DistanceMetric::dot_product:
      return 0.0F - sum<float>(a, b, [](float x, float y) { return x * y; });
    case DistanceMetric::euclidean:
      return std::sqrt(sum<float>(a, b, [](float x, float y) { return (x - y) * (x - y); }));
    case DistanceMetric::manhattan:
      return sum<float>(a, b, [](float x, float y) { return std::abs(x - y); });
    case DistanceMetric::hamming:
      break;
  }
  return sum<float>(a, b, [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y) ? 0.0F : 1.0F;
  });
}

}  // namespace iqdb::inline IQDB_PERSIST_ABI
