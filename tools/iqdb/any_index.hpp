// An index of any type that this program was built with, for commands that do not care which.
//
// Each type is compiled in a file of its own, because the library of a type may be missing: any_index.cpp has those of this
// library, decode_NAME.cpp the adapter to NAME.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/types.hpp"
#include "object_place.hpp"

namespace iqdb_tool {

/// An index in memory.
class AnyIndex {
 public:
  using Visit = std::function<void(const iqdb::VectorId& id, std::span<const float> vector,
                                   const std::optional<iqdb::Metadata>& metadata)>;

  AnyIndex() = default;
  AnyIndex(const AnyIndex&) = delete;
  AnyIndex& operator=(const AnyIndex&) = delete;
  virtual ~AnyIndex() = default;

  [[nodiscard]] virtual std::string_view type() const = 0;  ///< on disk
  [[nodiscard]] virtual std::size_t size() const = 0;
  [[nodiscard]] virtual std::size_t dim() const = 0;
  [[nodiscard]] virtual iqdb::DistanceMetric metric() const = 0;
  [[nodiscard]] virtual bool contains(const iqdb::VectorId& id) const = 0;

  /// Calls `visit` for each vector in the form in which it is kept.
  virtual void each(const Visit& visit) const = 0;

  /// Throws IndexError for a query that the index does not take.
  [[nodiscard]] virtual std::vector<iqdb::Hit> search(std::span<const float> query,
                                                      const iqdb::SearchParams& params) const = 0;

  /// Adds the vectors of a run, in the threads of `helpers` where the type can do that. Throws IndexError, which names the
  /// vector, for one that the index does not take, also for an identifier that is there already.
  virtual void insert(const iqdb::InsertRun& run, iqdb::HelperThreads& helpers) = 0;

  /// Writes a snapshot at `config.path`, a resolved name, under its lock. A log that is there is removed just before: it
  /// continues another snapshot. Throws as iqdb::save_snapshot does.
  virtual iqdb::SnapshotInfo save(iqdb::FileStorage& storage, const iqdb::FileStorage::Lock& lock,
                                  const iqdb::PersistConfig& config) const = 0;

  /// Stores a snapshot as the index of this name, of which the store has nothing yet, and closes its log. Throws PersistError
  /// would_discard_snapshot or would_discard_log if there is one; and what the store throws.
  virtual iqdb::SnapshotInfo store(ObjectStorage& storage, const iqdb::PersistConfig& config) const = 0;

  /// Writes a file that the library of this type loads. Throws IndexError for an identifier that the library does not have,
  /// PersistError unsupported if the type has no library.
  virtual void export_to(const std::filesystem::path& path) const = 0;
};

/// What a checkpoint has done.
struct Checkpointed {
  iqdb::RecoveryReport log;
  iqdb::SnapshotInfo snapshot;
  std::uint64_t lsn = 0;
};

/// A kind of index that can be made anew.
struct IndexKind {
  std::string_view name;  ///< on the command line
  /// Makes an empty one. `training` is some of the rows that it will get, for a kind that learns from them. Throws
  /// IndexError for a dimension or a metric that it does not have.
  std::unique_ptr<AnyIndex> (*make)(std::size_t dim, iqdb::DistanceMetric metric, std::span<const float> training);
  bool learns = false;  ///< whether it needs `training`
};

/// A type of index.
struct IndexType {
  std::string_view name;     ///< on disk
  std::string_view library;  ///< whose own files can be read and written; empty if there is none
  std::vector<IndexKind> kinds;
  /// Loads the snapshot at config.path, also the address of an index on an object store, and its log, and writes nothing.
  /// Throws as PersistedIndex::load does.
  std::unique_ptr<AnyIndex> (*load)(const iqdb::PersistConfig& config);
  /// Loads the index at config.path, and makes a checkpoint. Throws as PersistedIndex does.
  Checkpointed (*checkpoint)(const iqdb::PersistConfig& config);
  /// The same for the index of this name on an object store.
  Checkpointed (*checkpoint_objects)(const iqdb::PersistConfig& config, ObjectStorage storage);
  /// Loads a file of the library; null without one. `dim` is what the file's head says.
  std::unique_ptr<AnyIndex> (*import)(const std::filesystem::path& path, std::size_t dim,
                                      std::optional<iqdb::DistanceMetric> metric) = nullptr;
};

/// The types that this program was built with.
[[nodiscard]] const std::vector<IndexType>& index_types();

/// The type of this name on disk, or null.
[[nodiscard]] const IndexType* find_index_type(std::string_view name);

/// A kind, and its type.
struct NamedKind {
  const IndexType* type = nullptr;
  const IndexKind* kind = nullptr;
};

/// The kind of this name. Throws PersistError invalid_config, with those that there are.
[[nodiscard]] NamedKind kind_named(std::string_view name);

/// The type whose library this is, or null.
[[nodiscard]] const IndexType* find_type_of_library(std::string_view library);

/// The type of the snapshot at `path`, also the address of an index on an object store. Throws PersistError unsupported for one
/// that this program does not have, and as iqdb::read_header does.
[[nodiscard]] const IndexType& index_type_at(const std::filesystem::path& path);

/// Loads the index at `path`, also the address of one on an object store, with its log, writes nothing, and shows how far it is
/// on a terminal. With `up_to` it is as it was behind that mutation. Throws as index_type_at() and IndexType::load do.
[[nodiscard]] std::unique_ptr<AnyIndex> load_index(const std::filesystem::path& path, unsigned helper_threads,
                                                   std::optional<std::uint64_t> up_to = {});

[[nodiscard]] IndexType hnswlib_type();
[[nodiscard]] IndexType faiss_type();
[[nodiscard]] IndexType usearch_type();

}  // namespace iqdb_tool
