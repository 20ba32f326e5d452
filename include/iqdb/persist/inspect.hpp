// Inspects a snapshot without the type of its index. Nothing here takes a lock or writes.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/snapshot/verify.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace inspection {

// Opens the file to which `path` leads. Throws PersistError io if it does not exist.
inline FileStorage::File open_existing(const std::filesystem::path& path) {
  FileStorage storage;
  auto file = storage.open(storage.resolve(path));
  if (!file) {
    throw_persist_error(
        PersistErrorKind::io, "cannot look at the snapshot; check the path",
        {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
  }
  return std::move(*file);
}

}  // namespace inspection

/// The header of the snapshot at `path`; the contents are not read. Throws PersistError io if it cannot be read, and
/// what read_header(Reader&) throws.
[[nodiscard]] inline FileHeader read_header(const std::filesystem::path& path) {
  auto file = inspection::open_existing(path);
  return naming_file(path, [&] { return snapshot::read_header_of(file); });
}

/// Checks everything about the snapshot at `path` that can be checked without its index: the header, the checksum, and
/// that the data decompresses to the stated length. Throws the PersistErrors of load_snapshot that do not depend on the
/// index.
inline SnapshotReport verify_snapshot(const std::filesystem::path& path) {
  auto file = inspection::open_existing(path);
  return naming_file(path, [&] {
    const PersistConfig config{.path = path};
    return snapshot::verified(file, config);
  });
}

}  // namespace iqdb
