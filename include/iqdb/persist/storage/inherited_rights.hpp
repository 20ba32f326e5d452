// Whose rights a new file gets: those of the file beside which it lies, or that it replaces or copies.
#pragma once

#include <filesystem>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_rights.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/held_directory.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace inherited_rights {

// The status of `from`, or nothing if it does not exist. Throws PersistError io, also if it is not a regular file.
// Messages name `path`, the file to be replaced.
template <FileSystem F>
[[nodiscard]] std::optional<FileStatus> status_if_there(F& fs, const std::filesystem::path& from,
                                                        const std::filesystem::path& path,
                                                        const HeldDirectory<F>& directory) {
  const auto [status, error] = file_calls::retried([&] { return fs.status(directory.get(), from.filename()); });
  if (error == std::errc::no_such_file_or_directory) {
    return std::nullopt;
  }
  if (error) {
    file_errors::fail("look at '" + path_text(from) + "' before it is written", path, error);
  }
  file_errors::require_regular(status, from);
  return status;
}

// The rights of `from`, or nothing if it does not exist. Messages name `path`.
template <FileSystem F>
[[nodiscard]] std::optional<FileRights> of_named(F& fs, const std::filesystem::path& from,
                                                 const std::filesystem::path& path, const HeldDirectory<F>& directory) {
  const std::optional<FileStatus> status = status_if_there(fs, from, path, directory);
  if (!status) {
    return std::nullopt;
  }
  auto [acl, acl_error] = file_calls::retried([&] { return fs.acl(directory.get(), from.filename()); });
  const bool is_secret = acl_error == std::errc::permission_denied;
  if (acl_error && !is_secret) {
    file_errors::fail("read the access control list of '" + path_text(from) + "'", path, acl_error);
  }
  return FileRights{.status = *status, .acl = std::move(acl), .acl_known = !is_secret};
}

// The rights for a new file at `path`: those of the locked file, so that its log is no more readable than it; else those
// of the file that is replaced; nothing if there is neither.
template <FileSystem F>
[[nodiscard]] std::optional<FileRights> for_new(F& fs, const std::filesystem::path& path,
                                                const HeldDirectory<F>& directory) {
  if (path.filename() != directory.path().filename()) {
    if (std::optional<FileRights> locked = of_named(fs, directory.path(), path, directory)) {
      std::ignore = status_if_there(fs, path, path, directory);
      return locked;
    }
  }
  return of_named(fs, path, path, directory);
}

// The rights of an open file. Messages name `path`, the file that gets them.
template <FileSystem F>
  requires DuplicatesFiles<F>
[[nodiscard]] FileRights of_open(F& fs, typename F::Handle file, const std::filesystem::path& path) {
  const auto [status, error] = file_calls::retried([&] { return fs.status(file); });
  if (error) {
    file_errors::fail("look at the file that is copied to it", path, error);
  }
  auto [acl, acl_error] = file_calls::retried([&] { return fs.acl(file); });
  return {.status = status, .acl = std::move(acl), .acl_known = !acl_error};
}

}  // namespace inherited_rights

}  // namespace iqdb
