// How a POSIX system is asked to put bytes where a power cut does not reach them.
//
// On Linux and FreeBSD fsync(2) has the drive empty its cache. On macOS it does not: "the drive itself may not physically write the
// data to the platters for quite some time" (its manual, fsync(2)). There fcntl(F_FULLFSYNC) does. F_BARRIERFSYNC, which orders
// writes and makes nothing durable, is not used: nearly every sync of this library stands before an acknowledgement.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <tuple>

#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_sync {

/// Calls `flush_drive`. Where the file system has no such call, calls `hand_to_drive` in its place, and returns its answer.
///
/// File systems of macOS say that in three ways: ENOTSUP, EINVAL and ENOTTY (read in the sources of xnu: https://github.com/libuv/libuv/pull/2135).
/// Any other error is the answer: a plain sync behind a flush that failed could succeed, although bytes are lost.
template <class FlushDrive, class HandToDrive>
std::error_code flushed(FlushDrive&& flush_drive, HandToDrive&& hand_to_drive) {
  const std::error_code error = flush_drive();
  const std::array has_none = {std::errc::not_supported, std::errc::operation_not_supported,
                               std::errc::invalid_argument, std::errc::inappropriate_io_control_operation};
  return std::ranges::any_of(has_none, [&](std::errc each) { return error == each; }) ? hand_to_drive() : error;
}

/// Makes a file's bytes and metadata, or a directory's entries, durable.
inline std::error_code all(int handle) noexcept {
#ifdef F_FULLFSYNC
  return flushed([&] { return posix_calls::answered(::fcntl(handle, F_FULLFSYNC)); },
                 [&] { return posix_calls::answered(::fsync(handle)); });
#else
  return posix_calls::answered(::fsync(handle));
#endif
}

/// Makes a file's bytes durable, and only the metadata that reading them needs.
inline std::error_code data(int handle) noexcept {
#ifdef F_FULLFSYNC
  return all(handle);  // macOS has no call for less
#else
  return posix_calls::answered(::fdatasync(handle));
#endif
}

/// Asks the system to start writing these bytes to the disk, so that a later sync waits less. Makes nothing durable. Ignores
/// errors, and does nothing on a system without this call.
inline void start([[maybe_unused]] int handle, [[maybe_unused]] std::uint64_t offset,
                  [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef SYNC_FILE_RANGE_WRITE
  std::ignore = ::sync_file_range(handle, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
#endif
}

/// Makes later reads and writes of a file bypass the system's page cache, or use it again. Answers EINVAL if the file system has
/// no direct I/O.
inline std::error_code set_direct([[maybe_unused]] int handle, [[maybe_unused]] bool direct) noexcept {
#if defined(O_DIRECT)
  const int flags = ::fcntl(handle, F_GETFL);
  if (flags == -1) {
    return posix_calls::answered(-1);
  }
  return posix_calls::answered(::fcntl(handle, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT));
#elif defined(F_NOCACHE)
  return posix_calls::answered(::fcntl(handle, F_NOCACHE, direct ? 1 : 0));
#else
  return direct ? std::make_error_code(std::errc::invalid_argument) : std::error_code();
#endif
}

}  // namespace posix_sync

}  // namespace iqdb
