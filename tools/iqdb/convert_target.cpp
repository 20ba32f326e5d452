// What iqdb convert writes.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "convert.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/history.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/text.hpp"
#include "lock_holder.hpp"
#include "output.hpp"
#include "progress.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

using iqdb::PersistErrorKind;

[[noreturn]] void refuse_options(const std::string& why) {
  iqdb::throw_persist_error(PersistErrorKind::invalid_config, why);
}

// The format that a name has as its ending; "index" if it has none of these.
std::string format_by_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  const std::string format = extension.empty() ? extension : extension.substr(1);
  const bool known = row_format_named(format) || format == "hnswlib" || format == "faiss" || format == "usearch";
  return known ? format : "index";
}

// Some of the vectors, evenly spread: enough for as many lists as the root of their number, which is usual.
std::vector<float> training_rows(ConvertSource& source) {
  constexpr double rows_of_a_list = 64;
  const double wanted = rows_of_a_list * std::max(1.0, std::round(std::sqrt(static_cast<double>(source.size()))));
  const auto step = static_cast<std::uint64_t>(std::max(1.0, static_cast<double>(source.size()) / wanted));
  std::vector<float> rows;
  std::uint64_t number = 0;
  source.each([&](const iqdb::VectorId& /*id*/, std::span<const float> vector, const auto& /*metadata*/) {
    if (number++ % step == 0) {
      rows.insert(rows.end(), vector.begin(), vector.end());
    }
  });
  return rows;
}

// A file that appears whole or not at all.
class NewFile {
 public:
  NewFile(iqdb::FileStorage& storage, const ConvertPlace& place)
      : file_(storage.replace(place.path, place.lock)), sink_(file_), writer_(sink_) {}
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() = default;

  [[nodiscard]] iqdb::Writer& writer() noexcept { return writer_; }

  // Makes what was written durable.
  void finish() {
    writer_.flush();
    file_.sync();
  }

  // Then gives the file its name.
  void appear() { iqdb::put_in_place(file_); }

 private:
  iqdb::FileStorage::Replacement file_;
  iqdb::foreign_file::ReplacementSink sink_;
  iqdb::Writer writer_;
};

}  // namespace

ConvertTarget target_of(const ConvertOptions& options) {
  const std::string format = options.format.empty() ? format_by_name(options.to) : options.format;
  ConvertTarget target;
  if (!options.type.empty()) {
    const NamedKind named = kind_named(options.type);
    target.type = named.type;
    target.kind = named.kind;
  }
  if (const auto rows = row_format_named(format)) {
    if (!options.type.empty() || !options.compression.empty()) {
      refuse_options("'" + options.to + "' gets rows of the format " + format +
                     ", which have no type and no compression; leave --type and --compression out, or name another "
                     "format by --to");
    }
    target.form = ConvertTarget::Form::rows;
    target.format = *rows;
  } else if (format != "index") {
    const IndexType* const type = find_type_of_library(format);
    if (type == nullptr) {
      iqdb::throw_persist_error(PersistErrorKind::unsupported, "this program was built without " + format);
    }
    if (!options.compression.empty() || (target.type != nullptr && target.type != type)) {
      refuse_options("'" + options.to + "' gets a file of " + format +
                     ", which has no compression and only the types of that library; leave --compression and --type "
                     "out, or name another format by --to");
    }
    target.form = ConvertTarget::Form::library;
    target.type = type;
  }
  return target;
}

void throw_there_already(const fs::path& path) {
  iqdb::throw_persist_error(PersistErrorKind::would_discard_snapshot,
                            "there is a file already; choose another path, or replace the file by --force",
                            {.path = path, .code = {}, .offset = {}});
}

ConvertPlace locked_place(iqdb::FileStorage& storage, const std::string& path, ConvertTarget::Form form,
                          const ConvertOptions& options) {
  const fs::path name = storage.resolve(path);
  constexpr std::chrono::milliseconds no_patience{0};
  ConvertPlace place{.path = name, .lock = naming_holder(name, [&] { return storage.lock(name, no_patience); })};
  const auto refuse = [&](PersistErrorKind kind, const std::string& why) {
    iqdb::throw_persist_error(kind, why, {.path = name, .code = {}, .offset = {}});
  };
  if (!options.force && storage.open(name, place.lock)) {
    throw_there_already(name);
  }
  const bool replaces_index = options.force && form == ConvertTarget::Form::index;
  if (!replaces_index && storage.open(iqdb::log_path(name), place.lock)) {
    refuse(PersistErrorKind::would_discard_log, "there is a log of an index already; choose another path");
  }
  constexpr std::size_t piece_bytes = std::size_t{256} * 1024;
  const auto log = iqdb::log_guard::scan_of_log(storage, name, {}, piece_bytes, &place.lock);
  if (log && log->mutations > 0) {
    refuse(PersistErrorKind::would_discard_log,
           "there is a log that holds " + count_text(log->mutations, "mutation") +
               ", which even --force does not give up; make a checkpoint, or move snapshot and log elsewhere");
  }
  if (!iqdb::history::entries(storage, name, &place.lock).empty()) {
    refuse(PersistErrorKind::would_discard_snapshot,
           "older states of an index lie beside it, which 'iqdb history' lists and which would become those of what is "
           "made; choose another path, or move them elsewhere");
  }
  return place;
}

std::unique_ptr<AnyIndex> build_index(ConvertSource& source, const IndexKind& kind, iqdb::DistanceMetric metric) {
  const std::vector<float> training = kind.learns ? training_rows(source) : std::vector<float>();
  std::unique_ptr<AnyIndex> index;
  try {
    index = kind.make(source.dim(), metric, training);
  } catch (const iqdb::IndexError& error) {
    refuse_options("there can be no index of the type " + std::string(kind.name) + ": " + error.what());
  }
  const std::uint64_t row_bytes = source.dim() * sizeof(float);
  ProgressBar bar("convert", source.size() * row_bytes);
  iqdb::HelperThreads helpers(std::max(1U, std::thread::hardware_concurrency()) - 1);
  iqdb::InsertRun run;
  run.begin(source.dim());
  const auto insert = [&] {
    index->insert(run, helpers);
    bar.advance(run.size() * row_bytes);
    run.begin(source.dim());
  };
  source.each(
      [&](const iqdb::VectorId& id, std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) {
        if (!run.takes({.id = &id, .vector = vector, .metadata = &metadata})) {
          insert();
        }
        run.add(id, vector, metadata);
      });
  insert();
  return index;
}

void write_rows(ConvertSource& source, RowFormat format, iqdb::FileStorage& storage, const ConvertPlace& place,
                const ConvertPlace* ids) {
  if (source.size() == 0 && format != RowFormat::npy) {
    iqdb::throw_persist_error(PersistErrorKind::unsupported,
                              "there is no vector, and a file of this format without one would not say how many "
                              "components its vectors have; write .npy",
                              {.path = place.path, .code = {}, .offset = {}});
  }
  NewFile rows(storage, place);
  std::optional<NewFile> numbers;
  if (ids != nullptr) {
    numbers.emplace(storage, *ids);
  }
  iqdb::naming_file(place.path, [&] {
    ProgressBar bar("convert", source.size() * source.dim() * sizeof(float));
    RowWriter writer(rows.writer(), format, source.size(), source.dim());
    source.each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& /*metadata*/) {
      writer.write(vector);
      if (numbers) {
        numbers->writer().write_array(std::string_view(to_string(id) + "\n"));
      }
      bar.advance(vector.size() * sizeof(float));
    });
  });
  rows.finish();
  if (numbers) {
    numbers->finish();
    numbers->appear();
  }
  rows.appear();
}

}  // namespace iqdb_tool
