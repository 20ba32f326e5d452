// check_replay: checks that an index in PersistedIndex, saved, closed and loaded again and again, equals one that was
// never saved.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/random_mutations.hpp"
#include "iqdb/persist/testing/round_trip_check.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/write_batch.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

namespace conformance {

inline constexpr std::string_view answers_depend_on_what_is_saved =
    "whether an index rejects a mutation depends only on what it saves and on the mutations before";
inline constexpr std::string_view advice_on_answers =
    "what does the decision depend on (a limit, a counter, identifiers once used, a static member)? Does save_to write "
    "it, and load_from restore it?";

// An index that was never saved, and its durable twin.
template <Persistable I>
  requires Index<I>
class Twins {
 public:
  Twins(const Subject<I>& subject, const ConformanceOptions& options, ConformanceReport& report)
      : subject_(&subject),
        history_("make()", options),
        report_(&report),
        random_(options.seed),
        model_(subject.make()),
        source_(subject, persisted_dim(model_), options.seed, options.wrong_dimensions),
        durable_(std::in_place, Durable::load_or_create(next_config(), subject.make, storage_)),
        seen_(observe(subject, model_)) {}

  void step() {
    const std::uint64_t choice = random_.below(100);
    if (choice < 70) {
      mutate();
    } else if (choice < 84) {
      mutate_together();
    } else if (choice < 88) {
      history_.begin("save");
      durable_->save();
    } else if (choice < 92) {
      history_.begin("checkpoint");
      durable_->checkpoint();
    } else {
      load();
      return;
    }
    require_alike("after the same mutations",
                  "what a load does not restore shows only now: does save_to write everything, and load_from read it?");
  }

  void load() {
    history_.begin("close and load");
    durable_->close();
    durable_.reset();
    ++report_->loads;
    try {
      durable_.emplace(Durable::load(next_config(), storage_));
    } catch (const PersistError& error) {
      refused(error);
    }
    require_alike("after a load", {});
  }

 private:
  using Store = BasicFileStorage<SimulatedFileSystem>;
  using Durable = PersistedIndex<I, Store>;

  // Uses the codecs in turn. Extents ahead and threads are off: they take time and test nothing of the index.
  [[nodiscard]] PersistConfig next_config() {
    const std::vector<Compression> codecs = built_in_codecs();
    return {.path = "/index",
            .wal_enabled = true,
            .fsync_policy = FsyncPolicy::never(),
            .compression = codecs[static_cast<std::size_t>(random_.below(codecs.size()))],
            .buffer_bytes = 4096,
            .helper_threads = 0,
            .log_extent_bytes = 0};
  }

  void mutate() {
    const Mutation mutation = source_.next();
    history_.begin(in_words(mutation));
    const Answer expected = ask_model(mutation);
    require_same_answer(expected, ask(*durable_, mutation, history_));
  }

  void mutate_together() {
    std::vector<Mutation> mutations;
    std::string words;
    const std::uint64_t count = 1 + random_.below(4);
    for (std::uint64_t at = 0; at < count; ++at) {
      mutations.push_back(source_.next());
      words += (at == 0 ? "" : ", ") + in_words(mutations.back());
    }
    history_.begin("a batch (" + words + ")");
    Answer expected;
    try {
      // What the index's own checks refuse is not made in part.
      check_before_batch(model_, std::span<const Mutation>(mutations), [](std::size_t /*position*/) { throw; });
    } catch (const IndexError& error) {
      expected = {.rejected = error.kind(), .message = error.what()};
    }
    for (std::size_t at = 0; at < mutations.size() && !expected.rejected; ++at) {
      expected = ask_model(mutations[at]);
    }
    Answer answer;
    try {
      durable_->apply(batch_of(mutations));
    } catch (const IndexError& error) {
      answer = {.rejected = error.kind(), .message = error.what()};
    }
    require_same_answer(expected, answer);
  }

  // Makes a mutation of the index that was never saved. A mutation that throws must leave it unchanged.
  [[nodiscard]] Answer ask_model(const Mutation& mutation) {
    Answer answer = ask(model_, mutation, history_);
    ++report_->mutations;
    Observation now = observe(*subject_, model_);
    if (answer.rejected) {
      ++report_->rejections;
      if (const auto found = difference(*subject_, seen_, now, history_.options())) {
        violated("a mutation that throws has changed the index: " + found->words + "; it threw IndexError " +
                     std::string(to_string(*answer.rejected)) + ": " + answer.message,
                 history_, "a mutation that throws leaves the index as it was: a replay passes it over",
                 "check everything that may be rejected (is it there already, its dimension, a limit) before the first "
                 "member is changed, or undo the change");
      }
    } else {
      source_.took(mutation);
    }
    seen_ = std::move(now);
    return answer;
  }

  void require_same_answer(const Answer& expected, const Answer& answer) const {
    if (answer != expected) {
      violated("the last mutation is answered differently by the durable index, which was loaded " +
                   std::to_string(report_->loads) + " times: it " + answer.text() + "; one that was never saved " +
                   expected.text(),
               history_, answers_depend_on_what_is_saved, advice_on_answers);
    }
  }

  void require_alike(std::string_view when, std::string_view advice) const {
    const auto found = difference(*subject_, seen_, observe(*subject_, durable_->index()), history_.options());
    if (found) {
      violated("the durable index is not the one that was never saved, " + std::string(when) + ": " + found->words,
               history_, "snapshot and log together give the index that was",
               advice.empty() ? advice_after_load(found->aspect) : advice);
    }
  }

  [[noreturn]] void refused(const PersistError& error) const {
    if (error.kind() == PersistErrorKind::replay_rejected) {
      violated(std::string("a mutation is answered differently at replay: the load is refused: ") + error.what(),
               history_, answers_depend_on_what_is_saved, advice_on_answers);
    }
    violated(std::string("what the durable index has saved cannot be loaded: ") + error.what(), history_,
             "load_from reads what save_to has written, exactly",
             "which field do save_to and load_from not agree about?");
  }

  const Subject<I>* subject_;
  History history_;
  ConformanceReport* report_;
  Random random_;
  Store storage_;
  I model_;
  RandomMutations<I> source_;
  std::optional<Durable> durable_;
  Observation seen_;  // of model_, as it is now
};

}  // namespace conformance

/// Makes the same random mutations, one by one and in batches, of an index and of a second one in a PersistedIndex with
/// its log on. The second one is saved, checkpointed, closed and loaded in between. Both must answer each mutation
/// alike and hold the same after each step, and a mutation that throws must leave the index unchanged. The store is in
/// memory. Throws Violation, and what `make` and the functions of `subject` throw.
template <Persistable I>
  requires Index<I> ConformanceReport check_replay(const Subject<I>& subject, const ConformanceOptions& options = {}) {
    ConformanceReport report;
    conformance::Twins<I> twins(subject, options, report);
    for (std::size_t step = 0; step < options.steps; ++step) {
      twins.step();
    }
    twins.load();
    return report;
  }

}  // namespace testing
}  // namespace iqdb
