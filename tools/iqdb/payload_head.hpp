// The beginning of a payload: what the indexes of this library say there of themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "any_file.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb_tool {

/// What the beginning of a payload says.
struct PayloadHead {
  std::optional<std::uint64_t> dim;
  std::optional<iqdb::DistanceMetric> metric;
  std::optional<std::uint64_t> vectors;
  /// The settings of the index, by the names of its members.
  std::vector<std::pair<std::string, std::uint64_t>> settings;
  /// The kind of index, where a type has several.
  std::string kind;
};

/// The preamble of a snapshot's region: how the payload is stored. Throws PersistError as read_preamble, and io.
[[nodiscard]] iqdb::RegionPreamble preamble_of(AnyFile file, const iqdb::FileHeader& header);

/// Decodes the first bytes of the payload, and no more of it than the codec must. Returns nothing for a type that is not
/// known here, and where that would take long: an LZ4 block must be decoded whole. Throws PersistError if the payload
/// cannot be that of its type or cannot be decoded, and io.
[[nodiscard]] std::optional<PayloadHead> payload_head_of(AnyFile file, const iqdb::FileHeader& header);

}  // namespace iqdb_tool
