// Settings of an index, as the command line names them, and as an existing file has them.
#pragma once

#include <string>

#include "any_file.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/types.hpp"

namespace iqdb_tool {

/// The metric of this name. Throws PersistError invalid_config if there is none.
[[nodiscard]] iqdb::DistanceMetric metric_named(const std::string& name);

/// The compression of this name: none, zstd or lz4. Throws PersistError invalid_config if there is none; whether this
/// program has the codec is left to the save.
[[nodiscard]] iqdb::Compression compression_named(const std::string& name);

/// The codec of the snapshot in `file`, as far as it says so and this program has it, else none. Throws PersistError io.
[[nodiscard]] iqdb::Compression compression_like(AnyFile file);

}  // namespace iqdb_tool
