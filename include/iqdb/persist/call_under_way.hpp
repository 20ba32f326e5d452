// Refuses a call of an object from within another call of the same object, as a callback may make it.
#pragma once

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Marks a call as under way for as long as it lives. One thread uses the mark.
class CallUnderWay {
 public:
  /// Sets `mark`, which must outlive this object. Throws PersistError reentered if it is set.
  explicit CallUnderWay(bool& mark) : mark_(&mark) {
    require_none(mark);
    mark = true;
  }
  CallUnderWay(const CallUnderWay&) = delete;
  CallUnderWay& operator=(const CallUnderWay&) = delete;
  ~CallUnderWay() { *mark_ = false; }

  /// Throws PersistError reentered if a call is under way, or if the thread is in PersistConfig::on_event of any index.
  static void require_none(bool mark) {
    if (mark || events::in_handler()) {
      throw_persist_error(PersistErrorKind::reentered,
                          "the index is in the middle of another call, whose callback made this one; nothing was done: "
                          "let on_progress, on_event, save_to and load_from only look, and call again when the other "
                          "call has returned");
    }
  }

 private:
  bool* mark_;
};

/// Marks that the calling thread is in a call of an object, for as long as the mark lives. For objects that many threads
/// use: each thread sees its own marks.
class ThreadInCall {
 public:
  /// The thread is in a call of `object`, which only reads if `reading` is true.
  ThreadInCall(const void* object, bool reading) noexcept : object_(object), reading_(reading), outer_(innermost()) {
    innermost() = this;
  }
  ThreadInCall(const ThreadInCall&) = delete;
  ThreadInCall& operator=(const ThreadInCall&) = delete;
  ~ThreadInCall() { innermost() = outer_; }

  /// Whether the thread is in a call of the object.
  [[nodiscard]] static bool is_in(const void* object) noexcept { return mark_of(object) != nullptr; }

  /// Whether the thread is in a call of the object that only reads.
  [[nodiscard]] static bool is_reading(const void* object) noexcept {
    const ThreadInCall* mark = mark_of(object);
    return mark != nullptr && mark->reading_;
  }

 private:
  static const ThreadInCall*& innermost() noexcept {
    thread_local const ThreadInCall* mark = nullptr;
    return mark;
  }

  static const ThreadInCall* mark_of(const void* object) noexcept {
    const ThreadInCall* mark = innermost();
    while (mark != nullptr && mark->object_ != object) {
      mark = mark->outer_;
    }
    return mark;
  }

  const void* object_;
  bool reading_;
  const ThreadInCall* outer_;
};

}  // namespace iqdb
