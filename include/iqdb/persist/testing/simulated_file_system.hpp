// A file system in memory that knows what a power cut would leave.
//
// It implements the concept FileSystem, so that everything above it runs as it is: the real order of write, sync,
// rename and directory sync is what a simulation examines. Each file has what a process sees and what the disk holds,
// and so has each directory: a write is volatile until its file is synced; a create, rename, link or remove until its
// directory is. crash_states.hpp lays out what a disk may hold then. Nothing of it depends on time, or on anything but
// its seed.
//
// Directories are there as soon as they are named. Lock files are no part of what the disk holds: a lock dies with its
// process.
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
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What a disk holds: each file's bytes by its absolute name. Names that share their bytes are names of one file.
using DiskState = std::map<std::string, SharedBytes>;

/// Which name leads to which file.
using NameTable = std::map<std::string, std::shared_ptr<SimulatedFile>>;

/// A change of a directory.
struct NameChange {
  /// Which change.
  enum class Kind : std::uint8_t { add, remove, rename };

  Kind kind;                            ///< which change
  std::string name;                     ///< the name added or removed; the new one of a rename
  std::string from;                     ///< the old name of a rename
  std::shared_ptr<SimulatedFile> file;  ///< what the name leads to, or led to
  bool kept_clean = false;              ///< a sync failed: it is only written when the directory changes again
};

/// Makes a change, as far as it can be made where others before it were not.
inline void make_change(NameTable& names, const NameChange& change) {
  const auto leads_to_it = [&](const std::string& name) {
    const auto found = names.find(name);
    return found != names.end() && found->second == change.file;
  };
  switch (change.kind) {
    case NameChange::Kind::add:
      names[change.name] = change.file;
      return;
    case NameChange::Kind::remove:
      if (leads_to_it(change.name)) {
        names.erase(change.name);
      }
      return;
    case NameChange::Kind::rename:
      if (leads_to_it(change.from)) {
        names.erase(change.from);
      }
      names[change.name] = change.file;
      return;
  }
}

/// The directory that a file of this absolute name is in.
[[nodiscard]] inline std::string_view directory_of(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  return name.substr(0, std::max<std::size_t>(slash, 1));
}

/// A file system in memory. Copies share it. Any call can be made to fail, and what a power cut would leave can be laid
/// out at any call.
class SimulatedFileSystem {
 public:
  /// An open file.
  using Handle = int;

  /// Holds no files.
  SimulatedFileSystem() : SimulatedFileSystem(DiskState{}, 0) {}

  /// Holds what `disk` holds, durably. What looks random follows from `seed`.
  SimulatedFileSystem(const DiskState& disk, std::uint64_t seed) : state_(std::make_shared<State>(seed)) {
    std::map<const void*, std::shared_ptr<SimulatedFile>> files;
    for (const auto& [name, bytes] : disk) {
      std::shared_ptr<SimulatedFile>& file = files[bytes.get()];
      if (!file) {
        file = std::make_shared<SimulatedFile>();
        file->visible = file->synced = bytes;
      }
      state_->visible[name] = file;
    }
    state_->synced = state_->visible;
  }

  /// From now on `plan` decides about each call before it is made; calls are counted from 0 again. It may look at this
  /// file system. Empty: every call is made.
  void plan(FaultPlan plan) {
    const std::lock_guard guard(state_->mutex);
    state_->plan = std::move(plan);
    state_->calls = 0;
  }

  /// How many calls were made since plan().
  [[nodiscard]] std::size_t calls() const {
    const std::lock_guard guard(state_->mutex);
    return state_->calls;
  }

  /// How many files and locks are open.
  [[nodiscard]] std::size_t open_files() const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.size();
  }

  /// What processes see now: every file's bytes.
  [[nodiscard]] DiskState visible() const {
    const std::lock_guard guard(state_->mutex);
    DiskState all;
    for (const auto& [name, file] : state_->visible) {
      all[name] = file->visible;
    }
    return all;
  }

  /// The same machine after its processes were killed, by which nothing is lost: files are closed and locks given
  /// back, what was not synced still is not. Independent of this one.
  [[nodiscard]] SimulatedFileSystem after_kill() const {
    SimulatedFileSystem next(DiskState{}, random_of(*state_));
    const std::lock_guard guard(state_->mutex);
    std::map<const SimulatedFile*, std::shared_ptr<SimulatedFile>> copies;
    const auto duplicate_of = [&copies](const std::shared_ptr<SimulatedFile>& file) {
      std::shared_ptr<SimulatedFile>& copy = copies[file.get()];
      if (!copy) {
        copy = std::make_shared<SimulatedFile>(*file);
      }
      return copy;
    };
    for (const auto& [name, file] : state_->visible) {
      next.state_->visible[name] = duplicate_of(file);
    }
    for (const auto& [name, file] : state_->synced) {
      next.state_->synced[name] = duplicate_of(file);
    }
    for (NameChange change : state_->unsynced) {
      change.file = duplicate_of(change.file);
      next.state_->unsynced.push_back(std::move(change));
    }
    next.state_->discarded = state_->discarded;
    return next;
  }

  /// The same files, but none of them durable: copies that nobody has synced. Independent of this one.
  [[nodiscard]] SimulatedFileSystem after_restore() const {
    SimulatedFileSystem next(visible(), 0);
    next.state_->random = Random(random_of(*state_));
    next.state_->synced.clear();
    for (const auto& [name, file] : next.state_->visible) {
      file->synced = std::make_shared<const std::vector<std::byte>>();
      file->unsynced.push_back({.kind = FileChange::Kind::write, .offset = 0, .bytes = *file->visible});
      next.state_->unsynced.push_back({.kind = NameChange::Kind::add, .name = name, .from = {}, .file = file});
    }
    return next;
  }

  /// The absolute name: there are no links and no working directory.
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
    const auto found = state_->visible.find(path.native());
    if (mode != OpenMode::create_new) {
      return found == state_->visible.end()
                 ? SystemResult<Handle>{-1, system_error(ENOENT)}
                 : SystemResult<Handle>{new_handle({.file = found->second, .name = path.native()}), {}};
    }
    if (found != state_->visible.end()) {
      return {-1, system_error(EEXIST)};
    }
    auto file = std::make_shared<SimulatedFile>();
    file->status.permissions = permissions;
    change_names({.kind = NameChange::Kind::add, .name = path.native(), .from = {}, .file = file});
    return {new_handle({.file = std::move(file), .name = path.native()}), {}};
  }

  /// Closes the file whatever is planned, as the system does.
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
    const auto found = state_->visible.find(path.native());
    return found == state_->visible.end() ? SystemResult<FileStatus>{{}, system_error(ENOENT)}
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

  /// From then on reads and writes must be of whole, aligned blocks, as of a device that has blocks of
  /// direct_block_bytes. What they write is as volatile as any other: a disk has a cache of its own.
  std::error_code set_direct(Handle handle, bool direct) {
    const Fault fault = before(FileCall::set_direct, name_of(handle));
    if (!fault.error) {
      const std::lock_guard guard(state_->mutex);
      state_->open.at(handle).direct = direct;
    }
    return fault.error;
  }

  /// Does nothing: a disk may write at any time.
  void start_write_back(Handle /*handle*/, std::uint64_t /*offset*/, std::size_t /*bytes*/) const noexcept {}

  std::error_code truncate(Handle handle, std::uint64_t size) {
    const Fault fault = before(FileCall::truncate, name_of(handle), size);
    if (!fault.error) {
      change_file(handle, {.kind = FileChange::Kind::truncate, .offset = size, .bytes = {}});
    }
    return fault.error;
  }

  /// Makes a file's bytes and size, or a directory's names, durable. If it fails, but for EINTR, some of the bytes may
  /// be on the disk all the same, and what is read from now on is as the plan's FailedSync says.
  std::error_code sync(Handle handle) {
    const bool of_directory = !is_file(handle);
    const Fault fault = before(of_directory ? FileCall::sync_directory : FileCall::sync, name_of(handle));
    of_directory ? sync_names(handle, fault) : sync_file(handle, fault);
    return fault.error;
  }

  std::error_code sync_data(Handle handle) {
    const Fault fault = before(FileCall::sync_data, name_of(handle));
    sync_file(handle, fault);
    return fault.error;
  }

  /// Within one directory: what a power cut between two of them leaves is not simulated, EXDEV.
  std::error_code rename(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (const Fault fault = before(FileCall::rename, both(from, to)); fault.error) {
      return fault.error;
    }
    return add_name(from, to, NameChange::Kind::rename);
  }

  std::error_code link(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (const Fault fault = before(FileCall::link, both(from, to)); fault.error) {
      return fault.error;
    }
    return add_name(from, to, NameChange::Kind::add);
  }

  std::error_code remove(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::remove, path.native()); fault.error) {
      return fault.error;
    }
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->visible.find(path.native());
    if (found == state_->visible.end()) {
      return system_error(ENOENT);
    }
    const std::shared_ptr<SimulatedFile> file = found->second;
    change_names({.kind = NameChange::Kind::remove, .name = path.native(), .from = {}, .file = file});
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

  /// There is one process.
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
    explicit State(std::uint64_t seed) : random(seed) {}

    std::mutex mutex;
    NameTable visible;
    NameTable synced;
    std::vector<NameChange> unsynced;  // of names, in order
    SharedBytes discarded;             // the bytes of the file that was the last to lose its name
    // The write that was the last change, if that was a write.
    std::shared_ptr<SimulatedFile> last_written;
    std::map<Handle, OpenFile> open;
    Handle next_handle = 3;
    std::set<std::string> locked;
    Random random;
    FaultPlan plan;
    std::size_t calls = 0;
  };

  static std::uint64_t random_of(State& state) {
    const std::lock_guard guard(state.mutex);
    return state.random.next();
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
    // Without the lock: the plan may look at this file system.
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

  // These are called with the mutex held.
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

  void change_names(NameChange change) {
    const auto loser = state_->visible.find(change.name);
    if (loser != state_->visible.end()) {
      state_->discarded = loser->second->visible;
    }
    make_change(state_->visible, change);
    // The whole directory is written at once: what a failed sync had kept back goes with it.
    for (NameChange& earlier : state_->unsynced) {
      if (directory_of(earlier.name) == directory_of(change.name)) {
        earlier.kept_clean = false;
      }
    }
    state_->unsynced.push_back(std::move(change));
    state_->last_written.reset();
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
    SimulatedFile& file = file_of(handle);
    // Others may share the bytes: the disk, or a copy of this machine.
    auto content = std::make_shared<std::vector<std::byte>>(*file.visible);
    make_change(*content, change);
    file.visible = std::move(content);
    state_->last_written = change.kind == FileChange::Kind::write ? state_->open.at(handle).file : nullptr;
    file.unsynced.push_back(std::move(change));
  }

  std::error_code add_name(const std::filesystem::path& from, const std::filesystem::path& to, NameChange::Kind kind) {
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->visible.find(from.native());
    if (found == state_->visible.end()) {
      return system_error(ENOENT);
    }
    if (directory_of(from.native()) != directory_of(to.native())) {
      return system_error(EXDEV);
    }
    if (kind == NameChange::Kind::add && state_->visible.contains(to.native())) {
      return system_error(EEXIST);
    }
    const std::shared_ptr<SimulatedFile> file = found->second;
    if (const auto other = state_->visible.find(to.native()); other != state_->visible.end() && other->second == file) {
      return {};  // a rename from one name of a file to another does nothing, and leaves both
    }
    change_names({.kind = kind, .name = to.native(), .from = from.native(), .file = file});
    return {};
  }

  static bool loses_nothing(const Fault& fault) { return fault.error == std::errc::interrupted; }

  void sync_file(Handle handle, const Fault& fault) {
    const std::lock_guard guard(state_->mutex);
    state_->last_written.reset();
    SimulatedFile& file = file_of(handle);
    if (!fault.error) {
      file.synced = with_all_changes(file);
      file.unsynced.clear();
      return;
    }
    if (loses_nothing(fault)) {
      return;
    }
    // What of it has reached the disk is decided here, and is not to be changed by a later sync.
    const SharedBytes before = file.synced;
    file.synced = FileOutcomes(file, state_->discarded, state_->random.next()).any(state_->random);
    file.unsynced.clear();
    switch (fault.failed_sync) {
      case FailedSync::kept_clean:
        file.lost_some = true;
        return;
      case FailedSync::dropped: {
        auto content = std::make_shared<std::vector<std::byte>>(*file.synced);
        content->resize(file.visible->size());
        file.visible = std::move(content);
        file.lost_some = false;
        file.unsynced.push_back({.kind = FileChange::Kind::truncate, .offset = file.visible->size(), .bytes = {}});
        return;
      }
      case FailedSync::reverted:
        file.visible = file.synced = before;
        file.lost_some = false;
        return;
    }
  }

  void sync_names(Handle handle, const Fault& fault) {
    const std::lock_guard guard(state_->mutex);
    state_->last_written.reset();
    const std::string& directory = state_->open.at(handle).name;
    const auto is_of_it = [&](const NameChange& change) { return directory_of(change.name) == directory; };
    if (loses_nothing(fault)) {
      return;
    }
    if (fault.error && fault.failed_sync == FailedSync::kept_clean) {
      for (NameChange& change : state_->unsynced) {
        change.kept_clean = change.kept_clean || is_of_it(change);
      }
      return;
    }
    if (!fault.error) {
      const auto is_written = [&](const NameChange& change) { return is_of_it(change) && !change.kept_clean; };
      for (const NameChange& change : state_->unsynced) {
        if (is_written(change)) {
          make_change(state_->synced, change);
        }
      }
      std::erase_if(state_->unsynced, is_written);
      return;
    }
    // Names are not read from anywhere but the directory: dropped is reverted.
    std::erase_if(state_->unsynced, is_of_it);
    std::erase_if(state_->visible, [&](const auto& entry) { return directory_of(entry.first) == directory; });
    for (const auto& [name, file] : state_->synced) {
      if (directory_of(name) == directory) {
        state_->visible[name] = file;
      }
    }
  }

  std::shared_ptr<State> state_;
};

static_assert(FileSystem<SimulatedFileSystem>);

}  // namespace testing
}  // namespace iqdb
