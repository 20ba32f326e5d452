// The calls of Windows on files. What differs from a POSIX system:
//
// - A handle shares everything, so that others can read, replace and remove the file meanwhile. A directory that is open cannot
//   be renamed or removed: its name leads to it for as long as it is.
// - Only a handle that may write can sync, so a file that is open for reading is opened once more for it.
// - The page cache cannot be switched off for a handle: a second one writes past it.
// - A new file gets the rights that its directory hands down. Owner, group and permissions are nothing.
// - Nothing is forked.
//
// A function reports what the system answered. It retries only what another program is in the way of for a moment.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/system_codes.hpp"
#include "iqdb/persist/storage/windows/attributes.hpp"
#include "iqdb/persist/storage/windows/changes.hpp"
#include "iqdb/persist/storage/windows/directory_names.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/storage/windows/locks.hpp"
#include "iqdb/persist/storage/windows/names.hpp"
#include "iqdb/persist/storage/windows/open_file.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"
#include "iqdb/persist/windows_entropy.hpp"
#include "iqdb/persist/windows_process.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The file system of Windows 8 and later. Replacing a file that somebody has open needs Windows 10 (1607) and NTFS.
///
/// Memory that runs out is answered as not_enough_memory.
class WindowsFileSystem {
 public:
  /// An open file.
  using Handle = WindowsOpenFile*;

  /// Returns the absolute name of `path` with links followed, without the prefix `\\?\`. A link that leads to a missing file is
  /// not followed. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) const {
    auto [name, error] = windows_names::full(path);
    if (error) {
      return {{}, error};
    }
    std::wstring resolved = name_of(name);
    if (resolved.empty()) {
      // A missing file or directory is not an error here: the caller finds it out and reports it under the name it knows.
      const std::size_t slash = name.rfind(L'\\');
      resolved = name_of(name.substr(0, slash));
      resolved =
          resolved.empty() ? name : resolved + (resolved.ends_with(L'\\') ? L"" : L"\\") + name.substr(slash + 1);
    }
    return {windows_names::plain(std::move(resolved)), {}};
  }

  /// Opens a file. `permissions` are nothing.
  [[nodiscard]] SystemResult<Handle> open(const std::filesystem::path& path, OpenMode mode,
                                          std::uint32_t /*permissions*/) const noexcept {
    auto [name, error] = windows_names::full(path);
    return error ? SystemResult<Handle>{nullptr, error} : opened(std::move(name), mode);
  }

  /// Opens the file `name` in `directory`. `permissions` are nothing.
  [[nodiscard]] SystemResult<Handle> open(Handle directory, const std::filesystem::path& name, OpenMode mode,
                                          std::uint32_t /*permissions*/) const noexcept {
    auto [full, error] = windows_names::in(directory->name, name);
    return error ? SystemResult<Handle>{nullptr, error} : opened(std::move(full), mode);
  }

  /// Closes a file. The handle must not be used again, whatever the answer.
  std::error_code close(Handle handle) const noexcept { return WindowsOpenFiles::remove(handle); }

  /// Returns the status of what is at `path`, with links followed.
  [[nodiscard]] SystemResult<FileStatus> status(const std::filesystem::path& path) const noexcept {
    const auto [name, error] = windows_names::full(path);
    return error ? SystemResult<FileStatus>{{}, error} : status_of(name);
  }

  /// Returns the status of what is at `name` in `directory`, with links followed.
  [[nodiscard]] SystemResult<FileStatus> status(Handle directory, const std::filesystem::path& name) const noexcept {
    const auto [full, error] = windows_names::in(directory->name, name);
    return error ? SystemResult<FileStatus>{{}, error} : status_of(full);
  }

  /// Returns the status of an open file.
  [[nodiscard]] SystemResult<FileStatus> status(Handle handle) const noexcept {
    const std::shared_lock guard(handle->mutex);
    return has_handle(*handle) ? windows_attributes::status_of(handle->buffered)
                               : SystemResult<FileStatus>{{}, replaced()};
  }

  /// These do nothing: a file has no such rights.
  std::error_code set_owner(Handle /*handle*/, const FileStatus& /*status*/) const noexcept { return {}; }
  std::error_code set_group(Handle /*handle*/, const FileStatus& /*status*/) const noexcept { return {}; }
  std::error_code set_permissions(Handle /*handle*/, const FileStatus& /*status*/) const noexcept { return {}; }

  /// Returns an empty list: rights come from the directory.
  [[nodiscard]] SystemResult<std::vector<std::byte>> acl(Handle /*directory*/,
                                                         const std::filesystem::path& /*name*/) const noexcept {
    return {};
  }
  [[nodiscard]] SystemResult<std::vector<std::byte>> acl(Handle /*file*/) const noexcept { return {}; }

  /// Takes an empty list only.
  std::error_code set_acl(Handle /*handle*/, std::span<const std::byte> list) const noexcept {
    return list.empty() ? std::error_code() : std::make_error_code(std::errc::not_supported);
  }

  /// Reads at `offset`. May read less than requested; reads nothing only at the end of the file.
  [[nodiscard]] SystemResult<std::size_t> read_at(Handle handle, std::uint64_t offset,
                                                  std::span<std::byte> into) const noexcept {
    const std::shared_lock guard(handle->mutex);
    if (!has_handle(*handle)) {
      return {0, replaced()};
    }
    OVERLAPPED at = overlapped(offset);
    DWORD count = 0;
    if (::ReadFile(handle->buffered, into.data(), at_most(into.size()), &count, &at) == 0 &&
        ::GetLastError() != ERROR_HANDLE_EOF) {
      return {0, windows_calls::last_error()};
    }
    return {count, {}};
  }

  /// Writes at `offset`. May write less than requested.
  [[nodiscard]] SystemResult<std::size_t> write_at(Handle handle, std::uint64_t offset,
                                                   std::span<const std::byte> bytes) const noexcept {
    const std::shared_lock guard(handle->mutex);
    if (!has_handle(*handle)) {
      return {0, replaced()};
    }
    OVERLAPPED at = overlapped(offset);
    DWORD count = 0;
    const HANDLE to = handle->direct ? handle->unbuffered : handle->buffered;
    if (::WriteFile(to, bytes.data(), at_most(bytes.size()), &count, &at) == 0) {
      return {0, windows_calls::last_error()};
    }
    return {count, {}};
  }

  /// Makes later writes bypass the system's cache, or use it again. Such writes answer invalid_argument unless offsets, sizes and
  /// addresses are multiples of the device's sector size. This call answers invalid_argument if the file system has none.
  std::error_code set_direct(Handle handle, bool direct) const noexcept {
    const std::lock_guard guard(handle->mutex);
    if (!has_handle(*handle)) {
      return replaced();
    }
    if (direct && handle->unbuffered == INVALID_HANDLE_VALUE) {
      handle->unbuffered = ::ReOpenFile(handle->buffered, GENERIC_WRITE, share_all, FILE_FLAG_NO_BUFFERING);
      if (handle->unbuffered == INVALID_HANDLE_VALUE) {
        return std::make_error_code(std::errc::invalid_argument);
      }
    }
    handle->direct = direct;
    return {};
  }

  /// Does nothing: there is no such call.
  void start_write_back(Handle /*handle*/, std::uint64_t /*offset*/, std::size_t /*bytes*/) const noexcept {}

  /// Cuts a file off at `size`.
  std::error_code truncate(Handle handle, std::uint64_t size) const noexcept {
    const std::shared_lock guard(handle->mutex);
    if (!has_handle(*handle)) {
      return replaced();
    }
    FILE_END_OF_FILE_INFO end{};
    end.EndOfFile.QuadPart = static_cast<LONGLONG>(size);
    return windows_calls::answered(
        ::SetFileInformationByHandle(handle->buffered, FileEndOfFileInfo, &end, static_cast<DWORD>(sizeof end)));
  }

  /// Makes a file's bytes durable.
  std::error_code sync_data(Handle handle) const noexcept { return sync(handle); }

  /// Makes a file's bytes, or a directory's entries, durable. Answers not_supported for a directory of a file system that has no
  /// such call: its entries were written through when they were changed.
  std::error_code sync(Handle handle) const noexcept {
    const std::shared_lock guard(handle->mutex);
    if (!has_handle(*handle)) {
      return replaced();
    }
    if (handle->is_writable()) {
      const std::error_code error = windows_calls::answered(::FlushFileBuffers(handle->buffered));
      return error && handle->directory ? directory_error(error) : error;
    }
    if (handle->directory) {
      return std::make_error_code(std::errc::not_supported);
    }
    const auto writable = windows_changes::owned(::ReOpenFile(handle->buffered, GENERIC_WRITE, share_all, 0));
    return windows_calls::answered(writable ? ::FlushFileBuffers(writable.get()) : FALSE);
  }

  /// Renames a file in `directory`. Replaces a file that has the new name.
  std::error_code rename(Handle directory, const std::filesystem::path& from,
                         const std::filesystem::path& to) const noexcept {
    return with_both(directory, from, to, windows_changes::rename);
  }

  /// Gives a file in `directory` a second name there, which must be free.
  std::error_code link(Handle directory, const std::filesystem::path& from,
                       const std::filesystem::path& to) const noexcept {
    return with_both(directory, from, to, windows_changes::link);
  }

  /// Creates a directory. Answers file_exists if there is something of that name. `permissions` are nothing.
  std::error_code make_directory(const std::filesystem::path& path, std::uint32_t /*permissions*/) const noexcept {
    const auto [name, error] = windows_names::full(path);
    return error ? error : windows_calls::answered(::CreateDirectoryW(name.c_str(), nullptr));
  }

  /// Removes an empty directory in `directory`.
  std::error_code remove_directory(Handle directory, const std::filesystem::path& name) const noexcept {
    const auto [full, error] = windows_names::in(directory->name, name);
    return error ? error : windows_calls::answered(::RemoveDirectoryW(full.c_str()));
  }

  /// Gives an open file a name in `directory`, which must be free there. Answers no_such_file_or_directory if the file has lost
  /// the name by which it was opened.
  std::error_code link_open(Handle file, Handle directory, const std::filesystem::path& name) const noexcept {
    const auto [full, error] = windows_names::in(directory->name, name);
    if (error) {
      return error;
    }
    const auto [own, unknown] = status(file);
    const auto [named, missing] = status_of(file->name);
    if (unknown || missing || own.identity != named.identity) {
      return std::make_error_code(std::errc::no_such_file_or_directory);
    }
    return windows_changes::link(file->name, full);
  }

  /// Answers that there is no such call.
  [[nodiscard]] SystemResult<std::size_t> copy_range(Handle /*from*/, Handle /*to*/, std::uint64_t /*offset*/,
                                                     std::size_t /*count*/) const noexcept {
    return {0, std::make_error_code(std::errc::function_not_supported)};
  }

  /// Removes the name of a file in `directory`.
  std::error_code remove(Handle directory, const std::filesystem::path& name) const noexcept {
    const auto [full, error] = windows_names::in(directory->name, name);
    return error ? error : windows_changes::remove(full);
  }

  /// Returns the names in `directory`, in no order. Throws std::bad_alloc.
  [[nodiscard]] SystemResult<std::vector<std::filesystem::path>> names(Handle directory) const {
    return windows_names::in_directory(directory->name);
  }

  /// Returns how many UTF-16 units the name of a file in `directory` may have.
  [[nodiscard]] SystemResult<std::size_t> name_limit(Handle directory) const noexcept {
    return windows_attributes::name_limit(directory->buffered);
  }

  /// Returns false: only a directory can be one.
  [[nodiscard]] SystemResult<bool> is_mount_point(Handle /*directory*/,
                                                  const std::filesystem::path& /*name*/) const noexcept {
    return {false, {}};
  }

  /// Takes an exclusive lock on the file `name` in `directory`, and creates the file if needed. Answers
  /// operation_would_block at once if another thread or process holds the lock. May be called from several threads.
  [[nodiscard]] SystemResult<Handle> lock(Handle directory, const std::filesystem::path& name) const noexcept {
    auto [full, error] = windows_names::in(directory->name, name);
    return error ? SystemResult<Handle>{nullptr, error} : windows_locks::take(std::move(full));
  }

  /// Releases a lock. The file stays. May be called from several threads.
  void unlock(Handle handle) const noexcept { windows_locks::release(handle); }

  /// Never called: no process inherits a lock.
  void abandon(Handle /*handle*/) const noexcept {}

  /// Returns the id of this process. May be called from several threads.
  [[nodiscard]] std::int64_t process() const noexcept { return windows_process::number(); }

  /// Returns an unpredictable number.
  [[nodiscard]] SystemResult<std::uint64_t> random() const noexcept {
    std::uint64_t number = 0;
    const bool filled = windows_entropy::fill(&number, sizeof number);
    return {number, filled ? std::error_code() : std::make_error_code(std::errc::io_error)};
  }

 private:
  static constexpr DWORD share_all = windows_changes::share_all;

  static bool has_handle(const WindowsOpenFile& file) noexcept { return file.buffered != INVALID_HANDLE_VALUE; }

  // What a file answers that was replaced, on a file system that does not replace an open file: see WindowsOpenFiles.
  static std::error_code replaced() noexcept { return {system_codes::stale, std::system_category()}; }

  static std::error_code directory_error(std::error_code error) noexcept {
    const bool is_refused = error == std::errc::permission_denied || error == std::errc::invalid_argument ||
                            error.value() == ERROR_INVALID_HANDLE;
    return is_refused ? std::make_error_code(std::errc::not_supported) : error;
  }

  static OVERLAPPED overlapped(std::uint64_t offset) noexcept {
    OVERLAPPED at{};
    at.Offset = static_cast<DWORD>(offset);
    at.OffsetHigh = static_cast<DWORD>(offset >> 32U);
    return at;
  }

  static DWORD at_most(std::size_t bytes) noexcept {
    return static_cast<DWORD>(std::min<std::size_t>(bytes, std::size_t{1} << 30U));
  }

  static SystemResult<Handle> opened(std::wstring name, OpenMode mode) noexcept {
    const auto made = [&](DWORD access, DWORD share, DWORD disposition, DWORD flags) -> SystemResult<Handle> {
      HANDLE handle = INVALID_HANDLE_VALUE;
      const DWORD code = windows_calls::patiently([&] {
        handle = ::CreateFileW(name.c_str(), access, share, nullptr, disposition, flags, nullptr);
        return windows_changes::code_of(handle == INVALID_HANDLE_VALUE ? FALSE : TRUE);
      });
      return code == ERROR_SUCCESS ? WindowsOpenFiles::add(handle, access, std::move(name), mode == OpenMode::directory)
                                   : SystemResult<Handle>{nullptr, windows_calls::error_of(code)};
    };
    switch (mode) {
      case OpenMode::read:  // a directory is opened, too, and rejected by its status
        return made(GENERIC_READ, share_all, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
      case OpenMode::create_new:
        return made(GENERIC_READ | GENERIC_WRITE, share_all, CREATE_NEW, FILE_ATTRIBUTE_NORMAL);
      case OpenMode::write:
        return made(GENERIC_WRITE | FILE_READ_ATTRIBUTES, share_all, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL);
      case OpenMode::directory: {
        constexpr DWORD share_but_rename = FILE_SHARE_READ | FILE_SHARE_WRITE;
        SystemResult<Handle> directory =
            made(GENERIC_READ | GENERIC_WRITE, share_but_rename, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
        if (directory.error == std::errc::permission_denied) {  // who may not write there cannot sync it either
          directory = made(GENERIC_READ, share_but_rename, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
        }
        return directory.error ? directory : required_directory(directory.value);
      }
    }
    return {nullptr, std::make_error_code(std::errc::invalid_argument)};
  }

  // Closes what is none. Keeps the name that the directory has without links.
  static SystemResult<Handle> required_directory(Handle file) noexcept {
    const auto [status, error] = windows_attributes::status_of(file->buffered);
    if (error || !status.directory) {
      WindowsOpenFiles::remove(file);
      return {nullptr, error ? error : std::make_error_code(std::errc::not_a_directory)};
    }
    auto [name, no_name] = windows_names::made([&] {
      return SystemResult<std::wstring>{windows_names::of_open(file->buffered), {}};
    });
    if (!no_name && !name.empty()) {
      file->name = std::move(name);
    }
    return {file, {}};
  }

  // The name that a file or directory has without links; empty if there is none.
  static std::wstring name_of(const std::wstring& name) {
    const windows_changes::OwnedHandle file = opened_to_look(name);
    return file ? windows_names::of_open(file.get()) : std::wstring();
  }

  static SystemResult<FileStatus> status_of(const std::wstring& name) noexcept {
    const windows_changes::OwnedHandle file = opened_to_look(name);
    return file ? windows_attributes::status_of(file.get()) : SystemResult<FileStatus>{{}, windows_calls::last_error()};
  }

  static windows_changes::OwnedHandle opened_to_look(const std::wstring& name) noexcept {
    return windows_changes::owned(::CreateFileW(name.c_str(), FILE_READ_ATTRIBUTES, share_all, nullptr, OPEN_EXISTING,
                                                FILE_FLAG_BACKUP_SEMANTICS, nullptr));
  }

  template <class Call>
  static std::error_code with_both(Handle directory, const std::filesystem::path& from, const std::filesystem::path& to,
                                   Call&& call) noexcept {
    const auto [old_name, no_old_name] = windows_names::in(directory->name, from);
    const auto [new_name, no_new_name] = windows_names::in(directory->name, to);
    if (no_old_name || no_new_name) {
      return no_old_name ? no_old_name : no_new_name;
    }
    return std::forward<Call>(call)(old_name, new_name);
  }
};

static_assert(FileSystem<WindowsFileSystem> && DuplicatesFiles<WindowsFileSystem> && ListsFiles<WindowsFileSystem>);

}  // namespace iqdb
