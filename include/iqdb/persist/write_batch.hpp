// WriteBatch: mutations that are logged together, and after a crash are there together or not at all.
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

/// Inserts and erases that PersistedIndex::apply takes as one: one record in the log, one sync.
class WriteBatch : public InsertOverloads<WriteBatch> {
 public:
  using InsertOverloads<WriteBatch>::insert;

  /// Adds an insert. Throws IndexError where the metadata could not be stored (check_storable).
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

  /// How many mutations it holds.
  [[nodiscard]] std::size_t size() const noexcept { return mutations_.size(); }

  /// Removes them all, so that it can be filled again.
  void clear() noexcept { mutations_.clear(); }

  /// The mutations, in the order in which they were added.
  [[nodiscard]] const std::vector<Mutation>& mutations() const noexcept { return mutations_; }

 private:
  std::vector<Mutation> mutations_;
};

}  // namespace iqdb
