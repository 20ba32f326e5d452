// Vectors as people write them.
#pragma once

#include <string_view>
#include <vector>

namespace iqdb_tool {

/// The numbers in `text`, separated by commas or white space; brackets around all of them do no harm. `what` names the
/// text in the message. Throws PersistError invalid_config for what is no number, or one that no float is.
[[nodiscard]] std::vector<float> parse_numbers(std::string_view text, std::string_view what);

}  // namespace iqdb_tool
