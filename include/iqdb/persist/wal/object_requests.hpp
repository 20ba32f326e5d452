// How a log asks an object store: what is asked again, and when a put if absent is settled.
//
// Invariant: a put is settled only by "stored", or by the object that was read under its key. Until then the same bytes are
// put again under the same key. Why nothing less will do:
//
// - The reply is lost, but the object was stored: the repeated put says "was there". Without a look at the object its writer would
//   take itself for fenced; with success told for any "was there", it would acknowledge what another one has displaced.
// - A client library repeats a put by itself: then the very first answer is "was there", and it is one's own object.
// - "Was there", and a read says "not there": the object is just being stored, or it was one's own and has been swept. So that
//   concludes nothing, and the put is repeated.
// - A process that was forked, or a machine that was resumed twice from one image, is two writers in one state. Both put their
//   next object under one number. Only a nonce that is drawn anew for each object tells the two apart.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/native_process.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Waits 50 ms after the first failure of a request and twice as long after each further one, but at most 5 s.
inline void pause_longer_each_time(unsigned failures) {
  constexpr unsigned most_doublings = 7;
  constexpr std::chrono::milliseconds first{50};
  constexpr std::chrono::milliseconds longest{5000};
  std::this_thread::sleep_for(std::min(longest, first * (1U << std::min(failures - 1, most_doublings))));
}

/// A number that nobody can predict, from the system: no state of this process is a part of it, so the child of a fork draws
/// others. Throws PersistError io.
[[nodiscard]] inline std::uint64_t random_nonce() {
  std::uint64_t nonce = 0;
  if (!native_entropy::fill(&nonce, sizeof nonce)) {
    throw_persist_error(
        PersistErrorKind::io,
        "cannot get random bytes for an object of the log (the system forbids the call getentropy; allow it)");
  }
  return nonce;
}

/// How a log uses its store.
struct ObjectLogOptions {
  /// How often a request is made before its caller is told that its end is not known. At least 1.
  unsigned most_attempts = 12;
  /// How often a log is listed again because others changed it meanwhile, or opened again because others did so first, before
  /// the caller is told. At least 1.
  unsigned most_beginnings = 100;
  /// How many keys are asked for at once. At least 1.
  std::size_t listed_at_once = 1000;
  /// How many bytes a part of a snapshot has, where the store has uploads in parts; more where the store takes none so small, and
  /// behind half of the parts that it takes. What is no larger is one put. While a snapshot is written, six times as much is in
  /// memory. It must hold the header of a snapshot.
  std::uint64_t part_bytes = std::uint64_t{7} << 20U;
  /// How many parts of a snapshot are sent at the same time, each by a thread and by a copy of the store. 0: one, by the thread that
  /// writes the snapshot.
  unsigned parts_in_flight = 4;
  /// Waits between two attempts; its argument is how many have failed, from 1 on.
  std::function<void(unsigned failures)> pause = pause_longer_each_time;
  /// Returns a number that it never returned before, in any process.
  std::function<std::uint64_t()> nonce = random_nonce;
};

/// Who owns the object under a key for which a put was settled.
enum class ObjectOwner : std::uint8_t {
  self,   ///< the object that was put is there, or was there
  other,  ///< another's object is there, and nothing was stored
};

/// Makes a request that may be repeated, and makes it again if it has no answer. Throws PersistError io if there is none after
/// options.most_attempts, and what else the request throws.
template <class Ask>
[[nodiscard]] auto asked_again(const ObjectLogOptions& options, Ask&& ask) {
  for (unsigned failures = 1;; ++failures) {
    try {
      return ask();
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::io || failures >= options.most_attempts) {
        throw;
      }
    }
    options.pause(failures);
  }
}

namespace object_requests {

// Calls `visit(key)` for each key that begins with `prefix` and is larger than `behind`, in their order. Throws PersistError io, and
// what `visit` throws.
template <ListsObjects S, class Visit>
void for_each_key(S& store, std::string_view prefix, std::string behind, const ObjectLogOptions& options,
                  Visit&& visit) {
  for (;;) {
    const auto keys = asked_again(options, [&] { return store.list(prefix, behind, options.listed_at_once); });
    if (keys.empty()) {
      return;
    }
    for (const std::string& key : keys) {
      visit(key);
    }
    behind = keys.back();
  }
}

}  // namespace object_requests

/// Puts a log object if absent, again and again until it is known whose object is there. `bytes` is the object `number`, and
/// `key` its key. Throws PersistError io if that is still not known after options.most_attempts: the object may then be there,
/// or may be stored later; log_corrupted if what is there is no log object; and what the store throws. After any exception the
/// object may be there.
template <class S>
  requires PutsObjectsIfAbsent<S> && ReadsObjects<S>
[[nodiscard]] ObjectOwner settle_put(S& store, const std::string& key, std::uint64_t number,
                                     std::span<const std::byte> bytes, const ObjectLogOptions& options) {
  const std::uint64_t own_nonce = read_log_object_header(bytes, key, number).nonce;
  for (unsigned failures = 1;; ++failures) {
    const PutOutcome outcome = store.put_if_absent(key, bytes);
    if (outcome == PutOutcome::stored) {
      return ObjectOwner::self;
    }
    if (outcome == PutOutcome::was_there) {
      const auto found = asked_again(options, [&] { return store.get(key, 0, log_object_header_bytes); });
      if (found) {
        return read_log_object_header(*found, key, number).nonce == own_nonce ? ObjectOwner::self : ObjectOwner::other;
      }
    }
    if (failures >= options.most_attempts) {
      throw_persist_error(
          PersistErrorKind::io,
          "cannot store " + log_objects::object_words(key) + ": after " + std::to_string(failures) +
              " attempts it is not known whether it is there (the store does not answer; see that it can be "
              "reached, and open the log again: what is there then is what counts)");
    }
    options.pause(failures);
  }
}

}  // namespace iqdb
