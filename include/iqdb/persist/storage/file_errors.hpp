// Reports failed calls on files. A report says what was tried, on which file, what the system answered and what to do.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/system_codes.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace file_errors {

// What a user can do about an error of the system.
inline std::string_view advice_for(std::error_code code) noexcept {
  if (code == std::errc::no_space_on_device || code == std::errc::file_too_large ||
      code.value() == system_codes::quota) {
    return "the disk, a quota or the limit on file sizes is exhausted; make room and try again";
  }
  if (code == std::errc::no_such_file_or_directory || code == std::errc::not_a_directory) {
    return "its directory does not exist; create it first";
  }
  if (code == std::errc::permission_denied || code == std::errc::operation_not_permitted ||
      code == std::errc::read_only_file_system) {
    return "this user may not do that there; check the permissions of the file and of its directory";
  }
  if (code == std::errc::too_many_files_open || code == std::errc::too_many_files_open_in_system) {
    return "too many files are open; close some or raise the limit";
  }
  if (code == std::errc::filename_too_long) {
    return "the name is too long; choose a shorter one";
  }
  if (code == std::errc::device_or_resource_busy) {
    return "the file is in use by the system; if it is a mount point, as a single file that is mounted into a "
           "container, "
           "mount its directory instead";
  }
  if (code == std::errc::text_file_busy) {
    return "another program has the file open and keeps others from it, or it may only be read; change that, and try "
           "again";
  }
  if (code == std::errc::function_not_supported || code == std::errc::not_supported ||
      code == std::errc::operation_not_supported) {
    return "this file system cannot do that; keep the index on another one";
  }
  if (code == std::errc::no_lock_available) {
    return "this file system gives no locks; if it is mounted from a network, start its lock service or mount it with "
           "locks, else keep the index on another one";
  }
  if (code == std::errc::not_enough_memory) {
    return "the system has no memory left for it; free some and try again";
  }
  if (code.value() == system_codes::stale) {
    return "the file or its directory was replaced or removed by somebody else; open the index again";
  }
  if (code == std::errc::io_error) {
    return "the device or the connection to it failed; look into the system's log, and check the disk and its file "
           "system";
  }
  return "see what the system says";
}

// Throws PersistError io: `action` failed on the file at `path`. Without `advice`, the advice follows from `code`.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail(const std::string& action, const std::filesystem::path& path,
                                                        std::error_code code, std::string_view advice = {}) {
  throw_persist_error(PersistErrorKind::io,
                      "cannot " + action + " (" + std::string(advice.empty() ? advice_for(code) : advice) + ")",
                      {.path = path, .code = code, .offset = {}});
}

// Throws PersistError io unless `status` is that of a regular file.
inline void require_regular(const FileStatus& status, const std::filesystem::path& path) {
  if (!status.regular) {
    fail("use it as a file", path,
         std::make_error_code(status.directory ? std::errc::is_a_directory : std::errc::invalid_argument),
         "it is not a regular file; choose another path");
  }
}

}  // namespace file_errors

}  // namespace iqdb
