// Memory that a process shares with its children, and that outlives them: it lies outside of every file system.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <new>
#include <system_error>
#include <type_traits>

namespace iqdb_test {

/// One `T` that a process and those it forks see alike. Nothing destroys it: a child may be killed at any instruction.
template <class T>
  requires std::is_trivially_destructible_v<T>
class SharedMemory {
 public:
  SharedMemory() {
    // Pages that nobody touches take no memory.
    void* memory =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "cannot map shared memory");
    }
    // Not T{}: the mapping is zeros, and writing them would touch every page.
    value_ = new (memory) T;
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() { ::munmap(value_, sizeof(T)); }

  [[nodiscard]] T& operator*() const noexcept { return *value_; }
  [[nodiscard]] T* operator->() const noexcept { return value_; }

 private:
  T* value_;
};

}  // namespace iqdb_test
