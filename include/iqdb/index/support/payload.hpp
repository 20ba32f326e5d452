// The payload of an index as it is read: what begins it, and how it is refused. A payload comes behind a checksum, so
// what is wrong in it was either written by another version or made by someone who can make checksums.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// What the payloads of the adapters begin with: layout version 1 | dim 8 | metric 1, little-endian.
struct PayloadHead {
  std::uint64_t dim = 0;
  DistanceMetric metric = DistanceMetric::euclidean;
};

/// The version of the layouts that the adapters write and read.
inline constexpr std::uint8_t layout_version = 1;

inline void write_head(Writer& writer, const PayloadHead& head) {
  writer.write_le(layout_version);
  writer.write_le(head.dim);
  writer.write_le(static_cast<std::uint8_t>(head.metric));
}

/// Throws PersistError invalid_payload for another layout version, invalid_metric for a tag that no metric has. `type`
/// is the index's, for the message.
[[nodiscard]] inline PayloadHead read_head(Reader& reader, std::string_view type) {
  if (const auto version = reader.read_le<std::uint8_t>(); version != layout_version) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the " + std::string(type) + " index's payload has the layout version " + std::to_string(version) +
                    "; expected " + std::to_string(layout_version) + "; it needs a newer library, or it is damaged");
  }
  const auto dim = reader.read_le<std::uint64_t>();
  return {.dim = dim, .metric = metric_from_tag(reader.read_le<std::uint8_t>())};
}

/// Calls `decode()` and returns what it returns. A payload that ends early is reported as invalid_payload: it is whole,
/// or its checksum would have told, so it states more than it holds.
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

/// Calls `make()`, which makes an empty index with settings that were read, and returns it. Settings that it refuses
/// are the file's fault: IndexError becomes PersistError invalid_payload.
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
