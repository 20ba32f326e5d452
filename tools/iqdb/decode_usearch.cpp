#include "decode.hpp"
#include "iqdb/index/usearch.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "recover.hpp"

namespace iqdb_tool {

void decode_usearch(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
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

}  // namespace iqdb_tool
