// A Storage that has no files: names and bytes in memory. Copies and moved-to objects share one store.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage.hpp"

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
  struct State {
    std::map<std::filesystem::path, std::vector<std::byte>> files;
    std::set<std::filesystem::path> locked;
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
    void commit() { state_->files[path_] = std::move(bytes_); }

   private:
    std::shared_ptr<State> state_;
    std::filesystem::path path_;
    std::vector<std::byte> bytes_;
  };

  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) const { return path; }

  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) const {
    const auto found = state_->files.find(path);
    return found == state_->files.end() ? std::nullopt : std::optional<File>(std::in_place, found->second);
  }

  [[nodiscard]] Lock lock(const std::filesystem::path& path) {
    if (!state_->locked.insert(path).second) {
      throw iqdb::PersistError(iqdb::PersistErrorKind::locked, "somebody else holds it", {.path = path});
    }
    return {state_, path};
  }

  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& /*held*/) { return {state_, path}; }

  void remove(const std::filesystem::path& path, const Lock& /*held*/) { state_->files.erase(path); }

  /// What is stored, to be looked at and changed.
  [[nodiscard]] std::map<std::filesystem::path, std::vector<std::byte>>& files() { return state_->files; }

 private:
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

static_assert(iqdb::ReadableFile<MemoryFile>);
static_assert(iqdb::Storage<MemoryStorage>);

}  // namespace iqdb_test
