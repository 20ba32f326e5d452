// Reads the shape of the index from one of usearch's files before the file itself is read. usearch's head stands behind
// the vectors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "iqdb/index/usearch/config.hpp"
#include "iqdb/index/usearch/stream_layout.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace usearch_stream {

/// The shape that the stream in a file states. Throws PersistError invalid_payload for a shape that cannot be used,
/// truncated_payload if the file ends early.
template <ReadableFile F>
[[nodiscard]] Shape shape_in(F& file) {
  FileRange beginning(file, 0, file.size());
  Reader matrix(beginning, file.size(), LengthEvidence::stored, matrix_size_bytes);
  const auto rows = matrix.read_le<std::uint32_t>();
  const auto row_bytes = matrix.read_le<std::uint32_t>();
  const std::uint64_t vectors = std::uint64_t{rows} * row_bytes;
  matrix.require(vectors + head_bytes + graph_header_bytes);

  FileRange headers(file, matrix_size_bytes + vectors, file.size());
  Reader reader(headers, head_bytes + graph_header_bytes, LengthEvidence::stored, head_bytes + graph_header_bytes);
  std::array<std::byte, head_bytes> head_data{};
  reader.read(head_data);
  const Head head = parse_head(head_data, reader);
  const std::optional<DistanceMetric> metric = metric_of(head);
  const std::optional<UsearchScalar> scalar = scalar_of(head);
  if (!metric || !scalar) {
    reader.fail(PersistErrorKind::invalid_payload, "the usearch index has the metric " + name_of_metric(head) +
                                                       " and the scalar " + name_of_scalar(head, head.scalar) +
                                                       "; expected l2sq, ip or cos of f32, f16, bf16, f64 or i8");
  }
  static_cast<void>(reader.read_le<std::uint64_t>());  // how many nodes: CheckedStream compares it
  Shape shape{.dim = static_cast<std::size_t>(head.dim), .metric = *metric, .scalar = *scalar};
  shape.connectivity = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
  shape.connectivity_base = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
  return shape;
}

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
