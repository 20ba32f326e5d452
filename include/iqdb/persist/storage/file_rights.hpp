// The rights that a new file takes over from another one.
//
// Invariant: nobody gets a right that they did not have. Where a file system keeps only a part of the rights, the new
// file gets less.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Who may do what with a file.
struct FileRights {
  FileStatus status;           ///< owner, group and permissions
  std::vector<std::byte> acl;  ///< the access control list, as the system stores it; empty for none
  bool acl_known = true;       ///< false if this user may not see the list
};

namespace file_rights {

// The permissions without all that only the group, or only others, have: where the new file has another group, the
// members of the old one are others, and others are its group.
[[nodiscard]] constexpr std::uint32_t without_group(std::uint32_t permissions) noexcept {
  constexpr std::uint32_t one_class = 07;
  constexpr std::uint32_t two_classes = 077;
  const std::uint32_t common = permissions & (permissions >> 3U) & one_class;
  return (permissions & ~two_classes) | (common << 3U) | common;
}

// Only what the owner has. With an access control list the group's bits are the most that anybody in the list has, and
// some in the list may have less than others: without the list, nobody else gets anything.
[[nodiscard]] constexpr std::uint32_t owner_only(std::uint32_t permissions) noexcept {
  constexpr std::uint32_t owner_bits = 0700;
  return permissions & owner_bits;
}

// The permissions with which a file is created that will get `rights`, if the file system lets it.
[[nodiscard]] inline std::uint32_t at_first(const FileRights& rights) noexcept {
  constexpr std::uint32_t three_classes = 0777;
  const std::uint32_t permissions = rights.status.permissions & three_classes;
  return rights.acl.empty() && rights.acl_known ? without_group(permissions) : owner_only(permissions);
}

// Whether the answer means that the file system has no rights of this kind to set, or does not let this user set them.
[[nodiscard]] inline bool means_refused(std::error_code error) noexcept {
  return error == std::errc::operation_not_permitted || error == std::errc::not_supported ||
         error == std::errc::operation_not_supported || error == std::errc::function_not_supported;
}

}  // namespace file_rights

}  // namespace iqdb
