// How much memory this process may still take, by the machine and by the limits of its control groups.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_memory {

/// What no file states: no limit is known.
inline constexpr std::uint64_t unknown = std::numeric_limits<std::uint64_t>::max();

/// The bytes that this process may still take: what the machine has available, or less if a control group (version 2)
/// allows less. `unknown` where no file of the system says. `root` and `groups` are /proc and /sys/fs/cgroup. Throws
/// std::bad_alloc.
[[nodiscard]] IQDB_PERSIST_INLINE std::uint64_t available(const std::string& root = "/proc",
                                                          const std::string& groups = "/sys/fs/cgroup");

#if IQDB_PERSIST_DEFINITIONS

// The beginning of a small file of the system; empty if it cannot be read.
IQDB_PERSIST_INLINE std::string contents_of(const std::string& path) {
  std::string contents;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    contents.resize(8192);
    const ::ssize_t count = ::read(file, contents.data(), contents.size());
    contents.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    ::close(file);
  }
  return contents;
}

// The number behind `name` at the beginning of a line, or at the beginning of the text if `name` is empty.
IQDB_PERSIST_INLINE std::optional<std::uint64_t> number_behind(std::string_view text, std::string_view name) {
  std::size_t begin = 0;
  while (!text.substr(begin).starts_with(name)) {
    begin = text.find('\n', begin);
    if (begin == std::string_view::npos) {
      return std::nullopt;
    }
    ++begin;
  }
  begin = text.find_first_not_of(' ', begin + name.size());
  if (begin == std::string_view::npos) {
    return std::nullopt;
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

// What the control group in `directory` still allows. Its page cache counts as used there, and is given up when asked for.
IQDB_PERSIST_INLINE std::uint64_t left_in_group(const std::string& directory) {
  const auto most = number_behind(contents_of(directory + "/memory.max"), "");  // "max" is no number
  const auto used = number_behind(contents_of(directory + "/memory.current"), "");
  if (!most || !used) {
    return unknown;
  }
  const std::string details = contents_of(directory + "/memory.stat");
  const std::uint64_t cache =
      number_behind(details, "inactive_file ").value_or(0) + number_behind(details, "active_file ").value_or(0);
  const std::uint64_t kept = *used - std::min(*used, cache);
  return *most - std::min(*most, kept);
}

IQDB_PERSIST_INLINE std::uint64_t available(const std::string& root, const std::string& groups) {
  constexpr std::uint64_t kibibyte = 1024;
  const auto machine = number_behind(contents_of(root + "/meminfo"), "MemAvailable:");
  std::uint64_t least = machine ? *machine * kibibyte : unknown;
  // "0::/system.slice/some.service": the limits of all groups on the way to the root count.
  const std::string membership = contents_of(root + "/self/cgroup");
  const std::size_t begin = membership.find("0::");
  std::string group = begin == std::string::npos ? std::string() : membership.substr(begin + 3);
  group.resize(std::min(group.size(), group.find('\n')));
  for (;;) {
    least = std::min(least, left_in_group(groups + group));
    const std::size_t slash = group.rfind('/');
    if (slash == std::string::npos) {
      return least;
    }
    group.resize(slash);
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_memory

}  // namespace iqdb
