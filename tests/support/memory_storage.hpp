// A Storage that has no files: names and bytes in memory. Copies and moved-to objects share one store.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"

namespace iqdb_test {

/// Some bytes as a ReadableFile.
class MemoryFile {
 public:
  explicit MemoryFile(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return bytes_.size(); }

  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    const auto begin = static_cast<std::size_t>(std::min<std::uint64_t>(offset, bytes_.size()));
    const std::size_t count = std::min(into.size(), bytes_.size() - begin);
    std::ranges::copy(std::span(bytes_).subspan(begin, count), into.begin());
    return count;
  }

 private:
  std::vector<std::byte> bytes_;
};

class MemoryStorage {
  using Bytes = std::vector<std::byte>;

  struct State {
    std::map<std::filesystem::path, Bytes> files;
    std::set<std::filesystem::path> locked;
    std::function<void(std::string_view)> before;
    std::uint64_t logs = 0;

    void announce(std::string_view what) const {
      if (before) {
        before(what);
      }
    }
  };

 public:
  using File = MemoryFile;

  class Lock {
   public:
    Lock(std::shared_ptr<State> state, std::filesystem::path path) : state_(std::move(state)), path_(std::move(path)) {}
    Lock(Lock&&) = default;
    Lock& operator=(Lock&& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(path_, other.path_);
      return *this;
    }
    ~Lock() {
      if (state_) {
        state_->locked.erase(path_);
      }
    }

    /// A fork has a store of its own.
    [[nodiscard]] bool inherited() const noexcept { return false; }

   private:
    std::shared_ptr<State> state_;
    std::filesystem::path path_;
  };

  class Replacement {
   public:
    Replacement(std::shared_ptr<State> state, std::filesystem::path path)
        : state_(std::move(state)), path_(std::move(path)) {}

    void append(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
      std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void sync() { state_->announce("sync the new file"); }
    void rename() {
      state_->announce("rename");
      state_->files[path_] = std::move(bytes_);
    }
    [[nodiscard]] bool in_doubt() const noexcept { return false; }
    void sync_directory() { state_->announce("sync the directory"); }

   private:
    friend MemoryStorage;
    std::shared_ptr<State> state_;
    std::filesystem::path path_;
    Bytes bytes_;
  };

  class Log {
   public:
    Log(std::shared_ptr<State> state, std::filesystem::path path) : state_(std::move(state)), path_(std::move(path)) {}

    void append(std::span<const std::byte> bytes) {
      state_->announce("write the log");
      Bytes& file = state_->files[path_];
      file.insert(file.end(), bytes.begin(), bytes.end());
    }
    void sync() { state_->announce("sync the log"); }
    void finish(std::span<const std::byte> bytes) {
      append(bytes);
      sync();
    }
    [[nodiscard]] bool usable() const noexcept { return true; }

   private:
    std::shared_ptr<State> state_;
    std::filesystem::path path_;
  };

  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) const { return path; }

  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) const {
    const auto found = state().files.find(path);
    return found == state().files.end() ? std::nullopt : std::optional<File>(std::in_place, found->second);
  }

  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path, const Lock& /*held*/) const {
    return open(path);
  }

  /// Never waits: nobody else could let go meanwhile.
  [[nodiscard]] Lock lock(const std::filesystem::path& path, std::chrono::milliseconds /*patience*/ = {}) {
    if (!state().locked.insert(path).second) {
      throw iqdb::PersistError(iqdb::PersistErrorKind::locked, "somebody else holds it", {.path = path});
    }
    return {state_, path};
  }

  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& /*held*/) {
    static_cast<void>(state());
    return {state_, path};
  }

  void remove(const std::filesystem::path& path, const Lock& /*held*/) { state().files.erase(path); }

  [[nodiscard]] Log open_log(Replacement&& replacement, iqdb::LogOptions /*options*/) {
    static_cast<void>(state());
    return {state_, std::move(replacement.path_)};
  }

  [[nodiscard]] std::uint64_t new_log_id() { return 0x1000 + ++state().logs; }

  void sync(const std::filesystem::path& path, const Lock& /*held*/) {
    if (state().files.contains(path)) {
      state().announce("sync a file");
    }
  }

  void sync_directory(const Lock& /*held*/) { state().announce("sync the directory"); }

  void keep(const std::filesystem::path& path, const std::filesystem::path& aside, const Lock& /*held*/) {
    state().announce("keep");
    state().files[aside] = state().files.at(path);
  }

  [[nodiscard]] std::vector<std::filesystem::path> names(const Lock& /*held*/) const { return names_beside({}); }
  [[nodiscard]] std::vector<std::filesystem::path> names_beside(const std::filesystem::path& /*path*/) const {
    std::vector<std::filesystem::path> names;
    for (const auto& [name, bytes] : state().files) {
      names.push_back(name);
    }
    return names;
  }

  /// What is stored, to be looked at and changed.
  [[nodiscard]] std::map<std::filesystem::path, Bytes>& files() { return state().files; }

  /// Calls `before` with the name of each call that changes or syncs something, before it does: it may throw.
  void watch(std::function<void(std::string_view)> before) { state().before = std::move(before); }

 private:
  [[nodiscard]] State& state() const {
    if (!state_) {
      throw std::logic_error("a storage was used after it had been moved from");
    }
    return *state_;
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

static_assert(iqdb::ReadableFile<MemoryFile>);
static_assert(iqdb::Storage<MemoryStorage>);

}  // namespace iqdb_test
