// The calls by which names of files change on Windows.
//
// There is no sync of a directory that all file systems know. So each change is made by a handle that writes through: "A
// write-through request via FILE_FLAG_WRITE_THROUGH also causes NTFS to flush any metadata changes, such as a time stamp update or
// a rename operation, that result from processing the request" (Microsoft, CreateFileW, Caching Behavior).
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/windows/attributes.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/storage/windows/open_file.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_changes {

inline constexpr DWORD share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

// The newer kinds of a change, whose names some headers lack.
inline constexpr auto disposition_with_flags = static_cast<FILE_INFO_BY_HANDLE_CLASS>(21);
inline constexpr auto rename_with_flags = static_cast<FILE_INFO_BY_HANDLE_CLASS>(22);
inline constexpr DWORD posix_semantics = 0x2;  // whoever has the file open keeps it, and its name is free at once

struct Closer {
  void operator()(HANDLE handle) const noexcept { ::CloseHandle(handle); }
};
using OwnedHandle = std::unique_ptr<void, Closer>;

// Null for INVALID_HANDLE_VALUE.
[[nodiscard]] inline OwnedHandle owned(HANDLE handle) noexcept {
  return OwnedHandle(handle == INVALID_HANDLE_VALUE ? nullptr : handle);
}

// A handle by which the name of a file, and not of what it links to, can be changed. Null for an error, which
// GetLastError() says.
[[nodiscard]] inline OwnedHandle opened_for_change(const std::wstring& name, DWORD access) noexcept {
  return owned(::CreateFileW(name.c_str(), access, share_all, nullptr, OPEN_EXISTING,
                             FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_WRITE_THROUGH,
                             nullptr));
}

[[nodiscard]] inline DWORD code_of(BOOL done) noexcept { return done != 0 ? ERROR_SUCCESS : ::GetLastError(); }

// Whether a file system answers so that it does not know this kind of change.
[[nodiscard]] inline bool means_unknown(DWORD code) noexcept {
  return code == ERROR_INVALID_PARAMETER || code == ERROR_NOT_SUPPORTED || code == ERROR_INVALID_FUNCTION ||
         code == ERROR_CALL_NOT_IMPLEMENTED;
}

// Renames, and replaces also a file that somebody has open, as NTFS can since Windows 10.
[[nodiscard]] inline DWORD rename_as_posix(const std::wstring& from, const std::wstring& to) noexcept {
  const OwnedHandle file = opened_for_change(from, DELETE | SYNCHRONIZE);
  if (!file) {
    return ::GetLastError();
  }
  // With a name of any length at its end. The flags lie where older headers have one byte, ReplaceIfExists.
  const std::size_t name_bytes = to.size() * sizeof(wchar_t);
  const std::size_t bytes = sizeof(FILE_RENAME_INFO) + name_bytes;
  const std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[bytes]{});  // NOLINT(*-avoid-c-arrays)
  if (!memory) {
    return ERROR_NOT_ENOUGH_MEMORY;
  }
  constexpr DWORD replace = 0x1;
  constexpr DWORD flags = replace | posix_semantics;
  auto* const change = ::new (memory.get()) FILE_RENAME_INFO{};
  change->FileNameLength = static_cast<DWORD>(name_bytes);
  std::memcpy(memory.get(), &flags, sizeof flags);
  std::memcpy(memory.get() + offsetof(FILE_RENAME_INFO, FileName), to.data(), name_bytes);
  return code_of(::SetFileInformationByHandle(file.get(), rename_with_flags, memory.get(), static_cast<DWORD>(bytes)));
}

// Renames where the other call is unknown. Fails if another process has the file open that is replaced, which is `replaced`.
[[nodiscard]] inline DWORD rename_closed(const std::wstring& from, const std::wstring& to,
                                         const SystemResult<FileStatus>& replaced) noexcept {
  const auto move = [&] {
    return code_of(::MoveFileExW(from.c_str(), to.c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH));
  };
  return replaced.error ? move() : WindowsOpenFiles::without_handles_to(replaced.value.identity, to, move);
}

// Renames a file, and replaces a file that has the new name.
inline std::error_code rename(const std::wstring& from, const std::wstring& to) noexcept {
  return windows_calls::error_of(windows_calls::patiently([&] {
    DWORD code = rename_as_posix(from, to);
    if (code == ERROR_SUCCESS) {
      return code;
    }
    // Closed at once: it would be in the way.
    const SystemResult<FileStatus> replaced =
        windows_attributes::status_of(opened_for_change(to, FILE_READ_ATTRIBUTES).get());
    if (means_unknown(code)) {
      code = rename_closed(from, to, replaced);
    }
    // So is answered, too, if somebody has the file open.
    return code == ERROR_ACCESS_DENIED && !replaced.error && replaced.value.regular ? DWORD{ERROR_SHARING_VIOLATION}
                                                                                    : code;
  }));
}

[[nodiscard]] inline DWORD remove_at_once(const std::wstring& name) noexcept {
  const OwnedHandle file = opened_for_change(name, DELETE | SYNCHRONIZE);
  if (!file) {
    return ::GetLastError();
  }
  BY_HANDLE_FILE_INFORMATION found{};
  if (::GetFileInformationByHandle(file.get(), &found) != 0 &&
      (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
    return windows_calls::directory_not_supported;
  }
  constexpr DWORD remove = 0x1;
  DWORD flags = remove | posix_semantics;  // the same as FILE_DISPOSITION_INFO_EX, which some headers lack
  const DWORD code = code_of(
      ::SetFileInformationByHandle(file.get(), disposition_with_flags, &flags, static_cast<DWORD>(sizeof flags)));
  if (!means_unknown(code)) {
    return code;
  }
  // The name goes when the last handle does.
  FILE_DISPOSITION_INFO older{};
  older.DeleteFile = TRUE;
  return code_of(::SetFileInformationByHandle(file.get(), FileDispositionInfo, &older, sizeof older));
}

// Removes the name of a file.
inline std::error_code remove(const std::wstring& name) noexcept {
  return windows_calls::error_of(windows_calls::patiently([&] { return remove_at_once(name); }));
}

// Gives a file a second name, which must be free.
inline std::error_code link(const std::wstring& from, const std::wstring& to) noexcept {
  return windows_calls::answered(::CreateHardLinkW(to.c_str(), from.c_str(), nullptr));
}

}  // namespace windows_changes

}  // namespace iqdb
