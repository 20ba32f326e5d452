// Transform: what an index does to a vector before it takes it, faiss' chain of VectorTransforms.
#pragma once

#include <faiss/VectorTransform.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/drawn_number.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// Linear maps that keep lengths in the lesser of the two dimensions (rotations, principal components), and
/// normalizations.
///
/// The computation is written here, vector by vector, and not in faiss: it multiplies matrices with the system's BLAS, which
/// may round otherwise for more vectors or in more threads, so that a replay might make other codes.
class Transform {
 public:
  using Chain = std::vector<std::unique_ptr<::faiss::VectorTransform>>;

  /// Precondition: the chain is not empty, each of it takes what the one before gives, and each is a LinearTransform or a
  /// NormalizationTransform.
  explicit Transform(Chain chain) : chain_(std::move(chain)) {}

  [[nodiscard]] const Chain& chain() const noexcept { return chain_; }
  [[nodiscard]] std::size_t dim() const noexcept { return static_cast<std::size_t>(chain_.back()->d_out); }

  /// The vector in the form in which the index inside takes it. Throws IndexError invalid_vector if that is not finite;
  /// std::bad_alloc.
  [[nodiscard]] std::vector<float> apply(std::vector<float> vector) const {
    for (const auto& each : chain_) {
      if (const auto* const linear = dynamic_cast<const ::faiss::LinearTransform*>(each.get())) {
        vector = multiplied(*linear, vector, linear->have_bias);
      } else {
        vector = index_support::direction_for(DistanceMetric::cosine, vector);
      }
    }
    if (!index_support::is_finite(vector)) {
      throw IndexError(IndexErrorKind::invalid_vector,
                       "the vector is so large that it is not finite when it is transformed; scale all vectors");
    }
    return vector;
  }

  /// What apply() makes of each of `vectors`, which lie one behind the other. Throws as it does.
  [[nodiscard]] std::vector<float> apply_to_each(std::span<const float> vectors) const {
    const auto taken = static_cast<std::size_t>(chain_.front()->d_in);
    std::vector<float> transformed;
    transformed.reserve(vectors.size() / taken * dim());
    for (std::size_t at = 0; at < vectors.size(); at += taken) {
      const auto own = vectors.subspan(at, taken);
      const std::vector<float> each = apply({own.begin(), own.end()});
      transformed.insert(transformed.end(), each.begin(), each.end());
    }
    return transformed;
  }

  /// The vector that is nearest to zero of those that apply() makes this of, but for rounding; of a normalized one, the
  /// direction. Throws std::bad_alloc.
  [[nodiscard]] std::vector<float> reverse(std::vector<float> vector) const {
    std::for_each(chain_.rbegin(), chain_.rend(), [&vector](const auto& each) {
      if (const auto* const linear = dynamic_cast<const ::faiss::LinearTransform*>(each.get())) {
        vector = multiplied_back(*linear, vector, linear->have_bias);
      }
    });
    return vector;
  }

  /// Writes the number of steps and the steps, as faiss does.
  void save_to(Writer& writer) const {
    writer.write_le(static_cast<std::int32_t>(chain_.size()));
    WriterAdapter adapter(writer);
    for (const auto& each : chain_) {
      guarded([&] { ::faiss::write_VectorTransform(each.get(), &adapter); });
    }
  }

  /// Whether a linear map keeps the lengths of some vectors, drawn by number, in the lesser of its two dimensions. Of other
  /// maps vectors could not be given back.
  [[nodiscard]] static bool keeps_lengths(const ::faiss::LinearTransform& linear) {
    const bool reduces = linear.d_out < linear.d_in;
    const auto dim = static_cast<std::size_t>(reduces ? linear.d_out : linear.d_in);
    constexpr std::size_t draws = 4;
    constexpr double tolerance = 1e-2;
    for (std::size_t draw = 0; draw < draws; ++draw) {
      std::vector<float> vector(dim);
      for (std::size_t at = 0; at < dim; ++at) {
        vector[at] = static_cast<float>(index_support::drawn_number(draw * dim + at)) - 0.5F;
      }
      const double before = length_of(vector);
      const double after =
          length_of(reduces ? multiplied_back(linear, vector, false) : multiplied(linear, vector, false));
      if (!(std::abs(after - before) <= tolerance * before)) {
        return false;
      }
    }
    return true;
  }

 private:
  [[nodiscard]] static double length_of(std::span<const float> vector) { return std::sqrt(squared_norm(vector)); }

  [[nodiscard]] static std::vector<float> multiplied(const ::faiss::LinearTransform& linear,
                                                     std::span<const float> vector, bool has_bias) {
    std::vector<float> product(static_cast<std::size_t>(linear.d_out));
    for (std::size_t row = 0; row < product.size(); ++row) {
      const auto factors = std::span(linear.A).subspan(row * vector.size(), vector.size());
      product[row] = -distance(DistanceMetric::dot_product, factors, vector);
      if (has_bias) {
        product[row] += linear.b[row];
      }
    }
    return product;
  }

  [[nodiscard]] static std::vector<float> multiplied_back(const ::faiss::LinearTransform& linear,
                                                          std::span<const float> vector, bool has_bias) {
    std::vector<float> product(static_cast<std::size_t>(linear.d_in));
    for (std::size_t row = 0; row < vector.size(); ++row) {
      const float factor = has_bias ? vector[row] - linear.b[row] : vector[row];
      for (std::size_t at = 0; at < product.size(); ++at) {
        product[at] += factor * linear.A[row * product.size() + at];
      }
    }
    return product;
  }

  Chain chain_;
};

inline constexpr std::uint32_t linear_tag = tag("LTra");
inline constexpr std::uint32_t rotation_tag = tag("rrot");
inline constexpr std::uint32_t principal_tag = tag("Pcam");
inline constexpr std::uint32_t normalization_tag = tag("VNrm");

/// Reads an array of floats of a transform, which may be no greater than greatest_factor.
[[nodiscard]] inline std::vector<float> read_factors(Reader& reader) {
  constexpr float greatest_factor = 1e9F;  // its product with a component that an index takes is far from overflow
  std::vector<float> factors = reader.read_vector<float>(reader.read_le<std::uint64_t>());
  for (const float factor : factors) {
    if (!(std::abs(factor) <= greatest_factor)) {
      fail(reader, "its transform has a number that is too large or not finite");
    }
  }
  return factors;
}

/// Reads one step of a chain, which takes vectors of `dim` components: tag 4 | what it consists of | dimension that it
/// takes 4, and gives 4 | whether it is trained 1. Principal components and rotations become linear maps.
[[nodiscard]] inline std::unique_ptr<::faiss::VectorTransform> read_step(Reader& reader, std::size_t dim) {
  const auto type = reader.read_le<std::uint32_t>();
  std::vector<float> matrix;
  std::vector<float> bias;
  std::uint8_t has_bias = 0;
  float norm = 2.0F;
  if (type == normalization_tag) {
    norm = reader.read_le<float>();
  } else if (type == linear_tag || type == rotation_tag || type == principal_tag) {
    if (type == principal_tag) {
      // The power of eigenvalues, the number added to them, whether it rotates, in how many bins; mean, eigenvalues, and the
      // matrix they are of. The linear map has all of it.
      std::ignore = reader.read_le<float>();
      std::ignore = reader.read_le<float>();
      std::ignore = reader.read_le<std::uint8_t>();
      std::ignore = reader.read_le<std::int32_t>();
      for (int unused = 0; unused < 3; ++unused) {
        std::ignore = reader.read_vector<float>(reader.read_le<std::uint64_t>());
      }
    }
    has_bias = reader.read_le<std::uint8_t>();
    matrix = read_factors(reader);
    bias = read_factors(reader);
  } else {
    fail(reader,
         "a transform of vectors is of the type \"" + letters_of(type) +
             "\", which is not supported; supported are linear maps that keep lengths (LTra, rrot, Pcam: rotations, "
             "OPQ, principal components) and the normalization (VNrm)");
  }
  const auto dim_in = reader.read_le<std::int32_t>();
  const auto dim_out = reader.read_le<std::int32_t>();
  const auto trained = reader.read_le<std::uint8_t>();
  if (dim_in < 1 || static_cast<std::size_t>(dim_in) != dim || dim_out < 1 ||
      static_cast<std::size_t>(dim_out) > most_dim || trained != 1) {
    fail(reader, "a transform, trained " + std::to_string(trained) + ", is stated to make " + std::to_string(dim_out) +
                     " components of " + std::to_string(dim_in) + "; expected a trained one that takes " +
                     std::to_string(dim));
  }
  if (type == normalization_tag) {
    if (norm != 2.0F || dim_out != dim_in) {
      fail(reader, "its normalization is by the norm " + std::to_string(norm) + " to " + std::to_string(dim_out) +
                       " components; supported is 2, which keeps their number");
    }
    return std::make_unique<::faiss::NormalizationTransform>(dim_in, norm);
  }
  const auto rows = static_cast<std::size_t>(dim_out);
  if (has_bias > 1 || matrix.size() != rows * dim || (has_bias == 1 && bias.size() != rows)) {
    fail(reader, "a linear map of " + std::to_string(dim_in) + " to " + std::to_string(dim_out) +
                     " components is stated to have " + std::to_string(matrix.size()) + " factors and " +
                     std::to_string(bias.size()) + " summands");
  }
  auto linear = std::make_unique<::faiss::LinearTransform>(dim_in, dim_out, has_bias == 1);
  linear->A = std::move(matrix);
  linear->b = has_bias == 1 ? std::move(bias) : std::vector<float>();
  linear->is_trained = true;
  if (!Transform::keeps_lengths(*linear)) {
    fail(reader,
         "its linear map does not keep the lengths of vectors, as that with whitening does not; supported are "
         "rotations and "
         "principal components without whitening: train the index anew with one of them");
  }
  linear->is_orthonormal = dim_out <= dim_in;
  return linear;
}

/// Reads a chain that takes vectors of `dim` components: the number of steps 4 | the steps.
[[nodiscard]] inline Transform read_transform(Reader& reader, std::size_t dim) {
  constexpr std::int32_t most_steps = 8;
  const auto steps = reader.read_le<std::int32_t>();
  if (steps < 1 || steps > most_steps) {
    fail(reader, "its chain is stated to have " + std::to_string(steps) + " transforms; expected 1 to " +
                     std::to_string(most_steps));
  }
  Transform::Chain chain;
  for (std::int32_t step = 0; step < steps; ++step) {
    chain.push_back(read_step(reader, dim));
    dim = static_cast<std::size_t>(chain.back()->d_out);
  }
  return Transform(std::move(chain));
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
