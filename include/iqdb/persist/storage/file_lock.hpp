// The lock on a path: a writer holds it while it writes.
//
// Invariant: a process that inherited the lock by a fork never releases it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/held_directory.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Keeps other writers out until it is destroyed, and holds the directory in which they would write. Movable, not
/// copyable.
template <FileSystem F>
class FileLock {
 public:
  /// Owns the lock `handle`, which was taken in `directory`.
  FileLock(std::shared_ptr<HeldDirectory<F>> directory, typename F::Handle handle) noexcept
      : directory_(std::move(directory)), handle_(handle), process_(directory_->file_system().process()) {}
  // The directory is shared, and not taken: directory() of an object that was moved from is not null either.
  // NOLINTBEGIN(performance-move-constructor-init,cert-oop11-cpp)
  FileLock(FileLock&& other) noexcept
      : directory_(other.directory_), handle_(std::exchange(other.handle_, std::nullopt)), process_(other.process_) {}
  // NOLINTEND(performance-move-constructor-init,cert-oop11-cpp)
  FileLock& operator=(FileLock&& other) noexcept {
    if (this != &other) {
      release();
      directory_ = other.directory_;
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
  [[nodiscard]] bool inherited() const noexcept { return directory_->file_system().process() != process_; }

  /// The directory of the file that is locked. Never null.
  [[nodiscard]] const std::shared_ptr<HeldDirectory<F>>& directory() const noexcept { return directory_; }

 private:
  void release() noexcept {
    if (!handle_) {
      return;
    }
    const typename F::Handle handle = *std::exchange(handle_, std::nullopt);
    if (inherited()) {
      // Its number may be another file's by now.
      directory_->file_system().abandon(handle);
    } else {
      directory_->file_system().unlock(handle);
    }
  }

  std::shared_ptr<HeldDirectory<F>> directory_;
  std::optional<typename F::Handle> handle_;
  std::int64_t process_;  // the process that took the lock
};

}  // namespace iqdb
