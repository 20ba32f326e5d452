// The life of a durable index that a check runs, as a list of steps.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What one of several callers calls.
struct CallerCall {
  /// The kind of a call.
  enum class Kind : std::uint8_t {
    mutate,      ///< makes the one mutation
    batch,       ///< makes the mutations as a WriteBatch
    sync,        ///< SharedIndex::sync
    checkpoint,  ///< SharedIndex::checkpoint, which lets nobody go on meanwhile
    close,       ///< SharedIndex::close; the life goes on with a load at the end of the step
    /// SharedIndex::checkpoint, which writes a copy: others go on meanwhile. As `checkpoint` with the log off
    checkpoint_beside
  };

  Kind kind = Kind::mutate;              ///< the kind
  std::vector<Mutation> mutations = {};  ///< one for `mutate`, some for `batch`
  /// It is made when so many calls of the step have reached the file system, while one of them is under way there; if
  /// fewer do, when nobody else waits. It is never made before those that stand before it.
  std::uint64_t behind = 0;
  /// If set, those calls are counted from the first one in this place of a checkpoint_beside (checkpoints_beside.hpp). With
  /// `behind` 0 at a step that goes alone it waits in the queue in front of that step.
  std::optional<std::size_t> place = {};
};

/// One step of a life.
struct Step {
  /// The kind of a step.
  enum class Kind : std::uint8_t {
    mutate,       ///< makes the one mutation
    batch,        ///< makes the mutations as a WriteBatch
    sync,         ///< PersistedIndex::sync
    save,         ///< PersistedIndex::save
    checkpoint,   ///< PersistedIndex::checkpoint
    reopen,       ///< close and load
    drop,         ///< the destructor, and load
    kill,         ///< the process is killed; load
    power_cut,    ///< the power is cut, the disk is in any possible state; load
    restore,      ///< the process is killed, unsynced copies replace the files; load. With the log off, as `kill`:
                  ///< a load then syncs nothing
    exchange,     ///< the directory is exchanged with another one: save and checkpoint must refuse; the mutations, each
                  ///< alone; the directory is put back. With the log off nothing is done: no directory
                  ///< is held then
    lose_lock,    ///< the lock file is removed: save and checkpoint must refuse; another process loads the index; they
                  ///< must refuse again; the life goes on in the other process. With the log off
                  ///< nothing is done: no lock is held then
    call_back,    ///< PersistedIndex::save, whose callback makes every call: each must be refused
    mix_backups,  ///< PersistedIndex::checkpoint; a load of the snapshot before it with the log after it, and the other
                  ///< way round, must be refused or right
    together      ///< several callers call a SharedIndex
  };

  Kind kind;                             ///< the kind
  std::vector<Mutation> mutations = {};  ///< one for `mutate`, any number for `batch` and `exchange`
  std::vector<CallerCall> calls = {};    ///< for `together`, in the order in which they are made
  std::uint64_t most_mutations = 1024;   ///< for `together`: the bound of a group
};

/// A life: its configuration and its steps. It begins with a new index or an existing one.
struct Life {
  bool wal_enabled = true;                        ///< whether the index has a log
  FsyncPolicy policy = FsyncPolicy::always();     ///< when the log is synced; an interval must be longer than the check
  Compression compression = Compression::none();  ///< of snapshots
  std::size_t log_extent_bytes = 0;               ///< as in PersistConfig
  bool direct_io = false;                         ///< as in FileStorageOptions
  std::size_t older_states = 0;                   ///< how many a history keeps; 0 for none
  std::vector<Step> steps = {};                   ///< the steps
};

/// The mutation in words: "insert 3".
[[nodiscard]] inline std::string to_string(const Mutation& mutation) {
  return (mutation.op == FrameOp::insert     ? "insert "
          : mutation.op == FrameOp::upsert   ? "upsert "
          : mutation.op == FrameOp::metadata ? "update metadata of "
                                             : "erase ") +
         to_string(mutation.id) + (mutation.metadata ? " with metadata" : "");
}

/// The mutations of a batch in words: "batch (insert 4, erase 3)".
[[nodiscard]] inline std::string in_words(const std::vector<Mutation>& batch) {
  std::string words = "batch (";
  for (const Mutation& mutation : batch) {
    words += (words.back() == '(' ? "" : ", ") + to_string(mutation);
  }
  return words + ")";
}

/// The call in words: "insert 3 behind 2 calls".
[[nodiscard]] inline std::string to_string(const CallerCall& call) {
  std::string when = call.behind == 0 ? "" : " behind " + std::to_string(call.behind) + " calls";
  if (call.place) {
    when += std::string(" of \"") + names_of_checkpoint_places.at(*call.place) + '"';
  }
  switch (call.kind) {
    case CallerCall::Kind::mutate:
      return to_string(call.mutations.front()) + when;
    case CallerCall::Kind::batch:
      return in_words(call.mutations) + when;
    case CallerCall::Kind::sync:
      return "sync" + when;
    case CallerCall::Kind::checkpoint:
      return "checkpoint" + when;
    case CallerCall::Kind::close:
      return "close" + when;
    case CallerCall::Kind::checkpoint_beside:
      return "checkpoint beside others" + when;
  }
  return "?";
}

/// The step in words: "insert 3", "batch (insert 4, erase 3)".
[[nodiscard]] inline std::string to_string(const Step& step) {
  switch (step.kind) {
    case Step::Kind::mutate:
      return to_string(step.mutations.front());
    case Step::Kind::batch:
      return in_words(step.mutations);
    case Step::Kind::sync:
      return "sync";
    case Step::Kind::save:
      return "save";
    case Step::Kind::checkpoint:
      return "checkpoint";
    case Step::Kind::reopen:
      return "close and load";
    case Step::Kind::drop:
      return "destroy and load";
    case Step::Kind::kill:
      return "kill and load";
    case Step::Kind::power_cut:
      return "cut the power and load";
    case Step::Kind::restore:
      return "put unsynced copies in place and load";
    case Step::Kind::exchange: {
      std::string words = "exchange the directory";
      for (const Mutation& mutation : step.mutations) {
        words += ", " + to_string(mutation);
      }
      return words + ", put it back";
    }
    case Step::Kind::lose_lock:
      return "remove the lock file and load in another process";
    case Step::Kind::call_back:
      return "save, and call the index from the callback";
    case Step::Kind::mix_backups:
      return "checkpoint, and load files of before and after";
    case Step::Kind::together: {
      std::string words = "together, in groups of " + std::to_string(step.most_mutations) + " [";
      for (const CallerCall& call : step.calls) {
        words += (words.back() == '[' ? "" : ", ") + to_string(call);
      }
      return words + "]";
    }
  }
  return "?";
}

/// The life in words.
[[nodiscard]] inline std::string to_string(const Life& life) {
  std::string words = life.wal_enabled ? "log on" : "log off";
  words += life.policy.is_always() ? ", always" : life.policy.is_never() ? ", never" : ", periodic";
  words += life.compression.codec() == Compression::Codec::none   ? ", no compression"
           : life.compression.codec() == Compression::Codec::zstd ? ", zstd"
                                                                  : ", lz4";
  words += ", extents of " + std::to_string(life.log_extent_bytes) + " bytes";
  words += life.older_states > 0 ? ", " + std::to_string(life.older_states) + " older states kept" : "";
  words += life.direct_io ? ", direct I/O:" : ":";
  for (const Step& step : life.steps) {
    words += (&step == life.steps.data() ? " " : "; ") + to_string(step);
  }
  return words;
}

/// An insert whose vector follows from the identifier's number and `variant`, with metadata for some identifiers.
template <Persistable I>
[[nodiscard]] Mutation insert_of(const Subject<I>& subject, std::size_t dim, std::uint64_t number,
                                 std::uint64_t variant = 0) {
  Mutation mutation{.op = FrameOp::insert, .id = number, .vector = subject.vector(number + 1000 * variant, dim)};
  if (number % 4 == 1) {
    mutation.id = VectorId::from_bytes("vector " + std::to_string(number));
  }
  if (number % 3 == 1) {
    mutation.metadata =
        Metadata{{"number", static_cast<std::int64_t>(number)}, {"text", std::string(variant % 40, 'x')}};
  }
  return mutation;
}

/// The erase of the vector that insert_of adds.
template <Persistable I>
[[nodiscard]] Mutation erase_of(const Subject<I>& subject, std::uint64_t number) {
  return {.op = FrameOp::erase, .id = insert_of(subject, 0, number).id};
}

/// A random life of `steps` steps. Its mutations use few identifiers, so that many are rejected.
template <Persistable I>
[[nodiscard]] Life any_life(const Subject<I>& subject, std::size_t dim, std::size_t steps, Random& random) {
  constexpr std::uint64_t identifiers = 8;
  const auto any_mutation = [&] {
    const std::uint64_t number = random.below(identifiers);
    Mutation mutation =
        random.below(3) > 0 ? insert_of(subject, dim, number, random.below(50)) : erase_of(subject, number);
    if (mutation.op == FrameOp::insert && random.one_in(16)) {
      mutation.vector.push_back(0.0F);  // one component too many, so it is rejected
    } else if (mutation.op == FrameOp::insert && random.one_in(4)) {
      mutation.op = FrameOp::upsert;
      if (UpdatesMetadata<I> && number % 4 == 1) {
        mutation.op = FrameOp::metadata;
        mutation.vector.clear();
      }
    }
    return mutation;
  };
  Life life;
  life.wal_enabled = !random.one_in(12);
  life.policy = random.below(2) == 0   ? FsyncPolicy::always()
                : random.below(4) == 0 ? FsyncPolicy::periodic(std::chrono::hours(24))
                                       : FsyncPolicy::never();
  const std::uint64_t codec = random.below(6);
  if (codec == 0 && IQDB_PERSIST_HAS_ZSTD != 0) {
    life.compression = Compression::zstd(1);
  } else if (codec == 1 && IQDB_PERSIST_HAS_LZ4 != 0) {
    life.compression = Compression::lz4();
  }
  constexpr std::array<std::size_t, 5> extents = {0, 200, 512, 1024, 4096};
  life.log_extent_bytes = extents.at(static_cast<std::size_t>(random.below(extents.size())));
  for (std::size_t at = 0; at < steps; ++at) {
    constexpr std::array<std::pair<Step::Kind, std::uint64_t>, 10> shares = {{{Step::Kind::mutate, 58},
                                                                              {Step::Kind::batch, 14},
                                                                              {Step::Kind::sync, 4},
                                                                              {Step::Kind::save, 5},
                                                                              {Step::Kind::checkpoint, 5},
                                                                              {Step::Kind::reopen, 4},
                                                                              {Step::Kind::drop, 2},
                                                                              {Step::Kind::kill, 3},
                                                                              {Step::Kind::power_cut, 3},
                                                                              {Step::Kind::restore, 2}}};
    std::uint64_t share = random.below(100);
    const auto* chosen = shares.data();
    for (; share >= chosen->second; ++chosen) {
      share -= chosen->second;
    }
    Step step{.kind = chosen->first};
    const std::uint64_t mutations = step.kind == Step::Kind::mutate  ? 1
                                    : step.kind == Step::Kind::batch ? random.below(5)
                                                                     : 0;
    for (std::uint64_t mutation = 0; mutation < mutations; ++mutation) {
      step.mutations.push_back(any_mutation());
    }
    life.steps.push_back(std::move(step));
  }
  life.direct_io = life.policy.is_always() && random.one_in(3);  // makes no difference to the other policies
  return life;
}

/// Makes a mutation.
template <class M>
void make_mutation(M& index, const Mutation& mutation) {
  if (mutation.op == FrameOp::insert) {
    index.insert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
  } else if (mutation.op == FrameOp::upsert) {
    if constexpr (Upsertable<M>) {
      index.upsert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
    } else {
      bool half_done = false;
      upsert_into(index, mutation.id, std::span<const float>(mutation.vector), mutation.metadata, half_done);
    }
  } else if (mutation.op == FrameOp::metadata) {
    if constexpr (UpdatesMetadata<M>) {
      index.update_metadata(mutation.id, mutation.metadata);
    }
  } else {
    index.erase(mutation.id);
  }
}

/// The mutations of a step as a batch.
[[nodiscard]] inline WriteBatch batch_of(const std::vector<Mutation>& mutations) {
  WriteBatch batch;
  for (const Mutation& mutation : mutations) {
    make_mutation(batch, mutation);
  }
  return batch;
}

/// Makes mutations until the index rejects one. Returns whether it took them all.
template <class M>
[[nodiscard]] bool takes_all(M& index, const std::vector<Mutation>& mutations) {
  try {
    for (const Mutation& mutation : mutations) {
      make_mutation(index, mutation);
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

/// Whether the index's own checks refuse these mutations before they are logged: then none of them is made.
template <Index I>
[[nodiscard]] bool is_refused_by_checks(const I& index, const std::vector<Mutation>& mutations) {
  try {
    check_before_batch(index, std::span<const Mutation>(mutations), [](std::size_t) { throw; });
    return false;
  } catch (const IndexError&) {
    return true;
  }
}

}  // namespace testing
}  // namespace iqdb
