// WriteBatch: mutations that are logged together.
//
// Invariant: after a crash a load finds all mutations of a batch, or none.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Inserts and erases that PersistedIndex::apply logs as one record, with one sync. The thread rules are those of a
/// standard container.
class WriteBatch : public InsertOverloads<WriteBatch> {
 public:
  using InsertOverloads<WriteBatch>::insert;

  /// Adds an insert. Throws IndexError if the metadata cannot be stored (check_storable).
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_storable(metadata);
    mutations_.push_back({.op = FrameOp::insert,
                          .id = std::move(id),
                          .vector = {vector.begin(), vector.end()},
                          .metadata = std::move(metadata)});
  }

  /// Adds an erase.
  void erase(VectorId id) {
    mutations_.push_back({.op = FrameOp::erase, .id = std::move(id), .vector = {}, .metadata = {}});
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
