// A number of this process. No process of Windows is a copy of another one, so its id is enough.
#pragma once

#include <cstdint>

#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_process {

/// Returns the number of this process. May be called from several threads.
[[nodiscard]] inline std::int64_t number() noexcept { return static_cast<std::int64_t>(::GetCurrentProcessId()); }

}  // namespace windows_process

}  // namespace iqdb::inline IQDB_PERSIST_ABI
