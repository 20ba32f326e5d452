// Random mutations that test an index: integer and byte identifiers, metadata of every type, and mutations that must be
// rejected.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing::conformance {

// The `number`-th identifier. Integers and bytes alternate, and no two are equal.
[[nodiscard]] inline VectorId any_id(std::uint64_t number) {
  if (number % 2 == 0) {
    return number == 4 ? std::numeric_limits<std::uint64_t>::max() : number;
  }
  using namespace std::string_literals;
  const std::string bytes = "id \0\xFF"s + std::to_string(number);
  return VectorId::from_bytes(number % 16 == 5 ? bytes + std::string(300, '.') : bytes);
}

// The `number`-th metadata: none, empty, or values of every type. Each pair of numbers has its own kind, so that each
// kind comes with both kinds of identifier.
[[nodiscard]] inline std::optional<Metadata> any_metadata(std::uint64_t number) {
  using namespace std::string_literals;
  constexpr std::array doubles = {0.1, -0.0, 1e300, std::numeric_limits<double>::infinity(),
                                  std::numeric_limits<double>::quiet_NaN()};
  switch (number / 2 % 4) {
    case 0:
      return Metadata{{"number", static_cast<std::int64_t>(number)}, {"text", "\xC3\xBC \0"s}};
    case 1:
      return std::nullopt;
    case 2:
      return Metadata{};
    default:
      return Metadata{{"", Null{}},
                      {"bool", number % 16 < 8},
                      {"double", doubles[static_cast<std::size_t>(number % doubles.size())]},
                      {"integer", std::numeric_limits<std::int64_t>::min() + static_cast<std::int64_t>(number)},
                      {"string", std::string(static_cast<std::size_t>(number % 40), 'x')}};
  }
}

[[nodiscard]] inline std::string in_words(const Mutation& mutation) {
  if (mutation.op == FrameOp::erase) {
    return "erase " + in_words(mutation.id);
  }
  return "insert " + in_words(mutation.id) + " (" + std::to_string(mutation.vector.size()) + " components, " +
         (mutation.metadata ? std::to_string(mutation.metadata->size()) + " entries of" : std::string("no")) +
         " metadata)";
}

// How an index answered a mutation.
struct Answer {
  std::optional<IndexErrorKind> rejected = {};
  std::string message = {};

  [[nodiscard]] std::string text() const {
    return rejected ? "rejects it (IndexError " + std::string(to_string(*rejected)) + ": " + message + ")" : "takes it";
  }
  // Messages are not compared, because they may name values that differ between indexes.
  friend bool operator==(const Answer& a, const Answer& b) noexcept { return a.rejected == b.rejected; }
};

// Makes a mutation of `index`. It is the last step of `history`.
template <class M>
[[nodiscard]] Answer ask(M& index, const Mutation& mutation, const History& history) {
  const auto not_an_index_error = [&](const std::string& what) {
    violated("the index rejects a mutation by " + what + ", which is no IndexError", history,
             "an index rejects a mutation by throwing IndexError, and by nothing else",
             "throw iqdb::IndexError of the kind that fits: of the last mutation before a crash, no other exception "
             "can be told from a failure, and the load is refused (replay_rejected)");
  };
  try {
    make_mutation(index, mutation);
    return {};
  } catch (const IndexError& error) {
    return {.rejected = error.kind(), .message = error.what()};
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    not_an_index_error(std::string("an exception (") + error.what() + ")");
  } catch (...) {
    not_an_index_error("throwing what is no std::exception");
  }
  return {};
}

// An endless sequence of mutations. The caller must report which were taken, because later ones depend on it.
template <Persistable I>
class RandomMutations {
 public:
  RandomMutations(const Subject<I>& subject, std::size_t dim, std::uint64_t seed, bool wrong_dimensions)
      : subject_(&subject), dim_(dim), random_(seed), wrong_dimensions_(wrong_dimensions) {}

  [[nodiscard]] Mutation next() {
    const std::uint64_t choice = random_.below(20);
    // At most one vector is erased for every three that were taken, so that an index that takes few still comes to hold
    // some.
    constexpr std::uint64_t price = 3;
    if (choice < 4 && credit_ >= price && !present_.empty()) {
      credit_ -= price;
      return erase_of(any_present());
    }
    if (choice == 4) {
      return erase_of(any_id(next_id_ + 1'000'001));
    }
    if (choice == 5 && wrong_dimensions_) {
      Mutation mutation = fresh();
      mutation.vector.resize(dim_ > 1 && random_.one_in(2) ? dim_ - 1 : dim_ + 1, 0.5F);
      return mutation;
    }
    if (choice < 8 && !present_.empty()) {
      Mutation mutation = fresh();
      mutation.id = any_present();
      return mutation;
    }
    return fresh();
  }

  // Inserts a vector under a new identifier.
  [[nodiscard]] Mutation fresh() {
    const std::uint64_t number = next_id_++;
    return {.op = FrameOp::insert,
            .id = any_id(number),
            .vector = subject_->vector(random_.next(), dim_),
            .metadata = any_metadata(number)};
  }

  [[nodiscard]] static Mutation erase_of(VectorId id) {
    return {.op = FrameOp::erase, .id = std::move(id), .vector = {}, .metadata = {}};
  }

  void took(const Mutation& mutation) {
    const auto found = std::ranges::find(present_, mutation.id);
    if (mutation.op == FrameOp::insert && found == present_.end()) {
      present_.push_back(mutation.id);
      ++credit_;
    } else if (mutation.op == FrameOp::erase && found != present_.end()) {
      present_.erase(found);
    }
  }

  // The vectors that the index should hold.
  [[nodiscard]] const std::vector<VectorId>& present() const noexcept { return present_; }

 private:
  [[nodiscard]] VectorId any_present() { return present_[static_cast<std::size_t>(random_.below(present_.size()))]; }

  const Subject<I>* subject_;
  std::size_t dim_;
  Random random_;
  bool wrong_dimensions_;
  std::uint64_t next_id_ = 0;
  std::uint64_t credit_ = 0;
  std::vector<VectorId> present_;
};

// An index that was made and filled, and its source of mutations.
template <Persistable I>
struct Filled {
  I index;
  RandomMutations<I> source;
  std::vector<Mutation> mutations;
  std::vector<Answer> answers;
};

// Makes an index of `vectors` vectors, or of as many as it takes.
template <Persistable I>
  requires Index<I>
[[nodiscard]] Filled<I> make_filled(const Subject<I>& subject, std::size_t vectors, std::uint64_t seed,
                                    History& history) {
  I index = subject.make();
  const std::size_t dim = persisted_dim(index);
  Filled<I> filled{.index = std::move(index),
                   .source = {subject, dim, seed, history.options().wrong_dimensions},
                   .mutations = {},
                   .answers = {}};
  const std::size_t most = 16 * vectors + 32;  // enough for one that takes no byte identifiers and no metadata
  bool took_any = false;
  std::string first_rejection;
  constexpr std::size_t patience = 32;  // rejections until the index counts as full
  std::size_t rejected_inserts = 0;
  while (filled.source.present().size() < vectors && filled.mutations.size() < most && rejected_inserts < patience) {
    filled.mutations.push_back(filled.source.next());
    const Mutation& mutation = filled.mutations.back();
    history.begin(in_words(mutation));
    filled.answers.push_back(ask(filled.index, mutation, history));
    if (!filled.answers.back().rejected) {
      filled.source.took(mutation);
      took_any = true;
      rejected_inserts = mutation.op == FrameOp::insert ? 0 : rejected_inserts;
    } else if (mutation.op == FrameOp::insert) {
      first_rejection = rejected_inserts == 0 && !took_any ? filled.answers.back().message : first_rejection;
      ++rejected_inserts;
    }
  }
  if (vectors > 0 && !took_any) {
    violated(
        "the index took none of " + std::to_string(filled.mutations.size()) +
            " mutations, so that there is nothing to check; the first insert was rejected with: " + first_rejection,
        history, "an index takes vectors of dim() components that Subject::vector gives",
        "set Subject::vector to a function that gives vectors which the index takes");
  }
  return filled;
}

}  // namespace testing::conformance
}  // namespace iqdb
