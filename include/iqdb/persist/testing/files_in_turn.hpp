// The callers of a step that make checkpoints, or close: one at a time has the files.
#pragma once

#include <algorithm>
#include <deque>

#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// Those who wait for the files, and who has them. `Made` is a MadeCall.
template <class Made>
class FilesInTurn {
 public:
  /// The call waits behind the others, or has the files already (has_files).
  void wait(Made& made) { calls_.push_back(&made); }

  /// The first call, if the files are free for it: it has them now. Else null.
  [[nodiscard]] Made* next() noexcept {
    std::erase_if(calls_, [](const Made* made) { return made->told; });
    if (calls_.empty() || calls_.front()->has_files) {
      return nullptr;
    }
    calls_.front()->has_files = true;
    return calls_.front();
  }

  /// Whether a call of this kind waits, or has the files.
  [[nodiscard]] bool has(CallerCall::Kind kind) const {
    return std::ranges::any_of(calls_, [kind](const Made* made) { return !made->told && made->call->kind == kind; });
  }

 private:
  std::deque<Made*> calls_;
};

}  // namespace testing
}  // namespace iqdb
