// iqdb info PATH: what the files of an index are, read as far as it costs next to nothing.
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "foreign.hpp"
#include "given_path.hpp"
#include "iqdb/persist/inspect.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "lock_holder.hpp"
#include "log_facts.hpp"
#include "object_facts.hpp"
#include "payload_head.hpp"
#include "snapshot_facts.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

struct InfoOptions {
  std::string path;
  bool full = false;
};

// A log of this size is read in a few hundredths of a second.
constexpr std::uint64_t most_log_bytes = std::uint64_t{16} << 20U;

// When the file was last written, e.g. "2026-11-29 00:34:40 UTC"; nothing if it is not there.
std::optional<std::string> time_written(const fs::path& path) {
  constexpr std::int64_t in_a_second = 1000;
  struct ::stat found {};
  return ::stat(path.c_str(), &found) == 0 ? std::optional(iqdb::utc_text(found.st_mtim.tv_sec * in_a_second))
                                           : std::nullopt;
}

// What is known about the files of an index.
struct IndexFacts {
  fs::path path;
  iqdb::IndexReport report;
  std::optional<iqdb::RegionPreamble> preamble = {};
  std::optional<PayloadHead> payload = {};
  LockState lock = {};
  std::vector<std::pair<fs::path, std::uint64_t>> beside = {};  // other files, with their sizes
  std::size_t older_states = 0;                                 // in the history
  std::vector<iqdb::PersistError> problems = {};
};

void look_at_payload(IndexFacts& facts) {
  try {
    iqdb::naming_file(facts.path, [&] {
      iqdb::FileStorage storage;
      auto file = storage.open(storage.resolve(facts.path));
      if (!file) {
        return;
      }
      // Anew: a checkpoint may have replaced the file since.
      const iqdb::FileHeader header = iqdb::snapshot::read_header_of(*file);
      facts.preamble = preamble_of(*file, header);
      facts.payload = payload_head_of(*file, header);
      if (facts.payload && header == facts.report.header) {
        compare(facts.path, header, *facts.payload, facts.problems);
      }
    });
  } catch (const iqdb::PersistError& error) {
    if (error.kind() == iqdb::PersistErrorKind::io) {
      throw;
    }
    facts.problems.push_back(error);
  }
}

IndexFacts gather(const fs::path& path, bool full) {
  iqdb::InspectOptions options;
  if (!full) {
    options.most_log_bytes = most_log_bytes;
  }
  IndexFacts facts{.path = path, .report = iqdb::inspect_index(path, options)};
  look_at_payload(facts);
  if (facts.report.log && facts.report.log->problem) {
    facts.problems.push_back(*facts.report.log->problem);
  }
  iqdb::FileStorage storage;
  const fs::path name = storage.resolve(path);
  facts.lock = look_at_lock(name);
  facts.older_states = iqdb::history::entries(storage, name).size();
  for (const char* const ending : {".tmp", ".wal.tmp", ".wal.torn", ".wal.torn.tmp"}) {
    fs::path other = name;
    other += ending;
    std::error_code missing;
    const std::uint64_t bytes = fs::file_size(other, missing);
    if (!missing) {
      facts.beside.emplace_back(std::move(other), bytes);
    }
  }
  return facts;
}

std::string what_beside(const fs::path& path, const LockState& lock) {
  if (path.extension() == ".torn") {
    return "a log whose end a crash tore, kept by the load that dropped it; iqdb log shows it, and it may be removed";
  }
  return lock.held.value_or(false) ? "a file that is being written"
                                   : "left by a process that was killed; the next save or load removes it";
}

std::string lock_text(const LockState& lock) {
  if (!lock.file_exists) {
    return "free; there is no lock file";
  }
  if (!lock.held) {
    return "unknown: this system does not say who holds locks";
  }
  if (!*lock.held) {
    return "free, as far as this machine shows";
  }
  return lock.holders.empty() ? "held, by a process that this system does not name"
                              : "held by " + harmless(holders_text(lock));
}

Json json_of(const LockState& lock) {
  Json holders = Json::array();
  for (const LockHolder& holder : lock.holders) {
    holders.push_back({{"process", holder.process}, {"name", holder.name}});
  }
  return {{"held", lock.held ? Json(*lock.held) : Json(nullptr)}, {"holders", std::move(holders)}};
}

Json json_of(const IndexFacts& facts) {
  const iqdb::IndexReport& report = facts.report;
  const iqdb::FileHeader& header = report.header;
  Json snapshot{{"path", facts.path.string()}};
  add_snapshot(snapshot, header, report.file_bytes, facts.preamble, facts.payload);
  snapshot["written"] = time_written(facts.path).value_or("");
  Json document{{"path", facts.path.string()}, {"kind", "index"}, {"snapshot", std::move(snapshot)}};
  document["log"] = report.log ? json_of_log(*report.log, iqdb::log_path(facts.path), true) : Json(nullptr);
  if (report.log) {
    document["log"]["written"] = time_written(iqdb::log_path(facts.path)).value_or("");
  }
  document["lock"] = json_of(facts.lock);
  document["beside"] = Json::array();
  for (const auto& [path, bytes] : facts.beside) {
    document["beside"].push_back(
        {{"path", path.string()}, {"file_bytes", bytes}, {"what", what_beside(path, facts.lock)}});
  }
  document["older_states"] = facts.older_states;
  document["problems"] = json_of_problems(facts.problems);
  return document;
}

void print(Output& out, const IndexFacts& facts) {
  const iqdb::IndexReport& report = facts.report;
  const iqdb::FileHeader& header = report.header;
  out.line(out.bold(harmless(facts.path.string())));
  print_snapshot(out, header, report.file_bytes, facts.preamble, facts.payload);
  out.field("written", time_written(facts.path).value_or("unknown"));
  if (report.log) {
    out.line(out.bold("log"));
    print_log(out, *report.log, true, facts.lock.held.value_or(false));
    out.field("written", time_written(iqdb::log_path(facts.path)).value_or("unknown"));
  } else {
    out.line(out.bold("log"));
    out.field("none", "the index was saved with the log off");
  }
  out.line(out.bold("beside"));
  out.field("lock", lock_text(facts.lock));
  if (facts.older_states > 0) {
    out.field("older states", std::to_string(facts.older_states) + "; iqdb history lists them");
  }
  for (const auto& [path, bytes] : facts.beside) {
    out.field(harmless(path.filename().string()), std::to_string(bytes) + " bytes: " + what_beside(path, facts.lock));
  }
  print_problems(out, facts.problems);
}

ExitCode info_of_index(Output& out, const fs::path& path, bool full) {
  const IndexFacts facts = gather(path, full);
  if (out.json()) {
    out.document(json_of(facts));
  } else {
    print(out, facts);
  }
  return facts.problems.empty() ? ExitCode::fine : ExitCode::damaged;
}

// A log without its snapshot, or one that was set aside.
ExitCode info_of_log(Output& out, const GivenPath& given, bool full) {
  iqdb::InspectOptions options;
  if (!full) {
    options.most_log_bytes = most_log_bytes;
  }
  const iqdb::LogReport report = iqdb::inspect_log(given.path, {}, options);
  std::vector<iqdb::PersistError> problems;
  if (report.problem) {
    problems.push_back(*report.problem);
  }
  if (given.names_log) {
    problems.emplace_back(iqdb::PersistErrorKind::io,
                          "there is no snapshot '" + given.snapshot.string() +
                              "' for this log; put it back: without it the log cannot be loaded",
                          iqdb::PersistErrorContext{.path = given.path, .code = {}, .offset = {}});
  }
  if (out.json()) {
    Json document{{"path", given.path.string()}, {"kind", given.names_torn ? "torn_log" : "log"}};
    document["log"] = json_of_log(report, given.path, false);
    document["log"]["written"] = time_written(given.path).value_or("");
    document["problems"] = json_of_problems(problems);
    out.document(document);
  } else {
    out.line(out.bold(harmless(given.path.string())));
    if (given.names_torn) {
      out.field("what", "a log whose end a crash tore, kept by the load that dropped it");
    }
    print_log(out, report, false, false);
    out.field("written", time_written(given.path).value_or("unknown"));
    print_problems(out, problems);
  }
  return problems.empty() ? ExitCode::fine : ExitCode::damaged;
}

ExitCode info_of_foreign(Output& out, const GivenPath& given) {
  iqdb::FileStorage storage;
  auto file = storage.open(storage.resolve(given.path));
  const std::optional<ForeignFile> foreign = file ? recognise_foreign(*file) : std::nullopt;
  if (!foreign) {
    throw_unknown(given, "no file of iqdb-persist, hnswlib, faiss or usearch");
  }
  if (out.json()) {
    const auto known = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
    out.document({{"path", given.path.string()},
                  {"kind", "foreign"},
                  {"library", foreign->library},
                  {"what", foreign->what},
                  {"dimensions", foreign->dim},
                  {"vectors", foreign->vectors},
                  {"deleted", foreign->deleted},
                  {"metric", known(foreign->metric)},
                  {"scalar", known(foreign->scalar)},
                  {"settings", known(foreign->settings)},
                  {"file_bytes", file->size()},
                  {"written", time_written(given.path).value_or("")}});
    return ExitCode::fine;
  }
  out.line(out.bold(harmless(given.path.string())));
  out.field("what", "a file of " + foreign->library + "'s own: " + foreign->what);
  out.field("dimensions", std::to_string(foreign->dim));
  out.field("vectors", std::to_string(foreign->vectors) +
                           (foreign->deleted > 0 ? ", and " + std::to_string(foreign->deleted) + " deleted" : ""));
  out.field("metric", foreign->metric.empty() ? "not in the file" : foreign->metric);
  if (!foreign->scalar.empty()) {
    out.field("scalar", foreign->scalar);
  }
  if (!foreign->settings.empty()) {
    out.field("settings", foreign->settings);
  }
  out.field("size", bytes_text(file->size()));
  out.field("written", time_written(given.path).value_or("unknown"));
  out.field("to keep it", foreign->how_to_take_it + " makes a durable index of it");
  return ExitCode::fine;
}

ExitCode info(Output& out, const InfoOptions& options) {
  if (iqdb::is_object_address(options.path)) {
    return info_of_objects(out, options.path);
  }
  const GivenPath given = look_at(options.path);
  switch (given.kind) {
    case FileKind::missing:
      throw_missing(given);
    case FileKind::empty:
      if (!given.names_log && !given.names_torn) {
        throw_empty(given);
      }
      [[fallthrough]];
    case FileKind::log:
      // The log of an index that is there is a part of it.
      if (given.names_log && given.snapshot_exists) {
        return info_of_index(out, given.snapshot, options.full);
      }
      return info_of_log(out, given, options.full);
    case FileKind::snapshot:
      return info_of_index(out, given.path, options.full);
    case FileKind::other:
      break;
  }
  return info_of_foreign(out, given);
}

}  // namespace

void add_info(Program& program) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App& command =
      program.add("info", "Say what the files of an index are", [options](Output& out) { return info(out, *options); });
  command
      .add_option(
          "path", options->path,
          "A snapshot, a log, the address of an index on an object store, or a file of hnswlib, faiss or usearch")
      ->required();
  command.add_flag("--full", options->full, "Read a log of more than 16 MiB whole, to count what is in it");
}

}  // namespace iqdb_tool
