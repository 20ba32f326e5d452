#include "decode.hpp"
#include "iqdb/index/usearch.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"

namespace iqdb_tool {

void decode_usearch(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::UsearchIndex>(file, config));
}

}  // namespace iqdb_tool
