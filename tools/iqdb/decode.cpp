#include "decode.hpp"

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"

namespace iqdb_tool {

namespace {

struct Known {
  std::string_view type;
  void (*decode)(iqdb::FileStorage::File&, const iqdb::PersistConfig&);
};

const std::vector<Known>& known_types() {
  static const std::vector<Known> known{
      {"flat", decode_flat},       {"iqdb-core", decode_core},
#ifdef IQDB_TOOL_HAS_HNSWLIB
      {"hnsw", decode_hnswlib},
#endif
#ifdef IQDB_TOOL_HAS_FAISS
      {"faiss", decode_faiss},
#endif
#ifdef IQDB_TOOL_HAS_USEARCH
      {"usearch", decode_usearch},
#endif
  };
  return known;
}

}  // namespace

Decoder decoder_of(std::string_view index_type) {
  for (const Known& known : known_types()) {
    if (known.type == index_type) {
      return known.decode;
    }
  }
  return {};
}

std::vector<std::string_view> decodable_types() {
  std::vector<std::string_view> types;
  for (const Known& known : known_types()) {
    types.push_back(known.type);
  }
  return types;
}

void decode_flat(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::FlatIndex>(file, config));
}

void decode_core(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config) {
  static_cast<void>(iqdb::load_snapshot<iqdb::CoreIndex>(file, config));
}

}  // namespace iqdb_tool
