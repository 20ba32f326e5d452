// ExactIndex: what FlatIndex and CoreIndex have in common. They differ in what a mutation means and in the payload.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/content.hpp"
#include "iqdb/index/support/exact_search.hpp"
#include "iqdb/index/support/rows.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/search_overloads.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Base class of an index that compares a query with every vector.
class ExactIndex : public SearchOverloads<ExactIndex>, public Content<ExactIndex> {
 public:
  /// The number of vectors.
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }

  /// The number of components of each vector; 0 if the index was moved from. It then holds nothing, and refuses every
  /// vector, query and save with an IndexError invalid_config.
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// Whether the index holds a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return rows_.contains(id); }

  /// Throws what insert throws for every identifier: IndexError dimension_mismatch; invalid_config or resource_limit
  /// for metadata that cannot be stored (check_storable).
  void check_vector(std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_dimension(vector.size(), dim(), "vector");
    check_storable(metadata);
  }

  /// Throws what update_metadata would throw, except std::bad_alloc.
  void check_update_metadata(const VectorId& id, const std::optional<Metadata>& metadata) const {
    check_storable(metadata);
    rows_.require_present(id);
  }

  /// Replaces the metadata of an identifier, and leaves its vector as it is. If it throws, nothing has changed: IndexError
  /// not_found if the index does not hold the identifier, invalid_config or resource_limit for metadata that cannot be stored.
  void update_metadata(const VectorId& id, std::optional<Metadata> metadata) {
    check_update_metadata(id, metadata);
    rows_.set_metadata(id, std::move(metadata));
  }

  /// Makes room for so many vectors in all, so that the next insertions need not move them. Throws std::bad_alloc,
  /// std::length_error. It changes no content, so that a log has nothing to say of it: `db.tune([](auto& index) {
  /// index.reserve(n); })`.
  void reserve(std::size_t vectors) { rows_.reserve(vectors); }

  /// Returns the `params.k` vectors nearest to `query`, nearest first, of those that `params.filter` admits and that are within
  /// `params.radius`. Vectors at equal distance are in the order of for_each. Distances:
  ///
  /// - cosine: 1 − a·b / (‖a‖‖b‖), and 1 where a norm is 0
  /// - dot_product: −a·b
  /// - euclidean: √Σ(aᵢ−bᵢ)²
  /// - manhattan: Σ|aᵢ−bᵢ|
  /// - hamming: the number of components whose bits differ
  ///
  /// A distance that is not a number ranks behind all others, and is within no radius. The filter is asked only of what
  /// would be a hit. Throws IndexError dimension_mismatch if the query does not have dim() components, invalid_config for a
  /// radius that is not a number; what the filter throws; std::bad_alloc.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    return search(query, params, AdmitsEvery());
  }

  /// As above, among the vectors that `admits(id, metadata)` or `admits(id)` admits as well, without the indirect call of a
  /// SearchFilter.
  template <SearchPredicate Admits>
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params,
                                        const Admits& admits) const {
    return search_rows(rows_, metric_, query, params, admits);
  }

  using SearchOverloads<ExactIndex>::search;

  /// The hits of each of `queries`, which lie one behind the other, as search() finds them. `threads` threads look for them, this
  /// one among them; with 0 as many as the machine has processors. Throws what search() throws; IndexError
  /// dimension_mismatch if the last query is not whole.
  [[nodiscard]] std::vector<std::vector<Hit>> search_many(std::span<const float> queries,
                                                          const SearchParams& params = {},
                                                          std::size_t threads = 0) const {
    return search_rows_many(rows_, metric_, queries, params, threads);
  }

  /// Calls `visit(id, vector, metadata)` for every vector, in the order of the rows, with a `const VectorId&`, a
  /// `std::span<const float>` and a `const std::optional<Metadata>&`.
  template <class Visit>
  void for_each(Visit&& visit) const {
    rows_.for_each(std::forward<Visit>(visit));
  }

 protected:
  ExactIndex(DistanceMetric metric, Rows rows) : metric_(metric), rows_(std::move(rows)) {}
  ExactIndex(const ExactIndex&) = default;
  ExactIndex(ExactIndex&&) noexcept = default;
  ExactIndex& operator=(const ExactIndex&) = default;
  ExactIndex& operator=(ExactIndex&&) noexcept = default;
  ~ExactIndex() = default;

  [[nodiscard]] const Rows& rows() const noexcept { return rows_; }
  [[nodiscard]] Rows& rows() noexcept { return rows_; }

 private:
  friend Content<ExactIndex>;
  [[nodiscard]] const Rows& content() const noexcept { return rows_; }

  DistanceMetric metric_;
  Rows rows_;
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
