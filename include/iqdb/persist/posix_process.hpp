// The number of this process, which a forked child must not take from its parent.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "iqdb/persist/version.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_process {

// Returns the id of this process, also after a fork. May be called from several threads.
[[nodiscard]] IQDB_PERSIST_INLINE std::int64_t number() noexcept;

// Returns memory that holds 0 at first and again in every forked child, or null if the system has no such memory.
IQDB_PERSIST_INLINE std::atomic<std::int64_t>* memory_that_a_fork_wipes() noexcept;

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE std::int64_t number() noexcept {
  // Called with every mutation. A system call would take a tenth of the time of a mutation that is not synced, so the
  // answer is cached in memory that a fork clears.
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
  static std::atomic<std::int64_t>* const kept = memory_that_a_fork_wipes();
  if (kept == nullptr) {
    return ::getpid();
  }
  std::int64_t number = kept->load(std::memory_order_relaxed);
  if (number == 0) {
    number = ::getpid();
    kept->store(number, std::memory_order_relaxed);
  }
  return number;
}

IQDB_PERSIST_INLINE std::atomic<std::int64_t>* memory_that_a_fork_wipes() noexcept {
#ifdef MADV_WIPEONFORK
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {  // NOLINT(*-no-int-to-ptr,*-cstyle-cast): the macro of the system
    return nullptr;
  }
  if (::madvise(page, page_bytes, MADV_WIPEONFORK) == 0) {
    return ::new (page) std::atomic<std::int64_t>(0);
  }
  ::munmap(page, page_bytes);
#endif
  return nullptr;
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_process

}  // namespace iqdb
