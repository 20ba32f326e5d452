#include <algorithm>

#include "any_index.hpp"
#include "decode.hpp"
#include "foreign.hpp"
#include "held_index.hpp"
#include "iqdb/index/faiss.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "recover.hpp"

namespace iqdb_tool {

void decode_faiss(AnyFile file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::FaissIndex>(file, config));
}

std::optional<iqdb::SnapshotInfo> recover_faiss(RecoverJob& job) {
  return recover_as<iqdb::FaissIndex>(
      job, [](std::size_t dim, iqdb::DistanceMetric metric, const iqdb::salvage::SalvagedRows* rows) {
        if (rows != nullptr) {
          try {
            if (rows->kind == iqdb::faiss_parts::hnsw_tag) {
              return iqdb::FaissIndex::hnsw(
                  dim, metric, rows->settings.empty() ? 32 : static_cast<std::size_t>(rows->settings.front()));
            }
            const std::size_t lists = rows->settings.empty() ? 0 : static_cast<std::size_t>(rows->settings.front());
            if (rows->kind == iqdb::faiss_parts::ivf_tag && lists > 0 && lists <= rows->rows.size()) {
              std::vector<float> training;
              for (const auto& row : rows->rows) {
                training.insert(training.end(), row.vector.begin(), row.vector.end());
              }
              return iqdb::FaissIndex::ivf(dim, metric, lists, training);
            }
          } catch (const iqdb::IndexError&) {
            // The settings are damaged, too.
          }
        }
        return iqdb::FaissIndex::flat(dim, metric);
      });
}

namespace {

using iqdb::FaissIndex;

std::unique_ptr<AnyIndex> held_faiss(FaissIndex index) {
  return held<FaissIndex>(std::move(index), iqdb::faiss_export);
}

std::unique_ptr<AnyIndex> make_flat(std::size_t dim, iqdb::DistanceMetric metric, std::span<const float> /*training*/) {
  return held_faiss(FaissIndex::flat(dim, metric));
}

std::unique_ptr<AnyIndex> make_hnsw(std::size_t dim, iqdb::DistanceMetric metric, std::span<const float> /*training*/) {
  return held_faiss(FaissIndex::hnsw(dim, metric));
}

// A list for every 64 rows to train with, which is more than the 40 that faiss asks for.
std::unique_ptr<AnyIndex> make_ivf(std::size_t dim, iqdb::DistanceMetric metric, std::span<const float> training) {
  constexpr std::size_t rows_of_a_list = 64;
  const std::size_t lists = std::max<std::size_t>(1, training.size() / dim / rows_of_a_list);
  return held_faiss(FaissIndex::ivf(dim, metric, lists, training));
}

// What a file of faiss says: L2 or inner product, which means the cosine where all vectors have length 1.
iqdb::DistanceMetric metric_in(const std::filesystem::path& path) {
  iqdb::FileStorage storage;
  auto file = storage.open(storage.resolve(path));
  const auto found = file ? recognise_foreign(*file) : std::nullopt;
  return found && found->metric == "inner product" ? iqdb::DistanceMetric::dot_product
                                                   : iqdb::DistanceMetric::euclidean;
}

std::unique_ptr<AnyIndex> import_faiss(const std::filesystem::path& path, std::size_t /*dim*/,
                                       std::optional<iqdb::DistanceMetric> metric) {
  return held_faiss(iqdb::faiss_import(path, metric ? *metric : metric_in(path)));
}

}  // namespace

IndexType faiss_type() {
  return {.name = FaissIndex::index_type,
          .library = "faiss",
          .kinds = {{.name = "faiss-flat", .make = make_flat},
                    {.name = "faiss-hnsw", .make = make_hnsw},
                    {.name = "faiss-ivf", .make = make_ivf, .learns = true}},
          .load = load_as<FaissIndex, iqdb::faiss_export>,
          .checkpoint = checkpoint_as<FaissIndex>,
          .checkpoint_objects = checkpoint_objects_as<FaissIndex>,
          .import = import_faiss};
}

}  // namespace iqdb_tool
