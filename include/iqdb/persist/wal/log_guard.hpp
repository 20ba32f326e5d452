// Checks a log beside the snapshot before a call ignores or replaces it.
//
// Invariant: no call silently discards mutations that only the log holds.
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

/// Whether there is a log beside the snapshot at `path`. Throws PersistError of `kind` if the log holds mutations that
/// the snapshot lacks, or is not a valid log; io if a file cannot be read. Reads where `lock` holds the files, or without
/// a lock, by their paths.
template <Storage S>
bool refuse_log(S& storage, const std::filesystem::path& path, PersistErrorKind kind, std::size_t piece_bytes,
                const typename S::Lock* lock = nullptr) {
  const auto open = [&](const std::filesystem::path& name) {
    return lock != nullptr ? storage.open(name, *lock) : storage.open(name);
  };
  std::optional<typename S::File> log;
  try {
    log = open(log_path(path));
  } catch (const PersistError& error) {
    if (error.code() != std::errc::filename_too_long) {
      throw;
    }
    // A name that is too long for the file system names no log.
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
  // The fingerprint of no snapshot. It stays so if there is no valid snapshot: then every mutation in the log counts as
  // lacking.
  Fingerprint present;
  std::uint64_t mutations = 0;
  try {
    if (auto file = open(path)) {
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

/// Durably removes the log beside the snapshot at `path`, if there is one; it must hold no mutations. Throws as
/// refuse_log does, and PersistError io.
template <Storage S>
void discard_empty_log(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                       PersistErrorKind kind, std::size_t piece_bytes) {
  if (refuse_log(storage, path, kind, piece_bytes, &lock)) {
    storage.remove(log_path(path), lock);
  }
}

}  // namespace iqdb
