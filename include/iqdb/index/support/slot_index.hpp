// SlotIndex: the part of an adapter that is the same for every library.
//
// Invariants: every identifier has one slot, and the library keeps its vector under that number; a mutation that throws
// has changed nothing; the hits of a search are ordered by distance(), not by the library's own distances.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Base class of an index of another library. A SlotTable holds identifiers and metadata, and the library holds each
/// vector under the number of its slot. `Derived` is the adapter. It adds `erase` and `save_to`, and offers this class,
/// as a friend:
///
/// - `kept_form(vector, what)`: the vector as the library gets it, a std::vector<float> or a span; throws IndexError
///   for a vector that the library does not take
/// - `place(addition, vector)`: puts a vector into the slot of a SlotTable::Addition; if it throws, the library finds
///   nothing there
/// - `near(query, most, params)`: up to `most` vectors near the query, as a std::vector<Found> without distances
/// - `vectors()`: a function object that returns the vector in a taken slot, as a span that is valid until its next
///   call
/// - `decode(reader)`, static: makes the index from a payload
/// - `check_erasable()`: throws what `erase` throws for any vector of the index
template <class Derived>
class SlotIndex : public InsertOverloads<SlotIndex<Derived>> {
 public:
  /// load_from checks every length, link and value.
  static constexpr bool trusts_nothing = true;

  /// The number of vectors.
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

  /// The number of components of each vector.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// Whether the index holds a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return slots_.find(id).has_value(); }

  /// Throws what insert throws for any identifier, except what only the library knows.
  void check_vector(std::span<const float> vector, const std::optional<Metadata>& metadata = {}) const {
    std::ignore = derived().kept_form(vector, "vector");
    check_storable(metadata);
  }

  /// Throws what insert would throw, except what only the library knows and std::bad_alloc.
  void check_insert(const VectorId& id, std::span<const float> vector,
                    const std::optional<Metadata>& metadata = {}) const {
    check_vector(vector, metadata);
    slots_.check_new(id);
  }

  /// Throws what erase would throw.
  void check_erase(const VectorId& id) const {
    std::ignore = slots_.at(id);
    derived().check_erasable();
  }

  using InsertOverloads<SlotIndex>::insert;
  using InsertOverloads<SlotIndex>::upsert;

  /// Adds a vector of dim() finite components. If it throws, nothing has changed: IndexError dimension_mismatch;
  /// invalid_vector for a component that is not finite or that the index cannot keep; duplicate if the identifier is
  /// taken; invalid_config or resource_limit for metadata that cannot be stored (check_storable); resource_limit if the
  /// library refuses or has no number left; std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    const auto kept = derived().kept_form(vector, "vector");
    SlotTable::Addition addition = slots_.add(std::move(id), std::move(metadata));
    derived().place(addition, kept);
    addition.keep();
  }

  /// Adds a vector, or replaces the vector and the metadata of that identifier. If it throws, nothing has changed: what
  /// insert throws, but not duplicate; what erase throws, if the index cannot erase.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    if (!contains(id)) {
      insert(std::move(id), vector, std::move(metadata));
      return;
    }
    derived().check_erasable();
    // The new vector is inserted under another identifier first: if the library refuses it, the old one is still there.
    const VectorId stand_in = slots_.unused_id();
    VectorId key = id;
    insert(stand_in, vector, std::move(metadata));
    try {
      derived().erase(id);
    } catch (...) {
      derived().erase(stand_in);
      throw;
    }
    slots_.rename(stand_in, std::move(key), std::move(id));
  }

  /// Returns the `params.k` vectors found to be nearest to `query`, nearest first, or all vectors if the index holds
  /// fewer. The comment at the adapter's class says what `params.ef` means. Distances are those of FlatIndex::search,
  /// between the query and the vector as it is kept. Throws IndexError dimension_mismatch, and invalid_vector for a
  /// query that insert would not take. Several threads may search at the same time.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    const auto kept = derived().kept_form(query, "query");
    const std::size_t most = std::min(params.k, size());
    if (most == 0) {
      return {};
    }
    std::vector<Found> nearest = derived().near(kept, most, params);
    if (nearest.size() < most) {
      // No link or list leads to the other vectors any more, or they are too far away for a float.
      nearest = every_vector(slots_);
    }
    rank(nearest, metric_, kept, derived().vectors());
    nearest.resize(most);
    return hits_of(nearest, slots_);
  }

  /// As above, for a query written as a braced list of its components.
  [[nodiscard]] std::vector<Hit> search(std::initializer_list<float> query, const SearchParams& params = {}) const {
    return search(std::span<const float>(query.begin(), query.size()), params);
  }

  /// Calls `visit(id, vector, metadata)` for each vector in the form in which it is kept, with a `const VectorId&`, a
  /// `std::span<const float>` that is valid during the call, and a `const std::optional<Metadata>&`.
  template <class Visit>
  void for_each(Visit&& visit) const {
    auto vector_in = derived().vectors();
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        visit(slots_.id(slot), std::span<const float>(vector_in(slot)), slots_.metadata(slot));
      }
    }
  }

  /// Makes an index from a payload that `save_to` wrote. Throws PersistError invalid_payload or invalid_metric for a
  /// payload that it did not write.
  [[nodiscard]] static Derived load_from(Reader& reader) {
    return decode_whole(reader, Derived::index_type, [&reader] { return Derived::decode(reader); });
  }

 private:
  friend Derived;  // which also works with the table
  SlotIndex(std::size_t dim, DistanceMetric metric) noexcept : dim_(dim), metric_(metric) {}

  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }
  [[nodiscard]] const Derived& derived() const noexcept { return static_cast<const Derived&>(*this); }

  std::size_t dim_;
  DistanceMetric metric_;
  SlotTable slots_;
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
