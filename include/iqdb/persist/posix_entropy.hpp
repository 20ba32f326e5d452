// Bytes from the system that nobody can predict.
#pragma once

#include <cstddef>

#include "iqdb/persist/version.hpp"

// Linux and macOS declare getentropy in the first, POSIX and FreeBSD in the second.
#include <sys/random.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_entropy {

/// Fills `bytes` bytes, at most 256, at `into`. Returns whether it did: a system may forbid the call. Any thread may call it.
[[nodiscard]] inline bool fill(void* into, std::size_t bytes) noexcept { return ::getentropy(into, bytes) == 0; }

}  // namespace posix_entropy

}  // namespace iqdb::inline IQDB_PERSIST_ABI
