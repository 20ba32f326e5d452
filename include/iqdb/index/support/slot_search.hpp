// SlotSearch: the search of an adapter, which is the same for every library around the library's own.
//
// Invariants: hits are ordered by distance(), not by the library's own distances; a search that finds fewer vectors than
// there are compares with all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/batch_threads.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/queries.hpp"
#include "iqdb/index/support/slot_filter.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/search_overloads.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Base class of SlotIndex. `Derived` is the adapter; SlotIndex says what it offers.
template <class Derived>
class SlotSearch : public SearchOverloads<SlotSearch<Derived>> {
 public:
  /// Returns the `params.k` vectors found to be nearest to `query`, nearest first, or all vectors if the index holds fewer:
  /// of those that `params.filter` admits and that are within `params.radius`. The comment at the adapter's class says what
  /// `params.ef` and `params.probes` mean. Distances are those of FlatIndex::search, between the query and the vector as it
  /// is kept.
  ///
  /// The library's own search asks the filter. Where the filter admits so few vectors that this would take long, or where an
  /// allowed set is small, the search compares with each admitted vector, and is exact.
  ///
  /// Throws IndexError dimension_mismatch; invalid_vector for a query with a component that is not finite, or whose distances
  /// the library could not tell; invalid_config for a radius that is not a number; what the filter throws; std::bad_alloc.
  /// Several threads may search at the same time.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    return params.filter.admits_all() ? search_among(query, params, EverySlot()) : search(query, params, AdmitsEvery());
  }

  /// As above, among the vectors that `admits(id, metadata)` or `admits(id)` admits as well, without the indirect call of a
  /// SearchFilter.
  template <SearchPredicate Admits>
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params,
                                        const Admits& admits) const {
    return search_among(query, params, AdmittedSlots(slots(), params.filter, admits));
  }

  using SearchOverloads<SlotSearch>::search;

  /// The hits of each of `queries`, which lie one behind the other, as search() finds them. `threads` threads look for them, this
  /// one among them; with 0 as many as the machine has processors. Throws what search() throws; IndexError
  /// dimension_mismatch if the last query is not whole.
  [[nodiscard]] std::vector<std::vector<Hit>> search_many(std::span<const float> queries,
                                                          const SearchParams& params = {},
                                                          std::size_t threads = 0) const {
    const std::size_t dim = derived().dim();
    const std::size_t count = queries_in(queries, dim);
    const std::size_t most = std::min(params.k, slots().size());
    check_radius(params);
    std::vector<std::vector<Hit>> hits(count);
    const bool together = Derived::queries_together > 1 && params.filter.admits_all() && !params.radius && most > 0;
    const std::size_t piece_size = together ? Derived::queries_together : 1;
    in_threads((count + piece_size - 1) / piece_size, threads, [&](std::size_t piece) {
      const std::size_t first = piece * piece_size;
      const auto own = queries.subspan(first * dim, std::min(piece_size, count - first) * dim);
      if constexpr (Derived::queries_together > 1) {
        if (together) {
          std::ranges::move(search_together(own, most, params), hits.begin() + static_cast<std::ptrdiff_t>(first));
          return;
        }
      }
      hits[first] = search(own, params);
    });
    return hits;
  }

 private:
  friend Derived;
  template <class>
  friend class SlotIndex;
  SlotSearch() = default;

  // An adapter that knows better hides these three.
  static constexpr std::size_t queries_together = 1;
  [[nodiscard]] std::size_t most_questions(std::size_t wanted) const noexcept {
    return most_questions_in_graph(wanted, slots().size());
  }
  void rank_found(std::vector<Found>& found, std::size_t most, std::span<const float> query) const {
    rank(found, most, derived().metric(), query, derived().vectors());
  }

  template <class Slots>
  [[nodiscard]] std::vector<Hit> search_among(std::span<const float> query, const SearchParams& params,
                                              const Slots& admitted) const {
    derived().check_form(query, VectorRole::query);
    check_radius(params);
    const auto kept = derived().kept_form(query);
    const std::size_t most = std::min(params.k, slots().size());
    if (most == 0) {
      return {};
    }
    // With a radius, k may be a bound that nobody expects to be reached: few are looked for at first.
    constexpr std::size_t few = 64;
    std::size_t wanted = params.radius ? std::min(most, std::max(few, params.ef.value_or(0))) : most;
    for (;;) {
      std::vector<Found> nearest = candidates(kept, wanted, params, admitted);
      derived().rank_found(nearest, wanted, kept);
      if (wanted == most || nearest.size() < wanted || !is_within(params.radius, nearest.back().distance)) {
        std::erase_if(nearest, [&](const Found& found) { return !is_within(params.radius, found.distance); });
        return hits_of(nearest, slots(), params);
      }
      wanted = most / 4 < wanted ? most : 4 * wanted;
    }
  }

  // The hits of several queries for which the library searches in one call.
  [[nodiscard]] std::vector<std::vector<Hit>> search_together(std::span<const float> queries, std::size_t most,
                                                              const SearchParams& params) const {
    const std::size_t dim = derived().dim();
    std::vector<float> kept;
    kept.reserve(queries.size());
    for (std::size_t at = 0; at < queries.size(); at += dim) {
      derived().check_form(queries.subspan(at, dim), VectorRole::query);
      std::ranges::copy(derived().kept_form(queries.subspan(at, dim)), std::back_inserter(kept));
    }
    std::vector<std::vector<Hit>> hits;
    hits.reserve(queries.size() / dim);
    const std::size_t kept_dim = kept.size() / (queries.size() / dim);  // the kept form may have another dimension
    for (std::vector<Found>& nearest : derived().find_near_many(kept, most, params)) {
      if (nearest.size() < most) {
        nearest = every_vector(slots(), EverySlot());
      }
      derived().rank_found(nearest, most, std::span<const float>(kept).subspan(hits.size() * kept_dim, kept_dim));
      hits.push_back(hits_of(nearest, slots(), params));
    }
    return hits;
  }

  // At least the `wanted` nearest of the admitted vectors, without distances, or all of them.
  template <class Slots>
  [[nodiscard]] std::vector<Found> candidates(std::span<const float> query, std::size_t wanted,
                                              const SearchParams& params, const Slots& admitted) const {
    const std::size_t vectors = slots().size();
    if (const auto* const ids = params.filter.allowed()) {
      // A library's search has to meet about vectors / allowed vectors to find an allowed one, and looks for as many as are
      // wanted, or more. Comparing with each allowed one is then less work.
      constexpr std::size_t usual_width = 64;
      const std::size_t width = std::max(wanted, params.ef.value_or(usual_width));
      if (ids->size() <= vectors && ids->size() * ids->size() <= width * vectors) {
        std::vector<Found> found;
        for (const VectorId& id : *ids) {
          if (const std::optional<std::size_t> slot = slots().find(id); slot && admitted(*slot)) {
            found.push_back({.slot = *slot, .distance = 0.0F});
          }
        }
        return found;
      }
    }
    auto questions = asked(admitted, derived().most_questions(wanted));
    std::vector<Found> found = derived().find_near(query, wanted, params, questions);
    questions.rethrow();
    if (questions.has_given_up() || found.size() < wanted) {
      // Or no link or list leads to the other vectors any more, or they are too far away for a float.
      found = every_vector(slots(), admitted);
    }
    return found;
  }

  [[nodiscard]] const SlotTable& slots() const noexcept { return derived().slots_; }
  [[nodiscard]] const Derived& derived() const noexcept { return static_cast<const Derived&>(*this); }
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
