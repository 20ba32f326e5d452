// Files that hold vectors and nothing else: numpy's .npy, and the .fvecs and .ivecs of benchmarks.
//
//   .npy             magic "\x93NUMPY" | version 2 | length of the text 2 or 4 | a Python dictionary as text | the rows
//   .fvecs, .ivecs   of each row: how many components 4 | the components, floats or integers, 4 each
//
// Numbers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/storage/file_storage.hpp"

namespace iqdb_tool {

/// What such a file is.
enum class RowFormat { npy, fvecs, ivecs };

/// The format of this name, e.g. "npy", if there is one.
[[nodiscard]] std::optional<RowFormat> row_format_named(std::string_view name);

/// What a component is in a file.
enum class RowScalar { f16, f32, f64, i32 };

/// Where the rows of a file lie.
struct RowLayout {
  std::uint64_t begin = 0;       ///< of the first row
  std::uint64_t before_row = 0;  ///< bytes of a row before its components
  std::uint64_t rows = 0;
  std::uint64_t dim = 0;
  RowScalar scalar = RowScalar::f32;

  [[nodiscard]] std::uint64_t row_bytes() const noexcept;
};

/// Vectors in a file.
class RowFile {
 public:
  /// Called with each row and its number.
  using Visit = std::function<void(std::uint64_t number, std::span<const float> row)>;

  /// Whether the file at `path` is one of these, by its name, and for .npy also by its first bytes.
  [[nodiscard]] static bool recognises(const std::filesystem::path& path);

  /// Opens the file at `path`, which must be one. Reads no rows, but compares their number with the size of the file. Throws
  /// PersistError io; bad_magic, truncated_header, truncated_payload or invalid_payload for a file that is not whole;
  /// unsupported for one that is, but holds something else.
  explicit RowFile(const std::filesystem::path& path);

  [[nodiscard]] std::uint64_t rows() const noexcept { return layout_.rows; }
  [[nodiscard]] std::size_t dim() const noexcept { return static_cast<std::size_t>(layout_.dim); }

  /// Reads all rows once. Throws PersistError io, invalid_payload for a row that disagrees or a number that no float is, and
  /// what `visit` throws.
  void each(const Visit& visit);

 private:
  std::filesystem::path path_;
  iqdb::FileStorage::File file_;
  RowLayout layout_;
};

/// How an .npy file begins.
inline constexpr std::string_view npy_magic = "\x93NUMPY";

/// Reads the head of an .npy file. Throws as RowFile does.
[[nodiscard]] RowLayout read_npy_head(iqdb::FileStorage::File& file);

/// Writes the head of an .npy file of floats.
void write_npy_head(iqdb::Writer& writer, std::uint64_t rows, std::uint64_t dim);

/// Writes rows as they come.
class RowWriter {
 public:
  /// Writes the head for so many rows.
  RowWriter(iqdb::Writer& writer, RowFormat format, std::uint64_t rows, std::uint64_t dim);

  /// Throws PersistError unsupported for a component that the format does not have.
  void write(std::span<const float> row);

 private:
  iqdb::Writer* writer_;
  RowFormat format_;
};

}  // namespace iqdb_tool
