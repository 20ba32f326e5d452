// What a process gets from the system that the program is built for: a number of its own, and random bytes.
#pragma once

#include "iqdb/persist/version.hpp"

#if defined(_WIN32)
#include "iqdb/persist/windows_entropy.hpp"
#include "iqdb/persist/windows_process.hpp"
#else
#include "iqdb/persist/posix_entropy.hpp"
#include "iqdb/persist/posix_process.hpp"
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

#if defined(_WIN32)
namespace native_entropy = windows_entropy;
namespace native_process = windows_process;
#else
namespace native_entropy = posix_entropy;
namespace native_process = posix_process;
#endif

}  // namespace iqdb::inline IQDB_PERSIST_ABI
