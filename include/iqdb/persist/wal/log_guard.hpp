// What a call must know of a log beside the snapshot before it passes it over or replaces it: whether mutations would
// be lost unseen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Whether there is a log beside the snapshot at `path`. Throws PersistError of `kind` where it holds mutations that
/// the snapshot lacks, or cannot be read.
template <Storage S>
bool refuse_log(S& storage, const std::filesystem::path& path, PersistErrorKind kind, std::size_t piece_bytes) {
  std::optional<typename S::File> log;
  try {
    log = storage.open(log_path(path));
  } catch (const PersistError& error) {
    if (error.code() != std::errc::filename_too_long) {
      throw;
    }
    // Then no log can be there.
  }
  if (!log) {
    return false;
  }
  const auto refuse = [&](const std::string& found) {
    throw_persist_error(kind,
                        "the log '" + log_path(path).string() + "' beside the snapshot " + found +
                            "; load the index with wal_enabled = true to keep them, or move the log away",
                        {.path = path, .code = {}, .offset = {}});
  };
  // The fingerprint of no snapshot: with it every mutation in a log counts as lacking.
  Fingerprint present;
  std::uint64_t mutations = 0;
  try {
    if (auto file = storage.open(path)) {
      present = fingerprint(snapshot::read_header_of(*file), file->size());
    }
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::io) {
      throw;
    }
  }
  try {
    mutations = scan_log(*log, present, piece_bytes).mutations;
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::io) {
      throw;
    }
    refuse(std::string("may hold mutations, but cannot be read: ") + error.what());
  }
  if (mutations > 0) {
    refuse("holds " + std::to_string(mutations) + " mutations that the snapshot lacks");
  }
  return true;
}

/// Removes, durably, a log that holds no mutations from beside the snapshot at `path`. Throws as refuse_log does.
template <Storage S>
void discard_empty_log(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                       PersistErrorKind kind, std::size_t piece_bytes) {
  if (refuse_log(storage, path, kind, piece_bytes)) {
    storage.remove(log_path(path), lock);
  }
}

}  // namespace iqdb
