// Overloads of search that take a braced list, written once for every class that has them.
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "iqdb/types.hpp"

namespace iqdb {

/// Adds the braced form `search({.1f, .2f}, {.k = 5})` to a class that has `search(std::span<const float>, const
/// SearchParams&)`. Derive from it and write `using SearchOverloads<Derived>::search;`, since a member named search hides
/// inherited ones.
template <class Derived>
class SearchOverloads {
 public:
  /// A query as a braced list of its components.
  [[nodiscard]] std::vector<Hit> search(std::initializer_list<float> query, const SearchParams& params = {}) const {
    return static_cast<const Derived&>(*this).search(std::span<const float>(query.begin(), query.size()), params);
  }

 private:
  friend Derived;
  SearchOverloads() = default;
};

}  // namespace iqdb
