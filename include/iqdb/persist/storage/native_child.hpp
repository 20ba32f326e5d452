// A process that has this one's memory, as far as the platform has such processes, and how much memory there is for it.
#pragma once

#include "iqdb/persist/version.hpp"

#if defined(_WIN32)
#include "iqdb/persist/storage/no_child.hpp"
#include "iqdb/persist/storage/windows_memory.hpp"
#else
#include "iqdb/persist/storage/posix_child.hpp"
#include "iqdb/persist/storage/posix_memory.hpp"
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

#if defined(_WIN32)
using NativeChild = NoChild;
namespace native_memory = windows_memory;
#else
using NativeChild = PosixChild;
namespace native_memory = posix_memory;
#endif

}  // namespace iqdb
