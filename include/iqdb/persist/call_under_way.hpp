// Refuses a call of an object from within another call of the same object, as a callback may make it.
#pragma once

#include "iqdb/persist/error.hpp"
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

  /// Throws PersistError reentered if a call is under way.
  static void require_none(bool mark) {
    if (mark) {
      throw_persist_error(PersistErrorKind::reentered,
                          "the index is in the middle of another call, whose callback made this one; nothing was done: "
                          "let on_progress, save_to and load_from only look, and call again when the other call has "
                          "returned");
    }
  }

 private:
  bool* mark_;
};

}  // namespace iqdb
