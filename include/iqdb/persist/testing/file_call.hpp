// The calls of a FileSystem as a test sees them: which call, on which file, and the fault that it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The calls of a FileSystem.
enum class FileCall : std::uint8_t {
  resolve,
  status,          ///< by name
  open,            ///< for reading
  open_to_write,   ///< an existing file
  create,          ///< a new file
  open_directory,  ///< for a sync
  status_of_open,  ///< by handle
  set_owner,
  set_group,
  set_permissions,
  acl,      ///< to read an access control list
  set_acl,  ///< to change one
  read,
  write,
  set_direct,  ///< to bypass the page cache, or to use it again
  truncate,
  sync,
  sync_data,
  sync_directory,
  close,
  rename,
  link,
  remove,
  names,           ///< that a directory has
  name_limit,      ///< of a directory
  is_mount_point,  ///< by name
  lock,
  unlock,
  abandon,  ///< an inherited lock
};

/// The call in words: "sync data of".
[[nodiscard]] constexpr std::string_view to_string(FileCall call) noexcept {
  switch (call) {
    case FileCall::resolve:
      return "resolve";
    case FileCall::status:
    case FileCall::status_of_open:
      return "status";
    case FileCall::open:
    case FileCall::open_directory:
      return "open";
    case FileCall::open_to_write:
      return "open to write";
    case FileCall::create:
      return "create";
    case FileCall::set_owner:
      return "set owner of";
    case FileCall::set_group:
      return "set group of";
    case FileCall::set_permissions:
      return "set permissions of";
    case FileCall::acl:
      return "read access control list of";
    case FileCall::set_acl:
      return "set access control list of";
    case FileCall::read:
      return "read";
    case FileCall::write:
      return "write";
    case FileCall::set_direct:
      return "set direct writing of";
    case FileCall::truncate:
      return "truncate";
    case FileCall::sync:
      return "sync";
    case FileCall::sync_data:
      return "sync data of";
    case FileCall::sync_directory:
      return "sync directory";
    case FileCall::close:
      return "close";
    case FileCall::rename:
      return "rename";
    case FileCall::link:
      return "link";
    case FileCall::remove:
      return "remove";
    case FileCall::names:
      return "list";
    case FileCall::name_limit:
      return "limit of names in";
    case FileCall::is_mount_point:
      return "look for a mount on";
    case FileCall::lock:
      return "lock";
    case FileCall::unlock:
      return "unlock";
    case FileCall::abandon:
      return "abandon";
  }
  return "?";
}

/// Whether a call changes what a disk holds or may later hold.
[[nodiscard]] constexpr bool changes_disk(FileCall call) noexcept {
  return call == FileCall::create || call == FileCall::write || call == FileCall::truncate || call == FileCall::sync ||
         call == FileCall::sync_data || call == FileCall::sync_directory || call == FileCall::rename ||
         call == FileCall::link || call == FileCall::remove;
}

/// Whether a call makes something durable.
[[nodiscard]] constexpr bool is_sync(FileCall call) noexcept {
  return call == FileCall::sync || call == FileCall::sync_data || call == FileCall::sync_directory;
}

/// One call, as it was made.
struct FileCallRecord {
  FileCall call;             ///< the call
  std::string file;          ///< the name of the file without its directory; "." for a directory
  std::uint64_t offset = 0;  ///< of a read or write; of a truncate: the new size
  std::size_t bytes = 0;     ///< of a read or write, as requested
  std::size_t number = 0;    ///< the number of calls before it

  /// The call in words, for a test that specifies an order: "write index.iqdb.tmp at 0".
  [[nodiscard]] std::string text() const {
    std::string words(to_string(call));
    if (call != FileCall::sync_directory) {
      words += " " + file;
    }
    if (call == FileCall::read || call == FileCall::write) {
      words += " at " + std::to_string(offset);
    } else if (call == FileCall::truncate) {
      words += " to " + std::to_string(offset);
    }
    return words;
  }
};

/// What a file system does with unwritten data when a sync fails. Rebello et al., "Can Applications Recover from fsync
/// Failures?", USENIX ATC 2020, says which file system does what.
enum class FailedSync : std::uint8_t {
  dropped,     ///< unwritten data is gone; a read returns the disk's bytes; the file keeps its size
  kept_clean,  ///< a read still returns the data, but it is never written; the next sync succeeds
  reverted,    ///< the file or directory is as it was at its last sync
};

/// The fault given to a call: it fails, or moves at most `most_bytes`, or, with neither set, is made as it is.
struct Fault {
  std::error_code error = {};                    ///< the error that it fails with
  std::optional<std::size_t> most_bytes = {};    ///< of a read or write
  FailedSync failed_sync = FailedSync::dropped;  ///< of a sync that fails with anything but EINTR
};

/// Returns the fault of each call, before the call is made.
using FaultPlan = std::function<Fault(const FileCallRecord&)>;

/// An error number as a system call reports it.
[[nodiscard]] inline std::error_code system_error(int number) { return {number, std::system_category()}; }

}  // namespace testing
}  // namespace iqdb
