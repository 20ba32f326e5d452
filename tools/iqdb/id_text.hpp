// Identifiers of vectors, as people write and read them.
#pragma once

#include <string>
#include <string_view>

#include "iqdb/types.hpp"
#include "output.hpp"

namespace iqdb_tool {

/// The identifier that `text` means: digits are an integer. Text in double quotes is the bytes between them, with \xNN for
/// any byte, as identifiers are printed. Other text is its bytes. Throws PersistError invalid_config for none of these.
[[nodiscard]] iqdb::VectorId parse_id(std::string_view text);

/// An identifier in JSON: a number, a string if its bytes are UTF-8, else {"hex": "…"}.
[[nodiscard]] Json json_of_id(const iqdb::VectorId& id);

/// Metadata in JSON: an object, or null. A number that JSON does not have is null.
[[nodiscard]] Json json_of_metadata(const std::optional<iqdb::Metadata>& metadata);

}  // namespace iqdb_tool
