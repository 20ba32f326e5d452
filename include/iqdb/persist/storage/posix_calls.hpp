// What a POSIX call answered, in the words of FileSystem.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

#if defined(_WIN32)
#error "There is no native file system for Windows yet: only POSIX systems are supported."
#endif

#include <sys/stat.h>
#include <sys/types.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

// With 32 bits, calls fail on files from 2 GiB on, and offsets beyond are cut off.
static_assert(sizeof(off_t) >= 8,
              "this system has file offsets of 32 bits unless it is told otherwise: compile the whole "
              "program with -D_FILE_OFFSET_BITS=64");

namespace posix_calls {

inline std::error_code answered(int answer) noexcept {
  return answer == -1 ? std::error_code(errno, std::system_category()) : std::error_code();
}

inline SystemResult<int> opened(int answer) noexcept { return {answer, answered(answer)}; }

inline SystemResult<std::size_t> counted(ssize_t answer) noexcept {
  return answer < 0 ? SystemResult<std::size_t>{0, answered(-1)}
                    : SystemResult<std::size_t>{static_cast<std::size_t>(answer), {}};
}

inline FileIdentity identity_of(const struct ::stat& found) noexcept {
  return {.device = static_cast<std::uint64_t>(found.st_dev), .inode = static_cast<std::uint64_t>(found.st_ino)};
}

inline FileStatus status_of(const struct ::stat& found) noexcept {
  constexpr mode_t permission_bits = 07777;
  return {.regular = S_ISREG(found.st_mode),
          .directory = S_ISDIR(found.st_mode),
          .size = static_cast<std::uint64_t>(found.st_size),
          .permissions = static_cast<std::uint32_t>(found.st_mode & permission_bits),
          .owner = found.st_uid,
          .group = found.st_gid,
          .identity = identity_of(found)};
}

}  // namespace posix_calls

}  // namespace iqdb
