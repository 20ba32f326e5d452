// What iqdb convert writes.
#include <algorithm>
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

void require_place(iqdb::FileStorage& storage, const fs::path& path, const iqdb::FileStorage::Lock& lock, bool force) {
  const auto refuse = [&](PersistErrorKind kind, const std::string& why) {
    iqdb::throw_persist_error(kind, why, {.path = path, .code = {}, .offset = {}});
  };
  const bool has_log = storage.open(iqdb::log_path(path), lock).has_value();
  if (!force) {
    if (storage.open(path, lock)) {
      refuse(PersistErrorKind::would_discard_snapshot,
             "there is a file already; choose another path, or replace the file by --force");
    }
    if (has_log) {
      refuse(PersistErrorKind::would_discard_log, "there is a log already; choose another path");
    }
    return;
  }
  constexpr std::size_t piece_bytes = std::size_t{256} * 1024;
  if (const auto log = iqdb::log_guard::scan_of_log(storage, path, {}, piece_bytes, &lock); log && log->mutations > 0) {
    refuse(PersistErrorKind::would_discard_log,
           "there is a log that holds " + count_text(log->mutations, "mutation") +
               ", which even --force does not give up; make a checkpoint, or move snapshot and log elsewhere");
  }
  if (!iqdb::history::entries(storage, path, &lock).empty()) {
    refuse(
        PersistErrorKind::would_discard_snapshot,
        "older states of the index lie beside it, which 'iqdb history' lists and which would become those of the new "
        "one; choose another path, or move them elsewhere");
  }
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

void write_rows(ConvertSource& source, RowFormat format, const fs::path& path, const std::string& ids) {
  if (source.size() == 0 && format != RowFormat::npy) {
    iqdb::throw_persist_error(PersistErrorKind::unsupported,
                              "there is no vector, and a file of this format without one would not say how many "
                              "components its vectors have; write .npy",
                              {.path = path, .code = {}, .offset = {}});
  }
  if (!ids.empty()) {
    iqdb::write_foreign_file(ids, [&](iqdb::Writer& writer) {
      source.each([&](const iqdb::VectorId& id, std::span<const float> /*vector*/, const auto& /*metadata*/) {
        writer.write_array(std::string_view(to_string(id) + "\n"));
      });
    });
  }
  iqdb::write_foreign_file(path, [&](iqdb::Writer& writer) {
    ProgressBar bar("convert", source.size() * source.dim() * sizeof(float));
    RowWriter rows(writer, format, source.size(), source.dim());
    source.each([&](const iqdb::VectorId& /*id*/, std::span<const float> vector, const auto& /*metadata*/) {
      rows.write(vector);
      bar.advance(vector.size() * sizeof(float));
    });
  });
}

}  // namespace iqdb_tool
