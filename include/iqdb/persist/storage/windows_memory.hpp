// How much memory a forked process may take on Windows, which has no fork.
#pragma once

#include <cstdint>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_memory {

/// The bytes that a forked process may take: none.
[[nodiscard]] constexpr std::uint64_t available() noexcept { return 0; }

}  // namespace windows_memory

}  // namespace iqdb
