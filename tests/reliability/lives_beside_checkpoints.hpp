// Lives of callers that go on while one of them makes a checkpoint: some are told on purpose, others are random.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "laboratory.hpp"
#include "lives_of_callers.hpp"
#include "support/hasty_index.hpp"

namespace iqdb_test {

/// Lives that are told on purpose, each with whether the index tells beforehand what it would reject. In each life one
/// script happens at another of the calls that a checkpoint makes in the file system, which are fewer than the lives.
[[nodiscard]] inline std::vector<std::pair<Life, bool>> stories_beside_checkpoints(const HastySubject& subject,
                                                                                   std::size_t dim) {
  const auto one = [](iqdb::Mutation mutation, std::uint64_t behind) {
    return CallerCall{.kind = CallerCall::Kind::mutate, .mutations = {std::move(mutation)}, .behind = behind};
  };
  const auto insert = [&](std::uint64_t number, std::uint64_t behind = 0) {
    return one(insert_of(subject, dim, number), behind);
  };
  const auto erase = [&](std::uint64_t number, std::uint64_t behind) { return one(erase_of(subject, number), behind); };
  const auto batch = [&](const std::vector<std::uint64_t>& numbers, std::uint64_t behind) {
    CallerCall call{.kind = CallerCall::Kind::batch, .behind = behind};
    for (const std::uint64_t number : numbers) {
      call.mutations.push_back(insert_of(subject, dim, number));
    }
    return call;
  };
  const auto alone = [](CallerCall::Kind kind, std::uint64_t behind = 0) {
    return CallerCall{.kind = kind, .behind = behind};
  };
  const auto together = [](std::vector<CallerCall> calls) {
    return Step{.kind = Step::Kind::together, .calls = std::move(calls)};
  };
  using Alone = CallerCall::Kind;
  constexpr std::uint64_t unlucky = HastyIndex::first_unlucky;
  const CallerCall checkpoint = alone(Alone::checkpoint_beside);
  const auto scripts_at = [&](std::uint64_t at) {
    return std::vector<std::vector<CallerCall>>{
        // One is inserted, and one that the snapshot has is erased, in two groups.
        {insert(1), checkpoint, insert(2, at), erase(1, at + 3)},
        // Of a group a part is rejected, a part is not, and a replay would find memory for one.
        {insert(1), checkpoint, batch({2, 3, 3, 4}, at), insert(unlucky, at), insert(5, at), erase(2, at + 4)},
        // Groups wait at each step.
        {insert(1), checkpoint, insert(2, at), erase(2, at + 1), insert(2, at + 4), erase(2, at + 7),
         insert(3, at + 9)},
        // A caller closes, and others come behind.
        {insert(1), checkpoint, insert(2, at), alone(Alone::close, at + 1), insert(3, at + 2)},
        // Two checkpoints, and what is made durable between them.
        {checkpoint, insert(1, at), alone(Alone::checkpoint_beside, at), alone(Alone::sync, at + 1), erase(1, at + 5)},
    };
  };
  struct Variant {
    iqdb::FsyncPolicy policy;
    std::size_t log_extent_bytes;
    bool direct_io;
    bool checks;
  };
  const Variant variants[] = {
      {iqdb::FsyncPolicy::always(), 0, false, false},
      {iqdb::FsyncPolicy::never(), 0, false, false},
      {iqdb::FsyncPolicy::always(), 5000, true, true},
      {iqdb::FsyncPolicy::periodic(std::chrono::hours(24)), 600, false, true},
      {iqdb::FsyncPolicy::always(), 600, false, false},
  };
  constexpr std::uint64_t most_calls = 60;
  std::vector<std::pair<Life, bool>> lives;
  // Neighbours in this order have nothing in common, so that the first ones meet everything: 23 and 60 have no divisor in
  // common.
  for (std::uint64_t number = 0; number < std::size(variants) * most_calls; ++number) {
    const std::uint64_t at = 2 + number * 23 % most_calls;
    const std::vector<std::vector<CallerCall>> scripts = scripts_at(at);
    for (std::size_t script = 0; script < scripts.size(); ++script) {
      const Variant& variant = variants[(number / most_calls + number + script) % std::size(variants)];
      lives.emplace_back(Life{.policy = variant.policy,
                              .log_extent_bytes = variant.log_extent_bytes,
                              .direct_io = variant.direct_io,
                              .steps = {together(scripts[script])}},
                         variant.checks);
    }
  }
  return lives;
}

/// A random step of callers, of which at least one makes a checkpoint.
[[nodiscard]] inline Step any_step_beside_checkpoints(const HastySubject& subject, std::size_t dim, Random& random) {
  Step step = any_step_of_callers(subject, dim, random);
  Step others = any_step_of_callers(subject, dim, random);
  const auto place = static_cast<std::ptrdiff_t>(random.below(step.calls.size()));
  step.calls.insert(step.calls.begin() + place, CallerCall{.kind = CallerCall::Kind::checkpoint_beside});
  step.calls.insert(step.calls.end(), std::make_move_iterator(others.calls.begin()),
                    std::make_move_iterator(others.calls.end()));
  std::uint64_t behind = 0;
  for (CallerCall& call : step.calls) {
    if (call.kind == CallerCall::Kind::checkpoint && !random.one_in(4)) {
      call.kind = CallerCall::Kind::checkpoint_beside;
    }
    behind += random.one_in(3) ? 0 : random.below(12);
    call.behind = behind;
  }
  return step;
}

/// The life with this number, from first_beside_checkpoints on: the stories, with others between them and without end behind
/// them.
[[nodiscard]] inline ExaminationOfCallers examination_beside_checkpoints(std::uint64_t number) {
  constexpr std::size_t story_dim = 2;
  const HastySubject small = hasty_subject(story_dim);
  std::vector<std::pair<Life, bool>> told = stories_beside_checkpoints(small, story_dim);
  const std::uint64_t place = number - first_beside_checkpoints;
  if (place % 2 == 0 && place / 2 < told.size()) {
    auto& [life, checks] = told[static_cast<std::size_t>(place / 2)];
    return {{.subject = small, .life = std::move(life), .told = true}, checks};
  }
  Random random(number);
  constexpr std::size_t dims[] = {1, 2, 7, 40};
  const std::size_t dim = dims[random.below(std::size(dims))];
  const HastySubject subject = hasty_subject(dim);
  Life life = any_life(subject, dim, static_cast<std::size_t>(1 + random.below(4)), random);
  life.wal_enabled = true;
  for (Step& step : life.steps) {
    if (step.kind == Step::Kind::mutate || step.kind == Step::Kind::batch) {
      step = any_step_beside_checkpoints(subject, dim, random);
    }
  }
  return {{.subject = subject, .life = std::move(life), .told = false}, !random.one_in(3)};
}

/// Examines the lives of one caller, then those of many, then those beside checkpoints, as far as `enough` asks for them: one
/// of `part_of_callers` of what is counted is of many callers, and half of that beside checkpoints. `explore(number,
/// examination)` gives the report of a life, and `examine(whose, enough, first, examine_life)` says whether nothing was found.
/// Returns whether nothing was.
template <class Explore, class Examine>
[[nodiscard]] bool examine_all(const Enough& enough, std::uint64_t part_of_callers, Explore&& explore,
                               Examine&& examine) {
  const auto asks_for = [&](Whose whose) { return enough.whose == whose || enough.whose == Whose::all; };
  const auto examine_callers = [&](const char* name, Whose whose, std::uint64_t first, auto&& examination_of) {
    const std::uint64_t part = enough.whose == Whose::all ? 2 * part_of_callers : 1;
    return !asks_for(whose) || examine(name, enough.of(whose, part), first, [&](std::uint64_t number) {
      const ExaminationOfCallers life = examination_of(number);
      const ChecksAre checks(life.checks);
      return explore(number, life);
    });
  };
  if (asks_for(Whose::one_caller) && !examine("one caller", enough, std::uint64_t{0}, [&](std::uint64_t number) {
        return explore(number, examination(number));
      })) {
    return false;
  }
  return examine_callers("many callers", Whose::many_callers, first_of_callers, examination_of_callers) &&
         examine_callers("many callers beside checkpoints", Whose::beside_checkpoints, first_beside_checkpoints,
                         examination_beside_checkpoints);
}

}  // namespace iqdb_test
