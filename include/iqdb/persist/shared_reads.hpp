// SharedReads: what many threads ask an index that changes meanwhile, written once for SharedIndex and Follower.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Adds searches and questions to a class `Derived` that has `read(look)`, for an index of type I that has them. Any thread
/// may call each member, beside other readers. Each throws what the index throws, and what read() throws.
template <class Derived, class I>
class SharedReads {
 public:
  /// The nearest vectors.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query,
                                        const SearchParams& params = {}) const requires Searchable<I> {
    return derived().read([&](const I& index) { return std::vector<Hit>(index.search(query, params)); });
  }

  /// The nearest of the vectors that `admits(id, metadata)` or `admits(id)` admits, without the indirect call of a
  /// SearchFilter. It is called while the index is read: it must be short, and may read this object, but not change it.
  template <SearchPredicate Admits>
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params,
                                        const Admits& admits) const requires requires(const I& index) {
    index.search(query, params, admits);
  }
  {
    return derived().read([&](const I& index) { return std::vector<Hit>(index.search(query, params, admits)); });
  }

  /// The same, for a query that is written as a list.
  [[nodiscard]] std::vector<Hit> search(std::initializer_list<float> query,
                                        const SearchParams& params = {}) const requires Searchable<I> {
    return search(std::span(query.begin(), query.size()), params);
  }

  /// The nearest vectors of each of `queries`, which lie one behind the other. `threads` threads look for them, this one among
  /// them; with 0 as many as the machine has processors. Mutations are let in between the pieces of a long call: the hits of
  /// two queries may be those of two states.
  [[nodiscard]] std::vector<std::vector<Hit>> search_many(std::span<const float> queries,
                                                          const SearchParams& params = {},
                                                          std::size_t threads = 0) const requires SearchesMany<I> {
    constexpr std::size_t together = 256;  // queries, for which writers wait
    std::vector<std::vector<Hit>> hits;
    do {
      auto found = derived().read([&](const I& index) {
        const std::size_t components = together * std::max<std::size_t>(index.dim(), 1);
        const auto piece = queries.first(std::min(components, queries.size()));
        queries = queries.subspan(piece.size());
        return std::vector<std::vector<Hit>>(index.search_many(piece, params, threads));
      });
      std::ranges::move(found, std::back_inserter(hits));
    } while (!queries.empty());
    return hits;
  }

  /// Whether the index holds a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const requires GivesContent<I> {
    return derived().read([&](const I& index) { return static_cast<bool>(index.contains(id)); });
  }

  /// A copy of the vector and the metadata of an identifier. Throws IndexError not_found if the index does not hold it.
  [[nodiscard]] StoredVector get(const VectorId& id) const requires GivesContent<I> {
    std::optional<StoredVector> found = find(id);
    if (!found) {
      throw IndexError(IndexErrorKind::not_found, "the index holds no vector " + to_string(id));
    }
    return *std::move(found);
  }

  /// As get(), but nothing if the index does not hold the identifier.
  [[nodiscard]] std::optional<StoredVector> find(const VectorId& id) const requires GivesContent<I> {
    return derived().read([&](const I& index) { return std::optional<StoredVector>(index.find(id)); });
  }

  /// A copy of the metadata of an identifier; nothing if its vector was stored without. Throws as get() does.
  [[nodiscard]] std::optional<Metadata> metadata(const VectorId& id) const requires GivesContent<I> {
    return derived().read([&](const I& index) { return std::optional<Metadata>(index.metadata(id)); });
  }

  /// The identifiers of all vectors.
  [[nodiscard]] std::vector<VectorId> ids() const requires GivesContent<I> {
    return derived().read([](const I& index) { return std::vector<VectorId>(index.ids()); });
  }

  /// The number of vectors.
  [[nodiscard]] std::size_t size() const requires HasSize<I> {
    return derived().read([](const I& index) { return static_cast<std::size_t>(index.size()); });
  }

 private:
  friend Derived;
  SharedReads() = default;

  [[nodiscard]] const Derived& derived() const noexcept { return static_cast<const Derived&>(*this); }
};

}  // namespace iqdb::inline IQDB_PERSIST_ABI
