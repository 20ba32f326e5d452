// A file system in memory that knows what a power cut would leave.
//
// It implements the concept FileSystem, so the code above it runs unchanged: a simulation tests the real order of
// write, sync, rename and directory sync. This header has the calls and their faults, simulated_disk.hpp the files and
// names, and crash_states.hpp the possible states after a power cut. Everything depends on the seed alone, and nothing
// on time.
//
// Directories exist as soon as they are named. The disk does not hold lock files: a lock dies with its process.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
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
#include "iqdb/persist/testing/simulated_disk.hpp"
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
      : state_(std::make_shared<State>(SimulatedDisk(disk, seed))) {}

  /// From now on `plan` decides about each call before it is made; calls are counted from 0 again. `plan` may look at
  /// this file system. With an empty `plan` every call is made.
  void plan(FaultPlan plan) {
    const std::lock_guard guard(state_->mutex);
    state_->plan = std::move(plan);
    state_->calls = 0;
  }

  /// The number of calls since plan().
  [[nodiscard]] std::size_t calls() const {
    const std::lock_guard guard(state_->mutex);
    return state_->calls;
  }

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

  /// The absolute name. This file system has no links and no working directory.
  [[nodiscard]] SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::resolve, path.native()); fault.error) {
      return {{}, fault.error};
    }
    return {path.is_absolute() ? path : "/" / path, {}};
  }

  [[nodiscard]] SystemResult<Handle> open(const std::filesystem::path& path, OpenMode mode, std::uint32_t permissions) {
    const FileCall call = mode == OpenMode::read        ? FileCall::open
                          : mode == OpenMode::write     ? FileCall::open_to_write
                          : mode == OpenMode::directory ? FileCall::open_directory
                                                        : FileCall::create;
    if (const Fault fault = before(call, mode == OpenMode::directory ? "." : path.native()); fault.error) {
      return {-1, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    if (mode == OpenMode::directory) {
      return {new_handle({.file = {}, .name = path.native()}), {}};
    }
    const auto found = state_->disk.visible.find(path.native());
    if (mode != OpenMode::create_new) {
      return found == state_->disk.visible.end()
                 ? SystemResult<Handle>{-1, system_error(ENOENT)}
                 : SystemResult<Handle>{new_handle({.file = found->second, .name = path.native()}), {}};
    }
    if (found != state_->disk.visible.end()) {
      return {-1, system_error(EEXIST)};
    }
    auto file = std::make_shared<SimulatedFile>();
    file->status.permissions = permissions;
    state_->disk.change_names({.kind = NameChange::Kind::add, .name = path.native(), .from = {}, .file = file});
    return {new_handle({.file = std::move(file), .name = path.native()}), {}};
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
    const auto found = state_->disk.visible.find(path.native());
    return found == state_->disk.visible.end() ? SystemResult<FileStatus>{{}, system_error(ENOENT)}
                                               : SystemResult<FileStatus>{status_of(*found->second), {}};
  }

  [[nodiscard]] SystemResult<FileStatus> status(Handle handle) {
    if (const Fault fault = before(FileCall::status_of_open, name_of(handle)); fault.error) {
      return {{}, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    return {status_of(file_of(handle)), {}};
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
    const std::span<const std::byte> content = *file_of(handle).visible;
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
    const bool of_directory = !is_file(handle);
    const Fault fault = before(of_directory ? FileCall::sync_directory : FileCall::sync, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    of_directory ? state_->disk.sync_names(state_->open.at(handle).name, fault)
                 : state_->disk.sync_file(file_of(handle), fault);
    return fault.error;
  }

  std::error_code sync_data(Handle handle) {
    const Fault fault = before(FileCall::sync_data, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    state_->disk.sync_file(file_of(handle), fault);
    return fault.error;
  }

  /// Renames within one directory. Returns EXDEV otherwise: power cuts between two directories are not simulated.
  std::error_code rename(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (const Fault fault = before(FileCall::rename, both(from, to)); fault.error) {
      return fault.error;
    }
    const std::lock_guard guard(state_->mutex);
    return state_->disk.add_name(from.native(), to.native(), NameChange::Kind::rename);
  }

  std::error_code link(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (const Fault fault = before(FileCall::link, both(from, to)); fault.error) {
      return fault.error;
    }
    const std::lock_guard guard(state_->mutex);
    return state_->disk.add_name(from.native(), to.native(), NameChange::Kind::add);
  }

  std::error_code remove(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::remove, path.native()); fault.error) {
      return fault.error;
    }
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->disk.visible.find(path.native());
    if (found == state_->disk.visible.end()) {
      return system_error(ENOENT);
    }
    const std::shared_ptr<SimulatedFile> file = found->second;
    state_->disk.change_names({.kind = NameChange::Kind::remove, .name = path.native(), .from = {}, .file = file});
    return {};
  }

  [[nodiscard]] SystemResult<Handle> lock(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::lock, path.native()); fault.error) {
      return {-1, fault.error};
    }
    const std::lock_guard guard(state_->mutex);
    if (!state_->locked.insert(path.native()).second) {
      return {-1, system_error(EWOULDBLOCK)};
    }
    return {new_handle({.file = {}, .name = path.native()}), {}};
  }

  void unlock(Handle handle) {
    before(FileCall::unlock, name_of(handle));
    const std::lock_guard guard(state_->mutex);
    state_->locked.erase(state_->open.at(handle).name);
    state_->open.erase(handle);
  }

  /// The number of the only process.
  [[nodiscard]] std::int64_t process() const noexcept { return 1; }

  /// A number that follows from the seed and the numbers before it.
  [[nodiscard]] std::uint64_t random() { return random_of(*state_); }

 private:
  friend class CrashStates;

  struct OpenFile {
    std::shared_ptr<SimulatedFile> file;  // none for a directory or a lock
    std::string name;
    bool direct = false;
  };

  struct State {
    explicit State(SimulatedDisk holds) : disk(std::move(holds)) {}

    std::mutex mutex;
    SimulatedDisk disk;
    std::map<Handle, OpenFile> open;
    Handle next_handle = 3;
    std::set<std::string> locked;
    FaultPlan plan;
    std::size_t calls = 0;
  };

  explicit SimulatedFileSystem(SimulatedDisk disk) : state_(std::make_shared<State>(std::move(disk))) {}

  static std::uint64_t random_of(State& state) {
    const std::lock_guard guard(state.mutex);
    return state.disk.random.next();
  }

  Fault before(FileCall call, std::string_view name, std::uint64_t offset = 0, std::size_t bytes = 0) {
    FileCallRecord record{.call = call, .file = {}, .offset = offset, .bytes = bytes};
    FaultPlan* plan = nullptr;
    {
      const std::lock_guard guard(state_->mutex);
      record.number = state_->calls++;
      if (!state_->plan) {
        return {};
      }
      plan = &state_->plan;
    }
    // Called without the lock, because the plan may look at this file system.
    const bool two_names = call == FileCall::rename || call == FileCall::link;
    record.file = two_names ? std::string(name) : std::string(name.substr(name.rfind('/') + 1));
    return (*plan)(record);
  }

  static std::string both(const std::filesystem::path& from, const std::filesystem::path& to) {
    return from.filename().string() + " to " + to.filename().string();
  }

  [[nodiscard]] std::string name_of(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    const OpenFile& open = state_->open.at(handle);
    return open.file || state_->locked.contains(open.name) ? open.name : ".";
  }

  [[nodiscard]] bool is_direct(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.at(handle).direct;
  }

  [[nodiscard]] bool is_file(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.at(handle).file != nullptr;
  }

  // The next three are called with the mutex held.
  [[nodiscard]] SimulatedFile& file_of(Handle handle) const { return *state_->open.at(handle).file; }

  Handle new_handle(OpenFile file) {
    state_->open.emplace(state_->next_handle, std::move(file));
    return state_->next_handle++;
  }

  static FileStatus status_of(const SimulatedFile& file) {
    FileStatus status = file.status;
    status.size = file.visible->size();
    return status;
  }

  template <class Change>
  std::error_code set(FileCall call, Handle handle, Change&& change) {
    const Fault fault = before(call, name_of(handle));
    if (!fault.error) {
      const std::lock_guard guard(state_->mutex);
      change(file_of(handle).status);
    }
    return fault.error;
  }

  void change_file(Handle handle, FileChange change) {
    const std::lock_guard guard(state_->mutex);
    state_->disk.change_file(state_->open.at(handle).file, std::move(change));
  }

  std::shared_ptr<State> state_;
};

static_assert(FileSystem<SimulatedFileSystem>);

}  // namespace testing
}  // namespace iqdb
