// The names of files on Windows: with the prefix that lifts the limit of 260 characters, and without it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/windows/errors.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_names {

// Behind this the system takes a name as it is: of any length, and without a meaning of "." and "..".
inline constexpr std::wstring_view prefix = LR"(\\?\)";
inline constexpr std::wstring_view prefix_of_shares = LR"(\\?\UNC\)";
inline constexpr std::wstring_view prefix_of_devices = LR"(\\.\)";

// Whether a name has a colon behind the drive: "a:b" is a part of the file "a", and no file of its own.
[[nodiscard]] inline bool names_a_stream(std::wstring_view name) noexcept {
  if (name.starts_with(prefix)) {
    name.remove_prefix(prefix.size());
  }
  constexpr std::size_t drive = 2;  // "C:"
  return name.find(L':', name.size() >= drive && name[1] == L':' ? drive : 0) != std::wstring_view::npos;
}

// What `make` returns, or not_enough_memory.
template <class Make>
[[nodiscard]] SystemResult<std::wstring> made(Make&& make) noexcept {
  try {
    return std::forward<Make>(make)();
  } catch (const std::bad_alloc&) {
    return {{}, std::make_error_code(std::errc::not_enough_memory)};
  }
}

// The absolute name with the prefix. The system makes it: std::filesystem::absolute() leaves "." and ".." in it (libstdc++ 12).
[[nodiscard]] inline SystemResult<std::wstring> full(const std::filesystem::path& path) noexcept {
  return made([&]() -> SystemResult<std::wstring> {
    if (path.native().starts_with(prefix)) {
      return names_a_stream(path.native())
                 ? SystemResult<std::wstring>{{}, {ERROR_INVALID_NAME, std::system_category()}}
                 : SystemResult<std::wstring>{path.native(), {}};
    }
    std::wstring name(MAX_PATH, L'\0');
    for (;;) {
      // The length of the name; if there is no room for it, that with the zero at its end; 0 for an error.
      const DWORD length = ::GetFullPathNameW(path.c_str(), static_cast<DWORD>(name.size()), name.data(), nullptr);
      if (length == 0) {
        return {{}, windows_calls::last_error()};
      }
      const bool is_whole = length < name.size();
      name.resize(is_whole ? length : length + std::size_t{1});
      if (is_whole) {
        break;
      }
    }
    if (names_a_stream(name)) {
      return {{}, {ERROR_INVALID_NAME, std::system_category()}};
    }
    if (name.starts_with(LR"(\\)") && !name.starts_with(prefix_of_devices)) {
      name.replace(0, 2, prefix_of_shares);
    } else if (!name.starts_with(prefix_of_devices)) {
      name.insert(0, prefix);
    }
    return {std::move(name), {}};
  });
}

// The name `name` in the directory `directory`.
[[nodiscard]] inline SystemResult<std::wstring> in(const std::wstring& directory,
                                                   const std::filesystem::path& name) noexcept {
  return made([&]() -> SystemResult<std::wstring> {
    const std::wstring& own = name.native();
    if (own.empty() || own.find_first_of(LR"(:/\)") != std::wstring::npos) {
      return {{}, {ERROR_INVALID_NAME, std::system_category()}};
    }
    return {directory.ends_with(L'\\') ? directory + own : directory + L'\\' + own, {}};
  });
}

// The same without the prefix, as users write it.
[[nodiscard]] inline std::wstring plain(std::wstring name) {
  if (name.starts_with(prefix_of_shares)) {
    name.replace(0, prefix_of_shares.size(), LR"(\\)");
  } else if (constexpr std::size_t colon = 1;
             name.starts_with(prefix) && name.size() > prefix.size() + colon && name[prefix.size() + colon] == L':') {
    name.erase(0, prefix.size());
  }
  return name;
}

// The name of an open file, with links followed and with the prefix; empty if the system does not say. Throws
// std::bad_alloc.
[[nodiscard]] inline std::wstring of_open(HANDLE handle) {
  std::wstring name(MAX_PATH, L'\0');
  for (;;) {
    // The length of the name; if there is no room for it, that with the zero at its end; 0 for an error.
    const DWORD length =
        ::GetFinalPathNameByHandleW(handle, name.data(), static_cast<DWORD>(name.size()), FILE_NAME_NORMALIZED);
    if (length < name.size()) {
      name.resize(length);
      return name;
    }
    name.resize(length + std::size_t{1});
  }
}

}  // namespace windows_names

}  // namespace iqdb
