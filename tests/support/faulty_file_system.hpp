// A FileSystem that writes down what is asked of it and, where a test wants it, fails.
//
// What it does not fail reaches the real file system. A call that is made to fail does nothing, but for close and
// unlock: the system closes a file whatever it answers.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/file_call.hpp"

namespace iqdb_test {

using iqdb::testing::Fault;
using iqdb::testing::FaultPlan;
using iqdb::testing::FileCall;
using iqdb::testing::system_error;
using CallRecord = iqdb::testing::FileCallRecord;

/// The n-th call, counted from 0, fails.
[[nodiscard]] inline FaultPlan fail_call(std::size_t n, int error) {
  return [n, error](const CallRecord& call) { return Fault{.error = system_error(call.number == n ? error : 0)}; };
}

/// The n-th call and all behind it fail.
[[nodiscard]] inline FaultPlan fail_from_call(std::size_t n, int error) {
  return [n, error](const CallRecord& call) { return Fault{.error = system_error(call.number >= n ? error : 0)}; };
}

/// The n-th call, counted from 0, moves at most so many bytes, and the calls behind it fail: what a disk that runs full
/// answers to a large write.
[[nodiscard]] inline FaultPlan cut_call_short(std::size_t n, std::size_t most_bytes, int error) {
  return [n, most_bytes, error](const CallRecord& call) {
    return call.number == n  ? Fault{.error = {}, .most_bytes = most_bytes}
           : call.number > n ? Fault{.error = system_error(error)}
                             : Fault{};
  };
}

/// Every call of one sort fails.
[[nodiscard]] inline FaultPlan fail_every(FileCall which, int error) {
  return
      [which, error](const CallRecord& call) { return Fault{.error = system_error(call.call == which ? error : 0)}; };
}

class FaultyFileSystem {
 public:
  using Handle = iqdb::NativeFileSystem::Handle;

  /// What all copies share.
  struct State {
    std::mutex mutex;
    FaultPlan plan;
    std::vector<CallRecord> calls;
    bool direct = false;
    bool renames_all_the_same = false;
    std::map<Handle, std::pair<std::string, bool>> open;  // handle -> name, whether it is a directory
  };

  /// From now on this is done to calls, which are counted from 0 again.
  void plan(FaultPlan plan) {
    const std::lock_guard guard(state_->mutex);
    state_->plan = std::move(plan);
    state_->calls.clear();
  }

  /// From now on files can be written past the page cache, as far as the real file system knows that.
  void allow_direct() {
    const std::lock_guard guard(state_->mutex);
    state_->direct = true;
  }

  /// From now on a rename that is made to fail is done all the same: what a network file system does whose answer was
  /// lost.
  void rename_all_the_same() {
    const std::lock_guard guard(state_->mutex);
    state_->renames_all_the_same = true;
  }

  /// The calls made since plan().
  [[nodiscard]] std::vector<CallRecord> calls() const {
    const std::lock_guard guard(state_->mutex);
    return state_->calls;
  }

  /// How many files are open by calls through this.
  [[nodiscard]] std::size_t open_files() const {
    const std::lock_guard guard(state_->mutex);
    return state_->open.size();
  }

  iqdb::SystemResult<std::filesystem::path> resolve(const std::filesystem::path& path) {
    if (const Fault fault = before(FileCall::resolve, path); fault.error) {
      return {{}, fault.error};
    }
    return real_.resolve(path);
  }

  iqdb::SystemResult<Handle> open(const std::filesystem::path& path, iqdb::OpenMode mode, std::uint32_t permissions) {
    return opened_by(path, mode, [&] { return real_.open(path, mode, permissions); });
  }

  iqdb::SystemResult<Handle> open(Handle directory, const std::filesystem::path& name, iqdb::OpenMode mode,
                                  std::uint32_t permissions) {
    return opened_by(name, mode, [&] { return real_.open(directory, name, mode, permissions); });
  }

  std::error_code close(Handle handle) {
    const Fault fault = before(FileCall::close, handle);
    closed(handle);
    const std::error_code error = real_.close(handle);
    return fault.error ? fault.error : error;
  }

  iqdb::SystemResult<iqdb::FileStatus> status(const std::filesystem::path& path) {
    const Fault fault = before(FileCall::status, path);
    return fault.error ? iqdb::SystemResult<iqdb::FileStatus>{{}, fault.error} : real_.status(path);
  }

  iqdb::SystemResult<iqdb::FileStatus> status(Handle directory, const std::filesystem::path& name) {
    const Fault fault = before(FileCall::status, name);
    return fault.error ? iqdb::SystemResult<iqdb::FileStatus>{{}, fault.error} : real_.status(directory, name);
  }

  iqdb::SystemResult<iqdb::FileStatus> status(Handle handle) {
    if (const Fault fault = before(FileCall::status_of_open, handle); fault.error) {
      return {{}, fault.error};
    }
    return real_.status(handle);
  }

  std::error_code set_owner(Handle handle, const iqdb::FileStatus& status) {
    const Fault fault = before(FileCall::set_owner, handle);
    return fault.error ? fault.error : real_.set_owner(handle, status);
  }

  std::error_code set_group(Handle handle, const iqdb::FileStatus& status) {
    const Fault fault = before(FileCall::set_group, handle);
    return fault.error ? fault.error : real_.set_group(handle, status);
  }

  std::error_code set_permissions(Handle handle, const iqdb::FileStatus& status) {
    const Fault fault = before(FileCall::set_permissions, handle);
    return fault.error ? fault.error : real_.set_permissions(handle, status);
  }

  iqdb::SystemResult<std::vector<std::byte>> acl(Handle directory, const std::filesystem::path& name) {
    if (const Fault fault = before(FileCall::acl, name); fault.error) {
      return {{}, fault.error};
    }
    return real_.acl(directory, name);
  }

  std::error_code set_acl(Handle handle, std::span<const std::byte> list) {
    const Fault fault = before(FileCall::set_acl, handle);
    return fault.error ? fault.error : real_.set_acl(handle, list);
  }

  iqdb::SystemResult<std::size_t> read_at(Handle handle, std::uint64_t offset, std::span<std::byte> into) {
    const Fault fault = before(FileCall::read, handle, offset, into.size());
    if (fault.error) {
      return {0, fault.error};
    }
    return real_.read_at(handle, offset, into.first(std::min(into.size(), fault.most_bytes.value_or(into.size()))));
  }

  iqdb::SystemResult<std::size_t> write_at(Handle handle, std::uint64_t offset, std::span<const std::byte> bytes) {
    const Fault fault = before(FileCall::write, handle, offset, bytes.size());
    if (fault.error) {
      return {0, fault.error};
    }
    return real_.write_at(handle, offset, bytes.first(std::min(bytes.size(), fault.most_bytes.value_or(bytes.size()))));
  }

  std::error_code sync(Handle handle) {
    const Fault fault = before(is_directory(handle) ? FileCall::sync_directory : FileCall::sync, handle);
    return fault.error ? fault.error : real_.sync(handle);
  }

  std::error_code set_direct(Handle handle, bool direct) {
    {
      const std::lock_guard guard(state_->mutex);
      if (!state_->direct) {
        return system_error(EINVAL);
      }
    }
    const Fault fault = before(FileCall::set_direct, handle);
    return fault.error ? fault.error : real_.set_direct(handle, direct);
  }

  void start_write_back(Handle handle, std::uint64_t offset, std::size_t bytes) {
    real_.start_write_back(handle, offset, bytes);
  }

  std::error_code truncate(Handle handle, std::uint64_t size) {
    const Fault fault = before(FileCall::truncate, handle, size);
    return fault.error ? fault.error : real_.truncate(handle, size);
  }

  std::error_code sync_data(Handle handle) {
    const Fault fault = before(FileCall::sync_data, handle);
    return fault.error ? fault.error : real_.sync_data(handle);
  }

  std::error_code link(Handle directory, const std::filesystem::path& from, const std::filesystem::path& to) {
    const Fault fault = before(FileCall::link, from.string() + " to " + to.string());
    return fault.error ? fault.error : real_.link(directory, from, to);
  }

  /// Not written down: they ask nothing of a disk.
  std::int64_t process() const { return real_.process(); }
  iqdb::SystemResult<std::uint64_t> random() const { return real_.random(); }

  std::error_code rename(Handle directory, const std::filesystem::path& from, const std::filesystem::path& to) {
    const Fault fault = before(FileCall::rename, from.string() + " to " + to.string());
    if (fault.error && !state_->renames_all_the_same) {
      return fault.error;
    }
    const std::error_code error = real_.rename(directory, from, to);
    return fault.error ? fault.error : error;
  }

  std::error_code remove(Handle directory, const std::filesystem::path& name) {
    const Fault fault = before(FileCall::remove, name);
    return fault.error ? fault.error : real_.remove(directory, name);
  }

  iqdb::SystemResult<std::vector<std::filesystem::path>> names(Handle directory) {
    if (const Fault fault = before(FileCall::names, directory); fault.error) {
      return {{}, fault.error};
    }
    return real_.names(directory);
  }

  iqdb::SystemResult<std::size_t> name_limit(Handle directory) {
    if (const Fault fault = before(FileCall::name_limit, directory); fault.error) {
      return {0, fault.error};
    }
    return real_.name_limit(directory);
  }

  iqdb::SystemResult<bool> is_mount_point(Handle directory, const std::filesystem::path& name) {
    if (const Fault fault = before(FileCall::is_mount_point, name); fault.error) {
      return {false, fault.error};
    }
    return real_.is_mount_point(directory, name);
  }

  iqdb::SystemResult<Handle> lock(Handle directory, const std::filesystem::path& name) {
    if (const Fault fault = before(FileCall::lock, name); fault.error) {
      return {Handle{}, fault.error};
    }
    return opened(real_.lock(directory, name), name, false);
  }

  void abandon(Handle handle) {
    before(FileCall::abandon, handle);
    closed(handle);
    real_.abandon(handle);
  }

  void unlock(Handle handle) {
    before(FileCall::unlock, handle);
    closed(handle);
    real_.unlock(handle);
  }

 private:
  template <class Open>
  iqdb::SystemResult<Handle> opened_by(const std::filesystem::path& name, iqdb::OpenMode mode, Open&& open) {
    const FileCall call = mode == iqdb::OpenMode::read        ? FileCall::open
                          : mode == iqdb::OpenMode::write     ? FileCall::open_to_write
                          : mode == iqdb::OpenMode::directory ? FileCall::open_directory
                                                              : FileCall::create;
    if (const Fault fault = before(call, name); fault.error) {
      return {Handle{}, fault.error};
    }
    return opened(open(), name, mode == iqdb::OpenMode::directory);
  }

  Fault before(FileCall call, std::string file, std::uint64_t offset = 0, std::size_t bytes = 0) {
    const std::lock_guard guard(state_->mutex);
    state_->calls.push_back(
        {.call = call, .file = std::move(file), .offset = offset, .bytes = bytes, .number = state_->calls.size()});
    return state_->plan ? state_->plan(state_->calls.back()) : Fault{};
  }
  Fault before(FileCall call, const std::filesystem::path& path) {
    return before(call, call == FileCall::open_directory ? std::string(".") : path.filename().string());
  }
  Fault before(FileCall call, Handle handle, std::uint64_t offset = 0, std::size_t bytes = 0) {
    std::string name = "a file that is not open";
    {
      const std::lock_guard guard(state_->mutex);
      if (const auto found = state_->open.find(handle); found != state_->open.end()) {
        name = found->second.first;
      }
    }
    return before(call, std::move(name), offset, bytes);
  }

  iqdb::SystemResult<Handle> opened(iqdb::SystemResult<Handle> result, const std::filesystem::path& path,
                                    bool directory) {
    if (!result.error) {
      const std::lock_guard guard(state_->mutex);
      state_->open[result.value] = {directory ? std::string(".") : path.filename().string(), directory};
    }
    return result;
  }
  void closed(Handle handle) {
    const std::lock_guard guard(state_->mutex);
    state_->open.erase(handle);
  }
  [[nodiscard]] bool is_directory(Handle handle) const {
    const std::lock_guard guard(state_->mutex);
    const auto found = state_->open.find(handle);
    return found != state_->open.end() && found->second.second;
  }

  iqdb::NativeFileSystem real_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

static_assert(iqdb::FileSystem<FaultyFileSystem>);

using FaultyStorage = iqdb::BasicFileStorage<FaultyFileSystem>;

}  // namespace iqdb_test
