// What the laboratory's programs share: the lives that are examined, and threads that examine them until there is
// enough.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "support/days.hpp"

namespace iqdb_test {

using iqdb::testing::Life;
using iqdb::testing::Random;
using iqdb::testing::Step;
using FlatSubject = iqdb::testing::Subject<iqdb::FlatIndex>;

/// A life and the index that lives it.
template <class I>
struct Examination {
  iqdb::testing::Subject<I> subject;
  Life life;
  bool told;  ///< on purpose, and short; else random
};

/// Flat indexes that begin with so many vectors.
[[nodiscard]] inline FlatSubject flat_subject(std::size_t dim, std::uint64_t vectors = 0) {
  FlatSubject subject;
  subject.make = [dim, vectors, vector = subject.vector] {
    iqdb::FlatIndex index(dim, iqdb::DistanceMetric::euclidean);
    for (std::uint64_t number = 0; number < vectors; ++number) {
      index.insert(500 + number, std::span<const float>(vector(number, dim)));
    }
    return index;
  };
  return subject;
}

/// Lives that are told on purpose: each is short, so that every state can be tried.
[[nodiscard]] inline std::vector<Life> stories(const FlatSubject& subject, std::size_t dim) {
  const auto insert = [&](std::uint64_t number) {
    return Step{.kind = Step::Kind::mutate, .mutations = {insert_of(subject, dim, number)}};
  };
  const auto erase = [&](std::uint64_t number) {
    return Step{.kind = Step::Kind::mutate, .mutations = {erase_of(subject, number)}};
  };
  const auto batch = [](std::vector<iqdb::Mutation> mutations) {
    return Step{.kind = Step::Kind::batch, .mutations = std::move(mutations)};
  };
  const auto exchange = [](std::vector<iqdb::Mutation> mutations) {
    return Step{.kind = Step::Kind::exchange, .mutations = std::move(mutations)};
  };
  const auto just = [](Step::Kind kind) { return Step{.kind = kind}; };
  const std::vector<std::vector<Step>> scripts = {
      // An insert, another one.
      {insert(1), insert(2)},
      // Mutations that the index rejects, alone, first, and last.
      {insert(1), insert(1), insert(2)},
      {erase(1), insert(1), erase(1), erase(1)},
      // A batch, one of which a part is rejected, one that is rejected from its beginning.
      {batch({insert_of(subject, dim, 1), insert_of(subject, dim, 2), erase_of(subject, 1)}), insert(3)},
      {insert(1), batch({insert_of(subject, dim, 2), insert_of(subject, dim, 1), insert_of(subject, dim, 3)}),
       insert(4)},
      {insert(1), batch({insert_of(subject, dim, 1), insert_of(subject, dim, 2)})},
      // Snapshots beside the log, and in place of it.
      {insert(1), just(Step::Kind::save), insert(2)},
      {insert(1), just(Step::Kind::checkpoint), insert(2)},
      {just(Step::Kind::checkpoint), just(Step::Kind::save), just(Step::Kind::checkpoint)},
      {insert(1), just(Step::Kind::save), erase(1), just(Step::Kind::save), insert(1), just(Step::Kind::checkpoint)},
      // Orderly ends and others.
      {insert(1), just(Step::Kind::reopen), insert(2), just(Step::Kind::reopen)},
      {insert(1), just(Step::Kind::drop), insert(1), insert(2)},
      {insert(1), just(Step::Kind::kill), insert(2), just(Step::Kind::kill), insert(3)},
      {insert(1), insert(2), just(Step::Kind::power_cut), insert(3), just(Step::Kind::power_cut), insert(4)},
      {insert(1), just(Step::Kind::save), just(Step::Kind::kill), just(Step::Kind::power_cut), insert(2)},
      {insert(1), just(Step::Kind::restore), insert(2)},
      {insert(1), insert(2), just(Step::Kind::sync), insert(3), just(Step::Kind::sync), insert(4)},
      // From outside: the directory is exchanged, the lock file vanishes, files are copied at two moments; and the
      // callback calls the index.
      {insert(1), exchange({insert_of(subject, dim, 2), insert_of(subject, dim, 1)}), insert(3)},
      {insert(1), just(Step::Kind::save), exchange({}), just(Step::Kind::checkpoint), insert(2)},
      {insert(1), just(Step::Kind::lose_lock), insert(2)},
      {insert(1), just(Step::Kind::call_back), insert(2)},
      {insert(1), just(Step::Kind::mix_backups), insert(2), just(Step::Kind::mix_backups)},
      // Batches that no check refuses, since what is rejected follows from what stands before it in the batch.
      {batch({insert_of(subject, dim, 1), insert_of(subject, dim, 2), insert_of(subject, dim, 1)}), insert(3)},
      {insert(1), batch({erase_of(subject, 1), erase_of(subject, 1), insert_of(subject, dim, 2)}), insert(3)},
  };
  std::vector<Life> lives;
  for (const std::vector<Step>& script : scripts) {
    for (const iqdb::FsyncPolicy policy : {iqdb::FsyncPolicy::always(), iqdb::FsyncPolicy::never()}) {
      for (const std::size_t extent : {std::size_t{0}, std::size_t{600}}) {
        lives.push_back({.policy = policy, .log_extent_bytes = extent, .steps = script});
      }
    }
    lives.push_back({.log_extent_bytes = 5000, .direct_io = true, .steps = script});
    lives.push_back({.wal_enabled = false, .steps = script});
  }
  // With a history: more snapshots than it keeps, and loads between them.
  const std::vector<std::vector<Step>> with_history = {
      {insert(1), just(Step::Kind::checkpoint), insert(2), just(Step::Kind::checkpoint), insert(3),
       just(Step::Kind::checkpoint), insert(4)},
      {insert(1), just(Step::Kind::save), insert(2), just(Step::Kind::kill), insert(3), just(Step::Kind::checkpoint),
       erase(3), just(Step::Kind::power_cut), just(Step::Kind::checkpoint), just(Step::Kind::save)},
  };
  for (const std::vector<Step>& script : with_history) {
    for (const iqdb::FsyncPolicy policy : {iqdb::FsyncPolicy::always(), iqdb::FsyncPolicy::never()}) {
      for (const std::size_t states : {std::size_t{1}, std::size_t{2}}) {
        lives.push_back({.policy = policy, .older_states = states, .steps = script});
      }
    }
  }
  return lives;
}

/// Puts a step from outside, or a callback that calls the index, at a random place of a life.
inline void disturb(Life& life, const FlatSubject& subject, std::size_t dim, Random& random) {
  constexpr Step::Kind kinds[] = {Step::Kind::exchange, Step::Kind::lose_lock, Step::Kind::call_back,
                                  Step::Kind::mix_backups};
  Step step{.kind = kinds[random.below(std::size(kinds))]};
  if (step.kind == Step::Kind::exchange && random.one_in(2)) {
    step.mutations = {insert_of(subject, dim, random.below(8)), erase_of(subject, random.below(8))};
  }
  const auto place = static_cast<std::ptrdiff_t>(random.below(life.steps.size() + 1));
  life.steps.insert(life.steps.begin() + place, std::move(step));
}

/// Gives one of three lives a history. Older states are not put in place as unsynced copies: a load syncs only what it loads.
inline void keep_older_states(Life& life, Random& random) {
  if (random.one_in(3)) {
    life.older_states = static_cast<std::size_t>(1 + random.below(3));
    for (Step& step : life.steps) {
      step.kind = step.kind == Step::Kind::restore ? Step::Kind::kill : step.kind;
    }
  }
}

/// The life with this number: the stories come first, then others without end.
[[nodiscard]] inline Examination<iqdb::FlatIndex> examination(std::uint64_t number) {
  constexpr std::size_t story_dim = 2;
  const FlatSubject small = flat_subject(story_dim);
  const std::vector<Life> told = stories(small, story_dim);
  if (number < told.size()) {
    return {.subject = small, .life = told[static_cast<std::size_t>(number)], .told = true};
  }
  Random random(number);
  constexpr std::size_t dims[] = {1, 2, 7, 40, 150};
  const std::size_t dim = dims[random.below(std::size(dims))];
  const FlatSubject subject = flat_subject(dim, random.one_in(4) ? random.below(20) : 0);
  const auto steps = static_cast<std::size_t>(4 + random.below(14));
  Life life = any_life(subject, dim, steps, random);
  if (random.one_in(2)) {
    disturb(life, subject, dim, random);
  }
  keep_older_states(life, random);
  return {.subject = subject, .life = std::move(life), .told = false};
}

/// Lives of many callers have numbers from here on, so that a number says which life it is.
inline constexpr std::uint64_t first_of_callers = 1'000'000'000;

/// And those of callers that go on beside a checkpoint from here on.
inline constexpr std::uint64_t first_beside_checkpoints = 2'000'000'000;

/// Whose lives are examined.
enum class Whose : std::uint8_t { one_caller, many_callers, beside_checkpoints, all };

/// When an examination of many lives has done enough.
struct Enough {
  std::uint64_t count = 0;                 ///< so much of what is counted
  std::chrono::seconds time{0};            ///< or, if not 0, after so long
  std::optional<std::uint64_t> only_life;  ///< or, if set, after this life
  Whose whose = Whose::all;                ///< whose lives; of all, those of many callers get a part
  std::uint64_t left_out = 0;              ///< so many lives of each kind come before the first

  /// The lives of one kind, of which this is the `part`th part.
  [[nodiscard]] Enough of(Whose one, std::uint64_t part) const {
    return {.count = count / part, .time = time / part, .only_life = only_life, .whose = one, .left_out = left_out};
  }
};

/// How many lives of each kind the date leaves out, so that a part that is examined each day is another one each day. Within
/// sixteen days each of the lives that are told has been the first or close behind it.
[[nodiscard]] inline std::uint64_t lives_left_out_today() { return iqdb_test::days_since_1970() % 16 * 19; }

/// Reads a program's arguments: `<what is counted> N`, `seconds N`, or `life N`; `otherwise` without any. `one`, `many` or
/// `beside` behind the first two names the lives of one caller, of many, or of many beside checkpoints; `today` means all
/// kinds, from lives on that the date draws.
[[nodiscard]] inline std::optional<Enough> enough_from(int argc, char** argv, std::string_view counted,
                                                       std::uint64_t otherwise) {
  Enough enough;
  if (argc == 1) {
    enough.count = otherwise;
    return enough;
  }
  const std::string_view what = argc == 3 || argc == 4 ? argv[1] : "";
  const std::string_view whose = argc == 4 ? argv[3] : "";
  char* end = nullptr;
  const std::uint64_t number = what.empty() ? 0 : std::strtoull(argv[2], &end, 10);
  if (end == nullptr || *end != '\0' || (what != counted && what != "seconds" && what != "life") ||
      (argc == 4 && ((whose != "one" && whose != "many" && whose != "beside" && whose != "today") || what == "life"))) {
    std::cerr << "usage: " << argv[0] << " [" << counted
              << " N [one | many | beside | today] | seconds N [one | many | beside | today] | life N]\n";
    return std::nullopt;
  }
  if (what == "life") {
    enough.only_life = number;
    enough.whose = number < first_of_callers           ? Whose::one_caller
                   : number < first_beside_checkpoints ? Whose::many_callers
                                                       : Whose::beside_checkpoints;
    return enough;
  }
  if (whose == "today") {
    enough.left_out = lives_left_out_today();
    std::cout << "beginning with life " << enough.left_out << " of each kind\n";
  } else if (argc == 4) {
    enough.whose = whose == "one"    ? Whose::one_caller
                   : whose == "many" ? Whose::many_callers
                                     : Whose::beside_checkpoints;
  }
  if (what == "seconds") {
    enough.time = std::chrono::seconds(number);
  } else {
    enough.count = number;
  }
  return enough;
}

/// Says what checkpoints have met that others go on beside, if there were any. `tried` names what was tried at each place.
inline void print_checkpoints(const iqdb::testing::CheckpointsBeside& checkpoints, const char* tried) {
  if (checkpoints.begun == 0) {
    return;
  }
  std::cout << checkpoints.begun << " checkpoints beside others, of which " << checkpoints.completed << " succeeded\n";
  for (std::size_t place = 0; place < iqdb::testing::checkpoint_places; ++place) {
    std::cout << "  " << iqdb::testing::names_of_checkpoint_places.at(place) << ": " << checkpoints.groups.at(place)
              << " groups of others, " << checkpoints.calls.at(place) << " calls, " << checkpoints.tried.at(place)
              << ' ' << tried << '\n';
  }
}

/// Examines lives, in two threads, from the number `first` on or behind those left out, until there is enough.
/// `examine(number)` gives a report; reports are added up. `counted(report)` is what is counted. Says how far it is now and
/// then; the first violation ends it.
template <class Report, class Examine, class Counted>
[[nodiscard]] std::optional<Report> examine_lives(const Enough& enough, std::uint64_t first, Examine&& examine,
                                                  Counted&& counted) {
  const auto started = std::chrono::steady_clock::now();
  std::mutex mutex;
  Report total;
  std::atomic<std::uint64_t> next = enough.only_life.value_or(first + enough.left_out);
  std::atomic<bool> stop = false;
  bool violated = false;
  auto said = started;
  const auto work = [&] {
    while (!stop) {
      const std::uint64_t number = next++;
      if (enough.only_life && number != *enough.only_life) {
        return;
      }
      try {
        const Report report = examine(number);
        const std::lock_guard guard(mutex);
        total += report;
        const auto now = std::chrono::steady_clock::now();
        if (now - said > std::chrono::minutes(1)) {
          said = now;
          std::cout << counted(total) << " after " << std::chrono::round<std::chrono::seconds>(now - started).count()
                    << " s\n"
                    << std::flush;
        }
        if (enough.time.count() > 0 ? now - started >= enough.time : counted(total) >= enough.count) {
          stop = true;
        }
      } catch (const std::exception& violation) {
        const std::lock_guard guard(mutex);
        if (!violated) {
          std::cout << "VIOLATION in life " << number << ": " << violation.what() << '\n' << std::flush;
        }
        violated = stop = true;
      }
    }
  };
  {
    std::jthread other(work);
    work();
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  std::cout << counted(total) << " in " << std::chrono::round<std::chrono::seconds>(took).count() << " s, "
            << static_cast<std::uint64_t>(static_cast<double>(counted(total)) / took.count()) << " a second\n";
  return violated ? std::nullopt : std::optional(total);
}

}  // namespace iqdb_test
