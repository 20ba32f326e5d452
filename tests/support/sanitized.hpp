// Whether the program is built with a sanitizer that makes it slower and larger.
#pragma once

#include <cstddef>

namespace iqdb_test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

/// Where every bit of something is flipped in turn, one of so many is with a sanitizer. No multiple of a byte's bits, so
/// that each bit of a byte has its turn.
inline constexpr std::size_t bit_step = sanitized ? 3 : 1;

}  // namespace iqdb_test
