#include "decode.hpp"
#include "iqdb/index/faiss.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"

namespace iqdb_tool {

void decode_faiss(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::FaissIndex>(file, config));
}

}  // namespace iqdb_tool
