// What iqdb convert reads.
#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "convert.hpp"
#include "foreign.hpp"
#include "given_path.hpp"
#include "id_text.hpp"
#include "index_settings.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/object_address.hpp"
#include "progress.hpp"
#include "read_storage.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

using iqdb::PersistErrorKind;

}  // namespace

std::vector<iqdb::VectorId> read_ids(const fs::path& path, std::uint64_t count) {
  const auto refuse = [&](PersistErrorKind kind, const std::string& why, std::error_code code = {}) {
    iqdb::throw_persist_error(kind, why, {.path = path, .code = code, .offset = {}});
  };
  std::ifstream file(path);
  if (!file) {
    refuse(PersistErrorKind::io, "cannot open the file of identifiers", {errno, std::generic_category()});
  }
  std::vector<iqdb::VectorId> ids;
  for (std::string line; ids.size() <= count && std::getline(file, line);) {
    try {
      ids.push_back(parse_id(line));
    } catch (const iqdb::PersistError& error) {
      refuse(error.kind(), "line " + std::to_string(ids.size() + 1) + ": " + error.what());
    }
  }
  if (file.bad()) {
    refuse(PersistErrorKind::io, "cannot read the file of identifiers");
  }
  if (ids.size() != count) {
    refuse(PersistErrorKind::invalid_config, "the file has " + (ids.size() > count ? "more than " : std::string()) +
                                                 count_text(std::min<std::uint64_t>(ids.size(), count), "identifier") +
                                                 ", one a line, and there are " + count_text(count, "vector"));
  }
  return ids;
}

ConvertSource::ConvertSource(const ConvertOptions& options) {
  if (iqdb::is_object_address(options.from)) {
    read_index(index_at(options.from));
    return;
  }
  const GivenPath given = look_at(options.from);
  if (given.kind == FileKind::missing) {
    throw_missing(given);
  }
  if (given.kind == FileKind::snapshot || given.kind == FileKind::log) {
    read_index(index_at(options.from));
  } else if (RowFile::recognises(given.path)) {
    rows_.emplace(given.path);
    what_ = "rows of vectors";
    if (!options.ids.empty()) {
      ids_ = read_ids(options.ids, rows_->rows());
    }
  } else if (given.kind == FileKind::empty) {
    throw_empty(given);
  } else {
    import_file(given.path, options);
  }
}

void ConvertSource::read_index(const fs::path& path) {
  ReadStorage storage;
  if (auto file = storage.open(storage.resolve(path))) {
    compression_ = compression_like(*file);
  }
  index_ = load_index(path, iqdb::PersistConfig().helper_threads);
  what_ = "an index of the type " + std::string(index_->type());
}

void ConvertSource::import_file(const fs::path& path, const ConvertOptions& options) {
  iqdb::FileStorage storage;
  auto file = storage.open(storage.resolve(path));
  const std::optional<ForeignFile> found = file ? recognise_foreign(*file) : std::nullopt;
  if (!found) {
    throw_unknown(look_at(options.from),
                  "no index, no file of hnswlib, faiss or usearch, and no .npy, .fvecs or .ivecs file");
  }
  const IndexType* const type = find_type_of_library(found->library);
  if (type == nullptr) {
    iqdb::throw_persist_error(PersistErrorKind::unsupported,
                              "this is a file of " + found->library + ", which this program was built without",
                              {.path = path, .code = {}, .offset = {}});
  }
  index_ = type->import(path, static_cast<std::size_t>(found->dim),
                        options.metric.empty() ? std::nullopt : std::optional(metric_named(options.metric)));
  what_ = "a file of " + found->library;
  stop_if_interrupted();
}

void ConvertSource::each(const AnyIndex::Visit& visit) {
  if (index_) {
    index_->each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
      stop_if_interrupted();
      visit(id, vector, metadata);
    });
    return;
  }
  const std::optional<iqdb::Metadata> none;
  rows_->each([&](std::uint64_t number, std::span<const float> row) {
    stop_if_interrupted();
    visit(ids_ ? (*ids_)[static_cast<std::size_t>(number)] : iqdb::VectorId(number), row, none);
  });
}

}  // namespace iqdb_tool
