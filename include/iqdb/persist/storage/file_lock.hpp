// The lock on a path: a writer holds it while it writes.
//
// Invariant: a process that inherited the lock by a fork never releases it.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Keeps other writers out until it is destroyed. Movable, not copyable.
template <FileSystem F>
class FileLock {
 public:
  /// Owns the lock that `fs` took as `handle`. Keeps a copy of `fs`.
  FileLock(F& fs, typename F::Handle handle) : fs_(fs), handle_(handle), process_(fs.process()) {}
  FileLock(FileLock&& other) noexcept
      : fs_(std::move(other.fs_)), handle_(std::exchange(other.handle_, std::nullopt)), process_(other.process_) {}
  FileLock& operator=(FileLock&& other) noexcept {
    if (this != &other) {
      release();
      fs_ = other.fs_;
      handle_ = std::exchange(other.handle_, std::nullopt);
      process_ = other.process_;
    }
    return *this;
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { release(); }

  /// Whether this process inherited the lock by a fork. The lock then belongs to the parent: a release here would take
  /// it from the parent.
  [[nodiscard]] bool inherited() const noexcept { return fs_.process() != process_; }

 private:
  void release() noexcept {
    if (!handle_) {
      return;
    }
    const typename F::Handle handle = *std::exchange(handle_, std::nullopt);
    if (inherited()) {
      std::ignore = fs_.close(handle);
    } else {
      fs_.unlock(handle);
    }
  }

  F fs_;
  std::optional<typename F::Handle> handle_;
  std::int64_t process_;  // the process that took the lock
};

}  // namespace iqdb
