// Decodes snapshots of the index types that this program was built with.
#pragma once

#include <string_view>
#include <vector>

#include "any_file.hpp"
#include "iqdb/persist/config.hpp"

namespace iqdb_tool {

/// Decodes the snapshot in a file, as a load would. Throws what load_snapshot throws.
struct Decoder {
  void (*decode)(AnyFile, const iqdb::PersistConfig&) = nullptr;
  bool keeps_vectors = false;  ///< it makes the whole index in memory, and drops it
};

/// The decoder of a type. Its `decode` is null for one that this program does not know.
[[nodiscard]] Decoder decoder_of(std::string_view index_type);

/// The types that decoder_of() knows.
[[nodiscard]] std::vector<std::string_view> decodable_types();

void decode_flat(AnyFile file, const iqdb::PersistConfig& config);
void decode_core(AnyFile file, const iqdb::PersistConfig& config);
void decode_hnswlib(AnyFile file, const iqdb::PersistConfig& config);
void decode_faiss(AnyFile file, const iqdb::PersistConfig& config);
void decode_usearch(AnyFile file, const iqdb::PersistConfig& config);

}  // namespace iqdb_tool
