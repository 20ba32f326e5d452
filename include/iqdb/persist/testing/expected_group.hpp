// What the callers of a group must be told, and what a load may find of the group.
//
// An index in memory gets the same calls, one behind the other, in the order in which they are committed. What it answers
// is what each caller must be told. What it holds behind the group is the moment that a load may find: so a group is found
// whole or not at all. There is one exception: of a group whose abort is missing, a load may find what a replay of its
// frame makes, which ends at the first mutation that is rejected again.
#pragma once

#include <exception>
#include <span>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/mutation.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What becomes of a call if its group does not fail.
struct ExpectedCall {
  bool refused = false;   ///< a check refuses it, and it is not logged
  bool rejected = false;  ///< a check refuses it, or the index rejects it when it is applied
};

/// What becomes of a group if it does not fail.
struct ExpectedGroup {
  std::vector<ExpectedCall> calls = {};  ///< of each call, in their order
  Moment after = {};                     ///< the index behind the group
  std::vector<Moment> moments = {};      ///< what a load may find from now on, `after` last; empty if nothing is logged
  bool needs_abort = false;              ///< the index rejects what is logged
  bool need_not_repeat = false;          ///< with what a replay need not meet again, as memory that runs out
};

/// Makes the mutations of each of `calls` of `mirror`, which is at the moment `before`, and tells what becomes of the group.
template <Persistable I>
  requires Index<I>
[[nodiscard]] ExpectedGroup expected_group(const Subject<I>& subject, I& mirror,
                                           std::span<const std::vector<Mutation>* const> calls, const Moment& before,
                                           bool wal_enabled) {
  ExpectedGroup expected{.after = before};
  I replayed = copy_of(mirror);
  bool goes_on = true;  // the replay
  for (const std::vector<Mutation>* mutations : calls) {
    ExpectedCall& call = expected.calls.emplace_back();
    call.refused = is_refused_by_checks(mirror, *mutations);
    if (call.refused) {
      call.rejected = true;
      continue;
    }
    try {
      for (const Mutation& mutation : *mutations) {
        make_mutation(mirror, mutation);
      }
    } catch (const IndexError&) {
      call.rejected = true;
    } catch (const std::exception&) {
      call.rejected = expected.need_not_repeat = true;
    }
    expected.needs_abort = expected.needs_abort || call.rejected;
    expected.after.lsn += wal_enabled ? mutations->size() : 0;
    goes_on = goes_on && as_logged(replayed, [&](auto& index) { return takes_all(index, *mutations); });
  }
  expected.after.contents = subject.contents(mirror);
  if (expected.after.lsn != before.lsn) {
    const Moment unsettled{.lsn = expected.after.lsn, .contents = subject.contents(replayed)};
    if (unsettled != expected.after) {
      expected.moments.push_back(unsettled);
    }
    expected.moments.push_back(expected.after);
  }
  return expected;
}

}  // namespace testing
}  // namespace iqdb
