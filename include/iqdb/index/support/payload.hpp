// The beginning of a payload, and how a payload is refused. A checksum protects every payload. An invalid payload
// therefore comes from another version, or from someone who can compute checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// The beginning of the adapters' payloads: layout version 1 | dim 8 | metric 1, little-endian.
struct PayloadHead {
  std::uint64_t dim = 0;
  DistanceMetric metric = DistanceMetric::euclidean;
};

/// The version of the layouts that the adapters write and read.
inline constexpr std::uint8_t layout_version = 1;

/// Throws what require_not_moved_from throws, and what the writer throws.
inline void write_head(Writer& writer, const PayloadHead& head) {
  require_not_moved_from(static_cast<std::size_t>(head.dim));
  writer.write_le(layout_version);
  writer.write_le(head.dim);
  writer.write_le(static_cast<std::uint8_t>(head.metric));
}

/// Reads what write_head wrote. Throws PersistError invalid_payload for another layout version, invalid_metric for a
/// tag that no metric has. `type` is the index's type, for the message.
[[nodiscard]] inline PayloadHead read_head(Reader& reader, std::string_view type) {
  if (const auto version = reader.read_le<std::uint8_t>(); version != layout_version) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the " + std::string(type) + " index's payload has the layout version " + std::to_string(version) +
                    "; expected " + std::to_string(layout_version) + "; it needs a newer library, or it is damaged");
  }
  const auto dim = reader.read_le<std::uint64_t>();
  return {.dim = dim, .metric = metric_from_tag(reader.read_le<std::uint8_t>())};
}

/// Throws PersistError invalid_payload for a dimension of 0, or one of which not even one vector could be addressed. A
/// larger one than an index can be made with may be read: an index without vectors needs no memory for it.
inline void require_addressable(const Reader& reader, std::uint64_t dim, std::string_view type) {
  constexpr std::uint64_t most = std::numeric_limits<std::size_t>::max() / sizeof(float);
  if (dim == 0 || dim > most) {
    reader.fail(PersistErrorKind::invalid_payload, "the " + std::string(type) + " index is stated to have " +
                                                       std::to_string(dim) + " dimensions; expected 1 to " +
                                                       std::to_string(most));
  }
}

/// Calls `decode()` and returns its result. A payload that ends early is reported as invalid_payload: its checksum
/// shows that it is whole, so it states more than it holds.
template <class Decode>
[[nodiscard]] decltype(auto) decode_whole(const Reader& reader, std::string_view type, Decode&& decode) {
  try {
    return std::forward<Decode>(decode)();
  } catch (const PersistError& error) {
    if (error.kind() != PersistErrorKind::truncated_payload) {
      throw;
    }
    reader.fail(PersistErrorKind::invalid_payload,
                "the " + std::string(type) +
                    " index's payload ends early: it states more vectors, dimensions or metadata than it holds");
  }
}

/// Calls `make()`, which makes an empty index from settings that were read, and returns that index. An IndexError
/// becomes PersistError invalid_payload, because the refused settings come from the payload.
template <class Make>
[[nodiscard]] decltype(auto) make_as_stated(const Reader& reader, std::string_view type, Make&& make) {
  try {
    return std::forward<Make>(make)();
  } catch (const IndexError& error) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the " + std::string(type) + " index cannot be as it is stated: " + std::string(error.what()));
  }
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
