// What the program asks operator new for, counted, and refused on demand. The operator is that of
// support/operator_new.hpp, which one source file of the program includes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

namespace iqdb_test {

/// What operator new was asked for.
struct Allocations {
  std::uint64_t count = 0;    ///< how often
  std::uint64_t total = 0;    ///< bytes in all
  std::uint64_t largest = 0;  ///< bytes at most at once
  std::uint64_t refused = 0;  ///< how often in vain
};

namespace detail {

struct AllocationWatch {
  bool watching = false;
  Allocations seen = {};
  std::uint64_t first_refused = 0;  // the number, from 1, of the first call that fails; 0 for none
  std::uint64_t last_refused = 0;
};

// Only the thread that watches is watched.
inline thread_local AllocationWatch allocation_watch;

// Of all threads: what one takes another may give back.
inline std::atomic<std::int64_t> live_allocations{0};
inline std::atomic<std::int64_t> live_bytes{0};

class WatchScope {
 public:
  WatchScope(std::uint64_t first_refused, std::uint64_t last_refused) {
    allocation_watch = {.watching = true, .seen = {}, .first_refused = first_refused, .last_refused = last_refused};
  }
  WatchScope(const WatchScope&) = delete;
  WatchScope& operator=(const WatchScope&) = delete;
  ~WatchScope() { allocation_watch.watching = false; }
};

}  // namespace detail

/// What `action` allocates, in this thread.
template <class Action>
[[nodiscard]] Allocations allocated_by(Action&& action) {
  const detail::WatchScope scope(0, 0);
  std::forward<Action>(action)();
  return detail::allocation_watch.seen;
}

/// Calls `action`; its allocation with this number, from 1, throws std::bad_alloc.
template <class Action>
void refusing_allocation(std::uint64_t number, Action&& action) {
  const detail::WatchScope scope(number, number);
  std::forward<Action>(action)();
}

/// Calls `action`; its allocation with this number, from 1, and every later one throws std::bad_alloc.
template <class Action>
void refusing_allocations_from(std::uint64_t number, Action&& action) {
  const detail::WatchScope scope(number, std::numeric_limits<std::uint64_t>::max());
  std::forward<Action>(action)();
}

/// What the last of these calls in this thread has seen, whether or not it threw.
[[nodiscard]] inline Allocations last_allocations() { return detail::allocation_watch.seen; }

/// How many blocks of memory operator new has given out, in all threads, and has not got back.
[[nodiscard]] inline std::int64_t live_allocations() { return detail::live_allocations.load(); }

/// How many bytes these blocks have, with what malloc gives beyond what was asked for.
[[nodiscard]] inline std::int64_t live_bytes() { return detail::live_bytes.load(); }

}  // namespace iqdb_test
