// Reads the log of an index on an object store: the longest gapless run of objects that ends at the last key, as far back as a
// load needs it.
//
// Invariants: what is returned was the log at one moment after the call began. It reaches a checkpoint that holds everything in
// front of its first object, or number 0. What lies further back is never looked at: those numbers may have been swept, and
// objects that come back there are garbage. It is damage only if it is seen while the last key stays the same.
//
// Why:
//
// - A put that was delayed is carried out after its number was swept: there is an object in front of the gap, or even directly in
//   front of the run, whose LSNs do not continue. So nothing in front of the checkpoint is read or compared.
// - A reader has a listing, and falls asleep. Others make two checkpoints and sweep. Then a listed key is not there, or a number is
//   missing, or a late fence stands at a swept number where frames stood. All three look like damage. Nothing that the run needs is
//   swept before a later checkpoint stands in the log. So the reader lists again, and believes in damage only if the last key is
//   still the one of before.
// - The same, but nothing looks like damage: the late fence stands at the last key of the listing, in the place of acknowledged
//   frames; or it stands in front of another fence, in the place of a checkpoint or an abort. So the reader doubts such a fence. It
//   believes the run if nothing is listed behind it: behind a swept number there is always something. Or if it doubted the same
//   fences when it read the log the time before: what lies in front of two checkpoints is swept, so the second reading has gone past
//   both, and met one of them as a late fence, too; but then it is not a fence that the first reading had met there.
// - A listing comes in pages. A number may be missing in it that is there: it is asked for before it is called a gap.
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
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A checkpoint of a log, and what a load from its snapshot needs.
struct LogCheckpoint {
  std::uint64_t number = 0;         ///< of its object in the log
  std::uint64_t begin = 0;          ///< the number of the first object that a load from its snapshot needs
  PublishedSnapshot snapshot = {};  ///< what it publishes

  friend bool operator==(const LogCheckpoint&, const LogCheckpoint&) = default;
};

/// The end of a log, as it was read.
struct ObjectRun {
  std::vector<LogObject> objects;         ///< in ascending order; empty if there is no log
  std::optional<std::size_t> checkpoint;  ///< the checkpoint that holds most; nothing if a load begins with no vectors

  /// The number that the next object will have.
  [[nodiscard]] std::uint64_t next_number() const noexcept {
    return objects.empty() ? 0 : objects.back().header.number + 1;
  }

  /// The LSN that the next mutation will have.
  [[nodiscard]] std::uint64_t next_lsn() const noexcept { return objects.empty() ? 1 : objects.back().last_lsn() + 1; }

  /// The last mutation that need not be replayed, because the checkpoint's snapshot holds it.
  [[nodiscard]] std::uint64_t snapshot_lsn() const noexcept {
    return checkpoint ? objects[*checkpoint].snapshot.lsn : 0;
  }

  /// The checkpoint that holds most.
  [[nodiscard]] std::optional<LogCheckpoint> last_checkpoint() const {
    if (!checkpoint) {
      return std::nullopt;
    }
    const LogObject& object = objects[*checkpoint];
    std::size_t begin = *checkpoint;  // the run may begin further in front
    while (begin > 0 && objects[begin].header.base_lsn > object.snapshot.lsn) {
      --begin;
    }
    return LogCheckpoint{
        .number = object.header.number, .begin = objects[begin].header.number, .snapshot = object.snapshot};
  }

  /// Whether its last writer has ended it. A fence behind the close is a new writer.
  [[nodiscard]] bool is_closed() const noexcept {
    return !objects.empty() && objects.back().header.kind == LogObjectKind::close;
  }
};

/// The numbers of the objects of the log of the index `name` from `from` on, ascending. Other keys are passed over. Throws
/// PersistError io.
template <ListsObjects S>
[[nodiscard]] std::vector<std::uint64_t> list_log_objects(S& store, std::string_view name,
                                                          const ObjectLogOptions& options, std::uint64_t from = 0) {
  const std::string prefix = log_object_prefix(name);
  std::vector<std::uint64_t> numbers;
  object_requests::for_each_key(store, prefix, from == 0 ? prefix : log_object_key(name, from - 1), options,
                                [&](const std::string& key) {
                                  if (const auto number = log_object_number(name, key)) {
                                    numbers.push_back(*number);
                                  }
                                });
  return numbers;
}

/// The object `number` of the log of the index `name`; nothing if it is not there. Throws PersistError io, log_corrupted.
template <ReadsObjects S>
[[nodiscard]] std::optional<LogObject> find_log_object(S& store, std::string_view name, std::uint64_t number,
                                                       const ObjectLogOptions& options) {
  const std::string key = log_object_key(name, number);
  auto bytes = asked_again(options, [&] { return store.get(key); });
  return bytes ? std::optional(read_log_object(std::move(*bytes), key, number)) : std::nullopt;
}

namespace object_runs {

// Throws PersistError log_corrupted unless each object continues the one before it.
inline void require_continuous(const ObjectRun& run, std::string_view name) {
  std::uint64_t fence = run.objects.front().header.fence;
  for (std::size_t at = 1; at < run.objects.size(); ++at) {
    const LogObjectHeader& header = run.objects[at].header;
    const LogObject& before = run.objects[at - 1];
    const std::string key = log_object_key(name, header.number);
    if (header.base_lsn != before.last_lsn()) {
      log_objects::fail(key, "its base LSN is " + std::to_string(header.base_lsn) +
                                 ", but the object before it ends with " + std::to_string(before.last_lsn()));
    }
    if (header.history_id != before.header.history_id) {
      log_objects::fail(key, "it belongs to another history than the object before it");
    }
    fence = header.kind == LogObjectKind::fence ? header.number : fence;
    if (header.fence != fence) {
      log_objects::fail(key, "its writer's fence is number " + std::to_string(header.fence) + ", but number " +
                                 std::to_string(fence) + " had taken the log over");
    }
  }
}

// The run that ends at the last of `numbers`, or nothing if an object that was listed is not there any more. Throws PersistError
// log_corrupted if there is none.
template <ReadsObjects S>
[[nodiscard]] std::optional<ObjectRun> walk_back(S& store, std::string_view name,
                                                 const std::vector<std::uint64_t>& numbers,
                                                 const ObjectLogOptions& options) {
  ObjectRun run;
  std::optional<std::uint64_t> held;  // the last mutation that a checkpoint holds
  for (std::uint64_t number = numbers.back();; --number) {
    auto found = find_log_object(store, name, number, options);
    if (!found && std::ranges::binary_search(numbers, number)) {
      return std::nullopt;
    }
    if (!found) {
      throw_persist_error(
          PersistErrorKind::log_corrupted,
          log_objects::log_words(name) + " lacks its object " + std::to_string(number) + ": those behind it, up to " +
              std::to_string(numbers.back()) +
              ", hold no checkpoint that makes up for it; put the object back from a copy, as a store with "
              "versions keeps one, and remove nothing: without the log, every mutation since the last "
              "snapshot is lost");
    }
    run.objects.push_back(*std::move(found));
    const LogObject& object = run.objects.back();
    if (object.header.kind == LogObjectKind::checkpoint && (!held || object.snapshot.lsn > *held)) {
      held = object.snapshot.lsn;
      run.checkpoint = run.objects.size() - 1;
    }
    if (number == 0 && !held && object.header.base_lsn != 0) {
      log_objects::fail(log_object_key(name, number),
                        "its base LSN is " + std::to_string(object.header.base_lsn) + ", expected 0");
    }
    if (number == 0 || (held && object.header.base_lsn <= *held)) {
      break;
    }
  }
  std::ranges::reverse(run.objects);
  if (run.checkpoint) {
    run.checkpoint = run.objects.size() - 1 - *run.checkpoint;
  }
  require_continuous(run, name);
  return run;
}

// The numbers of the fences that may have come late to a swept number, as far as the run shows. What follows any other one has a
// header that says so.
[[nodiscard]] inline std::vector<std::uint64_t> doubtful_fences(const ObjectRun& run) {
  std::vector<std::uint64_t> doubtful;
  for (std::size_t at = 0; at < run.objects.size(); ++at) {
    const auto is_fence = [&](std::size_t each) {
      return each == run.objects.size() || run.objects[each].header.kind == LogObjectKind::fence;
    };
    if (is_fence(at) && is_fence(at + 1)) {
      doubtful.push_back(run.objects[at].header.number);
    }
  }
  return doubtful;
}

}  // namespace object_runs

/// Reads the log of the index `name`, in memory as a whole. It is empty if there is none. Whether a mutation that is read is
/// acknowledged is not known: the last ones may not be yet. Throws PersistError log_corrupted if the log is damaged; io if the
/// store does not answer, or if others change the log faster than it can be read.
template <class S>
  requires ReadsObjects<S> && ListsObjects<S>
[[nodiscard]] ObjectRun read_object_run(S& store, std::string_view name, const ObjectLogOptions& options) {
  std::optional<PersistError> damage;
  std::uint64_t damaged_up_to = 0;
  std::vector<std::uint64_t> doubted;  // in the reading before
  for (unsigned beginnings = 1;; ++beginnings) {
    const std::vector<std::uint64_t> numbers = list_log_objects(store, name, options);
    if (damage && !numbers.empty() && numbers.back() == damaged_up_to) {
      throw PersistError(*damage);
    }
    if (numbers.empty()) {
      return {};
    }
    try {
      auto run = object_runs::walk_back(store, name, numbers, options);
      auto doubtful = run ? object_runs::doubtful_fences(*run) : std::vector<std::uint64_t>();
      if (run && (std::ranges::includes(doubted, doubtful) ||
                  list_log_objects(store, name, options, run->next_number()).empty())) {
        return std::move(*run);
      }
      doubted = std::move(doubtful);
      damage.reset();
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::log_corrupted) {
        throw;
      }
      damage = error;
      damaged_up_to = numbers.back();
      doubted.clear();
    }
    if (beginnings >= options.most_beginnings) {
      throw_persist_error(PersistErrorKind::io, "cannot read " + log_objects::log_words(name) +
                                                    " (others change it faster than it can be read; try again)");
    }
  }
}

/// Reads what was written behind `run`, and adds it. Returns whether that continues it; else `run` is of no use any more: what was
/// read had been swept. Throws PersistError log_corrupted; io.
template <ReadsObjects S>
[[nodiscard]] bool extend_object_run(S& store, std::string_view name, ObjectRun& run, const ObjectLogOptions& options) {
  for (;;) {
    auto next = find_log_object(store, name, run.next_number(), options);
    if (!next) {
      return !run.objects.empty();
    }
    LogObject object = *std::move(next);
    const LogObjectHeader& header = object.header;
    if (run.objects.empty() || header.base_lsn != run.objects.back().last_lsn() ||
        header.history_id != run.objects.back().header.history_id) {
      return false;
    }
    const bool is_later = header.kind == LogObjectKind::checkpoint && object.snapshot.lsn >= run.snapshot_lsn();
    run.objects.push_back(std::move(object));
    if (is_later) {
      run.checkpoint = run.objects.size() - 1;
    }
  }
}

}  // namespace iqdb
