// Recognises the files of other libraries by their first bytes. None of these libraries is needed for it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "iqdb/persist/storage/file_storage.hpp"

namespace iqdb_tool {

/// What a file of hnswlib's, faiss' or usearch's says of itself.
struct ForeignFile {
  std::string library;         ///< "hnswlib", "faiss" or "usearch"
  std::string what;            ///< the kind of index
  std::uint64_t dim = 0;       ///< 0 if the file does not say
  std::uint64_t vectors = 0;   ///< with those that are marked as deleted
  std::uint64_t deleted = 0;   ///< as far as the file's head says
  std::string metric;          ///< empty if the file does not say
  std::string scalar;          ///< the type of the components; empty if the file does not say
  std::string settings;        ///< for people
  std::string how_to_take_it;  ///< what makes a durable index of it
};

/// Says what the file is, or nothing if it is none of theirs. hnswlib's files have no magic: one is recognised by fields
/// that depend on each other. Throws PersistError io.
[[nodiscard]] std::optional<ForeignFile> recognise_foreign(iqdb::FileStorage::File& file);

}  // namespace iqdb_tool
