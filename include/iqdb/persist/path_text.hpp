// Paths as text, for messages and for comparing names.
#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// `path` as text: its bytes on a POSIX system, UTF-8 on Windows. path::string() throws there if the code page of the
/// process lacks a character of the name. Throws std::bad_alloc. Any thread may call it.
[[nodiscard]] inline std::string path_text(const std::filesystem::path& path) {
#if defined(_WIN32)
  try {
    const std::u8string text = path.u8string();
    return {text.begin(), text.end()};
  } catch (const std::system_error&) {
    return "(a name that is no Unicode)";  // there are names with half a character
  }
#else
  return path.native();
#endif
}

}  // namespace iqdb
