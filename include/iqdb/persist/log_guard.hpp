// What calls without a log must know of one that lies beside the snapshot: that its mutations would be lost unseen.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

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

/// Whether there is a log beside the snapshot at `path`. Throws PersistError log_present where it holds more than its
/// header, and so may hold mutations.
template <Storage S>
bool refuse_log(S& storage, const std::filesystem::path& path) {
  // The magic and the version that every log begins with, and the header of version 2, which begins with them.
  constexpr std::size_t version_1_header = 12;
  constexpr std::uint64_t version_2_header = 64;

  auto log = storage.open(log_path(path));
  if (!log) {
    return false;
  }
  if (log->size() <= version_1_header) {
    return true;
  }
  if (log->size() == version_2_header) {
    std::array<std::byte, version_1_header> beginning{};
    std::span<std::byte> missing(beginning);
    while (!missing.empty()) {
      missing = missing.subspan(log->read_at(beginning.size() - missing.size(), missing));
    }
    Reader reader(beginning);
    std::ignore = reader.read_string(8);
    if (reader.read_le<std::uint32_t>() == 2) {
      return true;
    }
  }
  throw_persist_error(PersistErrorKind::log_present,
                      "the log '" + log_path(path).string() + "' beside the snapshot holds " +
                          std::to_string(log->size()) +
                          " bytes: mutations that would be lost if it were passed over; load and save it with the "
                          "program that wrote it, or move the log away if it is not wanted",
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
