// What happens to a durable index from outside, or from its own callbacks, and what it must answer: its directory or its
// lock file is exchanged, a callback calls it, its files are copied at two moments.
#pragma once

#include <cerrno>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/oracle.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/simulated_index.hpp"
#include "iqdb/persist/testing/simulated_names.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/mutation.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// Makes a call that must throw a PersistError for which `is_right(error)` is true. Throws Violation if it does not.
template <class Call, class IsRight>
void require_error(std::string_view name, Call&& call, IsRight&& is_right) {
  std::string found = "succeeds";
  try {
    std::forward<Call>(call)();
  } catch (const PersistError& error) {
    if (is_right(error)) {
      return;
    }
    found = std::string("throws ") + error.what();
  } catch (const std::exception& error) {
    found = std::string("throws what is no PersistError: ") + error.what();
  }
  throw Violation(std::string(name) + " " + found);
}

/// Saves and checkpoints an index whose directory or lock file was exchanged. Both must throw PersistError io with the
/// code ESTALE, or, where calls of the file system fail, any PersistError. They must change no file, nor the index.
/// Throws Violation.
template <Persistable I>
void require_stale(const Subject<I>& subject, SimulatedIndex<I>& index, const SimulatedFileSystem& machine,
                   bool with_faults) {
  const Moment before = moment_of(subject, index);
  const DiskState files = machine.visible();
  const auto is_right = [&](const PersistError& error) {
    return with_faults || (error.kind() == PersistErrorKind::io && error.code().value() == ESTALE);
  };
  require_error(
      "a save where directory or lock file was exchanged", [&] { index.save(); }, is_right);
  require_error(
      "a checkpoint where directory or lock file was exchanged", [&] { index.checkpoint(); }, is_right);
  if (moment_of(subject, index) != before) {
    throw Violation("a save that was refused since directory or lock file was exchanged has changed the index");
  }
  if (machine.visible() != files) {
    throw Violation("a save that was refused since directory or lock file was exchanged has changed a file");
  }
}

/// Makes every call that changes an index, or its files. Each must throw a PersistError of this kind and change nothing.
/// `caller` ends the name of a call in a message. Throws Violation.
template <Persistable I>
void require_all_refused(const Subject<I>& subject, SimulatedIndex<I>& index, PersistErrorKind kind,
                         std::string_view caller) {
  const Moment before = moment_of(subject, index);
  const Mutation insert = insert_of(subject, persisted_dim(index.index()), 900000);
  const auto require = [&](std::string_view name, auto&& call) {
    require_error(std::string(name).append(caller), call,
                  [kind](const PersistError& error) { return error.kind() == kind; });
  };
  require("an insert", [&] { make_mutation(index, insert); });
  require("an upsert", [&] { index.upsert(insert.id, std::span<const float>(insert.vector), insert.metadata); });
  require("an erase", [&] { index.erase(insert.id); });
  require("a batch", [&] { index.apply(batch_of({insert})); });
  require("a sync", [&] { index.sync(); });
  require("a save", [&] { index.save(); });
  require("a checkpoint", [&] { index.checkpoint(); });
  if (moment_of(subject, index) != before) {
    throw Violation("a refused call" + std::string(caller) + " has changed the index");
  }
}

/// Makes these calls while another call of the index is under way, and closes it, and asks to change it: each must throw
/// PersistError reentered and change neither the index nor a file. Throws Violation.
template <Persistable I>
void require_reentered(const Subject<I>& subject, SimulatedIndex<I>& index, const SimulatedFileSystem& machine) {
  constexpr std::string_view caller = " of the index by its own callback";
  const DiskState files = machine.visible();
  const auto is_right = [](const PersistError& error) { return error.kind() == PersistErrorKind::reentered; };
  require_all_refused(subject, index, PersistErrorKind::reentered, caller);
  require_error(
      "a change of the index by its own callback", [&] { static_cast<void>(index.index_mut()); }, is_right);
  require_error(
      "a close of the index by its own callback", [&] { index.close(); }, is_right);
  if (machine.visible() != files) {
    throw Violation("a refused call" + std::string(caller) + " has changed a file");
  }
}

/// Loads an index from two copies of its files, each with the snapshot of one moment and the log of the other. A load
/// must find what the oracle expects of a machine whose power was cut, or throw PersistError log_mismatch; or, where
/// calls of the file system failed before, any PersistError. With the log off there is nothing to mix. Throws Violation.
template <Persistable I>
void require_no_mixture(const Subject<I>& subject, const Life& life, const Oracle& oracle, const DiskState& earlier,
                        const DiskState& later, bool with_faults) {
  if (!life.wal_enabled) {
    return;
  }
  const PersistConfig config = simulated_config(life);
  const auto load = [&](const DiskState& of_snapshot, const DiskState& of_log, const std::string& which) {
    DiskState mixed;
    for (const auto& [from, path] :
         {std::pair(&of_snapshot, config.path.native()), std::pair(&of_log, log_path(config.path).native())}) {
      if (const auto found = from->find(path); found != from->end()) {
        mixed.insert(*found);
      }
    }
    try {
      const Moment found = moment_of(subject, open_index(subject, life, config, SimulatedFileSystem(mixed, 0)));
      if (!oracle.held(found.contents, oracle.durable())) {
        throw Violation("a backup with " + which + ": " + oracle.explain(found, oracle.durable()) +
                        ", or log_mismatch");
      }
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::log_mismatch && !with_faults) {
        throw Violation("a backup with " + which + " is no log_mismatch: " + error.what());
      }
    }
  };
  load(earlier, later, "the earlier snapshot and the later log");
  load(later, earlier, "the later snapshot and the earlier log");
}

}  // namespace testing
}  // namespace iqdb
