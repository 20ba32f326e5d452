// What only some POSIX systems know of a file: access control lists and mount points. A system without them answers that
// there are none.
#pragma once

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/xattr.h>
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_attributes {

// Returns the access control list of the file `name` in `directory`, as the system stores it. It is empty if the file
// has none or the system has none. Answers EACCES if this user may not read the file. Throws std::bad_alloc.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<std::vector<std::byte>> acl(int directory,
                                                                           const std::filesystem::path& name);

// The same for an open file.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<std::vector<std::byte>> acl(int handle);

// Gives a file this list, or takes its list away if `list` is empty.
IQDB_PERSIST_INLINE std::error_code set_acl(int handle, std::span<const std::byte> list) noexcept;

// Returns how many bytes the name of a file in `directory` may have.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<std::size_t> name_limit(int directory) noexcept;

// Returns whether something is mounted on `name` in `directory`.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<bool> is_mount_point(int directory,
                                                                    const std::filesystem::path& name) noexcept;

#if IQDB_PERSIST_DEFINITIONS

#if defined(__linux__)

inline constexpr const char* acl_attribute = "system.posix_acl_access";

// Whether the answer of the system means that there is no list.
inline bool means_no_acl(int error) noexcept { return error == ENODATA || error == ENOTSUP || error == ENOSYS; }

inline constexpr std::size_t most_acl_bytes = 4096;  // 500 entries; the usual file systems allow less

inline SystemResult<std::vector<std::byte>> read_acl(int handle, std::vector<std::byte> list) noexcept {
  const auto [bytes, unreadable] = posix_calls::counted(::fgetxattr(handle, acl_attribute, list.data(), list.size()));
  list.resize(bytes);
  return {std::move(list), means_no_acl(unreadable.value()) ? std::error_code() : unreadable};
}

IQDB_PERSIST_INLINE SystemResult<std::vector<std::byte>> acl(int directory, const std::filesystem::path& name) {
  std::vector<std::byte> list(most_acl_bytes);
  // O_NONBLOCK: opening a pipe must not block.
  const auto [handle, error] =
      posix_calls::opened(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (error) {
    return {{}, error};
  }
  SystemResult<std::vector<std::byte>> result = read_acl(handle, std::move(list));
  ::close(handle);
  return result;
}

IQDB_PERSIST_INLINE SystemResult<std::vector<std::byte>> acl(int handle) {
  return read_acl(handle, std::vector<std::byte>(most_acl_bytes));
}

IQDB_PERSIST_INLINE std::error_code set_acl(int handle, std::span<const std::byte> list) noexcept {
  if (!list.empty()) {
    return posix_calls::answered(::fsetxattr(handle, acl_attribute, list.data(), list.size(), 0));
  }
  const std::error_code error = posix_calls::answered(::fremovexattr(handle, acl_attribute));
  return means_no_acl(error.value()) ? std::error_code() : error;
}

#else

IQDB_PERSIST_INLINE SystemResult<std::vector<std::byte>> acl(int /*directory*/, const std::filesystem::path& /*name*/) {
  return {};
}

IQDB_PERSIST_INLINE SystemResult<std::vector<std::byte>> acl(int /*handle*/) { return {}; }

IQDB_PERSIST_INLINE std::error_code set_acl(int /*handle*/, std::span<const std::byte> list) noexcept {
  return list.empty() ? std::error_code() : std::make_error_code(std::errc::not_supported);
}

#endif

IQDB_PERSIST_INLINE SystemResult<std::size_t> name_limit(int directory) noexcept {
#ifdef NAME_MAX
  constexpr std::size_t most = NAME_MAX;  // some network file systems state more than they take
#else
  constexpr std::size_t most = 255;
#endif
  errno = 0;
  const long limit = ::fpathconf(directory, _PC_NAME_MAX);
  if (limit < 0) {
    return {most, errno == 0 ? std::error_code() : posix_calls::answered(-1)};
  }
  return {std::min(most, static_cast<std::size_t>(limit)), {}};
}

IQDB_PERSIST_INLINE SystemResult<bool> is_mount_point(int directory, const std::filesystem::path& name) noexcept {
#ifdef STATX_ATTR_MOUNT_ROOT
  struct ::statx known {};
  if (::statx(directory, name.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &known) == 0) {
    if ((known.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0) {
      return {(known.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0, {}};
    }
  } else if (errno != ENOSYS && errno != EPERM) {  // as old kernels answer, and old sandboxes
    return {false, posix_calls::answered(-1)};
  }
#endif
  struct ::stat file {};
  struct ::stat around {};
  if (::fstatat(directory, name.c_str(), &file, AT_SYMLINK_NOFOLLOW) != 0 || ::fstat(directory, &around) != 0) {
    return {false, posix_calls::answered(-1)};
  }
  return {file.st_dev != around.st_dev, {}};
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_attributes

}  // namespace iqdb
