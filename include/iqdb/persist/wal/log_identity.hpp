// What a reader must know of a log before it reads frames: the version, the header, and where the first frame stands.
#pragma once

#include <cstdint>

#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A place between two frames.
struct LogPosition {
  std::uint64_t offset = 0;    ///< where the next frame stands
  std::uint64_t next_lsn = 1;  ///< the LSN of its first mutation

  friend bool operator==(const LogPosition&, const LogPosition&) = default;
};

/// The version and header of a log.
struct LogIdentity {
  std::uint32_t version = log_version;
  LogHeader header;  ///< default values in version 1, which has no such fields

  /// The position of the first frame.
  [[nodiscard]] LogPosition first_frame() const noexcept {
    const std::uint64_t offset = version == 1 ? log_header_1_bytes : log_header_bytes;
    return {.offset = offset, .next_lsn = header.base_lsn + 1};
  }

  /// Whether the first frame continues the snapshot with this fingerprint. Version 1 has no link to its snapshot: all
  /// of its mutations are replayed.
  [[nodiscard]] bool continues(const Fingerprint& snapshot) const noexcept {
    return version == 1 || header.base == snapshot;
  }
};

/// Reads what precedes the frames of a log. Throws PersistError bad_magic, unsupported_version, log_corrupted; io.
template <ReadableFile F>
[[nodiscard]] LogIdentity identify_log(F& file) {
  if (file.size() < log_header_1_bytes) {
    return {.version = 1, .header = {}};  // only version 1 could leave such a file; it holds no frame
  }
  FileWindow window(file, log_header_bytes);
  const auto bytes = window.at(0, log_header_bytes);
  const std::uint32_t version = read_log_version(bytes);
  return {.version = version, .header = version == 1 ? LogHeader{} : read_log_header(bytes, version)};
}

}  // namespace iqdb
