// SlotIndex: the part of an adapter that is the same for every library.
//
// Invariants: every identifier has one slot, and the library keeps its vector under that number; a mutation that throws
// has changed nothing.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/content.hpp"
#include "iqdb/index/support/dimension.hpp"
#include "iqdb/index/support/graph_wear.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_search.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Base class of an index of another library. A SlotTable holds identifiers and metadata, and the library holds each
/// vector under the number of its slot. `Derived` is the adapter. It adds `save_to`, and offers this class and SlotSearch, as friends:
///
/// - `library`, `most_vectors`: static constants, the library's name and how many vectors it has numbers for
/// - `check_form(vector, role)`: throws IndexError for a vector that the index does not take in that VectorRole;
///   allocates nothing
/// - `kept_form(vector)`: the vector as the library gets it, a std::vector<float> or a span
/// - `place(addition, vector)`: puts a vector into the slot of a SlotTable::Addition; if it throws, the library finds
///   nothing there
/// - `place_many(additions, vectors, threads)`: puts the vectors of all rows, as they were inserted, into the slots of
///   the SlotTable::Additions; if it throws, the library finds none of them
/// - `check_remove(slot)`: throws IndexError if the library cannot remove that vector
/// - `remove(slot)`: removes a vector from the library and from the table; throws nothing directly behind place()
/// - `find_near(query, most, params, asked)`: up to `most` vectors near the query for which `asked`, EverySlot or an
///   AskedSlots, is true, as a std::vector<Found> without distances; ends soon when that has given up
/// - if it likes, `most_questions(wanted)`: how many vectors a search that wants so many may ask a filter about before it is
///   less work to compare with each admitted one; by default as for a graph
/// - if it likes, `queries_together`: a static constant, for how many queries the library searches in one call; and then
///   `find_near_many(queries, most, params)`, which does so and returns what find_near() returns for each
/// - if it likes, `rank_found(found, most, query)`: measures the distances of these from the query in its kept form, and keeps
///   the nearest `most`, in order; by default with distance() and vectors()
/// - `reserve_vectors(vectors)`: makes room in the library for so many in all
/// - `vectors()`: a function object that returns the vector in a taken slot, as a span that is valid until its next
///   call
/// - if it likes, `held_vectors()`: as vectors(), in the form in which they are given back; by default that of vectors()
/// - `decode(reader)`, static: makes the index from a payload
template <class Derived>
class SlotIndex : public InsertOverloads<SlotIndex<Derived>>,
                  public UpsertOverloads<SlotIndex<Derived>>,
                  public SlotSearch<Derived>,
                  public Content<SlotIndex<Derived>> {
 public:
  /// load_from checks everything that it reads.
  static constexpr bool trusts_nothing = true;

  /// The number of vectors.
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

  /// The number of components of each vector; 0 if the index was moved from. It then holds nothing, and refuses every
  /// vector, query and save with an IndexError invalid_config.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// Whether the index holds a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return slots_.find(id).has_value(); }

  /// Throws what insert throws for every identifier: IndexError dimension_mismatch; invalid_vector for a component that
  /// is not finite, or a vector that the index cannot keep; invalid_config or resource_limit for metadata that cannot be
  /// stored (check_storable).
  void check_vector(std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    derived().check_form(vector, VectorRole::stored);
    check_storable(metadata);
  }

  /// Throws what insert would throw, except std::bad_alloc and what the library itself refuses.
  void check_insert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_addition(id, vector, metadata);
    slots_.require_absent(id);
  }

  /// Throws what upsert would throw, except std::bad_alloc and what the library itself refuses.
  void check_upsert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_addition(id, vector, metadata);
    if (const auto slot = slots_.find(id)) {
      derived().check_remove(*slot);
    }
  }

  /// Throws what erase would throw, except std::bad_alloc and what the library itself refuses.
  void check_erase(const VectorId& id) const { derived().check_remove(slots_.at(id)); }

  using InsertOverloads<SlotIndex>::insert;

  /// Adds a vector of dim() finite components. If it throws, nothing has changed: IndexError dimension_mismatch;
  /// invalid_vector for a component that is not finite or a vector that the index cannot keep; duplicate if the
  /// identifier is taken; invalid_config or resource_limit for metadata or an identifier that cannot be stored
  /// (check_storable); resource_limit if the library refuses or has no number left; std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_insert(id, vector, metadata);
    add(std::move(id), vector, std::move(metadata));
  }

  /// As insert, for a vector that a log says was once taken: its length and the number of its identifier's bytes may be
  /// any, since earlier versions took any.
  void insert_logged(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    check_logged(vector, metadata);
    add(std::move(id), vector, std::move(metadata));
  }

  /// Adds the vectors of all rows, as if each were inserted in their order. If it throws, nothing has changed: what
  /// insert throws for one of the rows; IndexError dimension_mismatch if the components are not those of as many vectors
  /// as there are identifiers, invalid_config if there are more or fewer metadata than identifiers; duplicate also for
  /// an identifier that stands in two rows. The comment at the adapter's class says what it does in several threads.
  void insert_many(const InsertedRows& rows, LentThreads& threads) {
    check_rows(rows);
    if (rows.size() == 0) {
      return;
    }
    SlotTable::Additions additions(slots_, rows.ids, rows.metadata);
    derived().place_many(additions, rows.vectors, threads);
    replaced_ += additions.reused();
    additions.keep();
  }

  using UpsertOverloads<SlotIndex>::upsert;

  /// Replaces the vector and the metadata of an identifier, or adds them as insert does. A replacement takes the number
  /// of another vector in the library before it gives the old one back, so that nothing has changed if it throws: what
  /// insert throws, except duplicate; and what erase throws for an index that cannot erase.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    const std::optional<std::size_t> old = slots_.find(id);
    if (!old) {
      insert(std::move(id), vector, std::move(metadata));
      return;
    }
    check_upsert(id, vector, metadata);
    replace(*old, std::move(id), vector, std::move(metadata));
  }

  /// As upsert, for a vector that a log says was once taken, as for insert_logged.
  void upsert_logged(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    check_logged(vector, metadata);
    const std::optional<std::size_t> old = slots_.find(id);
    if (!old) {
      add(std::move(id), vector, std::move(metadata));
      return;
    }
    derived().check_remove(*old);
    replace(*old, std::move(id), vector, std::move(metadata));
  }

  /// Removes a vector. If it throws, nothing has changed: IndexError not_found if the index does not hold the vector,
  /// invalid_config for an index that cannot erase, resource_limit if the library refuses, std::bad_alloc.
  void erase(const VectorId& id) {
    const std::size_t slot = slots_.at(id);
    derived().check_remove(slot);
    derived().remove(slot);
  }

  /// Throws what update_metadata would throw, except std::bad_alloc.
  void check_update_metadata(const VectorId& id, const std::optional<Metadata>& metadata) const {
    check_storable(metadata);
    std::ignore = slots_.at(id);
  }

  /// Replaces the metadata of an identifier, and leaves its vector where it is. If it throws, nothing has changed: IndexError
  /// not_found if the index does not hold the identifier, invalid_config or resource_limit for metadata that cannot be stored.
  void update_metadata(const VectorId& id, std::optional<Metadata> metadata) {
    check_update_metadata(id, metadata);
    slots_.set_metadata(slots_.at(id), std::move(metadata));
  }

  /// Makes room for so many vectors in all, so that the next insertions need not move them. Throws IndexError resource_limit if
  /// the library has no numbers for so many; std::bad_alloc. It changes no content, so that a log has nothing to say of it:
  /// `db.tune([](auto& index) { index.reserve(n); })`.
  void reserve(std::size_t vectors) {
    require_not_moved_from(dim_);
    if (vectors > size()) {
      require_numbers_left(vectors - size());
      slots_.reserve(vectors);
      derived().reserve_vectors(vectors);
    }
  }

  /// Calls `visit(id, vector, metadata)` for each vector in the form in which it is kept, with a `const VectorId&`, a
  /// `std::span<const float>` that is valid during the call, and a `const std::optional<Metadata>&`.
  template <class Visit>
  void for_each(Visit&& visit) const {
    auto vector_in = derived().held_vectors();
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        slots_.with_id(slot, [&](const VectorId& id) {
          visit(id, std::span<const float>(vector_in(slot)), slots_.metadata(slot));
        });
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
  friend SlotSearch<Derived>;
  friend Content<SlotIndex>;
  SlotIndex(std::size_t dim, DistanceMetric metric) noexcept : dim_(dim), metric_(metric) {}

  [[nodiscard]] const SlotIndex& content() const noexcept { return *this; }

  // An adapter that compares vectors in another form hides it.
  [[nodiscard]] auto held_vectors() const { return derived().vectors(); }

  template <class Visit>
  bool visit_one(const VectorId& id, Visit&& visit) const {
    const std::optional<std::size_t> slot = slots_.find(id);
    if (slot) {
      auto vector_in = derived().held_vectors();
      visit(std::span<const float>(vector_in(*slot)), slots_.metadata(*slot));
    }
    return slot.has_value();
  }

  template <class Visit>
  void visit_ids(Visit&& visit) const {
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        slots_.with_id(slot, visit);
      }
    }
  }

  void check_addition(const VectorId& id, std::span<const float> vector,
                      const std::optional<Metadata>& metadata) const {
    check_vector(vector, metadata);
    check_storable(id);
    require_numbers_left(1);
  }

  void check_rows(const InsertedRows& rows) const {
    require_not_moved_from(dim_);
    if (rows.metadata.size() != rows.size()) {
      throw IndexError(IndexErrorKind::invalid_config, std::to_string(rows.size()) + " identifiers are given with " +
                                                           std::to_string(rows.metadata.size()) + " metadata");
    }
    if (rows.vectors.size() % dim_ != 0 || rows.vectors.size() / dim_ != rows.size()) {
      throw IndexError(IndexErrorKind::dimension_mismatch,
                       std::to_string(rows.size()) + " vectors are given with " + std::to_string(rows.vectors.size()) +
                           " components in all, but the index has dimension " + std::to_string(dim_));
    }
    for (std::size_t row = 0; row < rows.size(); ++row) {
      check_vector(rows.vectors.subspan(row * dim_, dim_), rows.metadata[row]);
      check_storable(rows.ids[row]);
    }
    require_numbers_left(rows.size());
  }

  void check_logged(std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    derived().check_form(vector, VectorRole::logged);
    check_storable(metadata);
    require_numbers_left(1);
  }

  void require_numbers_left(std::size_t more) const {
    if (size() + more > Derived::most_vectors) {
      throw IndexError(IndexErrorKind::resource_limit, "the index holds " + std::to_string(size()) +
                                                           " vectors, the most that " + std::string(Derived::library) +
                                                           " has numbers for");
    }
  }

  // Adds a vector that was checked. Throws IndexError duplicate for a known identifier.
  void add(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    const auto kept = derived().kept_form(vector);
    SlotTable::Addition addition = slots_.add(std::move(id), std::move(metadata));
    derived().place(addition, kept);
    addition.keep();
    replaced_ += static_cast<std::size_t>(addition.reused());
  }

  // Replaces the vector in the slot `old` by one that was checked.
  void replace(std::size_t old, VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    const auto kept = derived().kept_form(vector);
    SlotTable::Addition addition = slots_.replace(std::move(id), std::move(metadata));
    derived().place(addition, kept);
    addition.keep();
    replaced_ += static_cast<std::size_t>(addition.reused());
    derived().remove(old);
  }

  // For adapters of graphs.
  [[nodiscard]] GraphWear graph_wear() const noexcept {
    return {.erased = slots_.slots() - slots_.size(), .replaced = replaced_};
  }

  // Makes `fresh`, an empty index, one of the vectors of this index, in the order of their slots and without gaps between
  // them, and then makes it this one. `place_copy(fresh, addition, slot)` puts the vector in a slot of this index into `fresh`,
  // as it is kept. If it throws, nothing has changed.
  template <class PlaceCopy>
  void become(Derived fresh, PlaceCopy place_copy) {
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        SlotTable::Addition addition = fresh.slots_.add(slots_.id(slot), copied(slots_.metadata(slot)));
        place_copy(fresh, addition, slot);
        addition.keep();
      }
    }
    derived() = std::move(fresh);
  }

  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }
  [[nodiscard]] const Derived& derived() const noexcept { return static_cast<const Derived&>(*this); }

  Dimension dim_;
  DistanceMetric metric_;
  SlotTable slots_;
  std::size_t replaced_ = 0;  // vectors that took the slot of an erased one
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
