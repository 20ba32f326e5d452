// Overloads of insert and upsert that take braced lists, written once for every class that has them.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <utility>

#include "iqdb/types.hpp"

namespace iqdb {

namespace insert_overloads {

// Metadata of a braced list of its entries. Of two with the same key the first stays; no entries mean no metadata.
[[nodiscard]] inline std::optional<Metadata> metadata_of(std::initializer_list<Metadata::value_type> entries) {
  std::optional<Metadata> metadata;
  for (const auto& [key, value] : entries) {
    if (!metadata) {
      metadata.emplace();
    }
    metadata->emplace(key, copied(value));
  }
  return metadata;
}

}  // namespace insert_overloads

/// Adds the braced forms `insert(1, {.1f, .2f})` and `insert(1, {.1f, .2f}, {{"page", 5}})` to a class that has
/// `insert(VectorId, std::span<const float>, std::optional<Metadata>)`.
///
/// Derive from it and write `using InsertOverloads<Derived>::insert;`, since a member named insert hides inherited
/// ones. An empty braced list of entries means no metadata.
///
/// The braced list of entries has a parameter type of its own. With optional<Metadata>, `{{"key", "text"}}` would
/// choose the map's iterator-pair constructor, and read from one string to the other.
template <class Derived>
class InsertOverloads {
 public:
  /// A vector as a braced list of its components.
  void insert(VectorId id, std::initializer_list<float> vector, std::optional<Metadata> metadata = {}) {
    derived().insert(std::move(id), std::span<const float>(vector.begin(), vector.size()), std::move(metadata));
  }

  /// Metadata as a braced list of its entries; of two with the same key the first stays.
  void insert(VectorId id, std::span<const float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().insert(std::move(id), vector, insert_overloads::metadata_of(entries));
  }

  /// Both as braced lists.
  void insert(VectorId id, std::initializer_list<float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().insert(std::move(id), std::span<const float>(vector.begin(), vector.size()),
                     insert_overloads::metadata_of(entries));
  }

 private:
  friend Derived;
  InsertOverloads() = default;

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }
};

/// Adds the braced forms `upsert(1, {.1f, .2f})` and `upsert(1, {.1f, .2f}, {{"page", 5}})` to a class that has
/// `upsert(VectorId, std::span<const float>, std::optional<Metadata>)`.
///
/// Derive from it and write `using UpsertOverloads<Derived>::upsert;`, since a member named upsert hides inherited
/// ones. Everything else is as for InsertOverloads.
template <class Derived>
class UpsertOverloads {
 public:
  /// A vector as a braced list of its components.
  void upsert(VectorId id, std::initializer_list<float> vector, std::optional<Metadata> metadata = {}) {
    derived().upsert(std::move(id), std::span<const float>(vector.begin(), vector.size()), std::move(metadata));
  }

  /// Metadata as a braced list of its entries; of two with the same key the first stays.
  void upsert(VectorId id, std::span<const float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().upsert(std::move(id), vector, insert_overloads::metadata_of(entries));
  }

  /// Both as braced lists.
  void upsert(VectorId id, std::initializer_list<float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().upsert(std::move(id), std::span<const float>(vector.begin(), vector.size()),
                     insert_overloads::metadata_of(entries));
  }

 private:
  friend Derived;
  UpsertOverloads() = default;

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }
};

}  // namespace iqdb
