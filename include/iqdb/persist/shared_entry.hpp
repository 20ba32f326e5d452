// Who may call a SharedIndex: not a call from within another one, and nobody in the child of a fork.
#pragma once

#include <filesystem>

#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/open_log.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What each call of a SharedState asks before it does anything. Any thread may call its members.
template <Storage S>
class SharedEntry {
 public:
  SharedEntry() = default;
  SharedEntry(const SharedEntry&) = delete;
  SharedEntry& operator=(const SharedEntry&) = delete;

  /// Whether this process is a fork of the one that made the object.
  [[nodiscard]] bool inherited() const noexcept {
    return log_ != nullptr ? log_->lock.inherited() : made_in_.inherited();
  }

  /// Whether it must not be destroyed: in the child of a fork a thread that does not exist there may have been in the middle of
  /// anything; a thread that is in a call of it, or is one of its own, would wait for itself.
  [[nodiscard]] bool must_stay() const noexcept {
    return inherited() || ThreadInCall::is_in(this) || (log_ != nullptr && log_->writer->is_own_thread());
  }

  /// Throws PersistError poisoned in a fork, reentered if the thread is in a call of this object.
  void require_ready() const {
    require_not_inherited();
    CallUnderWay::require_none(ThreadInCall::is_in(this));
  }

  /// Throws PersistError poisoned in a fork.
  void require_not_inherited() const {
    if (inherited()) {
      naming_file(*path_, [] { throw_forked(); });
    }
  }

  /// Marks the thread as one that is in a call, for as long as the result lives.
  [[nodiscard]] ThreadInCall entered(bool reads) const { return ThreadInCall(this, reads); }

  /// Whether the thread is in a read.
  [[nodiscard]] bool is_reading() const noexcept { return ThreadInCall::is_reading(this); }

  /// Whether mutations are logged.
  [[nodiscard]] bool is_logged() const noexcept { return log_ != nullptr; }

  /// The log. Precondition: is_logged().
  [[nodiscard]] const OpenLog<S>& log() const noexcept { return *log_; }

 protected:
  ~SharedEntry() = default;

  /// Called once, by the constructor. `log` is null with the log off; both must outlive this.
  void is_for(const OpenLog<S>* log, const std::filesystem::path& path) noexcept {
    log_ = log;
    path_ = &path;
  }

 private:
  const OpenLog<S>* log_ = nullptr;
  const std::filesystem::path* path_ = nullptr;
  ProcessMark made_in_;
};

}  // namespace iqdb
