// BatchError: which mutation of a batch the index rejected.
#pragma once

#include <cstddef>
#include <exception>
#include <span>
#include <string>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The exception by which PersistedIndex::apply and SharedIndex::apply report that the index rejected a mutation of a batch.
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

}  // namespace iqdb
