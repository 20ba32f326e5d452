// What iqdb convert reads and writes: indexes, files of other libraries, and files of rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "any_index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/types.hpp"
#include "row_file.hpp"

namespace iqdb_tool {

/// The command line of iqdb convert.
struct ConvertOptions {
  std::string from;
  std::string to;
  std::string format;
  std::string type;
  std::string metric;
  std::string compression;
  std::string ids;
  bool force = false;
};

/// Vectors that were read: an index in memory, or the rows of a file.
class ConvertSource {
 public:
  /// Opens what options.from names; an index is loaded with its log. Throws PersistError for what is wrong with it, and
  /// invalid_config where an option is missing or does not fit.
  explicit ConvertSource(const ConvertOptions& options);

  /// The index; null for rows.
  [[nodiscard]] const AnyIndex* index() const noexcept { return index_.get(); }

  /// For people: "rows of floats", "an index of the type flat".
  [[nodiscard]] const std::string& what() const noexcept { return what_; }

  [[nodiscard]] std::uint64_t size() const { return index_ ? index_->size() : rows_->rows(); }
  [[nodiscard]] std::size_t dim() const { return index_ ? index_->dim() : rows_->dim(); }

  /// How the snapshot is compressed that was read; nothing for what is no snapshot.
  [[nodiscard]] const std::optional<iqdb::Compression>& compression() const noexcept { return compression_; }

  /// Calls `visit` for each vector; those of rows have the numbers of the rows as identifiers, or what --ids says. Stops as
  /// stop_if_interrupted() says.
  void each(const AnyIndex::Visit& visit);

 private:
  void read_index(const std::filesystem::path& path);
  void import_file(const std::filesystem::path& path, const ConvertOptions& options);

  std::string what_;
  std::unique_ptr<AnyIndex> index_;
  std::optional<RowFile> rows_;
  std::optional<std::vector<iqdb::VectorId>> ids_;  // of the rows
  std::optional<iqdb::Compression> compression_;
};

/// What is to be written.
struct ConvertTarget {
  enum class Form { index, library, rows };

  Form form = Form::index;
  RowFormat format = RowFormat::npy;  ///< of rows
  const IndexType* type = nullptr;    ///< of an index or a library; null for that of the source
  const IndexKind* kind = nullptr;    ///< null if nothing says it
};

/// The target that the command line names. Throws PersistError invalid_config if its options contradict each other.
[[nodiscard]] ConvertTarget target_of(const ConvertOptions& options);

/// The identifiers in a text file, one a line, as iqdb prints them. Throws PersistError io, and invalid_config unless there
/// are `count`.
[[nodiscard]] std::vector<iqdb::VectorId> read_ids(const std::filesystem::path& path, std::uint64_t count);

/// An index of the kind with the vectors of `source`. Throws IndexError for a vector that it does not take, PersistError
/// invalid_config if there can be no such index, and Interrupted.
[[nodiscard]] std::unique_ptr<AnyIndex> build_index(ConvertSource& source, const IndexKind& kind,
                                                    iqdb::DistanceMetric metric);

/// Where something is written: a resolved name, and its lock.
struct ConvertPlace {
  std::filesystem::path path;
  iqdb::FileStorage::Lock lock;
};

/// Writes the vectors of `source` as rows, and their identifiers to `ids`, unless that is null. Both appear, or none. Throws
/// PersistError io, and unsupported for what the format does not have; Interrupted.
void write_rows(ConvertSource& source, RowFormat format, iqdb::FileStorage& storage, const ConvertPlace& place,
                const ConvertPlace* ids);

/// Throws PersistError would_discard_snapshot: there is a file at `path`, and it may not be replaced.
[[noreturn]] void throw_there_already(const std::filesystem::path& path);

/// Locks the name that `path` leads to. Throws PersistError locked; would_discard_snapshot if there is a file, and no
/// options.force, or if older states of an index lie beside it; would_discard_log if there is a log, unless it holds no
/// mutation, an index is to be written and options.force is set.
[[nodiscard]] ConvertPlace locked_place(iqdb::FileStorage& storage, const std::string& path, ConvertTarget::Form form,
                                        const ConvertOptions& options);

}  // namespace iqdb_tool
