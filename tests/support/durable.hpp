// Durable indexes in a directory of their own, and what a load makes of the files that a crash would leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace iqdb_test {

using DurableIndex = iqdb::PersistedIndex<iqdb::FlatIndex>;

/// The dimension of every index here: small, so that logs are.
inline constexpr std::size_t durable_dim = 2;

[[nodiscard]] inline iqdb::FlatIndex empty_index() {
  return iqdb::FlatIndex(durable_dim, iqdb::DistanceMetric::euclidean);
}

/// The vector that belongs to an identifier.
[[nodiscard]] inline std::vector<float> vector_of(std::uint64_t id) {
  return {static_cast<float>(id), -0.5F * static_cast<float>(id)};
}

/// An index with the rows of these identifiers, in this order.
[[nodiscard]] inline iqdb::FlatIndex index_of(const std::vector<std::uint64_t>& ids) {
  iqdb::FlatIndex index = empty_index();
  for (const std::uint64_t id : ids) {
    index.insert(id, std::span<const float>(vector_of(id)));
  }
  return index;
}

/// Inserts the row of an identifier.
template <class D>
void insert_row(D& db, std::uint64_t id) {
  const std::vector<float> vector = vector_of(id);
  db.insert(id, std::span<const float>(vector));
}

/// A batch that inserts a row twice. No check of an index can tell that it will reject the second: it depends on the
/// first.
[[nodiscard]] inline iqdb::WriteBatch twice(std::uint64_t id) {
  iqdb::WriteBatch batch;
  insert_row(batch, id);
  insert_row(batch, id);
  return batch;
}

/// The identifiers of an index's rows, in order; every row must be the one that belongs to its identifier.
[[nodiscard]] inline std::vector<std::uint64_t> ids_of(const iqdb::FlatIndex& index) {
  std::vector<std::uint64_t> ids;
  for (const SampleRow& row : rows_of(index)) {
    if (!row.id.is_integer() || !same_vector(row.vector, vector_of(row.id.integer()))) {
      throw std::runtime_error("a row is not what was inserted: " + to_string(row.id));
    }
    ids.push_back(row.id.integer());
  }
  return ids;
}

using Ids = std::vector<std::uint64_t>;

/// A directory for one index, in memory if there is one.
class DurableDirectory {
 public:
  [[nodiscard]] std::filesystem::path path() const { return directory_ / "index.iqdb"; }
  [[nodiscard]] std::filesystem::path log() const { return directory_ / "index.iqdb.wal"; }
  [[nodiscard]] std::filesystem::path torn() const { return directory_ / "index.iqdb.wal.torn"; }
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_.path(); }

  [[nodiscard]] iqdb::PersistConfig config(iqdb::FsyncPolicy policy = iqdb::FsyncPolicy::always()) const {
    return {.path = path(), .wal_enabled = true, .fsync_policy = policy, .buffer_bytes = 4096, .helper_threads = 0};
  }
  [[nodiscard]] iqdb::PersistConfig config_without_log() const {
    iqdb::PersistConfig config = this->config();
    config.wal_enabled = false;
    return config;
  }

  [[nodiscard]] DurableIndex open_with(iqdb::FlatIndex index = empty_index(),
                                       iqdb::FsyncPolicy policy = iqdb::FsyncPolicy::always()) const {
    return DurableIndex::open_with(std::move(index), config(policy));
  }
  [[nodiscard]] DurableIndex load(iqdb::FsyncPolicy policy = iqdb::FsyncPolicy::always()) const {
    return DurableIndex::load(config(policy));
  }

  [[nodiscard]] ByteVector log_bytes() const { return read_bytes(log()); }
  [[nodiscard]] ByteVector snapshot_bytes() const { return read_bytes(path()); }

  /// What a process that is killed now leaves.
  [[nodiscard]] FileSet files() const { return files_in(directory_.path()); }
  void put(const FileSet& files) const { put_files(directory_.path(), files); }

 private:
  TemporaryDirectory directory_{memory_directory()};
};

inline const std::string log_name = "index.iqdb.wal";
inline const std::string snapshot_name = "index.iqdb";
inline const std::string torn_name = "index.iqdb.wal.torn";

/// What a load came to.
struct LoadResult {
  std::string kind = "ok";               ///< "ok" or the kind of the PersistError
  std::string message;                   ///< of the error
  std::optional<std::uint64_t> offset;   ///< of the error
  std::optional<iqdb::FlatIndex> index;  ///< where it is ok
  iqdb::RecoveryReport report;           ///< where it is ok
  std::uint64_t lsn = 0;                 ///< where it is ok

  [[nodiscard]] bool ok() const { return kind == "ok"; }
  [[nodiscard]] Ids ids() const { return index ? ids_of(*index) : Ids{}; }
};

/// Loads what is in `directory`, with the log on.
[[nodiscard]] inline LoadResult load_in(const DurableDirectory& directory) {
  LoadResult result;
  try {
    const DurableIndex db = directory.load();
    result.index = db.index();
    result.report = db.recovery();
    result.lsn = db.lsn();
  } catch (const iqdb::PersistError& error) {
    result.kind = to_string(error.kind());
    result.message = error.what();
    result.offset = error.offset();
  }
  return result;
}

/// Loads `files`, with the log on.
[[nodiscard]] inline LoadResult load_of(const FileSet& files) {
  const DurableDirectory directory;
  directory.put(files);
  return load_in(directory);
}

/// The same files with another log.
[[nodiscard]] inline FileSet with_log(FileSet files, ByteVector log) {
  files[log_name] = std::move(log);
  return files;
}

}  // namespace iqdb_test
