// Lives of callers that go on while one of them makes a checkpoint: some are told on purpose, others are random.
#pragma once

#include <algorithm>
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

/// The places of a checkpoint (checkpoints_beside.hpp).
inline constexpr std::size_t begins = 0;
inline constexpr std::size_t freezes = 1;
inline constexpr std::size_t writes = 2;
inline constexpr std::size_t puts_in_place = 3;
inline constexpr std::size_t copies = 4;
inline constexpr std::size_t replaces = 5;
inline constexpr std::size_t ends = 6;

/// Lives that are told on purpose, each with whether the index tells beforehand what it would reject. In each of them one
/// script happens at another call that a checkpoint makes in the file system, so that every call has each script.
[[nodiscard]] inline std::vector<std::pair<Life, bool>> stories_beside_checkpoints(const HastySubject& subject,
                                                                                   std::size_t dim) {
  const auto at_place = [](CallerCall call, std::size_t place, std::uint64_t behind = 0) {
    call.place = place;
    call.behind = behind;
    return call;
  };
  const auto one = [](iqdb::Mutation mutation) {
    return CallerCall{.kind = CallerCall::Kind::mutate, .mutations = {std::move(mutation)}};
  };
  const auto insert = [&](std::uint64_t number) { return one(insert_of(subject, dim, number)); };
  const auto upsert = [&](std::uint64_t number) {
    iqdb::Mutation mutation = insert_of(subject, dim, number, 1);
    mutation.op = iqdb::FrameOp::upsert;
    return one(std::move(mutation));
  };
  const auto erase = [&](std::uint64_t number) { return one(erase_of(subject, number)); };
  const auto batch = [&](const std::vector<std::uint64_t>& numbers) {
    CallerCall call{.kind = CallerCall::Kind::batch};
    for (const std::uint64_t number : numbers) {
      call.mutations.push_back(insert_of(subject, dim, number));
    }
    return call;
  };
  const auto alone = [](CallerCall::Kind kind) { return CallerCall{.kind = kind}; };
  using Alone = CallerCall::Kind;
  constexpr std::uint64_t unlucky = HastyIndex::first_unlucky;
  const CallerCall checkpoint = alone(Alone::checkpoint_beside);
  using Script = std::vector<CallerCall>;
  // What happens at one place of a checkpoint, so many calls behind its first one.
  const auto scripts_at = [&](std::size_t place, std::uint64_t behind) {
    const auto here = [&](CallerCall call, std::uint64_t later = 0) {
      return at_place(std::move(call), place, behind + later);
    };
    return std::vector<Script>{
        // One is inserted, and one that the snapshot may have is erased, in two groups.
        {insert(1), checkpoint, here(insert(2)), here(erase(1), 1)},
        // Of a group a part is rejected, a part is not, and a replay would find memory for one.
        {insert(1), checkpoint, here(batch({2, 3, 3, 4})), here(insert(unlucky)), here(insert(5)), here(erase(2), 1)},
        // A caller closes, and others come behind.
        {insert(1), checkpoint, here(insert(2)), here(alone(Alone::close)), here(insert(3), 1)},
        // Another checkpoint waits for this one, and what is made durable between them.
        {checkpoint, here(insert(1)), here(checkpoint), here(alone(Alone::sync)), here(erase(1), 3)},
    };
  };
  // Groups at every place, one that is rejected among them, and what the one before it has made.
  const Script everywhere = {insert(1),
                             checkpoint,
                             at_place(insert(2), begins),
                             at_place(erase(2), begins, 2),
                             at_place(upsert(1), freezes),
                             at_place(batch({3, 3}), writes),
                             at_place(erase(3), writes, 1),
                             at_place(insert(3), writes, 3),
                             at_place(erase(1), puts_in_place),
                             at_place(erase(3), copies),
                             at_place(batch({3, 1, 2}), copies, 2),
                             at_place(erase(3), copies, 4),
                             at_place(insert(4), replaces),
                             at_place(insert(2), ends)};
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
  std::vector<std::pair<Life, bool>> lives;
  const auto tell = [&](const Script& script, std::size_t chosen) {
    const Variant& variant = variants[chosen % std::size(variants)];
    lives.emplace_back(
        Life{.policy = variant.policy,
             .log_extent_bytes = variant.log_extent_bytes,
             .direct_io = variant.direct_io,
             .steps = {Step{.kind = Step::Kind::together, .calls = script}, Step{.kind = Step::Kind::power_cut}}},
        variant.checks);
  };
  // No place has more calls of its own than these.
  constexpr std::pair<std::size_t, std::uint64_t> most_behind[] = {
      {begins, 12}, {freezes, 1}, {writes, 12}, {puts_in_place, 12}, {copies, 20}, {replaces, 14}, {ends, 4}};
  std::vector<Script> scripts;
  for (const auto& [place, most] : most_behind) {
    for (std::uint64_t behind = 0; behind < most; ++behind) {
      const std::vector<Script> here = scripts_at(place, behind);
      scripts.insert(scripts.end(), here.begin(), here.end());
    }
  }
  // Neighbours in this order are far from each other, so that the first ones meet a bit of everything.
  constexpr std::size_t stride = 77;
  for (std::size_t number = 0; number < scripts.size(); ++number) {
    if (number % 60 == 0) {
      tell(everywhere, lives.size());
    }
    tell(scripts[number * stride % scripts.size()], lives.size());
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
  // Those behind the checkpoint come while it is at this place, or at a later one.
  std::size_t reached = begins;
  for (auto call = step.calls.begin() + place; call != step.calls.end(); ++call) {
    if (call->kind == CallerCall::Kind::checkpoint && !random.one_in(4)) {
      call->kind = CallerCall::Kind::checkpoint_beside;
    }
    if (call - step.calls.begin() != place && !random.one_in(4)) {
      reached = std::min(ends, reached + static_cast<std::size_t>(random.below(3) / 2));
      call->place = reached;
      call->behind = random.one_in(2) ? 0 : random.below(4);
    }
  }
  return step;
}

/// The life beside checkpoints with this number, from first_beside_checkpoints on.
[[nodiscard]] inline ExaminationOfCallers examination_beside_checkpoints(std::uint64_t number) {
  return told_or_random(number, first_beside_checkpoints, stories_beside_checkpoints,
                        [](const HastySubject& subject, std::size_t dim, Random& random) {
                          Life life = any_life(subject, dim, static_cast<std::size_t>(1 + random.below(4)), random);
                          life.wal_enabled = true;
                          for (Step& step : life.steps) {
                            if (step.kind == Step::Kind::mutate || step.kind == Step::Kind::batch) {
                              step = any_step_beside_checkpoints(subject, dim, random);
                            }
                          }
                          return life;
                        });
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
