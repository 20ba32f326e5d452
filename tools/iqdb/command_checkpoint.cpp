// iqdb checkpoint PATH: folds the log of an index into its snapshot.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "any_index.hpp"
#include "commands.hpp"
#include "given_path.hpp"
#include "index_settings.hpp"
#include "iqdb/persist/inspect.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "lock_holder.hpp"
#include "object_facts.hpp"
#include "object_place.hpp"
#include "progress.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

struct CheckpointOptions {
  std::string path;
  bool takes_over = false;
};

// Whether the log was read whole, and holds no mutation at all, not even one that was taken back.
bool has_nothing_to_fold(const iqdb::LogReport& log) {
  return !log.problem && log.scan && log.scan->replay && log.scan->end.next_lsn == log.scan->log.first_frame().next_lsn;
}

std::uint64_t log_bytes_at(const fs::path& path) {
  std::error_code none;
  const std::uint64_t bytes = fs::file_size(iqdb::log_path(path), none);
  return none ? 0 : bytes;
}

iqdb::PersistConfig config_for(const fs::path& path, ProgressBar& bar) {
  iqdb::FileStorage storage;
  iqdb::PersistConfig config{
      .path = path, .wal_enabled = true, .checkpoint = iqdb::CheckpointPolicy::manual(), .helper_threads = 0};
  if (!iqdb::history::entries(storage, path).empty()) {
    // Only the program that writes the index knows how many it wants: it gives up what is too old at its next checkpoint.
    constexpr std::size_t all = 1000000;
    config.history = iqdb::HistoryPolicy::keep_last(all);
  }
  auto file = storage.open(path);
  if (file) {
    config.compression = compression_like(*file);
    config.on_progress = advancing(bar, file->size());
  }
  return config;
}

ExitCode tell_that_nothing_was_done(Output& out, const fs::path& path, const iqdb::IndexReport& report) {
  const std::uint64_t bytes = report.log ? report.log->file_bytes : 0;
  if (out.json()) {
    out.document({{"path", path.string()},
                  {"folded", false},
                  {"vectors", report.header.vectors},
                  {"lsn", report.log ? Json(report.log->scan->end.next_lsn - 1) : Json(nullptr)},
                  {"mutations", 0},
                  {"log_bytes_before", bytes},
                  {"log_bytes", bytes}});
    return ExitCode::fine;
  }
  out.line(out.bold(harmless(path.string())));
  out.field("nothing to do", report.log ? "the log holds no mutation" : "there is no log; the snapshot has everything");
  return ExitCode::fine;
}

// What a checkpoint of an index on an object store has done, or that there was nothing to do.
void tell_of_objects(Output& out, const ObjectPlace& place, const ObjectLogFacts& before,
                     const std::optional<Checkpointed>& made) {
  if (out.json()) {
    out.document({{"path", place.text},
                  {"folded", made.has_value()},
                  {"vectors", made ? Json(made->snapshot.vectors) : Json(nullptr)},
                  {"lsn", made ? made->lsn : before.lsn},
                  {"mutations", made ? made->log.replayed : 0},
                  {"aborted", made ? made->log.aborted : 0},
                  {"snapshot_bytes", made ? Json(made->snapshot.file_bytes) : Json(nullptr)}});
    return;
  }
  out.line(out.bold(harmless(place.text)));
  if (!made) {
    out.field("nothing to do", "the log holds no mutation that the snapshot lacks");
    return;
  }
  out.field("folded", count_text(made->log.replayed, "mutation") +
                          (made->log.aborted > 0 ? ", and " + std::to_string(made->log.aborted) + " aborted" : "") +
                          "; the last LSN is " + std::to_string(made->lsn));
  out.field("snapshot", count_text(made->snapshot.vectors, "vector") + ", " + bytes_text(made->snapshot.file_bytes));
}

ExitCode checkpoint_of_objects(Output& out, const CheckpointOptions& options) {
  ObjectPlace looked_at = object_place(options.path, Access::reads);
  const ObjectLogFacts before = facts_of(run_at(looked_at), looked_at);
  if (before.lsn == before.covered_lsn) {
    tell_of_objects(out, looked_at, before, std::nullopt);
    return ExitCode::fine;
  }
  const ObjectPlace place = object_place(options.path, Access::writes);
  ObjectStorage storage = place.storage();
  const IndexType& type = index_type_at(place.text);
  const InterruptGuard guard;
  ProgressBar bar("checkpoint");
  iqdb::PersistConfig config{.path = place.address.name,
                             .wal_enabled = true,
                             .checkpoint = iqdb::CheckpointPolicy::manual(),
                             .helper_threads = 0,
                             .take_over = options.takes_over};
  if (auto file = storage.open(storage.resolve(config.path))) {
    config.compression = compression_like(*file);
    config.on_progress = advancing(bar, 2 * file->size());
  }
  try {
    tell_of_objects(out, place, before, type.checkpoint_objects(config, std::move(storage)));
  } catch (const iqdb::PersistError& error) {
    if (error.kind() != iqdb::PersistErrorKind::locked || options.takes_over) {
      throw;
    }
    iqdb::throw_persist_error(
        error.kind(),
        "the index was not closed: its writer, whose fence is number " + std::to_string(before.writer) +
            ", is at work or was killed, and nothing was changed; end it, or if it is dead or shall "
            "end, add --take-over: then it can acknowledge nothing any more",
        {.path = place.text, .code = {}, .offset = {}});
  }
  return ExitCode::fine;
}

ExitCode checkpoint(Output& out, const CheckpointOptions& options) {
  if (iqdb::is_object_address(options.path)) {
    return checkpoint_of_objects(out, options);
  }
  if (options.takes_over) {
    iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                              "--take-over is for an index on an object store; the lock of files ends with the process "
                              "that holds it: end that process",
                              {.path = options.path, .code = {}, .offset = {}});
  }
  const fs::path given = index_at(options.path);
  const IndexType& type = index_type_at(given);
  const iqdb::IndexReport before = iqdb::inspect_index(given);
  if (!before.log || has_nothing_to_fold(*before.log)) {
    return tell_that_nothing_was_done(out, given, before);
  }
  iqdb::FileStorage storage;
  const fs::path path = storage.resolve(given);
  const InterruptGuard guard;
  ProgressBar bar("checkpoint", 2 * before.file_bytes);
  const Checkpointed made = naming_holder(path, [&] { return type.checkpoint(config_for(path, bar)); });
  const std::uint64_t bytes = log_bytes_at(path);
  if (out.json()) {
    out.document({{"path", given.string()},
                  {"folded", true},
                  {"vectors", made.snapshot.vectors},
                  {"lsn", made.lsn},
                  {"mutations", made.log.replayed},
                  {"aborted", made.log.aborted},
                  {"dropped_bytes", made.log.dropped_bytes},
                  {"snapshot_bytes_before", before.file_bytes},
                  {"snapshot_bytes", made.snapshot.file_bytes},
                  {"log_bytes_before", before.log->file_bytes},
                  {"log_bytes", bytes}});
    return ExitCode::fine;
  }
  out.line(out.bold(harmless(given.string())));
  out.field("folded", count_text(made.log.replayed, "mutation") +
                          (made.log.aborted > 0 ? ", and " + std::to_string(made.log.aborted) + " aborted" : "") +
                          "; the last LSN is " + std::to_string(made.lsn));
  out.field("snapshot", count_text(made.snapshot.vectors, "vector") + ", " + bytes_text(made.snapshot.file_bytes) +
                            "; before " + bytes_text(before.file_bytes));
  out.field("log", bytes_text(bytes) + "; before " + bytes_text(before.log->file_bytes));
  if (made.log.dropped_bytes > 0) {
    out.field("torn end", bytes_text(made.log.dropped_bytes) + " that were never known to be durable, kept in '" +
                              harmless(made.log.torn_log.string()) + "'");
  }
  return ExitCode::fine;
}

}  // namespace

void add_checkpoint(Program& program) {
  auto options = std::make_shared<CheckpointOptions>();
  CLI::App& command = program.add("checkpoint", "Fold the log of an index into its snapshot",
                                  [options](Output& out) { return checkpoint(out, *options); });
  command
      .add_option("path", options->path, "The snapshot of the index, which no program may have open, or its address")
      ->required();
  command.add_flag("--take-over", options->takes_over,
                   "On an object store, also where the writer of the index may be at work, which this ends");
}

}  // namespace iqdb_tool
