// Overloads of insert and upsert that take braced lists, written once for every class that has one of them.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <utility>

#include "iqdb/types.hpp"

namespace iqdb {

/// Adds the braced forms `insert(1, {.1f, .2f})` and `insert(1, {.1f, .2f}, {{"page", 5}})` to a class that has
/// `insert(VectorId, std::span<const float>, std::optional<Metadata>)`, and those of upsert to one that has an upsert
/// with these parameters.
///
/// Derive from it and write `using InsertOverloads<Derived>::insert;`, and the same for upsert, since a member of that
/// name hides inherited ones. An empty braced list of entries means no metadata.
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
    derived().insert(std::move(id), vector, metadata_of(entries));
  }

  /// Both as braced lists.
  void insert(VectorId id, std::initializer_list<float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().insert(std::move(id), std::span<const float>(vector.begin(), vector.size()), metadata_of(entries));
  }

  /// The same forms of upsert.
  void upsert(VectorId id, std::initializer_list<float> vector, std::optional<Metadata> metadata = {}) {
    derived().upsert(std::move(id), std::span<const float>(vector.begin(), vector.size()), std::move(metadata));
  }
  void upsert(VectorId id, std::span<const float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().upsert(std::move(id), vector, metadata_of(entries));
  }
  void upsert(VectorId id, std::initializer_list<float> vector, std::initializer_list<Metadata::value_type> entries) {
    derived().upsert(std::move(id), std::span<const float>(vector.begin(), vector.size()), metadata_of(entries));
  }

 private:
  friend Derived;
  InsertOverloads() = default;

  static std::optional<Metadata> metadata_of(std::initializer_list<Metadata::value_type> entries) {
    std::optional<Metadata> metadata;
    for (const auto& [key, value] : entries) {
      if (!metadata) {
        metadata.emplace();
      }
      metadata->emplace(key, copied(value));
    }
    return metadata;
  }

  Derived& derived() noexcept { return static_cast<Derived&>(*this); }
};

}  // namespace iqdb
