// Bytes from the system that nobody can predict.
#pragma once

#include <cstddef>

#include "iqdb/persist/version.hpp"
#include "iqdb/persist/windows_api.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace windows_entropy {

/// Fills `bytes` bytes, at most 256, at `into`. Returns whether it did. Any thread may call it.
[[nodiscard]] inline bool fill(void* into, std::size_t bytes) noexcept {
  return ::BCryptGenRandom(nullptr, static_cast<PUCHAR>(into), static_cast<ULONG>(bytes),
                           BCRYPT_USE_SYSTEM_PREFERRED_RNG) >= 0;
}

}  // namespace windows_entropy

}  // namespace iqdb::inline IQDB_PERSIST_ABI
