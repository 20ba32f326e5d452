// WriteBatch: mutations that are logged together.
//
// Invariant: after a crash a load finds all mutations of a batch, or none.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/batch_error.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Inserts, upserts, erases and updates of metadata that PersistedIndex::apply logs as one record, with one sync. The thread rules are those of a
/// standard container.
class WriteBatch : public InsertOverloads<WriteBatch>, public UpsertOverloads<WriteBatch> {
 public:
  using InsertOverloads<WriteBatch>::insert;
  using UpsertOverloads<WriteBatch>::upsert;

  /// Adds an insert. Throws IndexError if the metadata cannot be stored (check_storable).
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_storable(metadata);
    mutations_.push_back({.op = FrameOp::insert,
                          .id = std::move(id),
                          .vector = {vector.begin(), vector.end()},
                          .metadata = std::move(metadata)});
  }

  /// Adds an upsert: a vector of that identifier, if there is one, is replaced. Throws IndexError if the metadata cannot
  /// be stored.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    insert(std::move(id), vector, std::move(metadata));
    mutations_.back().op = FrameOp::upsert;
  }

  /// Adds an erase.
  void erase(VectorId id) { mutations_.push_back({.op = FrameOp::erase, .id = std::move(id)}); }

  /// Adds an update of the metadata of a vector, which stays as it is. Throws IndexError if the metadata cannot be stored. An
  /// index whose type has no update_metadata refuses the batch with PersistError unsupported.
  void update_metadata(VectorId id, std::optional<Metadata> metadata) {
    check_storable(metadata);
    mutations_.push_back({.op = FrameOp::metadata, .id = std::move(id), .metadata = std::move(metadata)});
  }

  /// How many mutations the batch holds.
  [[nodiscard]] std::size_t size() const noexcept { return mutations_.size(); }

  /// Removes all mutations, so that the batch can be filled again.
  void clear() noexcept { mutations_.clear(); }

  /// The mutations, in the order in which they were added.
  [[nodiscard]] const std::vector<Mutation>& mutations() const noexcept { return mutations_; }

 private:
  std::vector<Mutation> mutations_;
};

}  // namespace iqdb
