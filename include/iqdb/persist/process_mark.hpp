// What a callback of the program may leave behind: a forked child that returns into a call of its parent.
//
// Invariant: in such a child nothing of the call goes on, and no lock is taken or waited for, since a thread that does not
// exist there may hold it.
#pragma once

#include <cstdint>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/posix_process.hpp"
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
  [[nodiscard]] bool inherited() const noexcept { return number_ != posix_process::number(); }

  /// Throws PersistError poisoned if this process is a fork of that one.
  void require_same() const {
    if (inherited()) {
      throw_forked();
    }
  }

 private:
  std::int64_t number_ = posix_process::number();
};

}  // namespace iqdb
