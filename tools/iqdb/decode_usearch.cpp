#include "any_index.hpp"
#include "decode.hpp"
#include "held_index.hpp"
#include "iqdb/index/usearch.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "recover.hpp"

namespace iqdb_tool {

void decode_usearch(AnyFile file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::UsearchIndex>(file, config));
}

std::optional<iqdb::SnapshotInfo> recover_usearch(RecoverJob& job) {
  return recover_as<iqdb::UsearchIndex>(
      job, [](std::size_t dim, iqdb::DistanceMetric metric, const iqdb::salvage::SalvagedRows* rows) {
        if (rows != nullptr && rows->settings.size() == 5 && rows->settings[0] <= 2) {
          try {
            return iqdb::UsearchIndex(dim, metric,
                                      {.connectivity = static_cast<std::size_t>(rows->settings[1]),
                                       .connectivity_base = static_cast<std::size_t>(rows->settings[2]),
                                       .expansion_add = static_cast<std::size_t>(rows->settings[3]),
                                       .expansion_search = static_cast<std::size_t>(rows->settings[4]),
                                       .scalar = static_cast<iqdb::UsearchScalar>(rows->settings[0])});
          } catch (const iqdb::IndexError&) {
            // The settings are damaged, too.
          }
        }
        return iqdb::UsearchIndex(dim, metric);
      });
}

IndexType usearch_type() {
  using iqdb::UsearchIndex;
  return {.name = UsearchIndex::index_type,
          .library = "usearch",
          .kinds = {{.name = "usearch",
                     .make =
                         [](std::size_t dim, iqdb::DistanceMetric metric, std::span<const float> /*training*/) {
                           return held<UsearchIndex>(UsearchIndex(dim, metric), iqdb::usearch_export);
                         }}},
          .load = load_as<UsearchIndex, iqdb::usearch_export>,
          .checkpoint = checkpoint_as<UsearchIndex>,
          .checkpoint_objects = checkpoint_objects_as<UsearchIndex>,
          .import = [](const std::filesystem::path& path, std::size_t /*dim*/,
                       std::optional<iqdb::DistanceMetric> /*metric*/) {
            return held<UsearchIndex>(iqdb::usearch_import(path), iqdb::usearch_export);
          }};
}

}  // namespace iqdb_tool
