#include "decode.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "recover.hpp"

namespace iqdb_tool {

void decode_hnswlib(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
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

}  // namespace iqdb_tool
