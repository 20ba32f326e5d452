// WriteBatch: mutations that are logged together.
//
// Invariant: after a crash a load finds all mutations of a batch, or none.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The exception by which PersistedIndex::apply reports that the index rejected a mutation of a batch.
class BatchError : public IndexError {
 public:
  /// The index rejected the mutation at `position` of `batch_size`, which concerns `id`, with `error`.
  BatchError(const IndexError& error, std::size_t position, std::size_t batch_size, const VectorId& id)
      : IndexError(error.kind(), "mutation " + std::to_string(position + 1) + " of the " + std::to_string(batch_size) +
                                     " of the batch, of vector " + to_string(id) + ": " + error.what()),
        position_(position) {}

  /// Which mutation of the batch was rejected, counted from 0.
  [[nodiscard]] std::size_t position() const noexcept { return position_; }

 private:
  std::size_t position_;
};

namespace batch_errors {

// Rethrows the IndexError being handled as a BatchError: the mutation at this position was rejected. Called in a catch
// handler.
[[noreturn, gnu::cold, gnu::noinline]] inline void rethrow_for(std::span<const Mutation> mutations,
                                                               std::size_t position) {
  try {
    throw;
  } catch (const IndexError& error) {
    std::throw_with_nested(BatchError(error, position, mutations.size(), mutations[position].id));
  }
}

}  // namespace batch_errors

/// Inserts, upserts and erases that PersistedIndex::apply logs as one record, with one sync. The thread rules are those of a
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
