// What is known of a snapshot, as text and as JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "output.hpp"
#include "payload_head.hpp"

namespace iqdb_tool {

/// Adds the problems that a header and a payload have with one another. `path` is that of the snapshot.
void compare(const std::filesystem::path& path, const iqdb::FileHeader& header, const PayloadHead& payload,
             std::vector<iqdb::PersistError>& problems);

/// Adds to `document` what is known of a snapshot of `file_bytes` bytes.
void add_snapshot(Json& document, const iqdb::FileHeader& header, std::uint64_t file_bytes,
                  const std::optional<iqdb::RegionPreamble>& preamble, const std::optional<PayloadHead>& payload);

/// Prints the same as fields: those of the index, and behind the line "snapshot" those of the snapshot.
void print_snapshot(Output& out, const iqdb::FileHeader& header, std::uint64_t file_bytes,
                    const std::optional<iqdb::RegionPreamble>& preamble, const std::optional<PayloadHead>& payload);

}  // namespace iqdb_tool
