// iqdb recover PATH -o NEW: a new index of what is whole of damaged files, and a report of what is lost.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "decode.hpp"
#include "given_path.hpp"
#include "id_text.hpp"
#include "index_settings.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "lock_holder.hpp"
#include "object_place.hpp"
#include "progress.hpp"
#include "recover.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

using iqdb::salvage::BitPosition;

struct RecoverOptions {
  std::string path;
  std::string to;
  std::string type;
  std::string metric;
  bool also_behind = false;
  bool unchecked_rows = false;
};

// The type that the newest older state of an index says it is of; empty if none says it.
std::string type_in_history(iqdb::FileStorage& storage, const std::vector<iqdb::HistoryEntry>& history) {
  for (auto entry = history.rbegin(); entry != history.rend(); ++entry) {
    try {
      if (auto file = storage.open(entry->path)) {
        return iqdb::snapshot::read_header_of(*file).index_type;
      }
    } catch (const iqdb::PersistError&) {
      // An older one may say it.
    }
  }
  return {};
}

std::string range_text(std::uint64_t first, std::uint64_t last) {
  return first == last ? std::to_string(first) : std::to_string(first) + " to " + std::to_string(last);
}

std::string bits_text(const std::vector<BitPosition>& bits) {
  std::string text;
  for (const BitPosition& each : bits) {
    text += (text.empty() ? "bit " : ", bit ") + std::to_string(each.bit) + " of byte " + std::to_string(each.offset);
  }
  return text;
}

Json json_of(const std::vector<BitPosition>& bits) {
  Json list = Json::array();
  for (const BitPosition& each : bits) {
    list.push_back({{"offset", each.offset}, {"bit", each.bit}});
  }
  return list;
}

// What is lost or doubtful, for people and for programs.
struct Problem {
  std::string kind;
  std::string message;
  Json facts = Json::object();
};

template <class Ids>
Problem about_vectors(std::string kind, const std::string& what, const Ids& ids) {
  constexpr std::size_t most_shown = 20;
  std::string message = count_text(ids.size(), "vector") + " " + what + ":";
  Json list = Json::array();
  for (std::size_t at = 0; at < ids.size(); ++at) {
    list.push_back(json_of_id(ids[at]));
    if (at < most_shown) {
      message += " " + to_string(ids[at]);
    }
  }
  message += ids.size() > most_shown ? " and " + std::to_string(ids.size() - most_shown) + " more" : "";
  return {.kind = std::move(kind), .message = std::move(message), .facts = {{"vectors", std::move(list)}}};
}

void add_problems_of_snapshot(const iqdb::SalvageReport& report, std::vector<Problem>& problems) {
  const std::string stated =
      report.stated_vectors ? ", which says that it holds " + count_text(*report.stated_vectors, "vector") : "";
  switch (report.snapshot) {
    case iqdb::SalvagedSnapshot::missing:
      problems.push_back(
          {.kind = "snapshot_missing", .message = "there is no snapshot; which vectors it held cannot be known"});
      break;
    case iqdb::SalvagedSnapshot::lost:
      problems.push_back({.kind = "snapshot_lost",
                          .message = "nothing was taken of the snapshot" + stated + ": " + report.snapshot_problem +
                                     "; --unchecked-rows takes the rows that can still be read, of which some may be "
                                     "altered"});
      break;
    case iqdb::SalvagedSnapshot::rows:
      problems.push_back({.kind = "rows_unchecked",
                          .message = count_text(report.vectors_taken, "vector") + " of the snapshot could be read" +
                                     stated + "; no checksum vouches for them, and some may be altered"});
      break;
    default:
      break;
  }
  if (!report.vectors_lost.empty()) {
    problems.push_back(about_vectors("vectors_lost", "of the snapshot could not be read", report.vectors_lost));
  }
  if (!report.metadata_lost.empty()) {
    problems.push_back(about_vectors("metadata_lost", "were taken without their metadata", report.metadata_lost));
  }
}

void add_problems_of_log(const iqdb::SalvageReport& report, std::vector<Problem>& problems) {
  if (report.log == iqdb::SalvagedLogUse::foreign) {
    problems.push_back({.kind = "log_foreign",
                        .message =
                            "the log continues another snapshot, and nothing was taken of it: one of the two files "
                            "is older; recover the log alone by moving the snapshot elsewhere"});
    return;
  }
  if (report.log == iqdb::SalvagedLogUse::unreadable) {
    problems.push_back({.kind = "log_lost", .message = "nothing in the log can be read"});
    return;
  }
  if (report.log_assumed_to_fit) {
    problems.push_back(
        {.kind = "log_assumed_to_fit",
         .message = "nothing says any more which snapshot the log continues; it was taken for this one"});
  }
  for (const auto& each : report.damages) {
    const bool known = each.last_lsn.has_value();
    const bool any = !known || *each.last_lsn >= each.first_lsn;
    Problem problem{.kind = each.has_frame_behind ? "log_damaged" : "log_end",
                    .message = "bytes " + std::to_string(each.offset) + " to " + std::to_string(each.end - 1) +
                               " of the log hold no whole record: "};
    if (known) {
      problem.message += any ? "the mutations " + range_text(each.first_lsn, *each.last_lsn) +
                                   " are lost; their identifiers cannot be known"
                             : "no mutation is missing, but one before may have been taken back here";
    } else if (each.has_frame_behind) {
      problem.message += "how many mutations stood there cannot be known, for a log of version 1 does not number them";
    } else {
      problem.message += "what a crash leaves of a mutation that was not acknowledged, or damage to mutations from " +
                         std::to_string(each.first_lsn) + " on; how many cannot be known";
    }
    problem.facts = {{"offset", each.offset},
                     {"end", each.end},
                     {"first_lsn", any ? Json(each.first_lsn) : Json(nullptr)},
                     {"last_lsn", known && any ? Json(*each.last_lsn) : Json(nullptr)}};
    problems.push_back(std::move(problem));
  }
  for (const iqdb::LsnRange& each : report.unsettled) {
    problems.push_back({.kind = "unsettled",
                        .message = "whether the mutations " + range_text(each.first, each.last) +
                                   " were taken back stood in the damaged bytes behind them; they were made",
                        .facts = {{"first_lsn", each.first}, {"last_lsn", each.last}}});
  }
  for (const iqdb::LsnRange& each : report.left_out) {
    problems.push_back({.kind = "left_out",
                        .message = "the mutations " + range_text(each.first, each.last) +
                                   " behind the damage are whole and were not made; --also-behind makes them",
                        .facts = {{"first_lsn", each.first}, {"last_lsn", each.last}}});
  }
  if (report.applied_behind > 0) {
    problems.push_back({.kind = "behind_damage",
                        .message = count_text(report.applied_behind, "mutation") +
                                   " behind the damage were made, of unknown order: what came between is missing"});
  }
  for (const iqdb::RefusedMutation& each : report.refused) {
    problems.push_back({.kind = "refused",
                        .message = "the index did not take the mutation " + std::to_string(each.lsn) + " of vector " +
                                   to_string(each.id) + ": " + each.why,
                        .facts = {{"lsn", each.lsn}, {"id", json_of_id(each.id)}}});
  }
}

std::string ranges_text(const std::vector<iqdb::LsnRange>& ranges) {
  std::string text;
  for (const iqdb::LsnRange& each : ranges) {
    text += (text.empty() ? "" : ", ") + range_text(each.first, each.last);
  }
  return text;
}

Json json_of(const std::vector<iqdb::LsnRange>& ranges) {
  Json list = Json::array();
  for (const iqdb::LsnRange& each : ranges) {
    list.push_back({{"first_lsn", each.first}, {"last_lsn", each.last}});
  }
  return list;
}

void add_problems_of_torn_log(const iqdb::SalvagedTornLog& torn, std::vector<Problem>& problems) {
  if (torn.use == iqdb::SalvagedTornUse::instead) {
    problems.push_back({.kind = "log_replaced",
                        .message =
                            "the log is missing or cannot be read, and the torn log, which an earlier load kept, was "
                            "taken in its place; what was logged since that load is lost, and cannot be known"});
  }
  if (torn.use == iqdb::SalvagedTornUse::taken) {
    problems.push_back(
        {.kind = "behind_tear",
         .message = count_text(torn.applied, "mutation") +
                    " behind the torn place of the torn log were made, of unknown order: a vector may be "
                    "back that a lost record had removed"});
  }
  for (const iqdb::RefusedMutation& each : torn.refused) {
    problems.push_back({.kind = "refused_behind_tear",
                        .message = "the index did not take the mutation " + std::to_string(each.lsn) +
                                   " of the torn log, of vector " + to_string(each.id) + ": " + each.why,
                        .facts = {{"lsn", each.lsn}, {"id", json_of_id(each.id)}}});
  }
}

std::string torn_log_text(const iqdb::SalvagedTornLog& torn) {
  switch (torn.use) {
    case iqdb::SalvagedTornUse::foreign:
      return "of an earlier state of the index, and not taken; `iqdb log` lists it";
    case iqdb::SalvagedTornUse::empty:
      return "holds nothing more that could be made";
    case iqdb::SalvagedTornUse::left_out:
      return "holds whole records that a load had dropped behind its torn place: " + ranges_text(torn.tail) +
             ", numbers that may have been given again; --also-behind makes them";
    case iqdb::SalvagedTornUse::taken:
      return count_text(torn.applied, "mutation") + " made behind its torn place" +
             (torn.superseded > 0
                  ? ", " + std::to_string(torn.superseded) + " left out: their vectors were changed since"
                  : "");
    default:
      return "taken in place of the log";
  }
}

std::string snapshot_text(const iqdb::SalvageReport& report) {
  switch (report.snapshot) {
    case iqdb::SalvagedSnapshot::missing:
      return "missing";
    case iqdb::SalvagedSnapshot::whole:
      return "whole";
    case iqdb::SalvagedSnapshot::corrected:
      return report.header_rebuilt ? "whole, but its header was lost and made again"
                                   : "corrected: " + bits_text(report.snapshot_corrections);
    case iqdb::SalvagedSnapshot::older:
      return "lost; '" + harmless(report.older_state) + "' of the history and its logs lead to what it held";
    case iqdb::SalvagedSnapshot::rows:
      return "damaged; rows taken unchecked";
    case iqdb::SalvagedSnapshot::lost:
      break;
  }
  return "lost";
}

std::string log_text(const iqdb::SalvageReport& report) {
  switch (report.log) {
    case iqdb::SalvagedLogUse::missing:
      return "missing";
    case iqdb::SalvagedLogUse::foreign:
      return "continues another snapshot";
    case iqdb::SalvagedLogUse::unreadable:
      return "lost";
    case iqdb::SalvagedLogUse::taken:
      break;
  }
  std::string text = report.damages.empty() ? "whole" : "damaged";
  if (!report.log_corrections.empty()) {
    text += ", corrected: " + bits_text(report.log_corrections);
  }
  if (report.log_header == iqdb::salvage::HeaderState::rebuilt) {
    text += ", its header lost";
  }
  if (!report.log_closed) {
    text += "; it was not closed in order, so that records cut off at its end could not be seen";
  }
  return text;
}

constexpr std::string_view word_of(iqdb::SalvagedSnapshot state) {
  constexpr std::array<std::string_view, 6> words{"missing", "whole", "corrected", "older", "rows", "lost"};
  return words.at(static_cast<std::size_t>(state));
}
constexpr std::string_view word_of(iqdb::SalvagedLogUse state) {
  constexpr std::array<std::string_view, 4> words{"missing", "taken", "foreign", "unreadable"};
  return words.at(static_cast<std::size_t>(state));
}

constexpr std::string_view word_of(iqdb::SalvagedTornUse use) {
  constexpr std::array<std::string_view, 6> words{"missing", "foreign", "empty", "left_out", "taken", "instead"};
  return words.at(static_cast<std::size_t>(use));
}

ExitCode tell(Output& out, const iqdb::SalvageReport& report, const std::optional<iqdb::SnapshotInfo>& made,
              const std::string& to) {
  std::vector<Problem> problems;
  add_problems_of_snapshot(report, problems);
  if (report.log != iqdb::SalvagedLogUse::missing) {
    add_problems_of_log(report, problems);
  } else if (report.snapshot == iqdb::SalvagedSnapshot::older) {
    problems.push_back(
        {.kind = "log_missing",
         .message = "there is no log; what was logged behind the states of the history cannot be known"});
  }
  add_problems_of_torn_log(report.torn, problems);
  if (!made) {
    problems.insert(problems.begin(),
                    {.kind = "nothing_recovered", .message = "nothing could be recovered, and no file was written"});
  }
  const bool whole = made && report.is_whole();
  if (out.json()) {
    Json document{{"path", made ? Json(to) : Json(nullptr)},
                  {"ok", whole},
                  {"vectors", made ? Json(made->vectors) : Json(nullptr)}};
    document["snapshot"] = {{"state", word_of(report.snapshot)},
                            {"vectors_taken", report.vectors_taken},
                            {"vectors_stated", number_or_null(report.stated_vectors)},
                            {"header_rebuilt", report.header_rebuilt},
                            {"older_state", report.older_state.empty() ? Json(nullptr) : Json(report.older_state)},
                            {"corrected", json_of(report.snapshot_corrections)}};
    document["log"] = {{"state", word_of(report.log)},
                       {"mutations_made", report.applied},
                       {"mutations_behind_damage", report.applied_behind},
                       {"mutations_in_snapshot", report.covered},
                       {"aborted", report.aborted},
                       {"unknown_erased", report.unknown_erased},
                       {"closed", report.log_closed},
                       {"corrected", json_of(report.log_corrections)}};
    document["torn_log"] = {{"state", word_of(report.torn.use)},
                            {"behind_tear", json_of(report.torn.tail)},
                            {"mutations_made", report.torn.applied},
                            {"mutations_superseded", report.torn.superseded}};
    document["problems"] = Json::array();
    for (const Problem& each : problems) {
      Json problem{{"kind", each.kind}, {"message", each.message}};
      problem.update(each.facts);
      document["problems"].push_back(std::move(problem));
    }
    out.document(document);
    return whole ? ExitCode::fine : ExitCode::damaged;
  }
  out.line(out.bold(harmless(to)));
  out.field("recovered", made ? count_text(made->vectors, "vector") : "nothing");
  out.field("snapshot",
            snapshot_text(report) +
                (report.vectors_taken > 0 ? "; " + count_text(report.vectors_taken, "vector") + " taken" : ""));
  out.field("log", log_text(report));
  if (report.log == iqdb::SalvagedLogUse::taken) {
    std::string text = count_text(report.applied, "mutation") + " made";
    text += report.aborted > 0 ? ", " + std::to_string(report.aborted) + " had been taken back" : "";
    text += report.unknown_erased > 0
                ? ", " + std::to_string(report.unknown_erased) + " removed vectors that are lost with the snapshot"
                : "";
    out.field("mutations", text);
  }
  if (report.torn.use != iqdb::SalvagedTornUse::missing) {
    out.field("torn log", torn_log_text(report.torn));
  }
  for (const Problem& each : problems) {
    out.line("  " + out.bad("LOST") + "   " + harmless(each.message) + " [" + each.kind + "]");
  }
  return whole ? ExitCode::fine : ExitCode::damaged;
}

// Locks an index whose files are read, so that no program writes them meanwhile. Takes no lock where there is no lock file,
// since nobody holds it, or where this user cannot take it. Throws PersistError locked if a program holds it.
std::optional<iqdb::FileStorage::Lock> locked_source(iqdb::FileStorage& storage, const fs::path& source) {
  const LockState state = look_at_lock(source);
  bool is_held = state.held.value_or(false);
  if (state.file_exists && !is_held) {
    try {
      constexpr std::chrono::milliseconds no_patience{0};
      return storage.lock(source, no_patience);
    } catch (const iqdb::PersistError& error) {
      is_held = error.kind() == iqdb::PersistErrorKind::locked;
    }
  }
  if (!is_held) {
    return std::nullopt;
  }
  const std::string holders = holders_text(state);
  iqdb::throw_persist_error(iqdb::PersistErrorKind::locked,
                            "cannot recover from files that " + (holders.empty() ? "another process" : holders) +
                                " may write meanwhile, for it holds the index open: what was read would be neither the "
                                "one state nor the other; end "
                                "it first, or take `iqdb backup` of the index and recover that; nothing was changed",
                            {.path = source, .code = {}, .offset = {}});
}

ExitCode recover(Output& out, const RecoverOptions& options) {
  require_files(
      options.path, "iqdb recover is for files",
      "put back the objects that are damaged or missing, as a store with versions keeps them; iqdb verify names "
      "them");
  const GivenPath given = look_at(options.path);
  const fs::path path = given.names_log || given.names_torn ? given.snapshot : given.path;
  iqdb::FileStorage storage;
  const fs::path source = storage.resolve(path);
  const std::optional<iqdb::FileStorage::Lock> source_lock = locked_source(storage, source);
  auto log_file = storage.open(storage.resolve(iqdb::log_path(path)));
  auto torn_log_file = storage.open(storage.resolve(iqdb::torn_log_path(path)));
  auto file = storage.open(source);
  const std::vector<iqdb::HistoryEntry> history = iqdb::history::entries(storage, source);
  if (!file && !log_file && !torn_log_file && history.empty()) {
    throw_missing(given);
  }
  RecoverJob job;
  if (!options.metric.empty()) {
    job.metric = metric_named(options.metric);
  }
  job.options = {.also_behind = options.also_behind, .unchecked_rows = options.unchecked_rows};
  const fs::path to = storage.resolve(options.to);
  std::error_code unknown;
  if (to == source || to == storage.resolve(iqdb::log_path(path)) || to == storage.resolve(iqdb::torn_log_path(path)) ||
      fs::is_directory(to, unknown)) {
    iqdb::throw_persist_error(
        iqdb::PersistErrorKind::invalid_config,
        "the recovered index needs a path of its own, at which there is nothing; the damaged files "
        "stay as they are",
        {.path = options.to, .code = {}, .offset = {}});
  }

  // The log first: a checkpoint that replaces both leaves the one that has everything.
  std::optional<iqdb::salvage::SalvagedLog> log;
  if (log_file) {
    log.emplace(iqdb::salvage::all_bytes(*log_file));
    job.log = &*log;
  }
  std::optional<iqdb::salvage::SalvagedLog> torn_log;
  if (torn_log_file) {
    torn_log.emplace(iqdb::salvage::all_bytes(*torn_log_file));
    job.torn_log = &*torn_log;
  }
  const auto types = decodable_types();
  std::optional<iqdb::salvage::SnapshotBytes> in_memory;
  job.in_memory = [&]() -> iqdb::salvage::SnapshotBytes& {
    if (!in_memory) {
      auto named = log ? log->fingerprints() : std::vector<iqdb::Fingerprint>();
      if (torn_log) {
        const auto also_named = torn_log->fingerprints();
        named.insert(named.end(), also_named.begin(), also_named.end());
      }
      in_memory.emplace(iqdb::salvage::all_bytes(*file), named, types);
    }
    return *in_memory;
  };
  std::string type = options.type;
  if (file) {
    job.snapshot = &*file;
    try {
      type = iqdb::snapshot::read_header_of(*file).index_type;
    } catch (const iqdb::PersistError& error) {
      if (error.kind() == iqdb::PersistErrorKind::io) {
        throw;
      }
    }
    if (!recoverer_of(type) && job.in_memory().header()) {
      type = job.in_memory().header()->index_type;
    }
  }
  if (!recoverer_of(type)) {
    type = type_in_history(storage, history);
  }
  if (!recoverer_of(type) && !options.type.empty()) {
    type = options.type;
  }
  const Recoverer recoverer = recoverer_of(type);
  if (!recoverer) {
    std::string known;
    for (const std::string_view each : types) {
      known += (known.empty() ? "" : ", ") + std::string(each);
    }
    const bool nameless = type.empty();
    iqdb::throw_persist_error(
        nameless && !file ? iqdb::PersistErrorKind::invalid_config : iqdb::PersistErrorKind::unsupported,
        (nameless
             ? std::string("no file says of which type this index is; name it by --type, and its metric by --metric")
             : "this program cannot make an index of the type " + iqdb::printable(type)) +
            "; it knows " + known,
        {.path = path, .code = {}, .offset = {}});
  }

  const InterruptGuard guard;
  constexpr std::chrono::milliseconds no_patience{0};
  const iqdb::FileStorage::Lock lock = storage.lock(to, no_patience);
  iqdb::save_alone::require_nothing_there(storage, to, &lock, "the recovered index");
  job.source = source;
  job.storage = &storage;
  job.lock = &lock;
  job.config.path = to;
  job.config.helper_threads = 0;
  if (file) {
    job.config.compression = compression_like(*file);
  }
  ProgressBar bar("recover", file ? file->size() : 0);
  job.config.on_progress = advancing(bar, file ? file->size() : 0);
  const auto made = iqdb::naming_file(path, [&] { return recoverer(job); });
  return tell(out, job.report, made, options.to);
}

}  // namespace

void add_recover(Program& program) {
  auto options = std::make_shared<RecoverOptions>();
  CLI::App& command =
      program.add("recover", "Make a new index of what is whole of damaged files, and tell what is lost",
                  [options](Output& out) { return recover(out, *options); });
  command.add_option("path", options->path, "The snapshot of the index; it or its log may be missing or damaged")
      ->required();
  command.add_option("-o,--output", options->to, "The snapshot of the index to make; nothing may be there")
      ->required()
      ->option_text("NEW");
  command.add_flag(
      "--also-behind", options->also_behind,
      "Also make the whole mutations behind damage to the log, and behind the torn place of a log that a load "
      "has replaced, of unknown order");
  command.add_flag("--unchecked-rows", options->unchecked_rows,
                   "Of a snapshot whose checksum is wrong, take the rows that can be read; some may be altered");
  command.add_option("--type", options->type, "The type of the index, where no file says it")->option_text("TYPE");
  command.add_option("--metric", options->metric, "The metric of the index, where no file says it")
      ->option_text("METRIC");
}

}  // namespace iqdb_tool
