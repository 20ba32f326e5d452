// What a callback of the program may leave behind: a forked child that returns into a call of its parent.
//
// Invariant: in such a child nothing of the call goes on, and no lock is taken or waited for, since a thread that does not
// exist there may hold it.
#pragma once

#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/native_process.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Throws PersistError poisoned, since the process is a fork of the one that opened the index.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_forked() {
  throw_persist_error(PersistErrorKind::poisoned,
                      "this process is a fork of the one that has the index open; open it after the fork, in one of "
                      "them");
}

/// The process in which it was made. Any thread may ask it.
class ProcessMark {
 public:
  /// Whether this process is a fork of that one.
  [[nodiscard]] bool inherited() const noexcept { return number_ != native_process::number(); }

  /// Throws PersistError poisoned if this process is a fork of that one.
  void require_same() const {
    if (inherited()) {
      throw_forked();
    }
  }

 private:
  std::int64_t number_ = native_process::number();
};

/// Owns an object that several threads use. In the child of a fork it is not destroyed: a thread that does not exist there may be
/// in the middle of a use.
template <class T>
class LeftInFork {
 public:
  /// Owns nothing.
  LeftInFork() = default;
  explicit LeftInFork(std::unique_ptr<T> owned) noexcept : owned_(std::move(owned)) {}
  LeftInFork(const LeftInFork&) = delete;
  LeftInFork& operator=(const LeftInFork&) = delete;
  ~LeftInFork() {
    if (inherited()) {
      std::ignore = owned_.release();
    }
  }

  /// Whether this process is a fork of the one in which this was made.
  [[nodiscard]] bool inherited() const noexcept { return made_in_.inherited(); }

  /// Owns `owned` from now on, and destroys what it owned before.
  void reset(std::unique_ptr<T> owned) noexcept { owned_ = std::move(owned); }

  [[nodiscard]] T* operator->() const noexcept { return owned_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return owned_ != nullptr; }

 private:
  std::unique_ptr<T> owned_;
  ProcessMark made_in_;
};

}  // namespace iqdb
