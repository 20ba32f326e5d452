// What the tests of adapters have in common: indexes of other libraries, filled, compared, and loaded from damaged
// payloads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/streams.hpp"

namespace iqdb_test {

template <class Index>
[[nodiscard]] std::vector<std::byte> payload_of(const Index& index) {
  return written_by([&](iqdb::Writer& writer) { index.save_to(writer); });
}

template <class Index>
[[nodiscard]] Index loaded(const std::vector<std::byte>& payload) {
  iqdb::Reader reader(payload);
  return Index::load_from(reader);
}

/// What is in an index, in words: for one whose payload is not the same after the same mutations.
template <class Index>
[[nodiscard]] std::string contents_of(const Index& index) {
  std::vector<std::string> rows;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    std::string& row = rows.emplace_back(to_string(id));
    for (const float component : vector) {
      row += " " + std::to_string(component);
    }
    row += metadata ? " " + std::to_string(metadata->size()) + "\n" : "\n";
  });
  std::ranges::sort(rows);
  std::string text;
  for (const std::string& row : rows) {
    text += row;
  }
  return text;
}

[[nodiscard]] inline std::vector<std::vector<float>> random_vectors(std::size_t count, std::size_t dim,
                                                                    std::uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<float>> vectors;
  vectors.reserve(count);
  while (vectors.size() < count) {
    vectors.push_back(random.vector(dim));
  }
  return vectors;
}

/// Inserts vectors under their numbers.
template <class Index>
void insert_all(Index& index, const std::vector<std::vector<float>>& vectors) {
  for (std::size_t number = 0; number < vectors.size(); ++number) {
    index.insert(number, std::span<const float>(vectors[number]));
  }
}

[[nodiscard]] inline std::vector<iqdb::VectorId> ids_of(const std::vector<iqdb::Hit>& hits) {
  std::vector<iqdb::VectorId> ids;
  for (const iqdb::Hit& hit : hits) {
    ids.push_back(hit.id);
  }
  return ids;
}

/// Of the hits of an exact search, by default ten, how many per hundred an index finds, over 200 queries.
template <class Index, class Exact>
[[nodiscard]] double recall(const Index& index, const Exact& exact, const iqdb::SearchParams& params = {}) {
  double found = 0;
  double all = 0;
  for (const std::vector<float>& query : random_vectors(200, index.dim(), 2)) {
    const std::vector<iqdb::VectorId> ids = ids_of(index.search(query, params));
    for (const iqdb::Hit& hit : exact.search(query, {.k = params.k})) {
      found += static_cast<double>(std::ranges::count(ids, hit.id));
      ++all;
    }
  }
  return 100 * found / all;
}

/// Uses an index in every way; it may refuse what it is asked for, but find only what it holds.
template <class Index>
void use(Index& index, std::size_t dim) {
  const auto attempt = [](const std::function<void()>& action) {
    try {
      action();
    } catch (const iqdb::IndexError&) {
      return;  // a damaged index may be of another kind than its user takes it for
    }
  };
  Random random(2);
  const auto search = [&] {
    for (const iqdb::Hit& hit : index.search(random.vector(dim), {.k = 1 + random.below(20), .ef = 1})) {
      if (!index.contains(hit.id)) {
        FAIL("a search finds " << to_string(hit.id) << ", which the index does not hold");
      }
    }
  };
  for (int searches = 0; searches < (sanitized ? 20 : 100); ++searches) {
    attempt(search);
  }
  attempt([&] { index.erase(sample_id(1)); });
  attempt([&] { index.insert(1000, random.vector(dim)); });
  attempt([&] { index.insert(1001, random.vector(dim)); });
  attempt(search);
}

/// Whether a payload, as behind a right checksum, loads; what loads is used. An index of dimension `dim` was saved.
/// Fails where anything but a clean refusal is thrown.
template <class Index>
[[nodiscard]] bool loads_and_works(std::span<const std::byte> payload, std::size_t dim) {
  std::optional<Index> index;
  try {
    iqdb::Reader reader(payload);
    index.emplace(Index::load_from(reader));
  } catch (const iqdb::PersistError& error) {
    if (error.kind() != iqdb::PersistErrorKind::invalid_payload &&
        error.kind() != iqdb::PersistErrorKind::invalid_metric) {
      FAIL("refused as " << error.what());
    }
    return false;
  }
  use(*index, dim);
  return true;
}

/// Fails if a payload loads that was cut off anywhere.
template <class Index>
void require_truncations_refused(std::span<const std::byte> payload, std::size_t dim) {
  for (std::size_t length = 0; length < payload.size(); ++length) {
    if (loads_and_works<Index>(payload.first(length), dim)) {
      FAIL("a payload of " << payload.size() << " bytes loads when cut at " << length);
    }
  }
}

/// Flips every bit of a payload; each is refused or harmless. Returns how many were refused.
template <class Index>
std::size_t flip_every_bit(std::vector<std::byte> payload, std::size_t dim) {
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * payload.size(); ++bit) {
    CAPTURE(bit / 8, bit % 8);
    payload[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    refused += static_cast<std::size_t>(!loads_and_works<Index>(payload, dim));
    payload[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  return refused;
}

}  // namespace iqdb_test
