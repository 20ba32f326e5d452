// What the program asks operator new for, counted, and refused on demand. The operator is replaced in
// allocations_test.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace iqdb_test {

/// What operator new was asked for.
struct Allocations {
  std::uint64_t count = 0;    ///< how often
  std::uint64_t total = 0;    ///< bytes in all
  std::uint64_t largest = 0;  ///< bytes at most at once
};

namespace detail {

struct AllocationWatch {
  bool watching = false;
  Allocations seen = {};
  std::uint64_t first_refused = 0;  // the number, from 1, of the call that fails; 0 for none
};

// Only the thread that watches is watched.
inline thread_local AllocationWatch allocation_watch;

class WatchScope {
 public:
  explicit WatchScope(std::uint64_t first_refused) {
    allocation_watch = {.watching = true, .seen = {}, .first_refused = first_refused};
  }
  WatchScope(const WatchScope&) = delete;
  WatchScope& operator=(const WatchScope&) = delete;
  ~WatchScope() { allocation_watch.watching = false; }
};

}  // namespace detail

/// What `action` allocates, in this thread.
template <class Action>
[[nodiscard]] Allocations allocated_by(Action&& action) {
  const detail::WatchScope scope(0);
  std::forward<Action>(action)();
  return detail::allocation_watch.seen;
}

/// Calls `action`; its allocation with this number, from 1, throws std::bad_alloc.
template <class Action>
void refusing_allocation(std::uint64_t number, Action&& action) {
  const detail::WatchScope scope(number);
  std::forward<Action>(action)();
}

}  // namespace iqdb_test
