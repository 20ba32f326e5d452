// The distance of two vectors by each metric. Every index uses these formulas.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
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
      partial[lane] += term(Number{a[at + lane]}, Number{b[at + lane]});
    }
  }
  Number total = 0;
  for (; at < a.size(); ++at) {
    total += term(Number{a[at]}, Number{b[at]});
  }
  for (const Number lane_sum : partial) {
    total += lane_sum;
  }
  return total;
}

// The smallest and largest sum in single precision that is taken for right: in another one, squares and products may have
// vanished or overflowed.
inline constexpr float least_sum = 1e-30F;
inline constexpr float most_sum = std::numeric_limits<float>::max();

// sum<float>, or sum<double> where that is out of the range of a float.
template <class Term>
[[nodiscard]] double sum_of_any_size(std::span<const float> a, std::span<const float> b, Term term) {
  const auto total = sum<float>(a, b, term);
  const float size = std::abs(total);
  return size >= least_sum && size <= most_sum ? double{total} : sum<double>(a, b, term);  // a NaN is out of range
}

}  // namespace distance_detail

/// The square of a vector's length. In double precision, because squares of large components overflow a float.
[[nodiscard]] inline double squared_norm(std::span<const float> vector) {
  return distance_detail::sum<double>(vector, vector, [](double x, double y) { return x * y; });
}

/// The distance of two vectors of the same dimension; smaller is nearer. The formulas are documented at
/// `FlatIndex::search`. The distance of finite vectors is a number, however large or small their components are.
[[nodiscard]] inline float distance(DistanceMetric metric, std::span<const float> a, std::span<const float> b) {
  using distance_detail::sum;
  using distance_detail::sum_of_any_size;
  switch (metric) {
    case DistanceMetric::cosine: {
      // In double precision, because squares of large components overflow a float and squares of small ones vanish in
      // it.
      const double norms = std::sqrt(squared_norm(a)) * std::sqrt(squared_norm(b));
      const auto product = [](double x, double y) { return x * y; };
      return norms == 0.0 ? 1.0F : static_cast<float>(1.0 - sum<double>(a, b, product) / norms);
    }
    case DistanceMetric::dot_product:
      return static_cast<float>(0.0 - sum_of_any_size(a, b, [](auto x, auto y) { return x * y; }));
    case DistanceMetric::euclidean:
      return static_cast<float>(std::sqrt(sum_of_any_size(a, b, [](auto x, auto y) { return (x - y) * (x - y); })));
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
