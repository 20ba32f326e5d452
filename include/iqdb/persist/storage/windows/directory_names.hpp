// The names in a directory of Windows.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_names {

struct SearchCloser {
  void operator()(HANDLE search) const noexcept { ::FindClose(search); }
};

// The names in a directory, in no order, with "." and "..". Throws std::bad_alloc.
[[nodiscard]] inline SystemResult<std::vector<std::filesystem::path>> in_directory(const std::wstring& directory) {
  const std::wstring pattern = directory + (directory.ends_with(L'\\') ? L"*" : LR"(\*)");
  ::WIN32_FIND_DATAW found{};
  const HANDLE handle = ::FindFirstFileW(pattern.c_str(), &found);
  if (handle == INVALID_HANDLE_VALUE) {
    return {{}, windows_calls::last_error()};
  }
  const std::unique_ptr<void, SearchCloser> search(handle);
  std::vector<std::filesystem::path> names;
  do {
    names.emplace_back(static_cast<const wchar_t*>(found.cFileName));
  } while (::FindNextFileW(handle, &found) != 0);
  const DWORD code = ::GetLastError();
  return {std::move(names), code == ERROR_NO_MORE_FILES ? std::error_code() : windows_calls::error_of(code)};
}

}  // namespace windows_names

}  // namespace iqdb
