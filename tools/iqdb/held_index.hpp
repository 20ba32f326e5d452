// The one implementation of AnyIndex, a template over the type of the index.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "any_index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/save_alone.hpp"
#include "object_place.hpp"
#include "read_storage.hpp"

namespace iqdb_tool {

/// How a type writes files of its library; null for one without.
template <class I>
using Export = void (*)(const I& index, const std::filesystem::path& path);

template <class I>
class HeldIndex final : public AnyIndex {
 public:
  HeldIndex(I index, Export<I> exports) : index_(std::move(index)), exports_(exports) {}

  [[nodiscard]] std::string_view type() const override { return I::index_type; }
  [[nodiscard]] std::size_t size() const override { return index_.size(); }
  [[nodiscard]] std::size_t dim() const override { return index_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const override { return index_.metric(); }
  [[nodiscard]] bool contains(const iqdb::VectorId& id) const override { return index_.contains(id); }
  void each(const Visit& visit) const override { index_.for_each(visit); }

  [[nodiscard]] std::vector<iqdb::Hit> search(std::span<const float> query,
                                              const iqdb::SearchParams& params) const override {
    return index_.search(query, params);
  }

  void insert(const iqdb::InsertRun& run, iqdb::HelperThreads& helpers) override {
    if constexpr (iqdb::InsertsMany<I>) {
      if (iqdb::insert_run(index_, run, helpers)) {
        return;
      }
    }
    const iqdb::InsertedRows rows = run.rows();
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const iqdb::VectorId& id = rows.ids[row];
      if (index_.contains(id)) {  // an index of the type iqdb-core would replace its vector
        throw iqdb::IndexError(iqdb::IndexErrorKind::duplicate, "two vectors have the identifier " + to_string(id));
      }
      try {
        index_.insert(id, rows.vectors.subspan(row * dim(), dim()), rows.metadata[row]);
      } catch (const iqdb::IndexError& error) {
        throw iqdb::IndexError(error.kind(), "the vector " + to_string(id) +
                                                 " cannot be kept by an index of the type " + std::string(type()) +
                                                 ": " + error.what());
      }
    }
  }

  iqdb::SnapshotInfo save(iqdb::FileStorage& storage, const iqdb::FileStorage::Lock& lock,
                          const iqdb::PersistConfig& config) const override {
    auto written = iqdb::write_snapshot(index_, storage, lock, config.path, config);
    // Otherwise the rename could reach the disk before the bytes, and after a crash the name would lead to an empty file.
    written.file.sync();
    // Before the rename: beside the new snapshot, the old log would be one that continues another snapshot.
    storage.remove(iqdb::log_path(config.path), lock);
    written.file.rename();
    // Otherwise a crash could undo the rename after the command said that the index is there.
    written.file.sync_directory();
    return written.info;
  }

  iqdb::SnapshotInfo store(ObjectStorage& storage, const iqdb::PersistConfig& config) const override {
    // Not a copy of an index that lies there: no index has this name.
    const std::filesystem::path own(".wal");
    return iqdb::save_copy_at(index_, storage, storage.resolve(config.path), own, config);
  }

  void export_to(const std::filesystem::path& path) const override {
    if (exports_ == nullptr) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::unsupported,
                                "an index of the type " + std::string(type()) + " has no files of another library");
    }
    exports_(index_, path);
  }

 private:
  I index_;
  Export<I> exports_;
};

template <class I>
[[nodiscard]] std::unique_ptr<AnyIndex> held(I index, Export<I> exports = nullptr) {
  return std::make_unique<HeldIndex<I>>(std::move(index), exports);
}

/// IndexType::load of a type.
template <class I, Export<I> exports = nullptr>
[[nodiscard]] std::unique_ptr<AnyIndex> load_as(const iqdb::PersistConfig& config) {
  ReadStorage storage;
  const std::filesystem::path path = storage.resolve(config.path);
  return iqdb::naming_file(config.path,
                           [&] { return held<I>(iqdb::load_read_only<I>(storage, path, config).index, exports); });
}

/// Makes a checkpoint of an index that was loaded, and ends it in order.
template <class Database>
[[nodiscard]] Checkpointed checkpoint_of(Database index) {
  Checkpointed made{.log = index.recovery(), .snapshot = index.checkpoint(), .lsn = index.lsn()};
  index.close();
  return made;
}

/// IndexType::checkpoint of a type.
template <class I>
[[nodiscard]] Checkpointed checkpoint_as(const iqdb::PersistConfig& config) {
  return checkpoint_of(iqdb::PersistedIndex<I>::load(config));
}

/// IndexType::checkpoint_objects of a type.
template <class I>
[[nodiscard]] Checkpointed checkpoint_objects_as(const iqdb::PersistConfig& config, ObjectStorage storage) {
  return checkpoint_of(iqdb::PersistedIndex<I, ObjectStorage>::load(config, std::move(storage)));
}

}  // namespace iqdb_tool
