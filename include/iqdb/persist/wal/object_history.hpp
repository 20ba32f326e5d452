// The older states of an index on an object store, which its history keeps: a list for each snapshot.
//
//   NAME/snapshot/FENCE-NONCE            a snapshot
//   NAME/snapshot/history/FENCE-NONCE    its list: the checkpoints in front of it that are kept, and the policy that says so
//
// Who publishes a snapshot stores its list first. So the checkpoint that publishes the snapshot publishes the list, at one moment,
// and a list never changes.
//
// Invariant: what a list names was named by the list of the checkpoint in front, or is that checkpoint. So what a list leaves out,
// no later one names again, and a sweep that deletes it may sleep as long as it likes. Why the writer says it, and not the sweep:
// two sweeps that see different checkpoints, or have different clocks and policies, would each delete what the other one keeps.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/history_paths.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_snapshot.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The first bytes of a list of older states.
inline constexpr std::string_view object_history_magic("IQDBHST\0", 8);

/// The version of these lists, the only one so far.
inline constexpr std::uint32_t object_history_version = 1;

/// A state of an index that a later checkpoint has replaced.
struct HistoryState {
  LogCheckpoint checkpoint;       ///< the one that it begins with
  std::uint64_t replaced_at = 0;  ///< when: milliseconds since 1970 UTC. No other state of the index has the same

  friend bool operator==(const HistoryState&, const HistoryState&) = default;
};

/// The older states of an index.
struct ObjectHistory {
  std::vector<HistoryState> states = {};         ///< oldest first; each leads to the next one
  HistoryPolicy policy = HistoryPolicy::none();  ///< the one by which they are kept

  friend bool operator==(const ObjectHistory&, const ObjectHistory&) = default;
};

/// The prefix of the keys of the lists of the index `name`.
[[nodiscard]] inline std::string object_history_prefix(std::string_view name) {
  return object_snapshot_prefix(name) + "history/";
}

/// The key of the list of the snapshot with the key `snapshot`; nothing if that is no key of a snapshot of this index.
[[nodiscard]] inline std::optional<std::string> object_history_key(std::string_view name, std::string_view snapshot) {
  if (!parts_of_object_snapshot(name, snapshot)) {
    return std::nullopt;
  }
  return object_history_prefix(name) + std::string(snapshot.substr(object_snapshot_prefix(name).size()));
}

/// The key of the snapshot whose list has the key `list`; nothing if that is no key of a list of this index.
[[nodiscard]] inline std::optional<std::string> snapshot_of_object_history(std::string_view name,
                                                                           std::string_view list) {
  const std::string prefix = object_history_prefix(name);
  if (!list.starts_with(prefix)) {
    return std::nullopt;
  }
  std::string snapshot = object_snapshot_prefix(name) + std::string(list.substr(prefix.size()));
  return parts_of_object_snapshot(name, snapshot) ? std::optional(std::move(snapshot)) : std::nullopt;
}

namespace object_history {

// The last time, in milliseconds since 1970 UTC, that the name of a state has digits for.
inline constexpr std::uint64_t latest_time = [] {
  std::uint64_t first_too_late = 1;
  for (std::size_t digit = 0; digit < history_paths::digits; ++digit) {
    first_too_late *= 10;
  }
  return first_too_late - 1;
}();

// Behind the magic and the version.
inline constexpr std::size_t checksum_begin = object_history_magic.size() + sizeof(object_history_version);

// The checksum of a list, in which its own field counts as zero.
[[nodiscard]] inline std::uint32_t checksum_of(std::span<const std::byte> list) noexcept {
  constexpr std::array<std::byte, sizeof(std::uint32_t)> zero{};
  Crc32 checksum(list.first(checksum_begin));
  checksum.update(zero);
  checksum.update(list.subspan(checksum_begin + zero.size()));
  return checksum.value();
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail(std::string_view key, const std::string& found) {
  throw_persist_error(
      PersistErrorKind::log_corrupted,
      "the list of older states " + printable(key, log_objects::largest_printed_key) + " is damaged: " + found +
          "; put it back from a copy, as a store with versions keeps one. If there is none, delete it: the "
          "index is loaded as it is without it, but a writer that opens it then gives up all older states with its "
          "next checkpoint");
}

}  // namespace object_history

/// The bytes of a list.
[[nodiscard]] inline ObjectBytes encode_object_history(const ObjectHistory& history) {
  ObjectBytes list = bytes_of([&](Writer& writer) {
    writer.write_array(object_history_magic);
    writer.write_le(object_history_version);
    writer.write_le(std::uint32_t{0});
    writer.write_le(static_cast<std::uint64_t>(history.policy.count()));
    writer.write_le(static_cast<std::uint64_t>(history.policy.span().count()));
    writer.write_le(static_cast<std::uint64_t>(history.states.size()));
    for (const HistoryState& state : history.states) {
      const PublishedSnapshot& snapshot = state.checkpoint.snapshot;
      writer.write_le(state.checkpoint.number);
      writer.write_le(state.checkpoint.begin);
      writer.write_le(state.replaced_at);
      writer.write_le(snapshot.lsn);
      write_fingerprint(writer, snapshot.fingerprint);
      writer.write_le(static_cast<std::uint32_t>(snapshot.key.size()));
      writer.write_array(snapshot.key);
    }
  });
  std::ranges::copy(to_little_endian(object_history::checksum_of(list)),
                    list.begin() + static_cast<std::ptrdiff_t>(object_history::checksum_begin));
  return list;
}

namespace object_history {

// Throws PersistError log_corrupted unless `state` may follow on `before`, which is null for the first one.
inline void require_possible(const HistoryState& state, const HistoryState* before, std::string_view key) {
  const std::uint64_t number = state.checkpoint.number;
  if (number > largest_log_object || state.checkpoint.begin > number) {
    fail(key, "the load of a state is said to need the objects from " + std::to_string(state.checkpoint.begin) +
                  " on, and to begin with object " + std::to_string(number));
  }
  if (before != nullptr && (before->checkpoint.number >= number || before->replaced_at >= state.replaced_at)) {
    fail(key, "a state with the checkpoint " + std::to_string(number) + " follows on one with the checkpoint " +
                  std::to_string(before->checkpoint.number) + " that was replaced no earlier");
  }
  if (state.replaced_at > latest_time) {
    fail(key, "a state was replaced at " + std::to_string(state.replaced_at) + ", for which no name has the digits");
  }
}

[[nodiscard]] inline HistoryState read_state(Reader& reader) {
  HistoryState state;
  state.checkpoint.number = reader.read_le<std::uint64_t>();
  state.checkpoint.begin = reader.read_le<std::uint64_t>();
  state.replaced_at = reader.read_le<std::uint64_t>();
  state.checkpoint.snapshot.lsn = reader.read_le<std::uint64_t>();
  state.checkpoint.snapshot.fingerprint = read_fingerprint(reader);
  state.checkpoint.snapshot.key = reader.read_string(reader.read_le<std::uint32_t>());
  return state;
}

// Reads what stands behind the checksum.
[[nodiscard]] inline ObjectHistory read_body(Reader& reader, std::string_view key) {
  const auto count = reader.read_le<std::uint64_t>();
  const auto span = std::chrono::milliseconds(static_cast<std::int64_t>(reader.read_le<std::uint64_t>()));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(span);
  ObjectHistory history;
  if (count != 0) {
    history.policy = HistoryPolicy::keep_last(static_cast<std::size_t>(count));
  } else if (seconds.count() != 0) {
    history.policy = HistoryPolicy::keep_for(seconds);
  }
  for (auto states = reader.read_le<std::uint64_t>(); states > 0; --states) {
    HistoryState state = read_state(reader);
    require_possible(state, history.states.empty() ? nullptr : &history.states.back(), key);
    history.states.push_back(std::move(state));
  }
  if (reader.remaining() != 0) {
    fail(key, std::to_string(reader.remaining()) + " bytes follow its last state");
  }
  return history;
}

}  // namespace object_history

/// Decodes the list with this key. Throws PersistError log_corrupted if it is not complete and correct; unsupported_version if this
/// library does not know its version.
[[nodiscard]] inline ObjectHistory decode_object_history(std::span<const std::byte> list, std::string_view key) {
  try {
    Reader reader(list);
    if (const std::string magic = reader.read_string(object_history_magic.size()); magic != object_history_magic) {
      object_history::fail(key, "it begins with " + printable(magic) + ", expected " + printable(object_history_magic));
    }
    if (const auto version = reader.read_le<std::uint32_t>(); version != object_history_version) {
      throw_persist_error(PersistErrorKind::unsupported_version,
                          "the list of older states " + printable(key, log_objects::largest_printed_key) +
                              " has format version " + std::to_string(version) + ", but this library reads " +
                              std::to_string(object_history_version) +
                              "; it needs a newer library, or the object is damaged");
    }
    const auto checksum = reader.read_le<std::uint32_t>();  // first of all: a shorter list has none
    if (checksum != object_history::checksum_of(list)) {
      object_history::fail(key, "its checksum is wrong");
    }
    return object_history::read_body(reader, key);
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::truncated_payload) {
      object_history::fail(key, error.what());
    }
    throw;
  }
}

/// Gives up the states that `policy` does not keep at the time `now`, in milliseconds since 1970 UTC.
inline void give_up_old_states(std::vector<HistoryState>& states, const HistoryPolicy& policy, std::uint64_t now) {
  std::size_t left = states.size();
  // Each state was replaced later than the one in front of it: behind one that is kept, all are.
  const auto kept = std::ranges::find_if(
      states, [&](const HistoryState& state) { return history::is_kept(left--, state.replaced_at, policy, now); });
  states.erase(states.begin(), kept);
}

/// The history of a snapshot that follows on the checkpoint `replaced`, whose own history is `history`, at the time `now`, in
/// milliseconds since 1970 UTC. Without `replaced` it holds the same as the one before. `policy` says what is kept; if it is none,
/// that of `history`: else a program that does not know of a history would delete it.
[[nodiscard]] inline ObjectHistory history_behind(ObjectHistory history, std::optional<LogCheckpoint> replaced,
                                                  const HistoryPolicy& policy, std::int64_t now) {
  history.policy = policy.is_on() ? policy : history.policy;
  std::vector<HistoryState>& states = history.states;
  const auto latest = static_cast<std::int64_t>(object_history::latest_time);
  auto time = static_cast<std::uint64_t>(std::clamp<std::int64_t>(now, 1, latest));
  if (replaced) {
    time = states.empty() ? time : std::max(time, states.back().replaced_at + 1);
    states.push_back({.checkpoint = *std::move(replaced), .replaced_at = time});
  }
  give_up_old_states(states, history.policy, time);
  return history;
}

/// The history of the snapshot with the key `snapshot`, as the store has it; nothing if it has none. Throws PersistError as
/// decode_object_history() does; io.
template <ReadsObjects S>
[[nodiscard]] std::optional<ObjectHistory> read_object_history(S& store, std::string_view name,
                                                               std::string_view snapshot,
                                                               const ObjectLogOptions& options) {
  const auto key = object_history_key(name, snapshot);
  const auto list = key ? asked_again(options, [&] { return store.get(*key); }) : std::nullopt;
  return list ? std::optional(decode_object_history(*list, *key)) : std::nullopt;
}

}  // namespace iqdb
