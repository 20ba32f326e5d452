// A mutation with the log on: logged first, then applied; aborted if the index rejects it.
//
// Invariant: when a call returns or throws, each mutation of its frame was applied, or an abort that names it stands
// behind the frame, or the log is poisoned.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <tuple>
#include <utility>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint_schedule.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/open_log.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace logged_mutation {

// Throws PersistError read_only.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_read_only(const std::filesystem::path& path) {
  throw_persist_error(PersistErrorKind::read_only,
                      "the index was loaded with PersistConfig::read_only, which writes nothing; load it without, or "
                      "keep what is in memory by save_copy()",
                      {.path = path, .code = {}, .offset = {}});
}

// Whether the mutation that begins is to be logged. Throws PersistError read_only, poisoned, unlogged_changes.
template <Storage S>
[[nodiscard]] bool begins(const PersistConfig& config, const std::unique_ptr<OpenLog<S>>& log,
                          bool has_unlogged_changes) {
  if (config.read_only) {
    throw_read_only(config.path);
  }
  if (!config.wal_enabled) {
    return false;
  }
  naming_file(config.path, [&] { open_log::usable(log).writer->require_not_poisoned(); });
  if (has_unlogged_changes) {
    throw_persist_error(PersistErrorKind::unlogged_changes,
                        "the index was changed through index_mut() and not saved since, so a replay of the log would "
                        "not know what this mutation stood on; call save() or checkpoint() first",
                        {.path = config.path, .code = {}, .offset = {}});
  }
  return true;
}

// Names the mutations of a frame that the index rejected by the exception being handled. Called in a catch handler.
// `half_done` is that of upsert_into.
template <Storage S>
void settle(LogWriter<S>& writer, const LsnRange& rejected, bool half_done, bool need_not_repeat) noexcept {
  std::ignore = writer.abort(std::span(&rejected, 1), need_not_repeat);
  if (half_done) {
    writer.poison("an upsert removed the old vector, and the index did not take the new one",
                  message_of_current_exception());
  }
}

// Calls `apply(half_done)`, which applies the first of these mutations. If it throws, aborts them all, and the exception
// passes unchanged. `log` is null if they are not logged.
template <Storage S, class Apply>
void apply_or_abort(OpenLog<S>* log, const LsnRange& lsns, Apply&& apply) {
  bool half_done = false;
  if (log == nullptr) {
    std::forward<Apply>(apply)(half_done);
    return;
  }
  try {
    std::forward<Apply>(apply)(half_done);
  } catch (const IndexError&) {
    settle(*log->writer, lsns, half_done, false);
    throw;
  } catch (...) {
    // A rejection of another kind need not repeat: a replay could take the mutation.
    settle(*log->writer, lsns, half_done, true);
    throw;
  }
}

// Calls `apply()`, which applies the mutations of a record, one or a batch, and then `behind()`, also if the index rejects them:
// the log has grown. `schedule` measures it, and is null if they are not logged; then `behind` is not called. Throws what
// `apply` throws.
template <class Apply, class Behind>
void measured(CheckpointSchedule* schedule, bool is_one, Apply&& apply, Behind&& behind) {
  constexpr auto now = CheckpointSchedule::Clock::now;
  if (schedule == nullptr) {
    std::forward<Apply>(apply)();
    return;
  }
  try {
    is_one ? schedule->apply_one(apply, now) : schedule->apply_batch(apply, now);
  } catch (...) {
    behind();
    throw;
  }
  behind();
}

}  // namespace logged_mutation

}  // namespace iqdb
