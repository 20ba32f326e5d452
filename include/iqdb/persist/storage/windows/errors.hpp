// What a function of Windows answered, in the words of FileSystem.
#pragma once

#include <system_error>

#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_calls {

// ERROR_DIRECTORY_NOT_SUPPORTED: "An operation is not supported on a directory". Some headers lack it.
inline constexpr DWORD directory_not_supported = 336;

// The conditions by which the library decides something are those of POSIX, whatever a standard library makes of the
// system's own codes. Every other code stays as it is, with the system's message.
inline std::error_code error_of(DWORD code) noexcept {
  switch (code) {
    case ERROR_SUCCESS:
      return {};
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
      return std::make_error_code(std::errc::no_such_file_or_directory);
    case ERROR_DIRECTORY:
      return std::make_error_code(std::errc::not_a_directory);
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
      return std::make_error_code(std::errc::file_exists);
    case ERROR_INVALID_PARAMETER:
      return std::make_error_code(std::errc::invalid_argument);
    case ERROR_ACCESS_DENIED:
      return std::make_error_code(std::errc::permission_denied);
    case ERROR_SHARING_VIOLATION:
    case ERROR_USER_MAPPED_FILE:
      return std::make_error_code(std::errc::text_file_busy);
    case directory_not_supported:
      return std::make_error_code(std::errc::is_a_directory);
    case ERROR_WRITE_PROTECT:
      return std::make_error_code(std::errc::read_only_file_system);
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      return std::make_error_code(std::errc::no_space_on_device);
    case ERROR_FILENAME_EXCED_RANGE:
      return std::make_error_code(std::errc::filename_too_long);
    case ERROR_TOO_MANY_OPEN_FILES:
      return std::make_error_code(std::errc::too_many_files_open);
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
      return std::make_error_code(std::errc::not_enough_memory);
    case ERROR_NOT_SUPPORTED:
    case ERROR_INVALID_FUNCTION:
    case ERROR_CALL_NOT_IMPLEMENTED:
      return std::make_error_code(std::errc::not_supported);
    case ERROR_NOT_SAME_DEVICE:
      return std::make_error_code(std::errc::cross_device_link);
    case ERROR_TOO_MANY_LINKS:
      return std::make_error_code(std::errc::too_many_links);
    case ERROR_LOCK_VIOLATION:
      return std::make_error_code(std::errc::operation_would_block);
    case ERROR_CANT_RESOLVE_FILENAME:
      return std::make_error_code(std::errc::too_many_symbolic_link_levels);
    default:
      return {static_cast<int>(code), std::system_category()};
  }
}

inline std::error_code last_error() noexcept { return error_of(::GetLastError()); }

inline std::error_code answered(BOOL done) noexcept { return done != 0 ? std::error_code() : last_error(); }

// Repeats a call for up to a second while it answers that somebody has the file open and shares it with nobody:
// programs that search for viruses, and those that make an index of all files, do that for a moment behind each change.
// `call()` returns a code of the system.
template <class Call>
DWORD patiently(Call&& call) {
  constexpr int most_attempts = 100;
  constexpr DWORD pause_in_milliseconds = 10;
  for (int attempt = 1;; ++attempt) {
    const DWORD code = call();
    if (code != ERROR_SHARING_VIOLATION || attempt == most_attempts) {
      return code;
    }
    ::Sleep(pause_in_milliseconds);
  }
}

}  // namespace windows_calls

}  // namespace iqdb
