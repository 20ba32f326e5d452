// The file system of the platform that the program is built for. The only place that chooses it.
#pragma once

#include "iqdb/persist/version.hpp"

#if defined(_WIN32)
#include "iqdb/persist/storage/windows_file_system.hpp"
#else
#include "iqdb/persist/storage/posix_file_system.hpp"
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The file system of the platform that the program is built for.
#if defined(_WIN32)
using NativeFileSystem = WindowsFileSystem;
#else
using NativeFileSystem = PosixFileSystem;
#endif

}  // namespace iqdb
