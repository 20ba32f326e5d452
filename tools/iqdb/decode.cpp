#include "decode.hpp"

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/verify.hpp"

namespace iqdb_tool {

namespace {

struct Known {
  std::string_view type;
  Decoder decoder;
};

const std::vector<Known>& known_types() {
  static const std::vector<Known> known{
      {"flat", {.decode = decode_flat}},
      {"iqdb-core", {.decode = decode_core}},
#ifdef IQDB_TOOL_HAS_HNSWLIB
      {"hnsw", {.decode = decode_hnswlib, .keeps_vectors = true}},
#endif
#ifdef IQDB_TOOL_HAS_FAISS
      {"faiss", {.decode = decode_faiss, .keeps_vectors = true}},
#endif
#ifdef IQDB_TOOL_HAS_USEARCH
      {"usearch", {.decode = decode_usearch, .keeps_vectors = true}},
#endif
  };
  return known;
}

}  // namespace

Decoder decoder_of(std::string_view index_type) {
  for (const Known& known : known_types()) {
    if (known.type == index_type) {
      return known.decoder;
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

void decode_flat(AnyFile file, const iqdb::PersistConfig& config) {
  iqdb::snapshot::verified_as<iqdb::FlatIndex>(file, config);
}

void decode_core(AnyFile file, const iqdb::PersistConfig& config) {
  iqdb::snapshot::verified_as<iqdb::CoreIndex>(file, config);
}

}  // namespace iqdb_tool
