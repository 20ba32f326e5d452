// The lock files that this process holds.
//
// Invariant: a lock does not outlive the process that took it. flock(2) gives a lock to the open file, and a fork copies
// the descriptor: a child would keep others out after its parent has ended. So every child closes the descriptors that
// it inherited as soon as it begins.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <tuple>
#include <vector>

#include "iqdb/persist/posix_process.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/version.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Takes and releases lock files. May be called from several threads.
///
/// Some network file systems turn the locks of flock(2) into locks of the process: a second lock in the same process
/// would succeed, and closing it would drop the first. So the locks that this process holds are looked up before a file
/// is opened.
class PosixLocks {
 public:
  /// Takes an exclusive lock on the file `name` in `directory`, and creates the file if needed. Answers EWOULDBLOCK at
  /// once if another thread or process holds the lock. Throws std::bad_alloc.
  [[nodiscard]] static SystemResult<int> take(int directory, const std::filesystem::path& name);

  /// Releases a lock that this process took. Does nothing for any other number: after a fork it may be another file's.
  static void release(int handle) noexcept;

  /// Closes what this process inherited by a fork. Usually the fork itself has done that.
  static void abandon() noexcept;

 private:
  struct Held {
    FileIdentity file;
    int handle = -1;
  };

  struct Registry {
    std::mutex mutex;
    std::int64_t process = 0;  // the process that holds these locks
    std::vector<Held> held;    // without duplicates

    [[nodiscard]] bool holds(const FileIdentity& file) const {
      return std::ranges::find(held, file, &Held::file) != held.end();
    }

    // Closes the locks of a parent. The lock stays with the parent's own descriptor.
    void close_inherited() noexcept {
      if (process == posix_process::number()) {
        return;
      }
      for (const Held& each : held) {
        ::close(each.handle);
      }
      held.clear();
      process = posix_process::number();
    }
  };

  // Also tells the system what to do at a fork.
  static Registry& registry();
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE PosixLocks::Registry& PosixLocks::registry() {
  static auto* const instance = [] {  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
    // Never destroyed: an index with static lifetime may release its lock after other statics are destroyed.
    auto* const made = new Registry;
    made->process = posix_process::number();
    // The mutex is held across the fork, so that the child finds the list whole. If there is no memory for the handlers,
    // an inherited lock is closed when the child first touches one.
    std::ignore = ::pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); },
                                   [] {
                                     registry().close_inherited();
                                     registry().mutex.unlock();
                                   });
    return made;
  }();
  return *instance;
}

IQDB_PERSIST_INLINE SystemResult<int> PosixLocks::take(int directory, const std::filesystem::path& name) {
  Registry& locks = registry();
  const std::lock_guard guard(locks.mutex);
  locks.close_inherited();
  struct ::stat found {};
  if (::fstatat(directory, name.c_str(), &found, 0) == 0 && locks.holds(posix_calls::identity_of(found))) {
    return {-1, std::make_error_code(std::errc::operation_would_block)};
  }
  locks.held.reserve(locks.held.size() + 1);  // nothing behind this throws
  constexpr mode_t everyone = 0666;
  SystemResult<int> file =
      posix_calls::opened(::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, everyone));
  if (file.error == std::errc::permission_denied) {
    // A lock file of another user can be locked without write permission.
    const SystemResult<int> existing =
        posix_calls::opened(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (existing.error != std::errc::no_such_file_or_directory) {
      file = existing;
    }
  }
#ifdef __FreeBSD__
  if (file.error.value() == EMLINK) {  // its word for O_NOFOLLOW on a symbolic link (open(2)), where others say ELOOP
    file.error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
  }
#endif
  if (file.error) {
    return file;
  }
  std::error_code error = posix_calls::answered(::fstat(file.value, &found));
  if (!error) {
    error = posix_calls::answered(::flock(file.value, LOCK_EX | LOCK_NB));
  }
  if (error) {
    ::close(file.value);
    return {-1, error};
  }
  locks.held.push_back({.file = posix_calls::identity_of(found), .handle = file.value});
  return file;
}

IQDB_PERSIST_INLINE void PosixLocks::release(int handle) noexcept {
  Registry& locks = registry();
  const std::lock_guard guard(locks.mutex);
  locks.close_inherited();
  if (std::erase_if(locks.held, [handle](const Held& each) { return each.handle == handle; }) == 0) {
    return;
  }
  // close() alone would leave the lock with a process that was made without the handlers of a fork.
  ::flock(handle, LOCK_UN);
  ::close(handle);
}

IQDB_PERSIST_INLINE void PosixLocks::abandon() noexcept {
  Registry& locks = registry();
  const std::lock_guard guard(locks.mutex);
  locks.close_inherited();
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
