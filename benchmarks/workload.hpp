// What is stored: the same vectors and records for everyone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

namespace iqdb_benchmarks {

inline constexpr std::size_t dimension = 128;
inline constexpr std::size_t vector_bytes = dimension * sizeof(float);

/// Makes vectors, one behind the other. Components have 8 significant bits: a codec can do something with them, but not
/// much.
inline void fill_with_vectors(std::span<float> components) {
  std::uint64_t state = 1;
  for (std::size_t at = 0; at < components.size();) {
    // SplitMix64: fast, and the same everywhere.
    state += 0x9E3779B97F4A7C15U;
    std::uint64_t bits = (state ^ (state >> 30U)) * 0xBF58476D1CE4E5B9U;
    bits = (bits ^ (bits >> 27U)) * 0x94D049BB133111EBU;
    bits ^= bits >> 31U;
    for (int taken = 0; taken < 8 && at < components.size(); ++taken, bits >>= 8U) {
      components[at++] = static_cast<float>(bits & 0xFFU) / 256.0F;
    }
  }
}

/// The records that are inserted: key 8 | vector 512 | rest 20. That is what one insert of a vector takes in a log.
class Records {
 public:
  static constexpr std::size_t key_bytes = 8;
  static constexpr std::size_t value_bytes = vector_bytes + 20;
  static constexpr std::size_t record_bytes = key_bytes + value_bytes;

  /// So many there are; the batch sizes are divisors, so that a batch always lies in one piece.
  static constexpr std::size_t pool = 1000;

  Records() : vectors_(pool * dimension), records_(pool * record_bytes) {
    fill_with_vectors(vectors_);
    for (std::size_t each = 0; each < pool; ++each) {
      std::memcpy(records_.data() + each * record_bytes + key_bytes, vectors_.data() + each * dimension, vector_bytes);
    }
  }

  /// `count` records from the one with this key on, as they would lie in a log.
  [[nodiscard]] std::span<std::byte> records(std::uint64_t first_key, std::size_t count) noexcept {
    return std::span(records_).subspan(place(first_key) * record_bytes, count * record_bytes);
  }

  /// A record without its key: for stores that keep that themselves.
  [[nodiscard]] std::span<const std::byte> value(std::uint64_t key) const noexcept {
    return std::span(records_).subspan(place(key) * record_bytes + key_bytes, value_bytes);
  }

  /// The vector in it.
  [[nodiscard]] std::span<const float> vector(std::uint64_t key) const noexcept {
    return std::span(vectors_).subspan(place(key) * dimension, dimension);
  }

 private:
  static std::size_t place(std::uint64_t key) noexcept { return static_cast<std::size_t>(key % pool); }

  std::vector<float> vectors_;
  std::vector<std::byte> records_;
};

/// An index that keeps nothing but how many vectors it was given, so that the log alone is measured.
class NullIndex {
 public:
  static constexpr std::string_view index_type = "null";

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t dim() const noexcept { return dimension; }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return iqdb::DistanceMetric::euclidean; }

  void insert(const iqdb::VectorId& /*id*/, std::span<const float> /*vector*/,
              const std::optional<iqdb::Metadata>& /*metadata*/) noexcept {
    ++size_;
  }
  void erase(const iqdb::VectorId& /*id*/) noexcept { --size_; }

  void save_to(iqdb::Writer& writer) const { writer.write_le(std::uint64_t{size_}); }
  [[nodiscard]] static NullIndex load_from(iqdb::Reader& reader) {
    NullIndex index;
    index.size_ = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
    return index;
  }

 private:
  std::size_t size_ = 0;
};

/// An index that is one std::vector<float>: the plainest one that a user may write.
class ArrayIndex {
 public:
  static constexpr std::string_view index_type = "array";

  explicit ArrayIndex(std::vector<float> vectors) : vectors_(std::move(vectors)) {}

  [[nodiscard]] static ArrayIndex of(std::uint64_t vectors) {
    std::vector<float> components(static_cast<std::size_t>(vectors) * dimension);
    fill_with_vectors(components);
    return ArrayIndex(std::move(components));
  }

  [[nodiscard]] std::size_t size() const noexcept { return vectors_.size() / dimension; }
  [[nodiscard]] std::size_t dim() const noexcept { return dimension; }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return iqdb::DistanceMetric::euclidean; }

  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint64_t{vectors_.size()});
    writer.write_array(vectors_);
  }
  [[nodiscard]] static ArrayIndex load_from(iqdb::Reader& reader) {
    const auto components = reader.read_le<std::uint64_t>();
    return ArrayIndex(reader.read_vector<float>(components));
  }

 private:
  std::vector<float> vectors_;
};

/// A FlatIndex of the same vectors, with integers as identifiers.
[[nodiscard]] inline iqdb::FlatIndex make_flat_index(std::uint64_t vectors) {
  std::vector<float> components(static_cast<std::size_t>(vectors) * dimension);
  fill_with_vectors(components);
  iqdb::FlatIndex index(dimension, iqdb::DistanceMetric::euclidean);
  for (std::uint64_t id = 0; id < vectors; ++id) {
    index.insert(id, std::span<const float>(components).subspan(static_cast<std::size_t>(id) * dimension, dimension));
  }
  return index;
}

}  // namespace iqdb_benchmarks
