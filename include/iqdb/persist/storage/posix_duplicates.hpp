// The calls by which a file of a POSIX system is copied into another directory.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#ifdef __APPLE__
#include <sys/clonefile.h>
#endif
#include <sys/types.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_duplicates {

// Gives an open file the name `name` in `directory`. On macOS that is another file, which shares the bytes with it until one of
// them is written into. Answers ENOENT if the last name of the file is gone, or if the system does not show open files as names;
// on macOS ENOTSUP if the file system shares no bytes. Throws std::bad_alloc.
IQDB_PERSIST_INLINE std::error_code link_open(int handle, int directory, const std::filesystem::path& name);

// Copies up to `count` bytes at `offset` of one file to the same place in another one. Blocks are shared where the file
// system can do that.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<std::size_t> copy_range(int from, int to, std::uint64_t offset,
                                                                       std::size_t count) noexcept;

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE std::error_code link_open(int handle, int directory, const std::filesystem::path& name) {
#ifdef __APPLE__
  // No call of macOS gives a second name to a file that has none any more, but for this one.
  return posix_calls::answered(::fclonefileat(handle, directory, name.c_str(), 0));
#else
  // Not AT_EMPTY_PATH, for which a process needs CAP_DAC_READ_SEARCH.
  const std::string open_file = "/proc/self/fd/" + std::to_string(handle);
  return posix_calls::answered(::linkat(AT_FDCWD, open_file.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW));
#endif
}

IQDB_PERSIST_INLINE SystemResult<std::size_t> copy_range([[maybe_unused]] int from, [[maybe_unused]] int to,
                                                         [[maybe_unused]] std::uint64_t offset,
                                                         [[maybe_unused]] std::size_t count) noexcept {
#if defined(__linux__)
  auto read_from = static_cast<off_t>(offset);  // of 64 bits, see posix_calls.hpp: glibc's off64_t
  auto write_to = read_from;
  constexpr std::size_t most = std::size_t{1}
                               << 30U;  // a call with more could answer a number that ssize_t cannot hold
  return posix_calls::counted(::copy_file_range(from, &read_from, to, &write_to, std::min(count, most), 0));
#else
  return {0, std::make_error_code(std::errc::function_not_supported)};
#endif
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_duplicates

}  // namespace iqdb
