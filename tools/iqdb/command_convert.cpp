// iqdb convert IN OUT: the vectors of an index or of another file, as an index of another type or as another file.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "commands.hpp"
#include "convert.hpp"
#include "index_settings.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "progress.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

using Form = ConvertTarget::Form;

// What was written, and what of the source it lacks.
struct Converted {
  std::string what;
  std::optional<iqdb::DistanceMetric> metric = {};
  std::uint64_t without_metadata = 0;  // vectors that had some
  std::uint64_t without_id = 0;        // vectors whose identifier is not the number of the row
};

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config, why, {.path = path, .code = {}, .offset = {}});
}

iqdb::DistanceMetric metric_for(const ConvertSource& source, const ConvertOptions& options) {
  if (!options.metric.empty()) {
    return metric_named(options.metric);
  }
  if (source.index() == nullptr) {
    refuse(options.from,
           "rows do not say how their distances are measured; name the metric by --metric: cosine, dot_product, "
           "euclidean, manhattan or hamming");
  }
  return source.index()->metric();
}

// The kind that is to be built; null if the index of the source is what is wanted.
const IndexKind* kind_to_build(const ConvertSource& source, const ConvertTarget& target, iqdb::DistanceMetric metric,
                               const ConvertOptions& options) {
  const AnyIndex* const index = source.index();
  const IndexType* const own = index != nullptr ? find_index_type(index->type()) : nullptr;
  const IndexType* const wanted = target.type != nullptr ? target.type : own;
  const bool is_own = wanted == own && own != nullptr && index->metric() == metric;
  if (is_own && (target.kind == nullptr || own->kinds.size() == 1)) {
    return nullptr;
  }
  if (target.kind != nullptr) {
    return target.kind;
  }
  if (wanted == own && own != nullptr && own->kinds.size() > 1) {
    refuse(options.from, "for another metric the index is built anew; name its kind by --type");
  }
  return wanted != nullptr ? &wanted->kinds.front() : kind_named("flat").kind;
}

// What is made of an index or of rows, where no rows are made.
struct Plan {
  iqdb::DistanceMetric metric;
  const IndexKind* kind;  // to be built; null if the index of the source is what is wanted
};

std::optional<Plan> plan_for(const ConvertSource& source, const ConvertTarget& target, const ConvertOptions& options) {
  if (target.form == Form::rows) {
    return std::nullopt;
  }
  const iqdb::DistanceMetric metric = metric_for(source, options);
  return Plan{.metric = metric, .kind = kind_to_build(source, target, metric, options)};
}

// Counts what rows, or a file of a library, cannot hold.
void count_losses(ConvertSource& source, Converted& made) {
  if (source.index() == nullptr) {
    return;
  }
  std::uint64_t number = 0;
  source.each([&](const iqdb::VectorId& id, std::span<const float> /*vector*/, const auto& metadata) {
    made.without_metadata += metadata ? 1U : 0U;
    made.without_id += id == iqdb::VectorId(number) ? 0U : 1U;
    ++number;
  });
}

Converted convert_to(ConvertPlace place, const ConvertTarget& target, const std::optional<Plan>& plan,
                     ConvertSource& source, iqdb::FileStorage& storage, const ConvertOptions& options) {
  Converted made;
  if (!plan) {
    count_losses(source, made);
    made.what = "rows of vectors";
    std::optional<ConvertPlace> ids;
    if (!options.ids.empty()) {
      ids.emplace(locked_place(storage, options.ids, Form::rows, options));
    }
    write_rows(source, target.format, storage, place, ids ? &*ids : nullptr);
    return made;
  }
  made.metric = plan->metric;
  const std::unique_ptr<AnyIndex> built =
      plan->kind != nullptr ? build_index(source, *plan->kind, plan->metric) : nullptr;
  const AnyIndex& index = built ? *built : *source.index();
  if (target.form == Form::library) {
    count_losses(source, made);
    made.without_id = 0;
    made.what = "a file of " + std::string(target.type->library);
    { const ConvertPlace released = std::move(place); }  // the export locks it itself
    index.export_to(options.to);
    return made;
  }
  iqdb::PersistConfig config{.path = place.path};
  config.compression = options.compression.empty() ? source.compression().value_or(iqdb::Compression::none())
                                                   : compression_named(options.compression);
  ProgressBar bar("save", index.size() * index.dim() * sizeof(float));
  config.on_progress = advancing(bar, index.size() * index.dim() * sizeof(float));
  iqdb::naming_file(place.path, [&] { index.save(storage, place.lock, config); });
  made.what = "an index of the type " + std::string(index.type());
  return made;
}

ExitCode tell(Output& out, const ConvertSource& source, const Converted& made, const ConvertOptions& options) {
  std::error_code unknown;
  const std::uint64_t bytes = fs::file_size(options.to, unknown);
  if (out.json()) {
    out.document({{"path", options.to},
                  {"from", source.what()},
                  {"made", made.what},
                  {"metric", made.metric ? Json(to_string(*made.metric)) : Json(nullptr)},
                  {"dimensions", source.dim()},
                  {"vectors", source.size()},
                  {"file_bytes", bytes},
                  {"without_metadata", made.without_metadata},
                  {"without_id", options.ids.empty() ? made.without_id : 0}});
    return ExitCode::fine;
  }
  out.line(out.bold(harmless(options.to)));
  out.field("made", made.what + " from " + source.what());
  out.field("vectors", std::to_string(source.size()) + ", of " + count_text(source.dim(), "component") +
                           (made.metric ? ", " + std::string(to_string(*made.metric)) : ""));
  out.field("size", bytes_text(bytes));
  if (made.without_metadata > 0) {
    out.field("left out", out.warning("the metadata of " + count_text(made.without_metadata, "vector")));
  }
  if (made.without_id > 0 && options.ids.empty()) {
    out.field("left out", out.warning("the identifiers of " + count_text(made.without_id, "vector") +
                                      ": rows have numbers from 0 on; --ids writes them to a file"));
  }
  return ExitCode::fine;
}

// Throws what can be told before anything is read: a file to write that is another one of the command line, or that is
// there. Whether it is there is asked again under its lock.
void require_free_path(iqdb::FileStorage& storage, const std::string& path, const ConvertOptions& options) {
  const fs::path name = storage.resolve(path);
  const fs::path from = storage.resolve(options.from);
  std::error_code unknown;
  if (name == from || iqdb::log_path(name) == from || name == iqdb::log_path(from) || fs::is_directory(name, unknown)) {
    refuse(path, "what is made needs a file of its own, which is no directory; '" + options.from + "' stays as it is");
  }
  if (!options.force && fs::exists(name, unknown)) {
    throw_there_already(path);
  }
}

void require_ids_useful(iqdb::FileStorage& storage, const ConvertTarget& target, const ConvertSource& source,
                        const ConvertOptions& options) {
  if (options.ids.empty()) {
    return;
  }
  const bool are_read = source.index() == nullptr;
  if (are_read == (target.form == Form::rows)) {
    refuse(
        options.ids,
        "--ids names the identifiers of rows of which no rows are made, or of an index of which rows are made; leave "
        "it out");
  }
  if (!are_read) {
    require_free_path(storage, options.ids, options);
    if (storage.resolve(options.ids) == storage.resolve(options.to)) {
      refuse(options.ids, "--ids needs a file of its own");
    }
  }
}

ExitCode convert(Output& out, const ConvertOptions& options) {
  const ConvertTarget target = target_of(options);
  iqdb::FileStorage storage;
  require_free_path(storage, options.to, options);
  if (!options.compression.empty()) {
    iqdb::validate({.path = options.to, .compression = compression_named(options.compression)});
  }
  const InterruptGuard guard;
  ConvertSource source(options);
  require_ids_useful(storage, target, source, options);
  // Before the place is locked, which leaves a lock file there.
  const std::optional<Plan> plan = plan_for(source, target, options);
  ConvertPlace place = locked_place(storage, options.to, target.form, options);
  const Converted made = convert_to(std::move(place), target, plan, source, storage, options);
  return tell(out, source, made, options);
}

}  // namespace

void add_convert(Program& program) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App& command = program.add("convert", "Make an index of another type, or a file of vectors, from either",
                                  [options](Output& out) { return convert(out, *options); });
  command
      .add_option("in", options->from,
                  "An index, a file of hnswlib, faiss or usearch, or a .npy, .fvecs or .ivecs file")
      ->required();
  command.add_option("out", options->to, "The file to make; nothing may be there")->required();
  command.add_option("--to", options->format, "What to make; by default what the ending of OUT says, else an index")
      ->check(CLI::IsMember({"index", "npy", "fvecs", "ivecs", "hnswlib", "faiss", "usearch"}))
      ->option_text("FORMAT");
  command
      .add_option("--type", options->type,
                  "The type of the index: flat, core, hnsw, faiss-flat, faiss-hnsw, faiss-ivf, usearch")
      ->option_text("TYPE");
  command.add_option("--metric", options->metric, "The metric, where IN does not say it or another one is wanted")
      ->check(CLI::IsMember({"cosine", "dot_product", "euclidean", "manhattan", "hamming"}))
      ->option_text("METRIC");
  command.add_option("--compression", options->compression, "The codec of the index; by default that of IN, else none")
      ->check(CLI::IsMember({"none", "zstd", "lz4"}))
      ->option_text("CODEC");
  command
      .add_option("--ids", options->ids,
                  "A file of identifiers, one a line: read beside rows, and written when rows are made of an index")
      ->option_text("FILE");
  command.add_flag("--force", options->force, "Replace what is there, but for a log that holds mutations");
}

}  // namespace iqdb_tool
