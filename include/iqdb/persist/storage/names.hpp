// A store that can say which files it has.
#pragma once

#include <concepts>
#include <filesystem>
#include <vector>

#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A store that lists the files beside one of its own. A history needs it.
template <class S>
concept ListsStoredFiles = Storage<S> &&
    requires(S& storage, const std::filesystem::path& path, const typename S::Lock& lock) {
  // The names, without their directory, of what lies beside the locked file, in no order.
  { storage.names(lock) } -> std::same_as<std::vector<std::filesystem::path>>;
  // The same for the directory of `path`, without a lock.
  { storage.names_beside(path) } -> std::same_as<std::vector<std::filesystem::path>>;
};

}  // namespace iqdb
