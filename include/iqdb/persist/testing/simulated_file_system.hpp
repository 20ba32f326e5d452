// A file system in memory that knows what a power cut would leave.
//
// It implements the concept FileSystem, so the code above it runs unchanged: a simulation tests the real order of
// write, sync, rename and directory sync. This header has the calls, planned_calls.hpp their faults, simulated_machine.hpp
// what they work on, and crash_states.hpp the possible states after a power cut. Everything depends on the seed alone, and
// nothing on time.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/testing/disk_model.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/simulated_directories.hpp"
#include "iqdb/persist/testing/simulated_disk.hpp"
#include "iqdb/persist/testing/simulated_machine.hpp"
#include "iqdb/persist/testing/simulated_names.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A file system in memory. Copies share it. Several threads may call it, but plan() must not run beside another call.
/// A plan can make any call fail, and CrashStates can show at any call what a power cut would leave.
class SimulatedFileSystem {
 public:
  /// An open file.
  using Handle = int;

  /// A file system without files.
  SimulatedFileSystem() : SimulatedFileSystem(DiskState{}, 0) {}

  /// A file system that holds `disk` durably. Everything random follows from `seed`.
  SimulatedFileSystem(const DiskState& disk, std::uint64_t seed)
      : state_(std::make_shared<SimulatedMachine>(SimulatedDisk(disk, seed))) {}

  /// From now on `plan` decides about each call before it is made; calls are counted from 0 again. `plan` may look at
  /// this file system. With an empty `plan` every call is made.
  void plan(FaultPlan plan) { state_->planned.plan(std::move(plan)); }

  /// Whether `other` is a copy of this, and shares its files.
  [[nodiscard]] bool is(const SimulatedFileSystem& other) const noexcept { return state_ == other.state_; }

  /// The number of calls since plan().
  [[nodiscard]] std::size_t calls() const { return state_->planned.calls(); }

  /// The number of open files and locks.
  [[nodiscard]] std::size_t open_files() const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.size();
  }

  /// The bytes of every file that processes see now.
  [[nodiscard]] DiskState visible() const {
    const std::lock_guard guard(state_->mutex);
    return state_->disk.contents();
  }

  /// The same machine after its processes were killed. Nothing is lost: files are closed, locks are released, and what
  /// was not synced is still not synced. The result is independent of this one.
  [[nodiscard]] SimulatedFileSystem after_kill() const {
    const std::uint64_t seed = random_of(*state_);
    const std::lock_guard guard(state_->mutex);
    return SimulatedFileSystem(state_->disk.duplicate(seed));
  }

  /// The same files, none of them durable: copies that nobody has synced. The result is independent of this one.
  [[nodiscard]] SimulatedFileSystem after_restore() const {
    SimulatedDisk disk(visible(), random_of(*state_));
    disk.lose_every_sync();
    return SimulatedFileSystem(std::move(disk));
  }

  /// Gives each of two directories the name of the other, as `mv` does in between: durably and at once. Who has one of
  /// them open keeps it.
  void exchange_directories(const std::filesystem::path& one, const std::filesystem::path& other) {
    const std::lock_guard guard(state_->mutex);
    state_->directories.exchange(one.native(), other.native());
    state_->disk.exchange_directories(one.native(), other.native());
  }

  /// Removes a lock file. Who holds the lock keeps it, on a file without a name.
  void remove_lock_file(const std::filesystem::path& path) {
    const std::lock_guard guard(state_->mutex);
    state_->directories.remove_lock_file(state_->directories.at(path.parent_path().native()), path.filename().native());
  }

  /// The absolute name. This file system has no links and no working directory.
  [[nodiscard]] SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::resolve, path.native()); fault.error) {
      return {{}, fault.error};
    }
    return {path.is_absolute() ? path : "/" / path, {}};
  }

  [[nodiscard]] SystemResult<Handle> open(const std::filesystem::path& path, OpenMode mode, std::uint32_t permissions) {
    if (mode != OpenMode::directory) {
      return open_file(path, mode, permissions, [&] { return path.native(); });
    }
    if (const Fault fault = before(FileCall::open_directory, "."); fault.error) {
      return {-1, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    return {state_->new_handle({.name = ".", .directory = state_->directories.at(path.native())}), {}};
  }

  [[nodiscard]] SystemResult<Handle> open(Handle directory, const std::filesystem::path& name, OpenMode mode,
                                          std::uint32_t permissions) {
    return open_file(name, mode, permissions, [&] { return state_->full_name(directory, name); });
  }

  /// Closes the file even if the plan fails the call, as the system does.
  std::error_code close(Handle handle) {
    const Fault fault = before(FileCall::close, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    state_->open.erase(handle);
    return fault.error;
  }

  [[nodiscard]] SystemResult<FileStatus> status(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::status, path.native()); fault.error) {
      return {{}, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    if (!state_->disk.visible.contains(path.native()) && state_->directories.has(path.native())) {
      return {SimulatedDirectories::status_of_directory(state_->directories.at(path.native())), {}};
    }
    return state_->status_of_name(path.native());
  }

  [[nodiscard]] SystemResult<FileStatus> status(Handle directory, const std::filesystem::path& name) {
    if (const Fault fault = before(FileCall::status, name.native()); fault.error) {
      return {{}, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    if (const auto lock = state_->directories.lock_file(*state_->open.at(directory).directory, name.native())) {
      return {SimulatedDirectories::status_of_lock_file(*lock), {}};
    }
    return state_->status_of_name(state_->full_name(directory, name));
  }

  [[nodiscard]] SystemResult<FileStatus> status(Handle handle) {
    if (const Fault fault = before(FileCall::status_of_open, name_of(handle)); fault.error) {
      return {{}, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    return {state_->status_of_open(handle), {}};
  }

  /// This file system has no access control lists. Nobody asks a plan about this call.
  [[nodiscard]] SystemResult<std::vector<std::byte>> acl(Handle /*directory*/, const std::filesystem::path& /*name*/) {
    return {};
  }
  std::error_code set_acl(Handle /*handle*/, std::span<const std::byte> /*list*/) { return system_error(ENOTSUP); }

  /// As long as a name may be on Linux. Nobody asks a plan about this call.
  [[nodiscard]] SystemResult<std::size_t> name_limit(Handle /*directory*/) const noexcept { return {255, {}}; }

  /// Nothing is mounted here. Nobody asks a plan about this call.
  [[nodiscard]] SystemResult<bool> is_mount_point(Handle /*directory*/, const std::filesystem::path& /*name*/) const {
    return {};
  }

  std::error_code set_owner(Handle handle, const FileStatus& status) {
    return set(FileCall::set_owner, handle, [&](FileStatus& own) {
      own.owner = status.owner;
      own.group = status.group;
    });
  }

  std::error_code set_group(Handle handle, const FileStatus& status) {
    return set(FileCall::set_group, handle, [&](FileStatus& own) { own.group = status.group; });
  }

  std::error_code set_permissions(Handle handle, const FileStatus& status) {
    return set(FileCall::set_permissions, handle, [&](FileStatus& own) { own.permissions = status.permissions; });
  }

  [[nodiscard]] SystemResult<std::size_t> read_at(Handle handle, std::uint64_t offset, std::span<std::byte> into) {
    const Fault fault = before(FileCall::read, name_of(handle), offset, into.size());
    if (fault.error) {
      return {0, fault.error};
    }
    if (is_direct(handle) && !is_block_aligned(offset, into)) {
      return {0, system_error(EINVAL)};
    }
    const std::lock_guard guard(state_->mutex);
    const std::span<const std::byte> content = *state_->file_of(handle).visible;
    const auto begin = static_cast<std::size_t>(std::min<std::uint64_t>(offset, content.size()));
    const std::size_t count = std::min({into.size(), content.size() - begin, fault.most_bytes.value_or(into.size())});
    std::ranges::copy(content.subspan(begin, count), into.begin());
    return {count, {}};
  }

  [[nodiscard]] SystemResult<std::size_t> write_at(Handle handle, std::uint64_t offset,
                                                   std::span<const std::byte> bytes) {
    const Fault fault = before(FileCall::write, name_of(handle), offset, bytes.size());
    if (fault.error) {
      return {0, fault.error};
    }
    if (is_direct(handle) && !is_block_aligned(offset, bytes)) {
      return {0, system_error(EINVAL)};
    }
    const auto written = bytes.first(std::min(bytes.size(), fault.most_bytes.value_or(bytes.size())));
    if (!written.empty()) {
      change_file(handle,
                  {.kind = FileChange::Kind::write, .offset = offset, .bytes = {written.begin(), written.end()}});
    }
    return {written.size(), {}};
  }

  /// From then on reads and writes must be of whole, aligned blocks of direct_block_bytes. Direct writes are as
  /// volatile as others, because a disk has its own cache.
  std::error_code set_direct(Handle handle, bool direct) {
    const Fault fault = before(FileCall::set_direct, name_of(handle));
    if (!fault.error) {
      const std::lock_guard guard(state_->mutex);
      state_->open.at(handle).direct = direct;
    }
    return fault.error;
  }

  /// Does nothing, because a disk may write at any time.
  void start_write_back(Handle /*handle*/, std::uint64_t /*offset*/, std::size_t /*bytes*/) const noexcept {}

  std::error_code truncate(Handle handle, std::uint64_t size) {
    const Fault fault = before(FileCall::truncate, name_of(handle), size);
    if (!fault.error) {
      change_file(handle, {.kind = FileChange::Kind::truncate, .offset = size, .bytes = {}});
    }
    return fault.error;
  }

  /// Makes a file's bytes and size, or a directory's names, durable. If it fails, but not with EINTR, some of the bytes
  /// may still reach the disk, and later reads are as the plan's FailedSync says.
  std::error_code sync(Handle handle) {
    const bool of_directory = is_directory(handle);
    const Fault fault = before(of_directory ? FileCall::sync_directory : FileCall::sync, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    of_directory ? state_->disk.sync_names(state_->directories.name_of(*state_->open.at(handle).directory), fault)
                 : state_->disk.sync_file(state_->file_of(handle), fault);
    return fault.error;
  }

  std::error_code sync_data(Handle handle) {
    const Fault fault = before(FileCall::sync_data, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    state_->disk.sync_file(state_->file_of(handle), fault);
    return fault.error;
  }

  std::error_code rename(Handle directory, const std::filesystem::path& from, const std::filesystem::path& to) {
    if (const Fault fault = before(FileCall::rename, both(from, to)); fault.error) {
      return fault.error;
    }
    return add_name(directory, from, to, NameChange::Kind::rename);
  }

  std::error_code link(Handle directory, const std::filesystem::path& from, const std::filesystem::path& to) {
    if (const Fault fault = before(FileCall::link, both(from, to)); fault.error) {
      return fault.error;
    }
    return add_name(directory, from, to, NameChange::Kind::add);
  }

  std::error_code remove(Handle directory, const std::filesystem::path& name) {
    if (const Fault fault = before(FileCall::remove, name.native()); fault.error) {
      return fault.error;
    }
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->disk.visible.find(state_->full_name(directory, name));
    if (found == state_->disk.visible.end()) {
      return system_error(ENOENT);
    }
    const std::shared_ptr<SimulatedFile> file = found->second;
    state_->disk.change_names({.kind = NameChange::Kind::remove, .name = found->first, .from = {}, .file = file});
    return {};
  }

  [[nodiscard]] SystemResult<std::vector<std::filesystem::path>> names(Handle directory) {
    if (const Fault fault = before(FileCall::names, "."); fault.error) {
      return {{}, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    return {state_->names_in(directory), {}};
  }

  [[nodiscard]] SystemResult<Handle> lock(Handle directory, const std::filesystem::path& name) {
    if (const Fault fault = before(FileCall::lock, name.native()); fault.error) {
      return {-1, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    const auto taken = state_->directories.take_lock(*state_->open.at(directory).directory, name.native());
    return taken ? SystemResult<Handle>{state_->new_handle({.name = name.native(), .lock = taken}), {}}
                 : SystemResult<Handle>{-1, system_error(EWOULDBLOCK)};
  }

  void unlock(Handle handle) {
    before(FileCall::unlock, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    state_->directories.release_lock(*state_->open.at(handle).lock);
    state_->open.erase(handle);
  }

  /// There is only one process, which inherits nothing.
  void abandon(Handle /*handle*/) const noexcept {}

  /// The number of the only process.
  [[nodiscard]] std::int64_t process() const noexcept { return 1; }

  /// A number that follows from the seed and the numbers before it.
  [[nodiscard]] SystemResult<std::uint64_t> random() { return {random_of(*state_), {}}; }

 private:
  friend class CrashStates;

  explicit SimulatedFileSystem(SimulatedDisk disk) : state_(std::make_shared<SimulatedMachine>(std::move(disk))) {}

  static std::uint64_t random_of(SimulatedMachine& state) {
    const std::lock_guard guard(state.mutex);
    return state.disk.random.next();
  }

  Fault before(FileCall call, std::string_view name, std::uint64_t offset = 0, std::size_t bytes = 0) {
    return state_->planned.before(call, name, offset, bytes);
  }

  static std::string both(const std::filesystem::path& from, const std::filesystem::path& to) {
    return from.string() + " to " + to.string();
  }

  template <class FullName>
  SystemResult<Handle> open_file(const std::filesystem::path& path, OpenMode mode, std::uint32_t permissions,
                                 FullName&& full_name) {
    const FileCall call = mode == OpenMode::read    ? FileCall::open
                          : mode == OpenMode::write ? FileCall::open_to_write
                                                    : FileCall::create;
    if (const Fault fault = before(call, path.native()); fault.error) {
      return {-1, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    return state_->open_file(full_name(), mode, permissions);
  }

  std::error_code add_name(Handle directory, const std::filesystem::path& from, const std::filesystem::path& to,
                           NameChange::Kind kind) {
    const std::lock_guard guard(state_->mutex);
    return state_->disk.add_name(state_->full_name(directory, from), state_->full_name(directory, to), kind);
  }

  [[nodiscard]] std::string name_of(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.at(handle).name;
  }

  [[nodiscard]] bool is_direct(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.at(handle).direct;
  }

  [[nodiscard]] bool is_directory(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.at(handle).directory.has_value();
  }

  template <class Change>
  std::error_code set(FileCall call, Handle handle, Change&& change) {
    const Fault fault = before(call, name_of(handle));
    if (!fault.error) {
      const std::lock_guard guard(state_->mutex);
      change(state_->file_of(handle).status);
    }
    return fault.error;
  }

  void change_file(Handle handle, FileChange change) {
    const std::lock_guard guard(state_->mutex);
    state_->disk.change_file(state_->open.at(handle).file, std::move(change));
  }

  std::shared_ptr<SimulatedMachine> state_;
};

static_assert(FileSystem<SimulatedFileSystem>);

}  // namespace testing
}  // namespace iqdb
