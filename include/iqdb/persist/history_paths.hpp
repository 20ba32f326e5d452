// The names of the older states of an index: "words.iqdb.001795936992345.history" and the same with ".wal". The number is
// when the state was replaced, in milliseconds since 1970 UTC.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace history_paths {

inline constexpr std::string_view ending = ".history";
inline constexpr std::size_t digits = 15;  // for 30,000 years; with zeros in front names sort by time

// The longest name of a file of an entry has so many bytes more than the index: its log under a temporary name.
inline constexpr std::size_t most_bytes_added = 1 + digits + ending.size() + std::string_view(".wal.tmp").size();

/// A file of an entry.
struct Member {
  std::uint64_t replaced_at = 0;
  bool is_log = false;

  friend bool operator==(const Member&, const Member&) = default;
};

// The name of the snapshot of an entry.
[[nodiscard]] IQDB_PERSIST_INLINE std::filesystem::path entry(const std::filesystem::path& index,
                                                              std::uint64_t replaced_at);

// What a file name says of the index with the name `index`; nothing for other files.
[[nodiscard]] IQDB_PERSIST_INLINE std::optional<Member> parsed(std::string_view name, std::string_view index);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE std::filesystem::path entry(const std::filesystem::path& index, std::uint64_t replaced_at) {
  const std::string number = std::to_string(replaced_at);
  std::filesystem::path path = index;
  path += "." + std::string(digits - std::min(digits, number.size()), '0') + number + std::string(ending);
  return path;
}

IQDB_PERSIST_INLINE std::optional<Member> parsed(std::string_view name, std::string_view index) {
  Member member;
  member.is_log = name.ends_with(".wal");
  if (member.is_log) {
    name.remove_suffix(std::string_view(".wal").size());
  }
  if (name.size() != index.size() + 1 + digits + ending.size() || !name.starts_with(index) || !name.ends_with(ending) ||
      name[index.size()] != '.') {
    return std::nullopt;
  }
  for (const char c : name.substr(index.size() + 1, digits)) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    constexpr std::uint64_t ten = 10;
    member.replaced_at = member.replaced_at * ten + static_cast<std::uint64_t>(c - '0');
  }
  return member;
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace history_paths

}  // namespace iqdb
