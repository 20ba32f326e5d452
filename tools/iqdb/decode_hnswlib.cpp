#include "decode.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"

namespace iqdb_tool {

void decode_hnswlib(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::HnswIndex>(file, config));
}

}  // namespace iqdb_tool
