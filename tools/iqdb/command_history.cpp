// iqdb history PATH: the states of an index that can be loaded, from now back.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "given_path.hpp"
#include "iqdb/persist/inspect.hpp"
#include "iqdb/persist/storage/object_address.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "log_facts.hpp"
#include "object_place.hpp"
#include "read_storage.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

// A snapshot with its log, and the mutations at which it shows the index.
struct State {
  fs::path path;
  std::optional<std::uint64_t> replaced_at = {};  // milliseconds since 1970 UTC; nothing for the index itself
  std::uint64_t vectors = 0;                      // in the snapshot
  std::uint64_t snapshot_bytes = 0;
  std::uint64_t log_bytes = 0;
  std::optional<std::uint64_t> first_lsn = {};  // the last mutation that the snapshot holds; nothing without a log
  std::optional<std::uint64_t> last_lsn = {};   // the last one in the log
  std::optional<std::int64_t> first_time = {};  // the first one that the log notes, in milliseconds since 1970 UTC
  std::optional<std::int64_t> last_time = {};   // the last one
  std::vector<iqdb::PersistError> problems = {};
};

State look_at_state(ReadStorage& storage, const fs::path& path, std::optional<std::uint64_t> replaced_at) {
  State state{.path = path, .replaced_at = replaced_at};
  try {
    const iqdb::IndexReport report = iqdb::inspect_index(storage, path);
    state.vectors = report.header.vectors;
    state.snapshot_bytes = report.file_bytes;
    if (report.log) {
      state.log_bytes = report.log->file_bytes;
      if (report.log->problem) {
        state.problems.push_back(*report.log->problem);
      }
      if (report.log->scan && report.log->scan->replay) {
        state.first_lsn = report.log->scan->replay->covered_lsn;
        state.last_lsn = report.log->scan->end.next_lsn - 1;
        state.first_time = report.log->scan->first_time;
        state.last_time = report.log->scan->last_time;
      }
    }
  } catch (const iqdb::PersistError& error) {
    if (error.kind() == iqdb::PersistErrorKind::io && !replaced_at) {
      throw;
    }
    state.problems.push_back(error);  // a writer may have given it up meanwhile
  }
  return state;
}

Json json_of(const State& state) {
  return {{"path", state.path.string()},
          {"replaced_at_ms", number_or_null(state.replaced_at)},
          {"first_lsn", number_or_null(state.first_lsn)},
          {"last_lsn", number_or_null(state.last_lsn)},
          {"first_time_ms", number_or_null(state.first_time)},
          {"last_time_ms", number_or_null(state.last_time)},
          {"snapshot_vectors", state.vectors},
          {"snapshot_bytes", state.snapshot_bytes},
          {"log_bytes", state.log_bytes},
          {"problems", json_of_problems(state.problems)}};
}

void print(Output& out, const State& state) {
  out.line(out.bold(harmless(state.path.filename().string())));
  out.field("state", state.replaced_at ? "replaced at " + iqdb::utc_text(static_cast<std::int64_t>(*state.replaced_at))
                                       : "the index as it is");
  out.field("LSN", state.first_lsn ? std::to_string(*state.first_lsn) + " to " + std::to_string(*state.last_lsn)
                                   : "unknown: no log gives its mutations numbers");
  if (state.first_time) {
    out.field("time", iqdb::utc_text(*state.first_time) + " to " + iqdb::utc_text(*state.last_time));
  }
  out.field("snapshot", std::to_string(state.vectors) + " vectors, " + bytes_text(state.snapshot_bytes));
  if (state.log_bytes > 0) {
    out.field("log", bytes_text(state.log_bytes));
  }
  print_problems(out, state.problems);
}

// The snapshot of the index that is given.
fs::path snapshot_at(const std::string& path) {
  if (iqdb::is_object_address(path)) {
    ObjectPlace place = object_place(path, Access::reads);
    std::ignore = run_at(place);  // says what is wrong with the address
    return place.text;
  }
  const GivenPath given = look_at(path);
  if (given.kind != FileKind::snapshot) {
    given.kind == FileKind::missing ? throw_missing(given) : throw_unknown(given, "the snapshot of an index");
  }
  return given.path;
}

ExitCode history(Output& out, const std::string& given_path) {
  ReadStorage storage;
  const fs::path path = storage.resolve(snapshot_at(given_path));
  std::vector<State> states{look_at_state(storage, path, std::nullopt)};
  const std::vector<iqdb::HistoryEntry> entries = iqdb::history::entries(storage, path);
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (entry->has_snapshot) {
      states.push_back(look_at_state(storage, entry->path, entry->replaced_at));
    }
  }
  Json list = Json::array();
  ExitCode code = ExitCode::fine;
  for (const State& state : states) {
    out.json() ? list.push_back(json_of(state)) : print(out, state);
    code = state.problems.empty() ? code : ExitCode::damaged;
  }
  if (out.json()) {
    out.document({{"path", path.string()}, {"states", std::move(list)}});
  }
  return code;
}

}  // namespace

void add_history(Program& program) {
  auto path = std::make_shared<std::string>();
  CLI::App& command = program.add("history", "List the older states of an index, newest first",
                                  [path](Output& out) { return history(out, *path); });
  command.add_option("path", *path, "The snapshot of the index, or its address on an object store")->required();
}

}  // namespace iqdb_tool
