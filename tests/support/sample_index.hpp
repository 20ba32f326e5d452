// Indexes full of whatever an index can hold, and whether two hold the same.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// Numbers that look random and are the same on every machine, and what tests make of them.
class Random : public iqdb::testing::Random {
 public:
  using iqdb::testing::Random::Random;

  std::vector<float> vector(std::size_t dim) {
    std::vector<float> components(dim);
    for (float& each : components) {
      each = component();
    }
    return components;
  }

  std::vector<std::byte> bytes(std::size_t count) {
    std::vector<std::byte> all(count);
    for (std::byte& each : all) {
      each = static_cast<std::byte>(next() >> 56U);
    }
    return all;
  }
};

/// The `number`-th identifier: integers and bytes in turn, no two the same.
[[nodiscard]] inline iqdb::VectorId sample_id(std::uint64_t number) {
  if (number % 2 == 0) {
    return number == 2 ? ~std::uint64_t{0} : number;
  }
  using namespace std::string_literals;
  return iqdb::VectorId::from_bytes("id \0\xFF"s + std::to_string(number));
}

/// The metadata of the `number`-th row: none, no entries, or values of every type.
[[nodiscard]] inline std::optional<iqdb::Metadata> sample_metadata(std::uint64_t number, Random& random) {
  switch (number % 4) {
    case 0:
      return std::nullopt;
    case 1:
      return iqdb::Metadata{};
    case 2:
      return iqdb::Metadata{{"file", "passage.txt"}, {"line", static_cast<std::int64_t>(number)}};
    default:
      return iqdb::Metadata{{"", iqdb::Null{}},
                            {"bool", random.below(2) == 0},
                            {"float", std::bit_cast<double>(random.next())},
                            {"integer", static_cast<std::int64_t>(random.next())},
                            {"string", std::string(random.below(40), 'x')},
                            {"Schlüssel", "Wert \xF0\x9F\x99\x82"}};
  }
}

/// An index of `rows` rows, the same for the same arguments: both kinds of identifier, metadata of every type.
[[nodiscard]] inline iqdb::FlatIndex make_sample_index(std::size_t dim, iqdb::DistanceMetric metric, std::size_t rows,
                                                       std::uint64_t seed = 1) {
  Random random(seed);
  iqdb::FlatIndex index(dim, metric);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const std::vector<float> vector = random.vector(dim);
    index.insert(sample_id(row), std::span<const float>(vector), sample_metadata(row, random));
  }
  return index;
}

// Whether two hold the same, floating-point numbers bit by bit.
using iqdb::testing::conformance::same_metadata;
using iqdb::testing::conformance::same_value;

/// Whether two vectors are the same, bit by bit.
[[nodiscard]] inline bool same_vector(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// One row of an index, kept.
struct SampleRow {
  iqdb::VectorId id;
  std::vector<float> vector;
  std::optional<iqdb::Metadata> metadata;
};

[[nodiscard]] inline bool same_row(const SampleRow& a, const SampleRow& b) {
  return a.id == b.id && same_vector(a.vector, b.vector) && same_metadata(a.metadata, b.metadata);
}

/// All rows of an index, in its order.
[[nodiscard]] inline std::vector<SampleRow> rows_of(const iqdb::FlatIndex& index) {
  std::vector<SampleRow> rows;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    rows.push_back({id, {vector.begin(), vector.end()}, iqdb::copied(metadata)});
  });
  return rows;
}

/// Where two indexes first differ, in words; empty where they do not: CHECK(difference(a, b) == "").
[[nodiscard]] inline std::string difference(const iqdb::FlatIndex& a, const iqdb::FlatIndex& b) {
  if (a.dim() != b.dim()) {
    return "dimension";
  }
  if (a.metric() != b.metric()) {
    return "metric";
  }
  const std::vector<SampleRow> rows = rows_of(a);
  const std::vector<SampleRow> others = rows_of(b);
  if (a.size() != b.size() || rows.size() != a.size() || others.size() != b.size()) {
    return "number of rows";
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::string name = " of row " + std::to_string(row) + ", " + to_string(rows[row].id);
    if (rows[row].id != others[row].id) {
      return "identifier" + name;
    }
    if (!same_vector(rows[row].vector, others[row].vector)) {
      return "vector" + name;
    }
    if (!same_metadata(rows[row].metadata, others[row].metadata)) {
      return "metadata" + name;
    }
  }
  return {};
}

/// Whether two indexes hold the same rows in the same order, bit by bit.
[[nodiscard]] inline bool same_rows(const iqdb::FlatIndex& a, const iqdb::FlatIndex& b) {
  return difference(a, b).empty();
}

}  // namespace iqdb_test
