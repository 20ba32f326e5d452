// check_persistable: checks that an index type keeps the promises that PersistedIndex relies on. It is for the tests of
// the index's author. Any test framework works, because a failure is an exception.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/crash_check.hpp"
#include "iqdb/persist/testing/decoder_check.hpp"
#include "iqdb/persist/testing/mutation_check.hpp"
#include "iqdb/persist/testing/replay_check.hpp"
#include "iqdb/persist/testing/round_trip_check.hpp"
#include "iqdb/persist/testing/run_check.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// Runs all checks of an index type: check_round_trip, check_decoder and, for a type with insert and erase,
/// check_mutations, check_runs, check_replay and check_crashes. Throws Violation at the first broken promise, and what `make` and the
/// functions of `subject` throw.
template <Persistable I>
ConformanceReport check_persistable(const Subject<I>& subject, const ConformanceOptions& options = {}) {
  ConformanceReport report = check_round_trip(subject, options);
  report += check_decoder(subject, options);
  if constexpr (Index<I>) {
    report += check_mutations(subject, options);
    report += check_runs(subject, options);
    report += check_replay(subject, options);
    // Last, because its messages only make sense if the earlier checks passed.
    report += check_crashes(subject, options);
  }
  return report;
}

/// A function without arguments that makes a Persistable index.
template <class F>
concept MakesPersistable = std::copy_constructible<F> && std::invocable<F&> && Persistable<std::invoke_result_t<F&>>;

/// As above, for the index that `make()` returns, which must always be the same.
template <MakesPersistable Make>
ConformanceReport check_persistable(Make make, const ConformanceOptions& options = {}) {
  return check_persistable(Subject<std::invoke_result_t<Make&>>{.make = std::move(make)}, options);
}

}  // namespace testing
}  // namespace iqdb
