// Applies a batch, which stands in the log as one frame.
//
// Invariant: when it returns or throws, each mutation of the batch was applied, or an abort that names it stands behind
// the frame, or the log is poisoned.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/batch_error.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/logged_mutation.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace logged_mutation {

// Applies the mutations in order, runs of insertions together. If the index rejects one, that one and those behind it
// are aborted. Throws BatchError for an IndexError, and what the index throws otherwise. `log` is null if they are not
// logged.
template <Index I, Storage S>
void apply_batch(I& index, OpenLog<S>* log, InsertRuns& runs, std::span<const Mutation> mutations,
                 const LsnRange& lsns) {
  runs.apply(index, mutations, [&](std::size_t position) {
    const Mutation& mutation = mutations[position];
    try {
      apply_or_abort(log, {.first = lsns.first + position, .last = lsns.last},
                     [&](bool& half_done) { apply_mutation(index, mutation, copied(mutation.metadata), half_done); });
    } catch (const IndexError&) {
      batch_errors::rethrow_for(mutations, position);
    }
  });
}

}  // namespace logged_mutation

}  // namespace iqdb
