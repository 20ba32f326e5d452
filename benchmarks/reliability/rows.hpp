// What is stored: the same vectors for everyone, and what comes back of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/testing/random.hpp"

namespace iqdb_reliability {

inline constexpr std::size_t dimension = 8;

/// Vectors by their keys, which count from 0.
using Rows = std::map<std::uint64_t, std::vector<float>>;

/// A key that is none: for what cannot be told otherwise.
inline constexpr std::uint64_t no_key = ~std::uint64_t{0};

/// So many vectors; those of another version are others throughout.
[[nodiscard]] inline Rows make_rows(std::uint64_t count, std::uint64_t version) {
  iqdb::testing::Random random(version);
  Rows rows;
  for (std::uint64_t key = 0; key < count; ++key) {
    std::vector<float>& vector = rows[key];
    while (vector.size() < dimension) {
      vector.push_back(random.component());
    }
  }
  return rows;
}

/// What a store gives back.
struct State {
  Rows rows;
  std::string answers = {};  ///< of an index: which vectors it found for each query
  bool told = false;         ///< whether it has said that something is missing
};

/// Adds a row that was read; a key that comes twice makes the state one that was never stored.
inline void add_row(State& state, std::uint64_t key, std::vector<float> vector) {
  if (!state.rows.emplace(key, std::move(vector)).second) {
    state.rows[no_key];
  }
}

/// More rows than were ever stored: enough to know that they are wrong, and to stop.
[[nodiscard]] constexpr std::uint64_t too_many(std::uint64_t stored) noexcept { return 2 * stored + 1; }

/// A value's bytes, for stores whose keys and values are strings.
template <class T>
[[nodiscard]] std::string_view bytes_of(const T* values, std::size_t count = 1) noexcept {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};  // NOLINT(*-reinterpret-cast)
}

/// Adds a row from a store whose keys and values are strings.
inline void add_row(State& state, std::string_view key_bytes, std::string_view value) {
  std::uint64_t key = no_key;
  if (key_bytes.size() == sizeof(key)) {
    std::memcpy(&key, key_bytes.data(), sizeof(key));
  }
  // One that has no whole number of components becomes one with none.
  std::vector<float> vector(value.size() % sizeof(float) == 0 ? value.size() / sizeof(float) : 0);
  std::memcpy(vector.data(), value.data(), vector.size() * sizeof(float));
  add_row(state, key, std::move(vector));
}

}  // namespace iqdb_reliability
