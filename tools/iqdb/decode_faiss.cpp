#include "decode.hpp"
#include "iqdb/index/faiss.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "recover.hpp"

namespace iqdb_tool {

void decode_faiss(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
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

}  // namespace iqdb_tool
