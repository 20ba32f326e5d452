// Applies the mutations of a log to an index, and checks before they are logged whether the index will take them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Throws what `index.insert` would, if the index can tell; then nothing needs to be logged. Also throws IndexError if
/// the metadata cannot be stored (check_storable).
template <Index I>
void check_before_insert(const I& index, const VectorId& id, std::span<const float> vector,
                         const std::optional<Metadata>& metadata) {
  check_storable(metadata);
  if constexpr (ChecksInsert<I>) {
    index.check_insert(id, vector, metadata);
  } else if constexpr (ChecksVector<I>) {
    index.check_vector(vector, metadata);
  }
}

/// Throws what `index.erase` would, if the index can tell.
template <Index I>
void check_before_erase(const I& index, const VectorId& id) {
  if constexpr (ChecksErase<I>) {
    index.check_erase(id);
  }
}

/// Throws what an upsert would, if the index can tell. Also throws IndexError if the metadata cannot be stored.
template <Index I>
void check_before_upsert(const I& index, const VectorId& id, std::span<const float> vector,
                         const std::optional<Metadata>& metadata) {
  check_storable(metadata);
  if constexpr (ChecksUpsert<I>) {
    index.check_upsert(id, vector, metadata);
  } else if constexpr (ChecksVector<I>) {
    index.check_vector(vector, metadata);
  } else if constexpr (ChecksInsert<I>) {
    try {
      index.check_insert(id, vector, metadata);
    } catch (const IndexError& error) {
      if (error.kind() != IndexErrorKind::duplicate) {  // the vector that is to be replaced
        throw;
      }
    }
  }
}

/// Throws PersistError unsupported for a mutation of a kind that the index does not have.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_unknown_mutation(FrameOp op, const VectorId& id,
                                                                          std::string_view where,
                                                                          std::string_view advice) {
  throw_persist_error(PersistErrorKind::unsupported, std::string(where) + " holds a mutation of the kind " +
                                                         std::to_string(static_cast<unsigned>(op)) + " of vector " +
                                                         to_string(id) + ", which the index does not have; " +
                                                         std::string(advice));
}

/// Throws what an update of metadata would, if the index can tell: IndexError, also if the metadata cannot be stored;
/// PersistError unsupported for an index that has no update_metadata.
template <Index I>
void check_before_update_metadata(const I& index, const VectorId& id, const std::optional<Metadata>& metadata) {
  if constexpr (!UpdatesMetadata<I>) {
    throw_unknown_mutation(FrameOp::metadata, id, "the batch",
                           "give the type of index a function update_metadata, or use upsert with the vector");
  } else {
    check_storable(metadata);
    if constexpr (ChecksUpdateMetadata<I>) {
      index.check_update_metadata(id, metadata);
    }
  }
}

/// Throws what applying the mutations in this order would, if the index can tell: `fail(position)` is called in the catch
/// handler, and rethrows. Whether an identifier is taken is asked only for its first mutation: what comes later depends
/// on that one.
template <Index I, class Fail>
void check_before_batch(const I& index, std::span<const Mutation> mutations, Fail&& fail) {
  if constexpr (ChecksInsert<I> || ChecksErase<I> || ChecksVector<I> || ChecksUpdateMetadata<I> ||
                !UpdatesMetadata<I>) {
    const auto first_of_id = [&] {
      // Ascending identifiers, the common case, are all different.
      const auto precedes = [](const Mutation& left, const Mutation& right) { return left.id < right.id; };
      const auto not_less = [&](const Mutation& left, const Mutation& right) { return !precedes(left, right); };
      std::vector<bool> first(mutations.size(), true);
      if (std::ranges::adjacent_find(mutations, not_less) != mutations.end()) {
        std::vector<std::size_t> order;
        for (std::size_t at = 0; at < mutations.size(); ++at) {
          order.push_back(at);
        }
        std::ranges::sort(order, [&](std::size_t left, std::size_t right) {
          const auto compared = mutations[left].id <=> mutations[right].id;
          return compared < 0 || (compared == 0 && left < right);
        });
        for (std::size_t at = 1; at < order.size(); ++at) {
          first[order[at]] = precedes(mutations[order[at - 1]], mutations[order[at]]);
        }
      }
      return first;
    }();
    for (std::size_t at = 0; at < mutations.size(); ++at) {
      const Mutation& mutation = mutations[at];
      try {
        if (mutation.op == FrameOp::upsert) {
          check_before_upsert(index, mutation.id, mutation.vector, mutation.metadata);
        } else if (mutation.op == FrameOp::metadata && (first_of_id[at] || !UpdatesMetadata<I>)) {
          check_before_update_metadata(index, mutation.id, mutation.metadata);
        } else if (mutation.op == FrameOp::erase && first_of_id[at]) {
          check_before_erase(index, mutation.id);
        } else if (mutation.op == FrameOp::insert && first_of_id[at]) {
          check_before_insert(index, mutation.id, mutation.vector, mutation.metadata);
        } else if (mutation.op == FrameOp::insert) {
          if constexpr (ChecksVector<I>) {
            index.check_vector(mutation.vector, mutation.metadata);
          }
        }
      } catch (const IndexError&) {
        fail(at);
      }
    }
  }
}

/// Inserts a vector, or replaces the one of that identifier: the index's own upsert, or erase and insert. Throws what
/// they throw, and IndexError if the metadata cannot be stored. If `half_done` is true afterwards, the old vector is gone
/// and the new one is not there; otherwise nothing has changed.
template <Index I>
void upsert_into(I& index, VectorId id, std::span<const float> vector, std::optional<Metadata> metadata,
                 bool& half_done) {
  half_done = false;
  check_storable(metadata);
  if constexpr (Upsertable<I>) {
    index.upsert(std::move(id), vector, std::move(metadata));
  } else {
    check_before_upsert(index, id, vector, metadata);
    bool erased = true;
    try {
      index.erase(id);
    } catch (const IndexError& error) {
      if (error.kind() != IndexErrorKind::not_found) {
        throw;
      }
      erased = false;
    }
    half_done = erased;
    index.insert(std::move(id), vector, std::move(metadata));
    half_done = false;
  }
}

/// An index as a replay of its log changes it: insert_logged and upsert_logged take the place of insert and upsert, and
/// nothing is checked before. Precondition: `index` outlives it.
template <TakesLogged I>
class LoggedView {
 public:
  explicit LoggedView(I& index) noexcept : index_(&index) {}
  void insert(const VectorId& id, std::span<const float> vector, std::optional<Metadata> metadata) {
    index_->insert_logged(id, vector, std::move(metadata));
  }
  void upsert(const VectorId& id, std::span<const float> vector, std::optional<Metadata> metadata) {
    index_->upsert_logged(id, vector, std::move(metadata));
  }
  void erase(const VectorId& id) { index_->erase(id); }
  void update_metadata(const VectorId& id, std::optional<Metadata> metadata) requires UpdatesMetadata<I> {
    index_->update_metadata(id, std::move(metadata));
  }
  [[nodiscard]] std::size_t size() const { return index_->size(); }
  [[nodiscard]] std::size_t dim() const { return index_->dim(); }
  [[nodiscard]] DistanceMetric metric() const { return index_->metric(); }

 private:
  I* index_;
};

/// Calls `change(index)` with the index as a replay changes it.
template <Index I, class Change>
decltype(auto) as_logged(I& index, Change&& change) {
  if constexpr (TakesLogged<I>) {
    LoggedView<I> view(index);
    return std::forward<Change>(change)(view);
  } else {
    return std::forward<Change>(change)(index);
  }
}

/// Applies a mutation, with these metadata. Throws what the index throws, and PersistError unsupported for a kind of
/// mutation that the index does not have. `half_done` is that of upsert_into.
template <Index I>
void apply_mutation(I& index, const Mutation& mutation, std::optional<Metadata> metadata, bool& half_done) {
  half_done = false;
  const std::span<const float> vector = mutation.vector;
  switch (mutation.op) {
    case FrameOp::insert:
      index.insert(mutation.id, vector, std::move(metadata));
      return;
    case FrameOp::erase:
      index.erase(mutation.id);
      return;
    case FrameOp::upsert:
      upsert_into(index, mutation.id, vector, std::move(metadata), half_done);
      return;
    case FrameOp::metadata:
      if constexpr (UpdatesMetadata<I>) {
        index.update_metadata(mutation.id, std::move(metadata));
        return;
      }
      [[fallthrough]];
    default:
      throw_unknown_mutation(mutation.op, mutation.id, "the log",
                             "load it with the type of index, or the version of the library, that wrote it");
  }
}

}  // namespace iqdb
