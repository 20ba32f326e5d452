// Lives of many callers, which the laboratory examines: some are told on purpose, others are random.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "laboratory.hpp"
#include "support/hasty_index.hpp"

namespace iqdb_test {

using iqdb::testing::CallerCall;
using HastySubject = iqdb::testing::Subject<HastyIndex>;

/// A life of many callers, and the index that lives it.
struct ExaminationOfCallers : Examination<HastyIndex> {
  bool checks = true;  ///< whether the index tells beforehand what it would reject
};

/// Sets whether the indexes of this thread tell beforehand what they would reject.
class ChecksAre {
 public:
  explicit ChecksAre(bool checks) noexcept : before_(std::exchange(HastyIndex::checks, checks)) {}
  ChecksAre(const ChecksAre&) = delete;
  ChecksAre& operator=(const ChecksAre&) = delete;
  ~ChecksAre() { HastyIndex::checks = before_; }

 private:
  bool before_;
};

/// Indexes that begin empty.
[[nodiscard]] inline HastySubject hasty_subject(std::size_t dim) {
  HastySubject subject;
  subject.make = [dim] { return HastyIndex(dim, iqdb::DistanceMetric::euclidean); };
  return subject;
}

/// Lives that are told on purpose: each is short, so that every state can be tried. `vectors` makes their vectors.
[[nodiscard]] inline std::vector<std::pair<Life, bool>> stories_of_callers(const HastySubject& subject,
                                                                           std::size_t dim) {
  const auto inserted = [&](std::uint64_t number) { return insert_of(subject, dim, number); };
  const auto one = [](iqdb::Mutation mutation, std::uint64_t behind = 0) {
    return CallerCall{.kind = CallerCall::Kind::mutate, .mutations = {std::move(mutation)}, .behind = behind};
  };
  const auto insert = [&](std::uint64_t number, std::uint64_t behind = 0) { return one(inserted(number), behind); };
  const auto erase = [&](std::uint64_t number, std::uint64_t behind = 0) {
    return one(erase_of(subject, number), behind);
  };
  const auto upsert = [&](std::uint64_t number, std::uint64_t behind = 0) {
    iqdb::Mutation mutation = insert_of(subject, dim, number, 1);
    mutation.op = iqdb::FrameOp::upsert;
    return one(std::move(mutation), behind);
  };
  const auto invalid = [&](std::uint64_t number, std::uint64_t behind = 0) {
    iqdb::Mutation mutation = inserted(number);
    mutation.vector.push_back(0.0F);
    return one(std::move(mutation), behind);
  };
  const auto batch = [&](const std::vector<std::uint64_t>& numbers, std::uint64_t behind = 0) {
    CallerCall call{.kind = CallerCall::Kind::batch, .behind = behind};
    for (const std::uint64_t number : numbers) {
      call.mutations.push_back(inserted(number));
    }
    return call;
  };
  const auto alone = [](CallerCall::Kind kind, std::uint64_t behind = 0) {
    return CallerCall{.kind = kind, .behind = behind};
  };
  const auto together = [](std::vector<CallerCall> calls, std::uint64_t most_mutations = 1024) {
    return Step{.kind = Step::Kind::together, .calls = std::move(calls), .most_mutations = most_mutations};
  };
  const auto just = [](Step::Kind kind) { return Step{.kind = kind}; };
  const auto after = [&](std::uint64_t number) {
    return Step{.kind = Step::Kind::mutate, .mutations = {inserted(number)}};
  };
  using Alone = CallerCall::Kind;
  constexpr std::uint64_t unlucky = HastyIndex::first_unlucky;
  const std::vector<std::vector<Step>> scripts = {
      // While an insert is in flight others come: two that are taken, and of each kind one that is not. The last one names
      // a vector that another caller of its group would name.
      {together({insert(1), insert(2, 1), insert(1, 1), erase(9, 1), insert(3, 1), invalid(4, 1), upsert(2, 1)})},
      // Of two batches a part is rejected, and others of their group are not.
      {together({batch({2, 2, 3}), insert(4), batch({5, 5}), insert(6)}), after(7)},
      {together({insert(1), batch({2, 3}, 1), erase(9, 1), batch({4, 6, 4, 7}, 1), upsert(1, 1), upsert(5, 1)})},
      // Memory runs out for some, and a replay would find it.
      {together({insert(1), insert(unlucky, 1), insert(2, 1), batch({3, unlucky + 2, 4}, 1), insert(5, 1)}), after(6)},
      // One vector, which each caller names.
      {together({insert(2), insert(1, 1), erase(1, 1), insert(1, 1), insert(1, 1)})},
      {together({insert(1), batch({2, 3}, 1), batch({3, 4}, 1), erase(3, 1)}), just(Step::Kind::kill), after(5)},
      // Calls that go alone between groups.
      {together({insert(1), insert(2, 1), alone(Alone::checkpoint, 1), insert(3, 1), insert(4, 2)})},
      {together({alone(Alone::checkpoint), insert(1, 1), batch({2, 2}, 9), insert(3, 9), alone(Alone::checkpoint, 9)})},
      {together({insert(1), insert(2, 1), alone(Alone::sync, 1), insert(3, 1), insert(4, 3)}), just(Step::Kind::kill)},
      {together({insert(1), insert(2, 1), alone(Alone::close, 1), insert(3, 1), alone(Alone::sync, 2)}), after(4)},
      // A batch that is larger than a group may be, and one group that is full.
      {together({insert(1), batch({2, 3, 4, 6}, 1), insert(5, 1), insert(7, 1), insert(8, 1)}, 2)},
      // Nothing is logged. And two steps, the second one behind a power cut.
      {together({erase(1), invalid(2), erase(1)}), after(1)},
      {together({insert(1), insert(2), insert(3, 1)}), just(Step::Kind::power_cut), together({erase(1), insert(4)})},
  };
  struct Variant {
    iqdb::FsyncPolicy policy;
    std::size_t log_extent_bytes;
    bool direct_io;
    bool wal_enabled;
    bool checks;
  };
  const Variant variants[] = {
      {iqdb::FsyncPolicy::always(), 0, false, true, true},
      {iqdb::FsyncPolicy::never(), 0, false, true, false},
      {iqdb::FsyncPolicy::always(), 0, false, false, false},
      {iqdb::FsyncPolicy::always(), 5000, true, true, true},
      {iqdb::FsyncPolicy::periodic(std::chrono::hours(24)), 600, false, true, true},
      {iqdb::FsyncPolicy::always(), 600, false, true, false},
  };
  std::vector<std::pair<Life, bool>> lives;
  for (const Variant& variant : variants) {
    for (const std::vector<Step>& script : scripts) {
      lives.emplace_back(Life{.wal_enabled = variant.wal_enabled,
                              .policy = variant.policy,
                              .log_extent_bytes = variant.log_extent_bytes,
                              .direct_io = variant.direct_io,
                              .steps = script},
                         variant.checks);
    }
  }
  return lives;
}

/// A random step of many callers. They use few identifiers, so that many calls are rejected, and many wait for others.
[[nodiscard]] inline Step any_step_of_callers(const HastySubject& subject, std::size_t dim, Random& random) {
  const auto any_mutation = [&] {
    constexpr std::uint64_t identifiers = 8;
    const std::uint64_t number =
        random.one_in(20) ? HastyIndex::first_unlucky + 2 * random.below(4)  // these have no byte identifiers
                          : random.below(identifiers);
    iqdb::Mutation mutation =
        random.below(3) > 0 ? insert_of(subject, dim, number, random.below(50)) : erase_of(subject, number);
    if (mutation.op == iqdb::FrameOp::insert && random.one_in(16)) {
      mutation.vector.push_back(0.0F);
    } else if (mutation.op == iqdb::FrameOp::insert && random.one_in(4)) {
      mutation.op = iqdb::FrameOp::upsert;
    }
    return mutation;
  };
  constexpr std::uint64_t bounds[] = {1024, 1024, 4, 2};
  Step step{.kind = Step::Kind::together, .most_mutations = bounds[random.below(std::size(bounds))]};
  const std::uint64_t calls = 2 + random.below(6);
  for (std::uint64_t at = 0; at < calls; ++at) {
    const std::uint64_t share = random.below(100);
    CallerCall call{.kind = share < 65   ? CallerCall::Kind::mutate
                            : share < 88 ? CallerCall::Kind::batch
                            : share < 93 ? CallerCall::Kind::sync
                            : share < 98 ? CallerCall::Kind::checkpoint
                                         : CallerCall::Kind::close,
                    .behind = random.one_in(3) ? random.below(12) : random.below(2)};
    const std::uint64_t mutations = call.kind == CallerCall::Kind::mutate  ? 1
                                    : call.kind == CallerCall::Kind::batch ? 1 + random.below(4)
                                                                           : 0;
    for (std::uint64_t mutation = 0; mutation < mutations; ++mutation) {
      call.mutations.push_back(any_mutation());
    }
    step.calls.push_back(std::move(call));
  }
  return step;
}

/// The life with this number, from `first` on: what `tell(subject, dim)` tells, with others between them and without end behind
/// them. `any(subject, dim, random)` makes one of the others.
template <class Tell, class Any>
[[nodiscard]] ExaminationOfCallers told_or_random(std::uint64_t number, std::uint64_t first, Tell&& tell, Any&& any) {
  constexpr std::size_t story_dim = 2;
  const HastySubject small = hasty_subject(story_dim);
  std::vector<std::pair<Life, bool>> told = std::forward<Tell>(tell)(small, story_dim);
  const std::uint64_t place = number - first;
  if (place % 2 == 0 && place / 2 < told.size()) {
    auto& [life, checks] = told[static_cast<std::size_t>(place / 2)];
    return {{.subject = small, .life = std::move(life), .told = true}, checks};
  }
  Random random(number);
  constexpr std::size_t dims[] = {1, 2, 7, 40};
  const std::size_t dim = dims[random.below(std::size(dims))];
  const HastySubject subject = hasty_subject(dim);
  Life life = std::forward<Any>(any)(subject, dim, random);
  const bool checks = !random.one_in(3);
  keep_older_states(life, random);
  return {{.subject = subject, .life = std::move(life), .told = false}, checks};
}

/// The life of many callers with this number, from first_of_callers on.
[[nodiscard]] inline ExaminationOfCallers examination_of_callers(std::uint64_t number) {
  return told_or_random(number, first_of_callers, stories_of_callers,
                        [](const HastySubject& subject, std::size_t dim, Random& random) {
                          Life life = any_life(subject, dim, static_cast<std::size_t>(2 + random.below(7)), random);
                          for (Step& step : life.steps) {
                            const bool mutates = step.kind == Step::Kind::mutate || step.kind == Step::Kind::batch;
                            if (mutates && !random.one_in(4)) {
                              step = any_step_of_callers(subject, dim, random);
                            }
                          }
                          return life;
                        });
}

}  // namespace iqdb_test
