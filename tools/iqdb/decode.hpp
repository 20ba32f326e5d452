// Decodes snapshots of the index types that this program was built with.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/storage/file_storage.hpp"

namespace iqdb_tool {

/// Loads an index from the snapshot in a file, as a program would, and drops it. Throws what load_snapshot throws.
using Decoder = std::function<void(iqdb::FileStorage::File&, const iqdb::PersistConfig&)>;

/// The decoder of a type, or an empty function for one that this program does not know.
[[nodiscard]] Decoder decoder_of(std::string_view index_type);

/// The types that decoder_of() knows.
[[nodiscard]] std::vector<std::string_view> decodable_types();

void decode_flat(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config);
void decode_core(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config);
void decode_hnswlib(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config);
void decode_faiss(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config);
void decode_usearch(iqdb::FileStorage::File& file, const iqdb::PersistConfig& config);

}  // namespace iqdb_tool
