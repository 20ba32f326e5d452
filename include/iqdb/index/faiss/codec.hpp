// Codec: how a vector becomes the code that faiss keeps of it, and which vector a code stands for.
#pragma once

#include <faiss/Index.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// Makes codes and reads them. Its settings and trained state are those of one of faiss' objects, which must outlive it.
/// Several threads may use it at the same time.
///
/// Invariant: the same vector has the same code, whether it is encoded alone or among others, so that a replay makes the
/// same bytes. faiss' own functions for many vectors multiply matrices, and would round otherwise.
class Codec {
 public:
  Codec() = default;
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;
  virtual ~Codec() = default;

  /// Whether a code is the vector itself, as floats.
  [[nodiscard]] virtual bool is_exact() const noexcept { return false; }

  /// The number of components of a vector.
  [[nodiscard]] virtual std::size_t dim() const noexcept = 0;

  /// The components that it has codes for, from the first to the second.
  [[nodiscard]] virtual std::pair<float, float> range() const noexcept {
    return {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()};
  }

  /// Writes the code of a vector, which is finite. Throws std::bad_alloc.
  virtual void encode(const float* vector, std::uint8_t* code) const = 0;

  /// Writes the vector that a code stands for.
  virtual void decode(const std::uint8_t* code, float* vector) const = 0;

  /// Whether a code stands for a vector of finite components.
  [[nodiscard]] virtual bool is_finite(const std::uint8_t* /*code*/) const noexcept { return true; }

  /// Writes what faiss' stream has of an index between its header and its codes.
  virtual void write_trained(Writer& writer, std::size_t code_size, bool by_residual) const = 0;

  /// Up to `most` of the vectors that these codes of a flat index stand for, those that are nearest to a query: their
  /// positions. Throws std::bad_alloc.
  [[nodiscard]] virtual std::vector<Id> nearest(const ::faiss::Index& flat, std::span<const std::uint8_t> codes,
                                                std::span<const float> query, std::size_t most) const = 0;
};

/// The vectors themselves.
class FloatCodec final : public Codec {
 public:
  explicit FloatCodec(std::size_t dim) noexcept : dim_(dim) {}

  [[nodiscard]] bool is_exact() const noexcept override { return true; }
  [[nodiscard]] std::size_t dim() const noexcept override { return dim_; }
  void encode(const float* vector, std::uint8_t* code) const override {
    std::memcpy(code, vector, dim_ * sizeof(float));
  }
  void decode(const std::uint8_t* code, float* vector) const override {
    std::memcpy(vector, code, dim_ * sizeof(float));
  }
  [[nodiscard]] bool is_finite(const std::uint8_t* code) const noexcept override {
    return index_support::is_finite({reinterpret_cast<const float*>(code), dim_});
  }
  void write_trained(Writer& /*writer*/, std::size_t /*code_size*/, bool /*by_residual*/) const override {}
  [[nodiscard]] std::vector<Id> nearest(const ::faiss::Index& flat, std::span<const std::uint8_t> /*codes*/,
                                        std::span<const float> query, std::size_t most) const override {
    return labels_of(flat, query, most).front();
  }

 private:
  std::size_t dim_;
};

/// Trained numbers must be no greater than this, so that a vector that is put together of a few of them is finite.
inline constexpr float greatest_trained = std::numeric_limits<float>::max() / 16;

[[nodiscard]] inline bool are_moderate(std::span<const float> trained) noexcept {
  // A NaN is within no bounds.
  return std::ranges::all_of(trained,
                             [](float number) { return number >= -greatest_trained && number <= greatest_trained; });
}

/// Throws IndexError invalid_vector for training vectors with which faiss could not compute.
[[noreturn]] inline void throw_too_large_to_train() {
  throw IndexError(IndexErrorKind::invalid_vector,
                   "the training vectors are so large that their mean is not finite; scale them down");
}

/// Throws IndexError invalid_vector unless what was trained are_moderate.
inline void check_trained(std::span<const float> trained) {
  if (!are_moderate(trained)) {
    throw_too_large_to_train();
  }
}

/// Fails unless each of the codes, so many bytes each, stands for a vector of finite components. `what` and
/// `number_of(at)` are what to call the vector at a position: "the vector at position ", 7.
template <class NumberOf>
void require_finite_codes(const Reader& reader, const Codec& codec, const std::vector<std::uint8_t>& codes,
                          std::size_t code_size, std::string_view what, NumberOf&& number_of) {
  for (std::size_t at = 0; at * code_size < codes.size(); ++at) {
    if (!codec.is_finite(codes.data() + at * code_size)) {
      fail(reader, std::string(what) + std::to_string(number_of(at)) + " has a component that is not finite");
    }
  }
}

/// Throws IndexError invalid_vector for the code of a vector of which a component is too large for it.
inline void check_code(const Codec& codec, const std::uint8_t* code) {
  if (!codec.is_finite(code)) {
    throw IndexError(
        IndexErrorKind::invalid_vector,
        "a component of the vector, or its distance from that of the centroid, is too large for the code of the "
        "index; scale all vectors");
  }
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
