// check_mutations: what an index offers beside insert and erase. Its checks must announce exactly what a mutation does,
// its upsert must replace or add, whole or not at all, and an update of metadata must change nothing else.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/random_mutations.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

namespace conformance {

// Whether a type offers anything that check_mutations examines.
template <class I>
concept OffersMore =
    ChecksVector<I> || ChecksInsert<I> || ChecksErase<I> || ChecksUpsert<I> || Upsertable<I> || UpdatesMetadata<I>;

// How an index answers a call that may only throw IndexError.
template <class Call>
[[nodiscard]] Answer answer_of(std::string_view name, const History& history, Call&& call) {
  std::string other;
  try {
    std::forward<Call>(call)();
    return {};
  } catch (const IndexError& error) {
    return {.rejected = error.kind(), .message = error.what()};
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    other = error.what();
  } catch (...) {
    other = "what is no std::exception";
  }
  violated(std::string(name) + " throws what is no IndexError: " + other, history,
           "a check and a mutation reject by IndexError, and by nothing else",
           "throw iqdb::IndexError of the kind that fits");
}

// An index, and its mutations one by one, each asked for in every way that the index offers.
template <Persistable I>
  requires Index<I>
class OfferedMutations {
 public:
  OfferedMutations(const Subject<I>& subject, Filled<I> filled, History& history, ConformanceReport& report)
      : subject_(&subject),
        index_(std::move(filled.index)),
        source_(std::move(filled.source)),
        history_(&history),
        report_(&report),
        random_(history.options().seed),
        updates_(history.options().seed) {}

  void step() {
    Mutation mutation = source_.next();
    if (mutation.op == FrameOp::insert) {
      spoil_copies(mutation);
    }
    if constexpr (UpdatesMetadata<I>) {
      if (updates_.one_in(4)) {
        update_metadata(mutation);
      }
    }
    if constexpr (Upsertable<I>) {
      if (mutation.op == FrameOp::insert && random_.one_in(2)) {
        upsert(mutation);
        return;
      }
    }
    make(index_, mutation, true);
  }

 private:
  // Tries of a copy what the index may or may not take, and what a random mutation does not have.
  void spoil_copies(const Mutation& mutation) {
    Mutation spoilt = mutation;
    switch (random_.below(6)) {
      case 0:
        spoilt.metadata = Metadata{{"\xFF", true}};
        break;
      case 1:
        if (spoilt.vector.empty()) {
          return;
        }
        spoilt.vector.back() = std::numeric_limits<float>::quiet_NaN();
        break;
      default:
        return;
    }
    I copy = copy_of(index_);
    make(copy, spoilt, false);
    if constexpr (Upsertable<I>) {
      I other = copy_of(index_);
      static_cast<void>(upsert_whole(other, spoilt));
    }
  }

  // Asks the checks, then makes the mutation, and compares the answers.
  void make(I& index, const Mutation& mutation, bool keep) {
    const bool inserts = mutation.op == FrameOp::insert;
    history_->begin((keep ? "" : "of a copy: ") + in_words(mutation));
    const Observation before = observe(*subject_, index);
    const std::optional<Answer> by_vector = ask_vector(index, mutation);
    std::optional<Answer> announced;
    if constexpr (ChecksInsert<I>) {
      if (inserts) {
        announced = answer_of("check_insert", *history_, [&] {
          std::as_const(index).check_insert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
        });
      }
    }
    if constexpr (ChecksErase<I>) {
      if (!inserts) {
        announced = answer_of("check_erase", *history_, [&] { std::as_const(index).check_erase(mutation.id); });
      }
    }
    require_unchanged(before, index, inserts ? "check_insert or check_vector" : "check_erase");
    const Answer answer = ask(index, mutation, *history_);
    count(answer);
    require_announced(announced, answer, inserts ? "check_insert" : "check_erase", inserts ? "insert" : "erase");
    require_vector_announced(by_vector, answer, mutation);
    if (keep && !answer.rejected) {
      source_.took(mutation);
    }
  }

  // An upsert of the mutation's identifier, compared with an erase and an insert of a copy.
  void upsert(const Mutation& mutation) {
    history_->begin("upsert " + in_words(mutation.id) + " instead of: " + in_words(mutation));
    const bool known = std::ranges::find(source_.present(), mutation.id) != source_.present().end();
    I twin = copy_of(index_);
    const Answer erased = known ? answer_of("erase", *history_, [&] { twin.erase(mutation.id); }) : Answer{};
    Answer expected = erased;
    if (!expected.rejected) {
      expected = answer_of("insert", *history_, [&] { make_mutation(twin, mutation); });
    }
    const Answer answer = upsert_whole(index_, mutation);
    if (erased.rejected) {
      return;  // an index that cannot erase may be able to replace, or not
    }
    if (answer.rejected.has_value() != expected.rejected.has_value()) {
      violated("upsert " + answer.text() + "; an erase and an insert of the same of a copy: " + expected.text(),
               *history_, "an upsert takes what an insert takes, whether the identifier is known or not",
               "does upsert check the vector as insert does, and does it replace a known identifier?");
    }
    if (answer.rejected) {
      return;
    }
    if (!known) {
      source_.took(mutation);
    }
    require_same_rows(twin);
  }

  // Updates the metadata of the mutation's identifier, known or not, and requires that nothing else changes.
  void update_metadata(const Mutation& mutation) {
    history_->begin("update the metadata of " + in_words(mutation.id) + ": " + in_words(mutation.metadata));
    const bool known = std::ranges::find(source_.present(), mutation.id) != source_.present().end();
    Observation expected = observe(*subject_, index_);
    std::optional<Answer> announced;
    if constexpr (ChecksUpdateMetadata<I>) {
      announced = answer_of("check_update_metadata", *history_,
                            [&] { std::as_const(index_).check_update_metadata(mutation.id, mutation.metadata); });
      require_unchanged(expected, index_, "check_update_metadata");
    }
    const Answer answer =
        answer_of("update_metadata", *history_, [&] { index_.update_metadata(mutation.id, mutation.metadata); });
    count(answer);
    require_announced(announced, answer, "check_update_metadata", "update_metadata");
    const Observation found = observe(*subject_, index_);
    if (!answer.rejected) {
      for (SearchAnswer& search : expected.searches) {
        if (const auto hit = search.by_id.find(mutation.id); hit != search.by_id.end()) {
          hit->second.metadata = copied(mutation.metadata);
        }
      }
      expected.contents = found.contents;  // which have the metadata
    }
    const auto differs = difference(*subject_, expected, found, history_->options());
    if (differs || answer.rejected.has_value() == known) {
      violated("after an update of metadata, which " + answer.text() + ", of an identifier that is " +
                   (known ? "known" : "unknown") + ": " + (differs ? differs->words : "nothing else differs"),
               *history_,
               "an update replaces the metadata of a known identifier, and nothing else; any other is refused",
               "does update_metadata look for the identifier, and leave vectors and other metadata as they are?");
    }
  }

  // Upserts, and requires that its check announced it, and that nothing has changed if it throws.
  [[nodiscard]] Answer upsert_whole(I& index, const Mutation& mutation) {
    const Observation before = observe(*subject_, index);
    const std::optional<Answer> by_vector = ask_vector(index, mutation);
    std::optional<Answer> announced;
    if constexpr (ChecksUpsert<I>) {
      announced = answer_of("check_upsert", *history_, [&] {
        std::as_const(index).check_upsert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
      });
      require_unchanged(before, index, "check_upsert");
    }
    Answer answer = answer_of("upsert", *history_, [&] {
      index.upsert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
    });
    count(answer);
    ++report_->upserts;
    require_announced(announced, answer, "check_upsert", "upsert");
    require_vector_announced(by_vector, answer, mutation);
    if (answer.rejected) {
      if (const auto found = difference(*subject_, before, observe(*subject_, index), history_->options())) {
        violated("an upsert that throws has changed the index: " + found->words + "; it threw IndexError " +
                     std::string(to_string(*answer.rejected)) + ": " + answer.message,
                 *history_, "an upsert is made whole or not at all",
                 "is the old vector erased before everything about the new one is checked and in place?");
      }
    }
    return answer;
  }

  // Compares vectors by what searches tell of them: in an upsert a vector may have another place than it has after an
  // erase and an insert.
  void require_same_rows(const I& twin) const {
    if (persisted_size(twin) != persisted_size(index_)) {
      violated("after an upsert size() is " + std::to_string(persisted_size(index_)) +
                   "; after an erase and an insert " + std::to_string(persisted_size(twin)),
               *history_, "an upsert replaces the vector of a known identifier, and adds any other one",
               "does upsert look whether the identifier is known?");
    }
    if constexpr (Searchable<I>) {
      const std::size_t dim = persisted_dim(index_);
      for (std::uint64_t query = first_query; query < first_query + queries; ++query) {
        const std::vector<float> vector = subject_->vector(query, dim);
        const SearchAnswer expected = search_all(twin, persisted_size(twin), vector);
        const SearchAnswer found = search_all(index_, persisted_size(index_), vector);
        if (const auto differs = search_difference(expected, found, history_->options().approximate_search)) {
          violated("after an upsert the index is not what an erase and an insert make of a copy: " + differs->words,
                   *history_, "an upsert replaces the vector and the metadata of an identifier, and nothing else",
                   "does upsert replace both, also by no metadata, and leave other vectors as they are?");
        }
      }
    }
  }

  [[nodiscard]] std::optional<Answer> ask_vector(const I& index, const Mutation& mutation) const {
    if constexpr (ChecksVector<I>) {
      if (mutation.op == FrameOp::insert) {
        return answer_of("check_vector", *history_,
                         [&] { index.check_vector(std::span<const float>(mutation.vector), mutation.metadata); });
      }
    }
    return std::nullopt;
  }

  void require_unchanged(const Observation& before, const I& index, std::string_view name) const {
    if (const auto found = difference(*subject_, before, observe(*subject_, index), history_->options())) {
      violated(std::string(name) + " has changed the index: " + found->words, *history_, "a check changes nothing",
               "does a check change a mutable or static member, or what a pointer leads to?");
    }
  }

  void require_announced(const std::optional<Answer>& announced, const Answer& answer, std::string_view check,
                         std::string_view mutation) const {
    if (announced && *announced != answer) {
      violated(std::string(check) + " does not announce what " + std::string(mutation) + " does: " +
                   std::string(check) + " " + announced->text() + "; " + std::string(mutation) + " " + answer.text(),
               *history_, "a check throws exactly if the mutation throws, and an IndexError of the same kind",
               "is the check the first half of the mutation? What does one of them look at that the other does not?");
    }
  }

  // check_vector speaks of what depends neither on the state nor on the identifier. What does may be told first.
  void require_vector_announced(const std::optional<Answer>& announced, const Answer& answer,
                                const Mutation& mutation) const {
    if (!announced) {
      return;
    }
    const bool right =
        announced->rejected
            ? *announced == answer || (answer.rejected && a_new_index_may(*announced, mutation))
            : !answer.rejected || answer.rejected == IndexErrorKind::duplicate || a_new_index_may({}, mutation);
    if (!right) {
      violated("check_vector does not announce what the mutation does: check_vector " + announced->text() +
                   "; the mutation " + answer.text(),
               *history_, "check_vector throws what every insert of that vector throws",
               "does check_vector look at the dimension, the components and the metadata, and at nothing else?");
    }
  }

  // Whether a new index answers so for one of an integer and bytes.
  [[nodiscard]] bool a_new_index_may(const Answer& answer, Mutation mutation) const {
    for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{1}}) {
      I fresh = subject_->make();
      mutation.id = any_id(number);
      if (answer_of("insert", *history_, [&] { make_mutation(fresh, mutation); }) == answer) {
        return true;
      }
    }
    return false;
  }

  void count(const Answer& answer) {
    ++report_->mutations;
    report_->rejections += answer.rejected ? 1U : 0U;
  }

  const Subject<I>* subject_;
  I index_;
  RandomMutations<I> source_;
  History* history_;
  ConformanceReport* report_;
  Random random_;
  Random updates_;  // of its own, so that the mutations are those of an index without updates of metadata
};

}  // namespace conformance

/// Makes random mutations of an index and asks it before each of them, as far as it offers that: check_insert,
/// check_erase and check_upsert must throw exactly if the mutation throws, an IndexError of the same kind, check_vector
/// exactly what every insert of that vector throws, and a check must change nothing. An upsert must do what an erase
/// and an insert do to a copy, or throw and change nothing; an update of metadata must change these alone, or be refused for an
/// identifier that is not known. Does nothing for a type that offers none of these. Throws
/// Violation, and what `make` and the functions of `subject` throw.
template <Persistable I>
  requires Index<I> ConformanceReport check_mutations(const Subject<I>& subject,
                                                      const ConformanceOptions& options = {}) {
    ConformanceReport report;
    if constexpr (conformance::OffersMore<I>) {
      for (const std::size_t vectors : {std::size_t{0}, std::size_t{12}}) {
        conformance::History history("make()", options);
        conformance::Filled<I> filled = conformance::make_filled(subject, vectors, options.seed + vectors, history);
        report.mutations += filled.mutations.size();
        conformance::OfferedMutations<I> offered(subject, std::move(filled), history, report);
        for (std::size_t step = 0; step < options.steps / 2; ++step) {
          offered.step();
        }
      }
    }
    return report;
  }

}  // namespace testing
}  // namespace iqdb
