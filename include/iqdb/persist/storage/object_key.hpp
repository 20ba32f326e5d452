// The keys of objects: which are valid, and in words why another is not.
//
// Invariant: a valid key is a path below the root of a store that keeps objects as files. It never leads out of that root, and
// never to a temporary file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The largest key in bytes: that of S3.
inline constexpr std::size_t largest_object_key = 1024;

/// The largest part of a key between two slashes, in bytes. File systems have names of up to 255 bytes.
inline constexpr std::size_t largest_object_key_part = 200;

namespace object_keys {

// What is wrong with a key, as the end of a sentence that begins with "it"; empty if nothing is.
[[nodiscard]] inline std::string wrong_with(std::string_view key) {
  if (key.empty()) {
    return "is empty";
  }
  if (key.size() > largest_object_key) {
    return "has " + std::to_string(key.size()) + " bytes, and may have " + std::to_string(largest_object_key);
  }
  const auto is_control = [](char each) { return static_cast<unsigned char>(each) < 0x20U || each == '\x7F'; };
  if (std::ranges::any_of(key, is_control)) {
    return "holds a control character";
  }
  for (std::string_view rest = key;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty()) {
      return "has an empty part: it begins or ends with a slash, or has two that follow one another";
    }
    if (part.front() == '.') {
      return "has a part that begins with a dot";
    }
    if (part.size() > largest_object_key_part) {
      return "has a part of " + std::to_string(part.size()) + " bytes, and each may have " +
             std::to_string(largest_object_key_part);
    }
    if (slash == std::string_view::npos) {
      return {};
    }
    rest.remove_prefix(slash + 1);
  }
}

// The path of which path_text() is `text`. Throws on Windows std::system_error if it is no UTF-8.
[[nodiscard]] inline std::filesystem::path path_of(std::string_view text) {
  return std::u8string(text.begin(), text.end());
}

}  // namespace object_keys

/// Throws PersistError invalid_config unless `key` is valid: 1 to 1,024 bytes without control characters, in parts of 1 to 200
/// bytes between slashes, none of which begins with a dot. Any thread may call it.
inline void require_object_key(std::string_view key) {
  if (const std::string wrong = object_keys::wrong_with(key); !wrong.empty()) {
    throw_persist_error(PersistErrorKind::invalid_config, "cannot use the key " + printable(key.substr(0, 80)) +
                                                              " for an object: it " + wrong + "; choose another name");
  }
}

/// The path of an object below the root of a store that keeps objects as files. Throws PersistError invalid_config for a key that is
/// not valid, and for one that the system takes for another name: on Windows a backslash or a drive could lead out of the root.
[[nodiscard]] inline std::filesystem::path path_of_object(std::string_view key) {
  require_object_key(key);
  std::filesystem::path path = object_keys::path_of(key);
  if (path.has_root_name() || path.generic_u8string() != std::u8string(key.begin(), key.end())) {
    throw_persist_error(PersistErrorKind::invalid_config,
                        "cannot use the key " + printable(key.substr(0, 80)) +
                            " for an object: no file of this system can be called so; choose another name");
  }
  return path;
}

}  // namespace iqdb
