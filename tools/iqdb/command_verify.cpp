// iqdb verify PATH...: whether everything in the files of indexes is as it was written.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "decode.hpp"
#include "foreign.hpp"
#include "given_path.hpp"
#include "iqdb/persist/inspect.hpp"
#include "iqdb/persist/snapshot/verify.hpp"
#include "iqdb/persist/storage/posix_memory.hpp"
#include "iqdb/persist/wal/object_snapshot.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "log_facts.hpp"
#include "object_facts.hpp"
#include "object_place.hpp"
#include "payload_head.hpp"
#include "progress.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

struct VerifyOptions {
  std::vector<std::string> paths;
  bool no_decode = false;
  unsigned jobs = 0;
};

// What was found in one of the paths.
struct Verified {
  std::string path;
  std::optional<iqdb::SnapshotReport> snapshot = {};
  std::optional<iqdb::LogReport> log = {};
  std::optional<ObjectLogFacts> object_log = {};  // of an index on an object store
  bool decoded = false;
  std::string why_not_decoded = {};
  std::vector<Failure> problems = {};
};

// The memory that decoded indexes may take together. An index of more is not decoded: a check must not push out of memory
// what runs beside it.
class MemoryBudget {
 public:
  // Waits until `bytes` are free of what there is. Returns false if there are not as many in all.
  bool take(std::uint64_t bytes) {
    std::unique_lock lock(mutex_);
    if (bytes > all_) {
      return false;
    }
    freed_.wait(lock, [&] { return bytes <= free_; });
    free_ -= bytes;
    return true;
  }

  void give_back(std::uint64_t bytes) {
    {
      const std::lock_guard guard(mutex_);
      free_ += bytes;
    }
    freed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  std::uint64_t all_ = iqdb::posix_memory::available() / 4 * 3;
  std::uint64_t free_ = all_;
};

// What decoding takes, rather more than less: identifiers in tables; and where the index is made, vectors and links as in the
// payload. Identifiers may be long, so that without vectors it is what these leave of the payload.
std::uint64_t memory_for(const Decoder& decoder, std::uint64_t payload_bytes, const iqdb::FileHeader& header) {
  constexpr std::uint64_t each = 192;
  const std::uint64_t vectors = std::min(header.vectors, payload_bytes);
  if (decoder.keeps_vectors) {
    return payload_bytes + payload_bytes / 2 + vectors * each;
  }
  const std::uint64_t of_vector =
      std::min(header.dim * sizeof(float), payload_bytes / std::max<std::uint64_t>(vectors, 1));
  return payload_bytes - vectors * of_vector + vectors * each;
}

// Verifies paths, one after the other, in one thread of several.
class Verifier {
 public:
  Verifier(const VerifyOptions& options, unsigned helper_threads, ProgressBar& bar, MemoryBudget& memory)
      : options_(&options), helper_threads_(helper_threads), bar_(&bar), memory_(&memory) {}

  [[nodiscard]] Verified verify(const std::string& path) const {
    Verified found{.path = path};
    try {
      verify(path, found);
    } catch (...) {
      found.problems.push_back(Failure::current());
    }
    return found;
  }

 private:
  void verify(const std::string& path, Verified& found) const {
    if (iqdb::is_object_address(path)) {
      return verify_objects(path, found);
    }
    const GivenPath given = look_at(path);
    switch (given.kind) {
      case FileKind::missing:
        throw_missing(given);
      case FileKind::snapshot:
        return verify_index(given.path, found);
      case FileKind::log:
        return given.names_log && given.snapshot_exists ? verify_index(given.snapshot, found)
                                                        : verify_log(given, found);
      case FileKind::empty:
        // Version 1 may leave an empty log.
        if (given.names_log || given.names_torn) {
          return given.snapshot_exists && given.names_log ? verify_index(given.snapshot, found)
                                                          : verify_log(given, found);
        }
        throw_empty(given);
      case FileKind::other:
        break;
    }
    refuse_other(given);
  }

  [[noreturn]] static void refuse_other(const GivenPath& given) {
    iqdb::FileStorage storage;
    auto file = storage.open(storage.resolve(given.path));
    if (const auto foreign = file ? recognise_foreign(*file) : std::nullopt) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::unsupported,
                                "this is a file of " + foreign->library +
                                    "'s own, which has no checksum: nothing can be verified; " +
                                    foreign->how_to_take_it + " checks what can be checked",
                                {.path = given.path, .code = {}, .offset = {}});
    }
    throw_unknown(given, "no snapshot and no log");
  }

  [[nodiscard]] iqdb::InspectOptions inspecting(std::uint64_t log_bytes) const {
    return {.helper_threads = helper_threads_, .on_progress = advancing(*bar_, log_bytes)};
  }

  static std::uint64_t size_of(const fs::path& path) {
    std::error_code missing;
    const std::uint64_t bytes = fs::file_size(path, missing);
    return missing ? 0 : bytes;
  }

  void verify_log(const GivenPath& given, Verified& found) const {
    found.log = iqdb::inspect_log(given.path, {}, inspecting(size_of(given.path)));
    if (found.log->problem) {
      found.problems.push_back(Failure::of(*found.log->problem));
    }
    if (given.names_log) {
      found.problems.push_back(
          Failure::of(iqdb::PersistError(iqdb::PersistErrorKind::io,
                                         "there is no snapshot '" + given.snapshot.string() +
                                             "' for this log; put it back: without it the log cannot be loaded",
                                         {.path = given.path, .code = {}, .offset = {}})));
    }
  }

  void verify_index(const fs::path& path, Verified& found) const {
    // The log first: it takes less time, in which less is checkpointed.
    iqdb::IndexReport report = iqdb::inspect_index(path, inspecting(size_of(iqdb::log_path(path))));
    found.log = std::move(report.log);
    if (found.log && found.log->problem) {
      found.problems.push_back(Failure::of(*found.log->problem));
    }
    iqdb::naming_file(path, [&] { verify_snapshot(path, found); });
  }

  // What a load reads: each object of the log from the checkpoint on, and the snapshot of that. A later checkpoint may take
  // their place meanwhile, and what was being read then is deleted, or is not there any more.
  void verify_objects(const std::string& address, Verified& found) const {
    ObjectPlace place = object_place(address, Access::reads);
    found.path = place.text;
    iqdb::read_only::until_they_fit([&] {
      found.object_log.reset();
      found.snapshot.reset();
      iqdb::ObjectRun run = run_at(place);
      if (run.checkpoint) {
        const iqdb::PublishedSnapshot& published = run.objects[*run.checkpoint].snapshot;
        iqdb::ObjectSnapshot<AnyObjectStore> file(place.store, published.key, published.fingerprint.file_bytes,
                                                  how_it_is_asked());
        iqdb::naming_file(published.key, [&] {
          const iqdb::FileHeader header = iqdb::snapshot::read_header_of(file);
          if (!(iqdb::fingerprint(header, file.size()) == published.fingerprint)) {
            iqdb::throw_persist_error(iqdb::PersistErrorKind::log_mismatch,
                                      "the object is not the snapshot that the log names; put it back from a copy, as "
                                      "a store with versions keeps one");
          }
          verify_snapshot(file, published.key, found);
        });
      }
      found.object_log = iqdb::naming_file(place.text, [&] { return facts_of(std::move(run), place); });
    });
  }

  void verify_snapshot(const fs::path& path, Verified& found) const {
    auto file = iqdb::inspection::open_existing(path);
    verify_snapshot(file, path, found);
  }

  void verify_snapshot(AnyFile file, const fs::path& path, Verified& found) const {
    const iqdb::FileHeader header = iqdb::snapshot::read_header_of(file);
    const iqdb::PersistConfig config{
        .path = path, .on_progress = advancing(*bar_, file.size()), .helper_threads = helper_threads_};
    const Decoder decoder = decoder_of(header.index_type);
    if (options_->no_decode) {
      found.why_not_decoded = "--no-decode";
    } else if (decoder.decode == nullptr) {
      found.why_not_decoded = "this program does not know the type " + iqdb::printable(header.index_type);
    } else {
      iqdb::RegionPreamble preamble;
      try {
        preamble = preamble_of(file, header);
      } catch (const iqdb::PersistError& error) {
        if (error.kind() == iqdb::PersistErrorKind::io) {
          throw;
        }
        // A wrong checksum, if there is one, is the reason, and is what is reported.
        static_cast<void>(iqdb::snapshot::verified(file, config));
        throw;
      }
      const std::uint64_t bytes = memory_for(decoder, preamble.payload_bytes, header);
      if (memory_->take(bytes)) {
        const std::shared_ptr<void> taken(nullptr, [&](void*) { memory_->give_back(bytes); });
        decoder.decode(file, config);
        found.decoded = true;
        found.snapshot = iqdb::SnapshotReport{.header = header,
                                              .scheme = preamble.scheme,
                                              .file_bytes = file.size(),
                                              .payload_bytes = preamble.payload_bytes};
        return;
      }
      found.why_not_decoded = "it would take about " + bytes_text(bytes) + " of memory, more than there is to spare";
    }
    found.snapshot = iqdb::snapshot::verified(file, config);
  }

  const VerifyOptions* options_;
  unsigned helper_threads_;
  ProgressBar* bar_;
  MemoryBudget* memory_;
};

Json json_of(const Verified& found) {
  Json document{{"path", found.path}, {"ok", found.problems.empty()}};
  document["snapshot"] = nullptr;
  if (found.snapshot) {
    document["snapshot"] = {{"type", found.snapshot->header.index_type},
                            {"dimensions", found.snapshot->header.dim},
                            {"metric", to_string(found.snapshot->header.metric)},
                            {"vectors", found.snapshot->header.vectors},
                            {"codec", to_string(found.snapshot->scheme)},
                            {"file_bytes", found.snapshot->file_bytes},
                            {"payload_bytes", found.snapshot->payload_bytes},
                            {"checksum", iqdb::hexadecimal(found.snapshot->header.crc32)},
                            {"decoded", found.decoded}};
    document["snapshot"]["why_not_decoded"] = found.decoded ? Json(nullptr) : Json(found.why_not_decoded);
  }
  document["log"] = nullptr;
  if (found.log) {
    document["log"] = json_of_log(*found.log, iqdb::log_path(found.path), true);
    document["log"].erase("path");
  } else if (found.object_log) {
    document["log"] = json_of(*found.object_log);
  }
  document["problems"] = Json::array();
  for (const Failure& problem : found.problems) {
    document["problems"].push_back(error_document(problem)["error"]);
  }
  return document;
}

void print(Output& out, const Verified& found) {
  std::string line = harmless(found.path) + ": ";
  if (found.problems.empty()) {
    line += out.good("fine");
  } else {
    const bool is_io =
        std::ranges::all_of(found.problems, [](const Failure& each) { return each.code == ExitCode::io; });
    line += out.bad(is_io ? "NOT READ" : "DAMAGED");
  }
  if (found.snapshot) {
    line += "; " + std::to_string(found.snapshot->header.vectors) + " vectors, " +
            (found.decoded ? "decoded" : "not decoded: " + harmless(found.why_not_decoded));
  }
  if (found.log && found.log->scan) {
    line += "; " + std::to_string(found.log->scan->mutations) + " mutations in the log";
    if (found.log->scan->dropped_bytes > 0) {
      line += out.warning(", and a torn tail of " + std::to_string(found.log->scan->dropped_bytes) + " bytes");
    }
  }
  if (found.object_log) {
    line += "; " + std::to_string(found.object_log->mutations()) + " mutations in the log";
  }
  out.line(line);
  for (const Failure& problem : found.problems) {
    out.line("  " + out.bad("PROBLEM") + " " + harmless(problem.message) + " [" + problem.kind + "]");
  }
}

std::uint64_t bytes_of(const std::vector<std::string>& paths) {
  std::uint64_t bytes = 0;
  for (const std::string& path : paths) {
    for (const fs::path& file : {fs::path(path), iqdb::log_path(path)}) {
      std::error_code missing;
      const std::uint64_t more = fs::file_size(file, missing);
      bytes += missing ? 0 : more;
    }
  }
  return bytes;
}

ExitCode verify(Output& out, const VerifyOptions& options) {
  const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
  const auto paths = static_cast<unsigned>(std::min<std::size_t>(options.paths.size(), 256));
  const unsigned jobs = std::min(options.jobs == 0 ? std::min(processors, 4U) : options.jobs, paths);
  constexpr unsigned most_helpers = 7;
  const unsigned helpers = std::min(processors / jobs, most_helpers + 1) - (processors / jobs > 0 ? 1 : 0);

  std::vector<Verified> found(options.paths.size());
  {
    ProgressBar bar("verify", bytes_of(options.paths));
    MemoryBudget memory;
    const Verifier verifier(options, helpers, bar, memory);
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
      for (std::size_t at = next++; at < options.paths.size(); at = next++) {
        found[at] = verifier.verify(options.paths[at]);
      }
    };
    std::vector<std::jthread> others;
    for (unsigned job = 1; job < jobs; ++job) {
      others.emplace_back(work);
    }
    work();
  }

  ExitCode code = ExitCode::fine;
  Json files = Json::array();
  for (const Verified& each : found) {
    for (const Failure& problem : each.problems) {
      code = worse(code, problem.code);
    }
    if (out.json()) {
      files.push_back(json_of(each));
    } else {
      print(out, each);
    }
  }
  if (out.json()) {
    out.document({{"ok", code == ExitCode::fine}, {"files", std::move(files)}});
  }
  return code;
}

}  // namespace

void add_verify(Program& program) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App& command = program.add("verify", "Check that the files of indexes are whole: checksums, records, contents",
                                  [options](Output& out) { return verify(out, *options); });
  command.add_option("path", options->paths, "Snapshots, logs, or addresses of indexes on object stores")->required();
  command.add_flag("--no-decode", options->no_decode, "Do not look at the contents, which may take memory");
  command
      .add_option("-j,--jobs", options->jobs,
                  "How many paths at the same time; by default as many as processors, up to 4")
      ->check(CLI::Range(1U, 256U))
      ->option_text("N");
}

}  // namespace iqdb_tool
