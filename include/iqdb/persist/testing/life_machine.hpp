// The machine that a life runs on, and what decides about each of its calls.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/history_paths.hpp"
#include "iqdb/persist/testing/checkpoints_beside.hpp"
#include "iqdb/persist/testing/disk_model.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A machine, which a kill or a power cut replaces by another one. A plan decides about each call, whatever the machine.
class LifeMachine {
 public:
  /// Calls are counted from 0. `plan` may be empty: then nothing fails.
  LifeMachine(FaultPlan plan, std::uint64_t seed) : plan_(std::move(plan)), machine_(DiskState{}, seed) {}
  LifeMachine(const LifeMachine&) = delete;
  LifeMachine& operator=(const LifeMachine&) = delete;
  ~LifeMachine() { end_plan(); }

  /// Goes on with `machine`, which holds what a process left there.
  void replace(SimulatedFileSystem machine) {
    end_plan();
    machine_ = std::move(machine);
    machine_.plan([this](FileCallRecord call) {
      if (before_call_) {
        before_call_();
      }
      call.number = calls_++;
      Fault fault = plan_ && !is_unplanned_ ? plan_(call) : Fault{};
      if (repeats_failed_sync_ && is_sync(call.call)) {
        fault.error = system_error(EIO);
      }
      // Where only second names of older states are at stake, a sync that fails leaves nothing unknown: nothing is replaced
      // then, and the next attempt makes other names, or removes again.
      if (call.call == FileCall::rename) {
        history_changed_ = false;
      } else if (call.call == FileCall::link || call.call == FileCall::remove) {
        history_changed_ = history_changed_ || call.text().find(history_paths::ending) != std::string::npos;
      }
      const bool is_of_history = call.call == FileCall::sync_directory && std::exchange(history_changed_, false);
      sync_failed_ = sync_failed_ ||
                     (is_sync(call.call) && !is_of_history && fault.error && fault.error != std::errc::interrupted);
      return fault;
    });
  }

  /// From now on every call is made, until replace().
  void end_plan() { machine_.plan({}); }

  /// The current machine.
  [[nodiscard]] SimulatedFileSystem& now() noexcept { return machine_; }
  [[nodiscard]] const SimulatedFileSystem& now() const noexcept { return machine_; }

  /// Calls `before_call()` before each call, until it is taken away with {}. It must not throw.
  void watch(std::function<void()> before_call) { before_call_ = std::move(before_call); }

  /// What the checkpoints of this life that others go on beside have met.
  [[nodiscard]] CheckpointsBeside& checkpoints() noexcept { return checkpoints_; }
  [[nodiscard]] const CheckpointsBeside& checkpoints() const noexcept { return checkpoints_; }

  /// Whether a sync has failed since forget_failed_sync().
  [[nodiscard]] bool sync_failed() const noexcept { return sync_failed_; }

  /// From now on sync_failed() tells of later syncs.
  void forget_failed_sync() noexcept { sync_failed_ = false; }

  /// Whether the plan is asked.
  void set_planned(bool planned) noexcept { is_unplanned_ = !planned; }

  /// Whether every sync fails: the system reports a failed one to every process that has the file open.
  void set_repeats_failed_sync(bool repeats) noexcept { repeats_failed_sync_ = repeats; }

 private:
  FaultPlan plan_;
  SimulatedFileSystem machine_;
  std::function<void()> before_call_;
  CheckpointsBeside checkpoints_;
  std::size_t calls_ = 0;
  bool is_unplanned_ = false;
  bool sync_failed_ = false;
  bool history_changed_ = false;  // by second names, since the last sync of the directory
  bool repeats_failed_sync_ = false;
};

}  // namespace testing
}  // namespace iqdb
