// What Windows knows of an open file.
//
// Owner, group and permissions of POSIX have no counterpart there: a new file gets the rights that its directory hands down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_attributes {

[[nodiscard]] inline SystemResult<FileStatus> status_of(HANDLE handle) noexcept {
  BY_HANDLE_FILE_INFORMATION found{};
  if (::GetFileInformationByHandle(handle, &found) == 0) {
    return {{}, windows_calls::last_error()};
  }
  const auto joined = [](DWORD high, DWORD low) { return std::uint64_t{high} << 32U | low; };
  const bool directory = (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  constexpr std::uint32_t everyone = 0666;
  return {
      {.regular = !directory && ::GetFileType(handle) == FILE_TYPE_DISK,
       .directory = directory,
       .size = joined(found.nFileSizeHigh, found.nFileSizeLow),
       .permissions = everyone,
       .owner = 0,
       .group = 0,
       .identity = {.device = found.dwVolumeSerialNumber, .inode = joined(found.nFileIndexHigh, found.nFileIndexLow)}},
      {}};
}

// How many UTF-16 units a name in this directory may have.
[[nodiscard]] inline SystemResult<std::size_t> name_limit(HANDLE directory) noexcept {
  DWORD limit = 0;
  if (::GetVolumeInformationByHandleW(directory, nullptr, 0, nullptr, &limit, nullptr, nullptr, 0) == 0) {
    constexpr std::size_t usual = 255;
    return {usual, {}};  // as some network file systems, which do not say
  }
  return {limit, {}};
}

}  // namespace windows_attributes

}  // namespace iqdb
