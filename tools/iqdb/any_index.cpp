#include "any_index.hpp"

#include <algorithm>
#include <system_error>

#include "held_index.hpp"
#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot_file.hpp"
#include "iqdb/text.hpp"
#include "progress.hpp"
#include "read_storage.hpp"

namespace iqdb_tool {

namespace {

template <class I>
IndexType exact_type(std::string_view name_of_kind) {
  return {.name = I::index_type,
          .library = {},
          .kinds = {{.name = name_of_kind,
                     .make = [](std::size_t dim, iqdb::DistanceMetric metric,
                                std::span<const float> /*training*/) { return held(I(dim, metric)); }}},
          .load = load_as<I>,
          .checkpoint = checkpoint_as<I>,
          .checkpoint_objects = checkpoint_objects_as<I>};
}

}  // namespace

const std::vector<IndexType>& index_types() {
  static const std::vector<IndexType> types{
      exact_type<iqdb::FlatIndex>("flat"),
      exact_type<iqdb::CoreIndex>("core"),
#ifdef IQDB_TOOL_HAS_HNSWLIB
      hnswlib_type(),
#endif
#ifdef IQDB_TOOL_HAS_FAISS
      faiss_type(),
#endif
#ifdef IQDB_TOOL_HAS_USEARCH
      usearch_type(),
#endif
  };
  return types;
}

const IndexType* find_index_type(std::string_view name) {
  const auto found = std::ranges::find(index_types(), name, &IndexType::name);
  return found == index_types().end() ? nullptr : &*found;
}

NamedKind kind_named(std::string_view name) {
  std::string known;
  for (const IndexType& type : index_types()) {
    for (const IndexKind& kind : type.kinds) {
      if (kind.name == name || (type.kinds.size() == 1 && type.name == name)) {
        return {.type = &type, .kind = &kind};
      }
      known += (known.empty() ? "" : ", ") + std::string(kind.name);
    }
  }
  iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                            "this program has no type of index " + iqdb::printable(name) + "; it has " + known);
}

const IndexType* find_type_of_library(std::string_view library) {
  const auto found = std::ranges::find(index_types(), library, &IndexType::library);
  return found == index_types().end() ? nullptr : &*found;
}

const IndexType& index_type_at(const std::filesystem::path& path) {
  ReadStorage storage;
  auto file = storage.open(storage.resolve(path));
  if (!file) {
    iqdb::throw_persist_error(
        iqdb::PersistErrorKind::io, "there is no such index; check the path",
        {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
  }
  const std::string name = iqdb::naming_file(path, [&] { return iqdb::snapshot::read_header_of(*file).index_type; });
  const IndexType* const found = find_index_type(name);
  if (found == nullptr) {
    iqdb::throw_persist_error(iqdb::PersistErrorKind::unsupported,
                              "the index is of the type " + iqdb::printable(name) +
                                  ", which this program was built without; 'iqdb --version' lists those that it has",
                              {.path = path, .code = {}, .offset = {}});
  }
  return *found;
}

std::unique_ptr<AnyIndex> load_index(const std::filesystem::path& path, unsigned helper_threads,
                                     std::optional<std::uint64_t> up_to) {
  std::error_code unknown;
  const std::uint64_t size = std::filesystem::file_size(path, unknown);
  const std::uint64_t bytes = unknown ? 0 : size;
  ProgressBar bar("load", bytes);
  iqdb::PersistConfig config{.path = path, .read_only = true, .up_to = up_to, .helper_threads = helper_threads};
  config.on_progress = advancing(bar, bytes);
  return index_type_at(path).load(config);
}

}  // namespace iqdb_tool
