// A number of this process, which a forked child must not take from its parent.
//
// Invariant: a child has another number than all processes that it descends from, however it was made, unless it shares their
// memory. Three things tell a child that it is one, since each may be missing:
//
// - Memory that the system clears in a child (MADV_WIPEONFORK of Linux): also in one that was made by a bare clone(2) or by
//   _Fork(), which run no handlers. It costs one read of memory. It is used only if the system refuses an advice that does not
//   exist: QEMU 7.2 answers yes to every advice, and does nothing (BoringSSL examines it in the same way:
//   crypto/rand/fork_detect_linux.cc).
// - A handler of pthread_atfork(3): also where the system only says that it clears the memory, and in a child that has its
//   parent's process id, in another namespace of process ids.
// - The process id, asked for each time, where there is no such memory or no handler: also in a child that a bare clone(2)
//   made.
//
// A child that shares the memory of its parent (vfork(2), CLONE_VM) is told by none of them; it must not use the library.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "iqdb/persist/version.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_process {

// Returns the number of this process: another one after a fork. May be called from several threads.
[[nodiscard]] IQDB_PERSIST_INLINE std::int64_t number() noexcept;

#if IQDB_PERSIST_DEFINITIONS

using Number = std::atomic<std::int64_t>;

// Without a lock, which a thread that does not exist in a child could hold there.
struct State {
  std::atomic<Number*> kept = nullptr;  // where the number is; null before it is first asked for
  Number unwiped = 0;                   // where it is if there is no memory that a fork clears
  Number drawn = 0;                     // how many numbers this process and those that it descends from have drawn
};

inline State& state() noexcept {
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
  static constinit State instance;
  return instance;
}

constexpr unsigned process_id_bits = 32;

// Whether the process that drew this number had this one's process id.
inline bool has_this_process_id(std::int64_t number) noexcept {
  return static_cast<std::uint32_t>(number) == static_cast<std::uint32_t>(::getpid());
}

// Returns memory that holds 0 at first and again in every child of a fork, or null if the system has none.
inline Number* memory_that_a_fork_wipes() noexcept {
#ifdef MADV_WIPEONFORK
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {  // NOLINT(*-no-int-to-ptr,*-cstyle-cast): the macro of the system
    return nullptr;
  }
  constexpr int no_advice = -1;
  const bool says_what_it_does = ::madvise(page, page_bytes, no_advice) != 0;
  if (says_what_it_does && ::madvise(page, page_bytes, MADV_WIPEONFORK) == 0) {
    return ::new (page) Number(0);
  }
  ::munmap(page, page_bytes);
#endif
  return nullptr;
}

// Decides where the number is kept. Threads that do so at once find the same place.
inline Number* choose_place() noexcept {
  Number* place = memory_that_a_fork_wipes();
  const int without_handler = ::pthread_atfork(nullptr, nullptr, [] {
    // In the child: its first call draws a number. The place is missing if another thread was choosing it.
    if (Number* const kept = state().kept.load(std::memory_order_acquire); kept != nullptr) {
      kept->store(0, std::memory_order_relaxed);
    }
  });
  if (place == nullptr || without_handler != 0) {
    place = &state().unwiped;
  }
  // A thread that comes too late leaves its page and its handler behind: they do no harm.
  Number* chosen = nullptr;
  return state().kept.compare_exchange_strong(chosen, place, std::memory_order_acq_rel) ? place : chosen;
}

// Gives this process a number that none has had from which it descends, if another thread has not just done it. Process ids
// alone would not do: they are given again, and are counted anew in each namespace.
inline std::int64_t draw(Number& place, std::int64_t found) noexcept {
  const std::int64_t fresh = (state().drawn.fetch_add(1, std::memory_order_relaxed) + 1) << process_id_bits |
                             static_cast<std::int64_t>(static_cast<std::uint32_t>(::getpid()));
  while (!place.compare_exchange_strong(found, fresh, std::memory_order_relaxed)) {
    if (found != 0 && has_this_process_id(found)) {
      return found;
    }
  }
  return fresh;
}

IQDB_PERSIST_INLINE std::int64_t number() noexcept {
  // Called with every mutation. A system call would take a tenth of the time of a mutation that is not synced.
  Number* place = state().kept.load(std::memory_order_acquire);
  if (place == nullptr) {
    place = choose_place();
  }
  const std::int64_t number = place->load(std::memory_order_relaxed);
  if (number != 0 && (place != &state().unwiped || has_this_process_id(number))) {
    return number;
  }
  return draw(*place, number);
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_process

}  // namespace iqdb::inline IQDB_PERSIST_ABI
