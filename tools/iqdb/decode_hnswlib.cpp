#include "any_index.hpp"
#include "decode.hpp"
#include "held_index.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "recover.hpp"

namespace iqdb_tool {

void decode_hnswlib(AnyFile file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::HnswIndex>(file, config));
}

std::optional<iqdb::SnapshotInfo> recover_hnswlib(RecoverJob& job) {
  return recover_as<iqdb::HnswIndex>(
      job, [](std::size_t dim, iqdb::DistanceMetric metric, const iqdb::salvage::SalvagedRows* rows) {
        if (rows != nullptr && rows->settings.size() == 5) {
          try {
            return iqdb::HnswIndex(dim, metric,
                                   {.links = static_cast<std::size_t>(rows->settings[0]),
                                    .ef_construction = static_cast<std::size_t>(rows->settings[1]),
                                    .ef = static_cast<std::size_t>(rows->settings[2]),
                                    .capacity = 0,
                                    .seed = rows->settings[4]});
          } catch (const iqdb::IndexError&) {
            // The settings are damaged, too.
          }
        }
        return iqdb::HnswIndex(dim, metric);
      });
}

IndexType hnswlib_type() {
  using iqdb::HnswIndex;
  return {.name = HnswIndex::index_type,
          .library = "hnswlib",
          .kinds = {{.name = "hnsw",
                     .make =
                         [](std::size_t dim, iqdb::DistanceMetric metric, std::span<const float> /*training*/) {
                           return held<HnswIndex>(HnswIndex(dim, metric), iqdb::hnswlib_export);
                         }}},
          .load = load_as<HnswIndex, iqdb::hnswlib_export>,
          .checkpoint = checkpoint_as<HnswIndex>,
          .checkpoint_objects = checkpoint_objects_as<HnswIndex>,
          .import = [](const std::filesystem::path& path, std::size_t dim, std::optional<iqdb::DistanceMetric> metric) {
            if (!metric) {
              iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                                        "a file of hnswlib does not say how it measures distances; name the metric by "
                                        "--metric: euclidean, dot_product or cosine",
                                        {.path = path, .code = {}, .offset = {}});
            }
            return held<HnswIndex>(iqdb::hnswlib_import(path, dim, *metric), iqdb::hnswlib_export);
          }};
}

}  // namespace iqdb_tool
