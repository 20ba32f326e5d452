// The names that an index cannot have. The files beside a snapshot are called as the snapshot with an ending. An index
// whose own name had such an ending would be the log, the lock or the temporary file of another index.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_path {

// The endings of files beside a snapshot. A temporary file replaces each of the others: ".wal.tmp" ends like ".tmp".
inline constexpr std::array<std::string_view, 5> endings{".wal", ".wal.torn", ".tmp", ".lock", ".history"};

// The longest name that a file beside a snapshot may ever have ends so.
inline constexpr std::string_view longest_ending = ".wal.torn.tmp";

// Whether `name` ends with `ending`. The case of letters does not matter, because some file systems ignore it.
[[nodiscard]] IQDB_PERSIST_INLINE bool ends_like(std::string_view name, std::string_view ending) noexcept;

// Throws PersistError invalid_config if `path` holds a zero byte: the system would end it there, and use another file.
IQDB_PERSIST_INLINE void require_no_zero_byte(const std::filesystem::path& path);

// Throws PersistError invalid_config if no index, and no exported file, can be written to `path`: it holds a zero byte,
// or ends like a file beside a snapshot.
IQDB_PERSIST_INLINE void require_usable(const std::filesystem::path& path);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE bool ends_like(std::string_view name, std::string_view ending) noexcept {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return name.size() >= ending.size() &&
         std::ranges::equal(name.substr(name.size() - ending.size()), ending, {}, lower, lower);
}

IQDB_PERSIST_INLINE void require_no_zero_byte(const std::filesystem::path& path) {
  const std::filesystem::path::string_type& text = path.native();
  if (const std::size_t at = text.find(std::filesystem::path::value_type{0}); at != std::string::npos) {
    // A message that held the zero byte would end there.
    throw_persist_error(PersistErrorKind::invalid_config,
                        "the path has a zero byte behind these " + std::to_string(at) +
                            " bytes, where the system would end it; pass a path without one",
                        {.path = text.substr(0, at), .code = {}, .offset = {}});
  }
}

IQDB_PERSIST_INLINE void require_usable(const std::filesystem::path& path) {
  require_no_zero_byte(path);
  const std::string name = path_text(path.filename());
  for (const std::string_view ending : endings) {
    if (ends_like(name, ending)) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the name ends with \"" + std::string(ending) +
                              "\", like the files that the library keeps beside a snapshot: it could be a file of the "
                              "index '" +
                              name.substr(0, name.size() - ending.size()) + "'; choose another name",
                          {.path = path, .code = {}, .offset = {}});
    }
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace index_path

}  // namespace iqdb
