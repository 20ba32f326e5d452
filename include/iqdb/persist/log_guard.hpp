// What calls without a log must know of one that lies beside the snapshot: that its mutations would be lost unseen.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage.hpp"
#include "iqdb/persist/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where the log of the snapshot at `path` lies.
[[nodiscard]] inline std::filesystem::path log_path(std::filesystem::path path) {
  path += ".wal";
  return path;
}

/// Whether there is a log beside the snapshot at `path`. Throws PersistError log_present where it is more than the header
/// of one, and so may hold mutations, or is no log.
template <Storage S>
bool refuse_log(S& storage, const std::filesystem::path& path) {
  // Every log begins with the magic and the version; in version 1 that is the whole header.
  constexpr std::string_view magic("IQDBWAL\0", 8);
  constexpr std::uint64_t version_1_header_bytes = magic.size() + sizeof(std::uint32_t);
  constexpr std::uint64_t version_2_header_bytes = 64;

  auto log = storage.open(log_path(path));
  if (!log) {
    return false;
  }
  if (log->size() < version_1_header_bytes) {
    return true;  // not even a header was ever written
  }
  FileRange source(*log, 0, log->size());
  Reader reader(source, log->size(), LengthEvidence::stored, version_1_header_bytes);
  const bool is_log = reader.read_string(magic.size()) == magic;
  const auto version = reader.read_le<std::uint32_t>();
  if (is_log && ((version == 1 && log->size() == version_1_header_bytes) ||
                 (version == 2 && log->size() == version_2_header_bytes))) {
    return true;
  }
  throw_persist_error(PersistErrorKind::log_present,
                      "the log '" + log_path(path).string() + "' beside the snapshot has " +
                          std::to_string(log->size()) +
                          " bytes: it may hold mutations that would be lost if it were passed over; load and save it "
                          "with the program that wrote it, or move the log away if it is not wanted",
                      {.path = path, .code = {}, .offset = {}});
}

/// Removes a log that holds nothing from beside the snapshot at `path`; throws PersistError log_present where it may hold
/// mutations.
template <Storage S>
void discard_empty_log(S& storage, const std::filesystem::path& path, const typename S::Lock& lock) {
  if (refuse_log(storage, path)) {
    storage.remove(log_path(path), lock);
  }
}

}  // namespace iqdb
