// The files that this process has open on Windows.
//
// Where a file system cannot replace a file that somebody has open (FAT, shares of some servers, wine), this process lets its own
// handles to it go before the rename, and opens them again if the rename fails. Invariant: a file that has lost its handles is
// never read or written again.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/windows/attributes.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What is behind a handle of WindowsFileSystem.
struct WindowsOpenFile {
  HANDLE buffered = INVALID_HANDLE_VALUE;    // of a file that was replaced: none
  HANDLE unbuffered = INVALID_HANDLE_VALUE;  // of the same file, as soon as set_direct() was called
  DWORD access = 0;                          // what `buffered` was opened for
  bool direct = false;                       // whether `unbuffered` writes
  bool directory = false;
  std::wstring name = {};             // as it was opened, with the prefix
  std::shared_mutex mutex = {};       // who uses a handle holds it shared, who takes it away alone
  WindowsOpenFile* before = nullptr;  // in the list of all open files
  WindowsOpenFile* behind = nullptr;
  WindowsOpenFile* next_taken = nullptr;  // in the list of those whose handles were taken away for a rename

  [[nodiscard]] bool is_writable() const noexcept { return (access & GENERIC_WRITE) != 0; }
};

/// All files that this process has open by WindowsFileSystem. Any thread may call its members.
class WindowsOpenFiles {
 public:
  /// Owns the handle `buffered` from now on. If there is no memory, closes it.
  [[nodiscard]] static SystemResult<WindowsOpenFile*> add(HANDLE buffered, DWORD access, std::wstring name,
                                                          bool directory) noexcept {
    auto* const file = new (std::nothrow) WindowsOpenFile;
    if (file == nullptr) {
      ::CloseHandle(buffered);
      return {nullptr, std::make_error_code(std::errc::not_enough_memory)};
    }
    file->buffered = buffered;
    file->access = access;
    file->directory = directory;
    file->name = std::move(name);
    const std::lock_guard guard(all().mutex);
    file->behind = all().first;
    if (file->behind != nullptr) {
      file->behind->before = file;
    }
    all().first = file;
    return {file, {}};
  }

  /// Closes a file. The pointer must not be used again.
  static std::error_code remove(WindowsOpenFile* file) noexcept {
    {
      const std::lock_guard guard(all().mutex);
      (file->before == nullptr ? all().first : file->before->behind) = file->behind;
      if (file->behind != nullptr) {
        file->behind->before = file->before;
      }
    }
    const std::error_code error = let_go(*file);
    delete file;
    return error;
  }

  /// Calls `replace()` while this process has no handle to the file `identity`, whose name `name` the call gives to another
  /// one. Waits for reads and writes that are under way. If the call answers an error, opens the file again. Returns what
  /// it answers, a code of the system.
  template <class Replace>
  static DWORD without_handles_to(const FileIdentity& identity, const std::wstring& name, Replace&& replace) noexcept {
    const std::lock_guard guard(all().mutex);
    WindowsOpenFile* taken = nullptr;  // linked by next_taken
    for (WindowsOpenFile* each = all().first; each != nullptr; each = each->behind) {
      each->mutex.lock();
      const SystemResult<FileStatus> found = windows_attributes::status_of(each->buffered);
      if (!found.error && is_same(found.value.identity, identity)) {
        let_go(*each);
        each->next_taken = std::exchange(taken, each);
      } else {
        each->mutex.unlock();
      }
    }
    const DWORD code = std::forward<Replace>(replace)();
    while (taken != nullptr) {
      WindowsOpenFile* const each = std::exchange(taken, taken->next_taken);
      if (code != ERROR_SUCCESS) {
        open_again(*each, identity, name);
      }
      each->mutex.unlock();
    }
    return code;
  }

 private:
  // wine 8 says 0 for the volume of an open file that was renamed.
  static bool is_same(const FileIdentity& one, const FileIdentity& other) noexcept {
    return one.inode == other.inode && (one.device == other.device || one.device == 0 || other.device == 0);
  }

  struct All {
    std::mutex mutex;
    WindowsOpenFile* first = nullptr;
  };

  static All& all() noexcept {
    // Never destroyed: an index with static lifetime may close its files after other statics are destroyed.
    alignas(All) static std::array<std::byte, sizeof(All)> memory{};
    static auto* const instance = ::new (memory.data()) All;  // NOLINT(*-avoid-non-const-global-variables)
    return *instance;
  }

  static std::error_code let_go(WindowsOpenFile& file) noexcept {
    std::error_code error;
    for (HANDLE* const each : {&file.unbuffered, &file.buffered}) {
      if (const HANDLE handle = std::exchange(*each, INVALID_HANDLE_VALUE); handle != INVALID_HANDLE_VALUE) {
        error = windows_calls::answered(::CloseHandle(handle));
      }
    }
    file.direct = false;
    return error;
  }

  // Under the name that the file has: it may have got another one since it was opened.
  static void open_again(WindowsOpenFile& file, const FileIdentity& identity, const std::wstring& name) noexcept {
    constexpr DWORD share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    const HANDLE handle = ::CreateFileW(name.c_str(), file.access, share_all, nullptr, OPEN_EXISTING,
                                        FILE_FLAG_BACKUP_SEMANTICS, nullptr);
    const SystemResult<FileStatus> found = windows_attributes::status_of(handle);
    if (!found.error && is_same(found.value.identity, identity)) {
      file.buffered = handle;
    } else if (handle != INVALID_HANDLE_VALUE) {
      ::CloseHandle(handle);
    }
  }
};

}  // namespace iqdb
