// Finds older states of an index on an object store, and reads the part of the log that leads from one to the next.
//
// Invariant: what is returned belongs to a state that was kept at one moment after the call began. Others may give it up meanwhile: then
// objects are missing, and a fence may come late to a swept number. So whoever meets what a sweep may have done asks whether the
// state is still kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/history_paths.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_run.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The older states of an index as a load finds them.
struct FoundHistory {
  ObjectHistory history = {};
  std::uint64_t last = 0;  ///< the number of the checkpoint with which a load of the index itself begins

  /// Where in the history the state is that was replaced at this time; nothing if there is none.
  [[nodiscard]] std::optional<std::size_t> find(std::uint64_t replaced_at) const {
    const auto state = std::ranges::find(history.states, replaced_at, &HistoryState::replaced_at);
    return state == history.states.end() ? std::nullopt
                                         : std::optional(static_cast<std::size_t>(state - history.states.begin()));
  }

  /// That state.
  [[nodiscard]] std::optional<HistoryState> state(std::uint64_t replaced_at) const {
    const auto at = find(replaced_at);
    return at ? std::optional(history.states[*at]) : std::nullopt;
  }
};

/// The history of the index `name`. Throws PersistError as read_object_run() and decode_object_history() do.
template <class S>
  requires ReadsObjects<S> && ListsObjects<S>
[[nodiscard]] FoundHistory find_object_history(S& store, std::string_view name, const ObjectLogOptions& options) {
  std::optional<std::uint64_t> last_without;
  for (unsigned beginnings = 1; beginnings <= options.most_beginnings; ++beginnings) {
    const ObjectRun run = read_object_run(store, name, options);
    if (!run.checkpoint) {
      return {};
    }
    const LogObject& checkpoint = run.objects[*run.checkpoint];
    auto history = read_object_history(store, name, checkpoint.snapshot.key, options);
    // Without a list: others have published later ones meanwhile, and swept it; or there is none.
    if (history || last_without == checkpoint.header.number) {
      return {.history = std::move(history).value_or(ObjectHistory()), .last = checkpoint.header.number};
    }
    last_without = checkpoint.header.number;
  }
  throw_persist_error(PersistErrorKind::io, "cannot read the older states of " + log_objects::log_words(name) +
                                                " (others publish snapshots faster than they can be read; try again)");
}

namespace object_histories {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_given_up(const std::string& key) {
  throw_persist_error(PersistErrorKind::log_mismatch,
                      log_objects::object_words(key) +
                          ", which an older state of the index needs, is not there: a later checkpoint may have given "
                          "that state up meanwhile; look again which states there are");
}

// The objects from the first that the state needs up to `end`. Throws as read_older_run(), and log_corrupted where a fence came late
// to a number that was swept.
template <ReadsObjects S>
[[nodiscard]] ObjectRun read_objects(S& store, std::string_view name, const LogCheckpoint& from, std::uint64_t end,
                                     const ObjectLogOptions& options) {
  ObjectRun run;
  for (std::uint64_t number = from.begin; number <= end; ++number) {
    auto object = find_log_object(store, name, number, options);
    if (!object) {
      throw_given_up(log_object_key(name, number));
    }
    run.objects.push_back(*std::move(object));
  }
  object_runs::require_continuous(run, name);
  run.checkpoint = static_cast<std::size_t>(from.number - from.begin);
  if (run.objects[*run.checkpoint].snapshot != from.snapshot) {
    log_objects::fail(log_object_key(name, from.number),
                      "it does not publish the snapshot that the list of older states says");
  }
  return run;
}

}  // namespace object_histories

/// The part of the log of the index `name` that leads from the state `at` of its history to the next one. Throws PersistError
/// log_mismatch if it is not there any more; log_corrupted if it is damaged; io.
template <class S>
  requires ReadsObjects<S> && ListsObjects<S>
[[nodiscard]] ObjectRun read_older_run(S& store, std::string_view name, const FoundHistory& found, std::size_t at,
                                       const ObjectLogOptions& options) {
  const std::vector<HistoryState>& states = found.history.states;
  const LogCheckpoint& from = states[at].checkpoint;
  const std::uint64_t end = at + 1 < states.size() ? states[at + 1].checkpoint.number : found.last;
  if (end < from.number) {
    log_objects::fail(log_object_key(name, end), "it publishes a snapshot whose list names a later checkpoint");
  }
  // Of a state that the history still names nothing was swept.
  const auto require_kept = [&] {
    if (!find_object_history(store, name, options).find(states[at].replaced_at)) {
      object_histories::throw_given_up(log_object_key(name, from.number));
    }
  };
  try {
    ObjectRun run = object_histories::read_objects(store, name, from, end, options);
    if (!object_runs::doubtful_fences(run).empty()) {
      require_kept();
    }
    return run;
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::log_corrupted) {
      require_kept();
    }
    throw;
  }
}

/// The name of an older state, taken apart: "shop/vectors.001795936992345.history" is a state of "shop/vectors".
struct HistoryStateName {
  std::string index;              ///< the name of its index
  std::uint64_t replaced_at = 0;  ///< as HistoryState has it
};

/// What the name says; nothing if it is not that of an older state.
[[nodiscard]] inline std::optional<HistoryStateName> history_state_named(std::string_view name) {
  constexpr std::size_t added = 1 + history_paths::digits + history_paths::ending.size();
  if (name.size() <= added) {
    return std::nullopt;
  }
  const std::string_view index = name.substr(0, name.size() - added);
  const auto member = history_paths::parsed(name, index);
  return member ? std::optional(HistoryStateName{.index = std::string(index), .replaced_at = member->replaced_at})
                : std::nullopt;
}

/// Finds older states of indexes in a store, and remembers the list that it read last: a list never changes, and who looks for a state
/// asks for many. One thread uses it.
class HistoryLookup {
 public:
  /// The history of an index as the store has it now. Throws as find_object_history().
  template <class S>
  [[nodiscard]] const FoundHistory& anew(S& store, const std::string& index, const ObjectLogOptions& options) {
    found_ = find_object_history(store, index, options);
    index_ = index;
    return found_;
  }

  /// A history that has this state, if any has. Throws as find_object_history().
  template <class S>
  [[nodiscard]] const FoundHistory& with(S& store, const HistoryStateName& state, const ObjectLogOptions& options) {
    return index_ == state.index && found_.find(state.replaced_at) ? found_ : anew(store, state.index, options);
  }

 private:
  std::string index_ = {};
  FoundHistory found_ = {};
};

}  // namespace iqdb
