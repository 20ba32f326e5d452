// check_runs: what an index does with many rows at once. insert_many must take them all as insert would, or change nothing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/random_mutations.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/lent_helpers.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

namespace conformance {

// An index that is given runs of rows, some of which it must refuse, and a copy that is given the rows one by one.
template <Persistable I>
  requires Index<I> && InsertsMany<I>
class OfferedRuns {
 public:
  OfferedRuns(const Subject<I>& subject, Filled<I> filled, History& history, ConformanceReport& report)
      : subject_(&subject),
        index_(std::move(filled.index)),
        source_(std::move(filled.source)),
        history_(&history),
        report_(&report),
        random_(history.options().seed),
        helpers_(1) {}

  void step() {
    const std::vector<Mutation> rows = next_rows();
    history_->begin("insert_many of " + std::to_string(rows.size()) + " rows, of which the last is to " +
                    in_words(rows.back()));
    const Observation before = observe(*subject_, index_);
    I twin = copy_of(index_);
    Answer refused;
    std::size_t taken = 0;
    while (taken < rows.size() && !refused.rejected) {
      refused = ask(twin, rows[taken], *history_);
      taken += refused.rejected ? 0U : 1U;
    }
    report_->mutations += rows.size();
    report_->rejections += refused.rejected ? 1U : 0U;
    if (!insert_many(rows)) {
      if (const auto found = difference(*subject_, before, observe(*subject_, index_), history_->options())) {
        violated("an insert_many that throws has changed the index: " + found->words, *history_,
                 "insert_many takes all rows or none: after a throw the rows are inserted one by one, and a row that "
                 "is there "
                 "already would count as rejected, and be lost",
                 "are the rows in front of the one that is refused taken out again? A loop over insert keeps them");
      }
      return;
    }
    if (refused.rejected) {
      violated("insert_many takes a run whose row " + std::to_string(taken) + " insert " + refused.text(), *history_,
               "insert_many takes what insert takes, row by row",
               "does insert_many look for identifiers that are known, and for the same one twice in a run?");
    }
    require_same_rows(twin);
    for (const Mutation& row : rows) {
      source_.took(row);
    }
  }

 private:
  // Insertions of the right dimension: new identifiers, known ones, and now and then one twice.
  [[nodiscard]] std::vector<Mutation> next_rows() {
    constexpr std::uint64_t most = 6;
    const auto count = static_cast<std::size_t>(2 + random_.below(most));
    std::vector<Mutation> rows;
    while (rows.size() < count) {
      Mutation row = source_.next();
      if (row.op == FrameOp::insert && row.vector.size() == persisted_dim(index_)) {
        if (!rows.empty() && random_.one_in(8)) {
          row.id = rows[static_cast<std::size_t>(random_.below(rows.size()))].id;
        }
        rows.push_back(std::move(row));
      }
    }
    return rows;
  }

  // Returns whether the index took the rows.
  [[nodiscard]] bool insert_many(const std::vector<Mutation>& rows) {
    InsertRun run;
    run.begin(persisted_dim(index_));
    for (const Mutation& row : rows) {
      run.add(row.id, row.vector, copied(row.metadata));
    }
    LentHelpers threads(helpers_);
    try {
      index_.insert_many(run.rows(), threads);
      return true;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {
      return false;
    }
  }

  // By what searches tell of them: a graph may have other links.
  void require_same_rows(const I& twin) const {
    const auto differs = [&]() -> std::optional<std::string> {
      if (persisted_size(twin) != persisted_size(index_)) {
        return "size() is " + std::to_string(persisted_size(index_)) + ", and " + std::to_string(persisted_size(twin)) +
               " in the copy";
      }
      if constexpr (Searchable<I>) {
        for (std::uint64_t query = first_query; query < first_query + queries; ++query) {
          const std::vector<float> vector = subject_->vector(query, persisted_dim(index_));
          const SearchAnswer expected = search_all(twin, persisted_size(twin), vector);
          const SearchAnswer found = search_all(index_, persisted_size(index_), vector);
          if (auto difference = search_difference(expected, found, history_->options().approximate_search)) {
            return difference->words;
          }
        }
      }
      return std::nullopt;
    }();
    if (differs) {
      violated("after insert_many the index is not what the same insertions one by one make of a copy: " + *differs,
               *history_, "insert_many inserts what insert inserts",
               "are vectors, identifiers and metadata taken of the same row?");
    }
  }

  const Subject<I>* subject_;
  I index_;
  RandomMutations<I> source_;
  History* history_;
  ConformanceReport* report_;
  Random random_;
  HelperThreads helpers_;
};

}  // namespace conformance

/// Gives an index runs of rows by insert_many, among them known identifiers and some twice. It must take all rows, as insert would, or
/// throw and change nothing. Does nothing for a type without insert_many. Throws Violation, and what `make` and the functions of
/// `subject` throw.
template <Persistable I>
  requires Index<I> ConformanceReport check_runs(const Subject<I>& subject, const ConformanceOptions& options = {}) {
    ConformanceReport report;
    if constexpr (InsertsMany<I>) {
      for (const std::size_t vectors : {std::size_t{0}, std::size_t{12}}) {
        conformance::History history("make()", options);
        conformance::Filled<I> filled = conformance::make_filled(subject, vectors, options.seed + vectors, history);
        report.mutations += filled.mutations.size();
        conformance::OfferedRuns<I> offered(subject, std::move(filled), history, report);
        for (std::size_t step = 0; step < options.steps / 4; ++step) {
          offered.step();
        }
      }
    }
    return report;
  }

}  // namespace testing
}  // namespace iqdb
