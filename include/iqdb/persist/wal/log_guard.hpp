// Looks at the snapshot and the log that are there before a call ignores or replaces them.
//
// Invariants: no call silently discards mutations that only the log holds, or a snapshot that holds vectors. Of several
// reasons for a refusal the first of this list is reported: what is wrong with the snapshot, what is wrong with the log,
// log_mismatch, log_present or would_discard_log, would_discard_snapshot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace log_guard {

// Opens a file where `lock` holds it, or without a lock, by its path.
template <Storage S>
[[nodiscard]] std::optional<typename S::File> opened(S& storage, const std::filesystem::path& path,
                                                     const typename S::Lock* lock) {
  return lock != nullptr ? storage.open(path, *lock) : storage.open(path);
}

// Scans the log beside the snapshot at `path`, if there is one. `snapshot` is the snapshot's fingerprint; without one,
// every mutation of the log counts. Throws PersistError log_corrupted, bad_magic, unsupported_version; io.
template <Storage S>
[[nodiscard]] std::optional<LogScan> scan_of_log(S& storage, const std::filesystem::path& path,
                                                 const std::optional<Fingerprint>& snapshot, std::size_t piece_bytes,
                                                 const typename S::Lock* lock) {
  return naming_file(log_path(path), [&]() -> std::optional<LogScan> {
    std::optional<typename S::File> log;
    try {
      log = opened(storage, log_path(path), lock);
    } catch (const PersistError& error) {
      if (error.code() != std::errc::filename_too_long) {
        throw;
      }
      // A name that is too long for the file system names no log.
    }
    if (!log) {
      return std::nullopt;
    }
    return scan_log(*log, snapshot.value_or(Fingerprint()), piece_bytes);
  });
}

// Throws PersistError of `kind` if the log holds mutations.
inline void refuse_mutations(const LogScan& log, const std::filesystem::path& path, PersistErrorKind kind) {
  if (log.mutations > 0) {
    throw_persist_error(kind,
                        "the log '" + path_text(log_path(path)) + "' beside the snapshot holds " +
                            std::to_string(log.mutations) +
                            " mutations that the snapshot lacks; load the index with wal_enabled = true to have them",
                        {.path = path, .code = {}, .offset = {}});
  }
}

// The fingerprint of the snapshot at `path`; nothing if there is none. Throws PersistError for a header that is not one
// of a snapshot; io.
template <Storage S>
[[nodiscard]] std::optional<Fingerprint> fingerprint_at(S& storage, const std::filesystem::path& path,
                                                        const typename S::Lock* lock = nullptr) {
  auto file = opened(storage, path, lock);
  return file ? std::optional(fingerprint(snapshot::read_header_of(*file), file->size())) : std::nullopt;
}

}  // namespace log_guard

/// Whether there is a log beside the snapshot at `path`, whose fingerprint is `snapshot`, or nothing if there is none.
/// For calls with the log off: throws PersistError log_mismatch if the log continues another snapshot; log_present if it
/// holds mutations that the snapshot lacks; log_corrupted, bad_magic, unsupported_version if it cannot be read; io. Reads
/// where `lock` holds the files, or without a lock, by their paths.
template <Storage S>
bool refuse_log(S& storage, const std::filesystem::path& path, const std::optional<Fingerprint>& snapshot,
                std::size_t piece_bytes, const typename S::Lock* lock = nullptr) {
  const std::optional<LogScan> log = log_guard::scan_of_log(storage, path, snapshot, piece_bytes, lock);
  if (log) {
    if (snapshot && !log->replay) {
      naming_file(log_path(path), [&] { recovery::throw_log_mismatch(log->log, *snapshot, log->mutations); });
    }
    log_guard::refuse_mutations(*log, path, PersistErrorKind::log_present);
  }
  return log.has_value();
}

/// Throws PersistError if an index of type I may not be put at `path`, a resolved name: what is wrong with the snapshot
/// there; what is wrong with the log; log_mismatch; would_discard_log if the log holds mutations; would_discard_snapshot
/// if the snapshot holds vectors. With config.replace_existing the snapshot there and what the log continues do not
/// matter. Returns the fingerprint of the snapshot that is there, if it can be read. Reads where `lock` holds the files, or
/// without a lock, by their paths.
template <Persistable I, Storage S>
[[nodiscard]] std::optional<Fingerprint> require_replaceable(S& storage, const std::filesystem::path& path,
                                                             const PersistConfig& config,
                                                             const typename S::Lock* lock = nullptr) {
  std::optional<Fingerprint> present;
  bool holds_vectors = false;
  if (!config.replace_existing) {
    if (auto file = log_guard::opened(storage, path, lock)) {
      const FileHeader header = snapshot::read_header_of(*file, std::string_view(PersistTraits<I>::index_type));
      present = fingerprint(header, file->size());
      // The count has no checksum of its own. Before an empty snapshot is replaced, it is read whole.
      holds_vectors = header.vectors > 0 || persisted_size(load_snapshot<I>(*file, config).index) > 0;
    }
  }
  if (const auto log = log_guard::scan_of_log(storage, path, present, config.buffer_bytes, lock)) {
    if (present && !log->replay) {
      naming_file(log_path(path), [&] { recovery::throw_log_mismatch(log->log, *present, log->mutations); });
    }
    log_guard::refuse_mutations(*log, path, PersistErrorKind::would_discard_log);
  }
  if (holds_vectors) {
    throw_persist_error(PersistErrorKind::would_discard_snapshot,
                        "the file holds vectors, which this call would replace; to go on with them use load or "
                        "load_or_create; to give them up set replace_existing = true",
                        {.path = path, .code = {}, .offset = {}});
  }
  return present;
}

}  // namespace iqdb
