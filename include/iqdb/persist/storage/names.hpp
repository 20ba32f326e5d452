// A store that can say which files it has.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A store that lists the files beside one of its own, at least those of the older states of an index. A history needs it.
template <class S>
concept ListsStoredFiles = Storage<S> &&
    requires(S& storage, const std::filesystem::path& path, const typename S::Lock& lock) {
  // The names, without their directory, of what lies beside the locked file, in no order.
  { storage.names(lock) } -> std::same_as<std::vector<std::filesystem::path>>;
  // The same for the directory of `path`, without a lock.
  { storage.names_beside(path) } -> std::same_as<std::vector<std::filesystem::path>>;
};

/// A store that tells without a look into files what the snapshot of an older state holds.
template <class S>
concept TellsSnapshotLsn = ListsStoredFiles<S> && requires(S& storage, const std::filesystem::path& path) {
  // The last mutation that it holds. Nothing if that is not known.
  { storage.snapshot_lsn(path) } -> std::same_as<std::optional<std::uint64_t>>;
};

}  // namespace iqdb
