// Two codes of the system for which <system_error> has no name.
#pragma once

#include "iqdb/persist/version.hpp"

#if !defined(_WIN32)
#include <cerrno>
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace system_codes {

#if defined(_WIN32)
/// The file behind a name or a handle is not the one that it was: ERROR_FILE_INVALID.
inline constexpr int stale = 1006;
/// The quota of the user is exhausted: ERROR_DISK_QUOTA_EXCEEDED.
inline constexpr int quota = 1295;
#else
/// The file behind a name or a handle is not the one that it was.
inline constexpr int stale = ESTALE;
/// The quota of the user is exhausted.
inline constexpr int quota = EDQUOT;
#endif

}  // namespace system_codes

}  // namespace iqdb
