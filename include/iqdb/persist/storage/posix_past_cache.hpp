// The calls by which a file of a POSIX system is read past the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_past_cache {

// Opens the file of `handle` once more, whatever its name is by now, to read it past the page cache. Answers an error where the
// system or the file system cannot do that. Throws std::bad_alloc.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<int> open(int handle);

// Whether the page cache holds at least half of these bytes. Also true where nobody can tell: then the cache is to be asked.
// Throws std::bad_alloc.
[[nodiscard]] IQDB_PERSIST_INLINE bool holds(int handle, std::uint64_t offset, std::size_t count);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE SystemResult<int> open([[maybe_unused]] int handle) {
#ifdef __linux__
  // A flag of its own needs a description of its own, which dup(2) does not make.
  const std::string open_file = "/proc/self/fd/" + std::to_string(handle);
  return posix_calls::opened(::open(open_file.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
#else
  return {-1, std::make_error_code(std::errc::function_not_supported)};
#endif
}

IQDB_PERSIST_INLINE bool holds([[maybe_unused]] int handle, [[maybe_unused]] std::uint64_t offset,
                               [[maybe_unused]] std::size_t count) {
#ifdef __linux__
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = offset - offset % page;
  const auto bytes = static_cast<std::size_t>(offset + count - begin);
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  // Nothing is touched: this only asks which pages are there.
  void* const mapped = ::mmap(nullptr, bytes, PROT_NONE, MAP_SHARED, handle, static_cast<off_t>(begin));
  if (mapped == MAP_FAILED) {
    return true;
  }
  // Of a file that this user may not write, the system says that all of it is there.
  const bool is_known = ::mincore(mapped, bytes, pages.data()) == 0;
  ::munmap(mapped, bytes);
  const auto there = std::ranges::count_if(pages, [](unsigned char state) { return (state & 1U) != 0; });
  return !is_known || 2 * static_cast<std::size_t>(there) >= pages.size();
#else
  return true;
#endif
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_past_cache

}  // namespace iqdb
