// The lock files that a process holds on Windows.
//
// A lock belongs to the handle that took it: another handle of the same process is refused, too. The system takes it back when
// the process ends, however it ends.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/storage/windows/open_file.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_locks {

// Nobody can read or write a byte that another one has locked, so the byte that is locked is one that no file has.
[[nodiscard]] inline OVERLAPPED locked_byte() noexcept {
  constexpr DWORD last = 0xFFFF'FFFE;
  constexpr DWORD last_positive = 0x7FFF'FFFF;
  OVERLAPPED at{};
  at.Offset = last;
  at.OffsetHigh = last_positive;
  return at;
}

// Takes an exclusive lock on the file `name`, and creates it if needed. Answers operation_would_block at once if another
// handle has the lock.
[[nodiscard]] inline SystemResult<WindowsOpenFile*> take(std::wstring name) noexcept {
  constexpr DWORD share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  const auto opened = [&](DWORD access, DWORD disposition) {
    // A link is not followed: the lock would be on another file than the name says.
    return ::CreateFileW(name.c_str(), access, share_all, nullptr, disposition,
                         FILE_ATTRIBUTE_NORMAL | FILE_FLAG_OPEN_REPARSE_POINT, nullptr);
  };
  DWORD access = GENERIC_READ | GENERIC_WRITE;
  HANDLE handle = opened(access, OPEN_ALWAYS);
  if (handle == INVALID_HANDLE_VALUE && ::GetLastError() == ERROR_ACCESS_DENIED) {
    // A lock file of another user can be locked by who may read it.
    access = GENERIC_READ;
    handle = opened(access, OPEN_EXISTING);
    if (handle == INVALID_HANDLE_VALUE && ::GetLastError() == ERROR_FILE_NOT_FOUND) {
      return {nullptr, windows_calls::error_of(ERROR_ACCESS_DENIED)};
    }
  }
  if (handle == INVALID_HANDLE_VALUE) {
    return {nullptr, windows_calls::last_error()};
  }
  OVERLAPPED at = locked_byte();
  if (::LockFileEx(handle, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at) == 0) {
    const DWORD code = ::GetLastError();
    ::CloseHandle(handle);
    return {nullptr, windows_calls::error_of(code == ERROR_IO_PENDING ? DWORD{ERROR_LOCK_VIOLATION} : code)};
  }
  return WindowsOpenFiles::add(handle, access, std::move(name), false);
}

// Releases a lock, and closes its file. The file stays.
inline void release(WindowsOpenFile* lock) noexcept {
  // Without this the system would release it "at some time" behind the close.
  OVERLAPPED at = locked_byte();
  ::UnlockFileEx(lock->buffered, 0, 1, 0, &at);
  WindowsOpenFiles::remove(lock);
}

}  // namespace windows_locks

}  // namespace iqdb
