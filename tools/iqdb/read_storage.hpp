// A storage that reads indexes of both kinds, those of files and those on an object store, and writes files.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/names.hpp"
#include "iqdb/persist/storage/past_cache.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "object_place.hpp"

namespace iqdb_tool {

/// A Storage. A path that is the address of an index on an object store is read there, and nothing is stored there.
class ReadStorage {
 public:
  using Lock = iqdb::FileStorage::Lock;
  using Replacement = iqdb::FileStorage::Replacement;
  using Log = iqdb::FileStorage::Log;

  /// A file, or what stands for one in an object store.
  class File {
   public:
    explicit File(iqdb::FileStorage::File file) : file_(std::move(file)) {}
    explicit File(ObjectStorage::File file) : file_(std::move(file)) {}

    [[nodiscard]] std::uint64_t size() const {
      return std::visit([](const auto& file) { return file.size(); }, file_);
    }
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
      return std::visit([&](auto& file) { return file.read_at(offset, into); }, file_);
    }
    [[nodiscard]] bool open_past_cache() {
      if constexpr (iqdb::ReadablePastCache<iqdb::FileStorage::File>) {
        if (auto* const file = std::get_if<iqdb::FileStorage::File>(&file_)) {
          return file->open_past_cache();
        }
      }
      return false;
    }
    std::optional<std::size_t> read_past_cache(std::uint64_t offset, std::span<std::byte> into) {
      if constexpr (iqdb::ReadablePastCache<iqdb::FileStorage::File>) {
        if (auto* const file = std::get_if<iqdb::FileStorage::File>(&file_)) {
          return file->read_past_cache(offset, into);
        }
      }
      return std::nullopt;
    }
    void refresh() {
      if (auto* const file = std::get_if<iqdb::FileStorage::File>(&file_)) {
        file->refresh();
      }
    }

   private:
    std::variant<iqdb::FileStorage::File, ObjectStorage::File> file_;
  };

  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) {
    return iqdb::is_object_address(path.native()) ? path : files_.resolve(path);
  }

  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) {
    if (!iqdb::is_object_address(path.native())) {
      return as_file(files_.open(path));
    }
    const ObjectPlace place = object_place(path.native(), Access::reads);
    std::filesystem::path name = place.address.name;
    if (path.native() != place.text) {
      name += ".wal";
    }
    return as_file(objects_of(place).open(name));
  }
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path, const Lock& lock) {
    return as_file(files_.open(path, lock));
  }

  [[nodiscard]] Lock lock(const std::filesystem::path& path, std::chrono::milliseconds patience) {
    return files_.lock(path, patience);
  }
  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& lock) {
    return files_.replace(path, lock);
  }
  void remove(const std::filesystem::path& path, const Lock& lock) { files_.remove(path, lock); }
  [[nodiscard]] std::uint64_t new_log_id() { return files_.new_log_id(); }
  void sync(const std::filesystem::path& path, const Lock& lock) { files_.sync(path, lock); }
  void sync_directory(const Lock& lock) { files_.sync_directory(lock); }
  [[nodiscard]] Log open_log(Replacement replacement, iqdb::LogOptions options) {
    return files_.open_log(std::move(replacement), options);
  }
  void keep(const std::filesystem::path& path, const std::filesystem::path& name, const Lock& lock) {
    files_.keep(path, name, lock);
  }

  [[nodiscard]] std::vector<std::filesystem::path> names(const Lock& lock) { return files_.names(lock); }
  [[nodiscard]] std::vector<std::filesystem::path> names_beside(const std::filesystem::path& path) {
    if (!iqdb::is_object_address(path.native())) {
      return files_.names_beside(path);
    }
    const ObjectPlace place = object_place(path.native(), Access::reads);
    return objects_of(place).names_beside(place.address.name);
  }
  [[nodiscard]] std::optional<std::uint64_t> snapshot_lsn(const std::filesystem::path& path) {
    if (!iqdb::is_object_address(path.native())) {
      return std::nullopt;
    }
    const ObjectPlace place = object_place(path.native(), Access::reads);
    return objects_of(place).snapshot_lsn(place.address.name);
  }

 private:
  // The storage of the store that `place` lies in. It remembers the list of older states that it read last.
  [[nodiscard]] ObjectStorage& objects_of(const ObjectPlace& place) {
    std::string store = place.text.substr(0, place.text.size() - place.address.name.size());
    if (!objects_ || store_ != store) {
      objects_.emplace(place.storage());
      store_ = std::move(store);
    }
    std::ignore = objects_->resolve(place.address.name);  // throws unless it can be the name of an index
    return *objects_;
  }

  template <class F>
  static std::optional<File> as_file(std::optional<F> file) {
    return file ? std::optional<File>(File(std::move(*file))) : std::nullopt;
  }

  iqdb::FileStorage files_;
  std::optional<ObjectStorage> objects_;
  std::string store_;  // that of objects_, as the beginning of an address
};

static_assert(iqdb::Storage<ReadStorage> && iqdb::TellsSnapshotLsn<ReadStorage>);

}  // namespace iqdb_tool
