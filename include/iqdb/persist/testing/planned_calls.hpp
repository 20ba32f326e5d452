// Asks a plan about each call of a file system before the call is made, and counts the calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A plan and the number of calls. Several threads may use it, but plan() must not run beside before().
class PlannedCalls {
 public:
  /// From now on `plan` decides about each call; calls are counted from 0 again. With an empty `plan` every call is made.
  void plan(FaultPlan plan) {
    const std::lock_guard guard(mutex_);
    plan_ = std::move(plan);
    calls_ = 0;
  }

  /// The number of calls since plan().
  [[nodiscard]] std::size_t calls() const {
    const std::lock_guard guard(mutex_);
    return calls_;
  }

  /// Counts a call on the file `name`, and returns its fault. `name` may begin with directories, which the record lacks.
  Fault before(FileCall call, std::string_view name, std::uint64_t offset = 0, std::size_t bytes = 0) {
    FileCallRecord record{.call = call, .file = {}, .offset = offset, .bytes = bytes};
    FaultPlan* plan = nullptr;
    {
      const std::lock_guard guard(mutex_);
      record.number = calls_++;
      if (!plan_) {
        return {};
      }
      plan = &plan_;
    }
    // Called without the lock, because the plan may look at the file system.
    const bool two_names = call == FileCall::rename || call == FileCall::link;
    record.file = two_names ? std::string(name) : std::string(name.substr(name.rfind('/') + 1));
    return (*plan)(record);
  }

 private:
  mutable std::mutex mutex_;
  FaultPlan plan_;
  std::size_t calls_ = 0;
};

}  // namespace testing
}  // namespace iqdb
